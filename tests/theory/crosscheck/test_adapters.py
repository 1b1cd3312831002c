"""What is read off a signature, and kernels by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.crosscheck.cases import FAST, gated, interpolating, register
from support.crosscheck.faulty_kernels import correct, delta_net, gated_delta_net, silent

from osdn_theory.crosscheck import Adapter, adapt, crosscheck, kernel_names, resolve
from osdn_theory.crosscheck.kernel.calling import KernelError
from osdn_theory.recurrence.rules import CalibrationRule


def test_signatures_say_what_is_computed() -> None:
    assert adapt(correct).recurrence == "osdn"
    assert adapt(delta_net).recurrence == "delta_net"
    assert adapt(gated_delta_net).recurrence == "gated_delta_net"

    def scan(k: Any, eta: float = 0.003) -> Any: ...

    def anything(*args: Any, **options: Any) -> Any: ...

    def with_rest(q: Any, k: Any, v: Any, beta: Any, scale: Any = None, **rest: Any) -> Any: ...

    assert adapt(with_rest).recurrence == "delta_net"
    assert adapt(with_rest).parameters == {"q", "k", "v", "beta", "scale"}

    def squashed(q: Any, k: Any, v: Any, g: Any, g_atk: Any, beta_atk: Any, beta: Any) -> Any: ...

    assert adapt(scan).recurrence == "preconditioner"
    assert adapt(anything).recurrence == "osdn"
    assert "g_atk" not in adapt(anything).parameters
    assert adapt(squashed).recurrence == "preconditioned_delta_net"
    assert not adapt(squashed).gates_features
    assert adapt(squashed, "precond_kda").gates_features
    assert adapt(gated_delta_net, "chunk_kimi_delta_attention").recurrence == "kda"


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("chunk_osdn", "chunk"),
        ("chunk_osdn_reference", "chunk"),
        ("fused_recurrent_osdn", "recurrent"),
        ("osdn_reference", "recurrent"),
        ("naive_delta_rule", "recurrent"),
        ("my_kernel", "unknown"),
    ],
)
def test_names_say_the_order_of_operations(name: str, order: str) -> None:
    assert adapt(correct, name).order == order


def test_the_order_is_declared_or_in_the_name_and_else_unknown() -> None:
    """That a kernel takes a chunk size says nothing: token-by-token ones take it for the signature's sake."""

    def scan(k: Any, eta: float = 0.003, chunk_size: int = 64) -> Any: ...

    assert adapt(scan).order == "unknown"
    assert adapt(scan, "recurrent_scan").order == "recurrent"
    scan.numerics = {"float32": {"order": "chunk"}, "float16": None}  # type: ignore[attr-defined]
    assert adapt(scan, "recurrent_scan").order == "chunk"
    scan.numerics = {"float32": {"order": "chunk"}, "float16": {"order": "recurrent"}}  # type: ignore[attr-defined]
    assert adapt(scan).order == "unknown"


def test_an_unknown_order_is_held_to_the_wider_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel is plain PyTorch, whether or not other tests have loaded Triton's interpreter.
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    stream, found = interpolating(24), {}
    for order in ("chunk", "recurrent", "unknown"):
        kernel = replace(adapt(correct), order=order)
        found[order] = crosscheck(kernel, stream, FAST, device="cpu")["d"]
    both = np.maximum(found["chunk"].bound, found["recurrent"].bound)
    np.testing.assert_array_equal(found["unknown"].bound, both)
    assert found["unknown"].basis == "T18, chunk, float32 or T18, recurrent, float32 inputs"


def test_the_statement_has_defaults_and_what_is_passed() -> None:
    statement = adapt(silent, chunk_size=32).statement()
    assert "eta=0.003" in statement["defaults"]
    assert statement["passed"] == "chunk_size=32"
    assert statement["decay"] == "none"
    assert "q, k, v, beta, scale, eta, d_min, d_max" in statement["arguments"]
    assert adapt(correct).statement()["decay"].startswith("g forgets the preconditioner")


def test_an_adapter_passes_through_with_its_options() -> None:
    made = Adapter(
        "mine", correct, "osdn", "recurrent", frozenset({"q", "k", "v", "beta"}), options={"eta": 1.0}
    )
    assert adapt(made, chunk_size=16).options == {"eta": 1.0, "chunk_size": 16}
    assert resolve(made).name == "mine"


@pytest.mark.parametrize("kernel", [3, None, object()])
def test_what_cannot_be_called_is_refused(kernel: Any) -> None:
    with pytest.raises(TypeError, match="expected a callable"):
        adapt(kernel)


def test_signatures_that_do_not_fit_are_refused() -> None:
    def without_beta(q: Any, k: Any, v: Any) -> Any: ...

    def with_more(q: Any, k: Any, v: Any, beta: Any, mask: Any) -> Any: ...

    with pytest.raises(ValueError, match="takes no argument beta"):
        adapt(without_beta)
    with pytest.raises(ValueError, match="requires mask, unknown here"):
        adapt(with_more)


def test_a_rule_that_the_kernel_has_no_argument_for_is_refused() -> None:
    def plain(q: Any, k: Any, v: Any, beta: Any, eta: float = 0.0) -> Any: ...

    stream = gated(8)
    for rule, missing in (
        (CalibrationRule(forgetting=0.9), "takes no argument g"),
        (CalibrationRule(normalize_feedback=True), "takes no argument normalize_feedback"),
        (CalibrationRule(beta_aware=True), "takes no argument beta_aware"),
    ):
        with pytest.raises(ValueError, match=missing):
            crosscheck(plain, stream, rule, device="cpu")


def test_a_kernel_that_asserts_its_dtype_is_refused_in_a_line() -> None:
    def kernel(q: Any, k: Any, v: Any, beta: Any, scale: Any = None) -> Any:
        raise AssertionError("float32 is not supported, use bfloat16\nand a second line")

    with pytest.raises(KernelError) as caught:
        crosscheck(kernel, interpolating(8), device="cpu")
    said = "raised in the call on the whole stream: AssertionError: float32 is not supported, use bfloat16"
    assert str(caught.value) == f"kernel: kernel {said}"


def test_results_of_the_wrong_shape_are_refused() -> None:
    def kernel(q: Any, k: Any, v: Any, beta: Any, eta: float = 0.0, scale: float = 1.0) -> Any:
        return v[:, :-1]

    with pytest.raises(
        ValueError, match=r"returned o of shape \[1, 7, 2, 6\] .* tensor of shape \[1, 8, 2, 6\]"
    ):
        crosscheck(kernel, interpolating(8), FAST, device="cpu")


def test_kernels_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(tmp_path, monkeypatch)
    assert {"osdn_reference", "chunk_osdn_reference", "absent"} <= set(kernel_names())
    assert resolve("osdn_reference").name == "osdn_reference"
    assert resolve("osdn_kernels.reference:osdn_reference").recurrence == "osdn"
    for name, message in (
        ("absent", r"absent \(no_such_package.ops:kernel\) is not installed"),
        ("broken", "has no 'no_such_kernel'"),
        ("osdn_referense", "did you mean osdn_reference"),
        ("no_such_module:kernel", "no_such_module:kernel is not installed"),
        ("math:no_such", "math has no 'no_such'"),
    ):
        with pytest.raises(ValueError, match=message):
            resolve(name)


MINE = """
from beside import scale

class Layer:
    @staticmethod
    def forward(q, k, v, beta):
        return scale * v

def fn(q, k, v, beta):
    return scale * v

number = 3
"""


def in_folder(folder: Path) -> Path:
    """A folder with a kernel in a file, and what it imports beside it."""
    (folder / "mine_of_tests.py").write_text(MINE)
    (folder / "beside.py").write_text("scale = 2.0\n")
    (folder / "package_of_tests").mkdir()
    (folder / "package_of_tests" / "part.py").write_text("def fn(q, k, v, beta): return v\n")
    (folder / "torn_of_tests.py").write_text("def fn(:\n")
    (folder / "raising_of_tests.py").write_text("raise ValueError('no luck\\nat all')\n")
    (folder / "lacking_of_tests.py").write_text("import no_such_module\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, which Python does not look into by itself."""
    monkeypatch.chdir(in_folder(tmp_path))
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) is None or str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def test_a_kernel_in_the_current_folder_is_found(folder: Path) -> None:
    path = list(sys.path)
    for name in (
        "mine_of_tests:fn",
        "mine_of_tests.py:fn",
        "mine_of_tests:Layer.forward",
        "./mine_of_tests.py:fn",
        f"{folder}/mine_of_tests.py:Layer.forward",
        "package_of_tests/part.py:fn",
        "package_of_tests.part:fn",
    ):
        found = resolve(name)
        assert (found.name, found.recurrence) == (name, "delta_net")
    # Only while it is imported: this folder may have the name of a package that others look for.
    assert sys.path == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine_of_tests:absent", "kernel: mine_of_tests has no 'absent'"),
        ("mine_of_tests.py:Layer.absent", "kernel: mine_of_tests.py has no 'Layer.absent'"),
        ("mine_of_tests:number", "kernel: mine_of_tests:number is no function: int"),
        ("absent.py:fn", "kernel: absent.py:fn: there is no file "),
        ("torn_of_tests:fn", "kernel: torn_of_tests:fn cannot be imported here: SyntaxError: invalid syntax"),
        (
            "raising_of_tests.py:fn",
            "kernel: raising_of_tests.py:fn cannot be imported here: ValueError: no luck",
        ),
        ("lacking_of_tests:fn", "kernel: lacking_of_tests:fn cannot be imported here: No module named"),
        ("absent_of_tests:fn", "kernel: absent_of_tests:fn is not installed: No module named"),
        ("mine_of_tests:", "kernel: expected module:function, got 'mine_of_tests:'"),
        (":fn", "kernel: expected module:function, got ':fn'"),
    ],
)
def test_what_is_wrong_with_a_name_is_one_line(folder: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        resolve(name)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_file_does_not_take_the_place_of_a_module_of_its_name(folder: Path) -> None:
    (folder / "math.py").write_text("def fn(q, k, v, beta): return v\n")
    import math

    assert resolve("math.py:fn").recurrence == "delta_net"
    assert sys.modules["math"] is math


def test_torch_and_kernels_are_not_imported_before_a_call() -> None:
    script = (
        "import sys, osdn_theory.crosscheck as c; c.crosscheck; c.audit_run; c.save_run;"
        "import osdn_theory.commands.main;"
        "print([m for m in ('torch', 'triton', 'osdn_kernels') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
