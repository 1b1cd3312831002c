"""Our Triton kernels in Triton's interpreter: inside their bounds, their decay confirmed, and one broken on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.crosscheck.cases import ANCHORED, FAST, REFERENCE, interpolating

from osdn_theory.crosscheck import CrossCheck, crosscheck, crosscheck_configurations
from osdn_theory.streams import synthetic
from osdn_theory.streams.activations import load_activations
from osdn_theory.streams.transforms import with_gates

RECURRENT = "osdn_kernels.ops:fused_recurrent_osdn"
CHUNK = "osdn_kernels.ops:chunk_osdn"
SCAN = "osdn_kernels.ops:osdn_preconditioner"


def check(kernel: str, length: int, rule: Any = FAST, **options: Any) -> CrossCheck:
    stream = interpolating(length, heads=1)
    if rule is ANCHORED:
        stream = with_gates(stream, np.random.default_rng(1), forget="random")
    return crosscheck(kernel, stream, rule, device="cpu", cuts=3, chunk_size=16, **options)


def assert_super_geometric(found: CrossCheck) -> None:
    assert found.within
    assert found.symptoms == ()
    assert found.curve is not None
    assert found.curve.bound is not None
    assert found.verdict("T6").outcome == "confirmed"
    assert found.curve.decades > 12
    at = found.curve.guaranteed.argmin()
    assert found.curve.guaranteed[at] <= found.curve.bound[at] < -12


def test_the_recurrent_kernel_decays_super_geometrically() -> None:
    assert_super_geometric(check(RECURRENT, 20))


def test_the_chunk_kernel_decays_super_geometrically() -> None:
    assert_super_geometric(check(CHUNK, 20))


def test_the_scan_alone_is_inside_its_bound() -> None:
    found = check(SCAN, 40, ANCHORED)
    assert found.exit_code == 0
    assert found.verdict("T11").outcome == "confirmed"
    assert {item.name for item in found.comparisons} == {"d", "d handed on"}


def test_the_hook_of_our_kernels_walks_through_configurations() -> None:
    """In the interpreter every kernel has one."""
    from osdn_kernels.launch.configurations import every_configuration

    (found,) = crosscheck_configurations(
        SCAN, interpolating(24, heads=1), FAST, device="cpu", hook=every_configuration, gradients=False
    )
    assert found.configuration == "first configuration of every kernel; batch x 1"
    assert found.within


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kernel", [RECURRENT, CHUNK])
def test_every_kernel_dtype_and_gradient(kernel: str, dtype: Any) -> None:
    found = check(kernel, 40, ANCHORED, dtype=dtype, gradients=True, reference=REFERENCE)
    assert found.within, found.symptoms
    assert found.exit_code in (0, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [RECURRENT, CHUNK])
def test_minilm(kernel: str) -> None:
    stream = load_activations(layers=["layer0"]).pop().tokens(0, 40).at((0, 0))
    found = crosscheck(kernel, stream, FAST, device="cpu", cuts=2, chunk_size=16)
    assert found.within, found.symptoms


@pytest.mark.slow
def test_a_broken_triton_kernel_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The memory's loop over chunks leaves out the last partial one."""
    from osdn_kernels.chunk import state
    from osdn_kernels.launch import tuning

    whole = "end = entered, tokens // C"
    source_of(monkeypatch, tmp_path, state, tuning, "memory_kernel", "end = entered, chunks", whole)
    stream = synthetic.interpolating(np.random.default_rng(0), length=40, key_dim=8, value_dim=6)
    found = crosscheck(CHUNK, stream, FAST, device="cpu", cuts=3, chunk_size=16)
    assert "drops the last partial chunk" in [symptom.name for symptom in found.symptoms]
    assert found.exit_code == 1


def source_of(monkeypatch: Any, folder: Any, module: Any, tuning: Any, name: str, old: str, new: str) -> None:
    """Put a kernel with one expression replaced in the place of the right one."""
    import inspect

    function = getattr(module, name)
    while not hasattr(function, "__wrapped__") and hasattr(function, "fn"):
        function = function.fn
    plain = getattr(function, "fn", function)
    source = inspect.getsource(plain)
    assert source.count(old) == 1
    path = folder / f"{name}.py"
    path.write_text(source.replace(old, new))
    namespace = dict(vars(inspect.getmodule(plain)))
    monkeypatch.setattr(tuning, "TUNED", dict(tuning.TUNED))
    exec(compile(path.read_text(), path, "exec"), namespace)
    monkeypatch.setattr(module, name, namespace[name])
