"""Right kernels have no failure; faults are found, shrunk, replayed bit for bit, and left as scripts."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.crosscheck import fuzz_kernels
from support.crosscheck.fuzz_cases import own_layout, run_script, run_with

from osdn_theory.commands.fuzz import lines, verdict
from osdn_theory.crosscheck.fuzz.held import hold
from osdn_theory.crosscheck.fuzz.menu import has_bound
from osdn_theory.crosscheck.fuzz.replay import load_recording, replay
from osdn_theory.crosscheck.fuzz.run import Failure, FuzzPlan, FuzzSummary, fuzz
from osdn_theory.crosscheck.fuzz.shrink import shrink
from osdn_theory.crosscheck.fuzz.trial import Trial, parts
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt
from osdn_theory.crosscheck.kernel.calling import KernelError


def named(name: str) -> Adapter:
    return adapt(getattr(fuzz_kernels, name), f"support.crosscheck.fuzz_kernels:{name}")


def first_failure(adapter: Adapter, folder: Path, cases: int = 40) -> Failure:
    """Of a run that is stopped where it says that a case has failed."""

    def stop(found: str, done: int, total: int) -> None:
        if not found.endswith(", 0 failed"):
            raise KeyboardInterrupt

    summary = fuzz(adapter, FuzzPlan(cases=cases), files=folder, progress=stop)
    assert summary.exit_code == 1
    return summary.failures[0]


RIGHT = [
    named("right"),
    named("delta_net"),
    named("path_alone"),
    own_layout(fuzz_kernels.gated, "gated_delta_net"),
    own_layout(fuzz_kernels.kda, "kda"),
    named("osgdn"),
    named("oskda"),
]


@pytest.mark.parametrize("adapter", RIGHT, ids=lambda adapter: adapter.name)
def test_a_right_kernel_has_no_failure(adapter: Adapter, tmp_path: Path) -> None:
    summary = fuzz(adapter, FuzzPlan(cases=20, seed=1), files=tmp_path / "none")
    assert summary.failures == ()
    assert summary.exit_code == 0
    assert summary.cases == 20
    assert summary.telling > 10
    assert not (tmp_path / "none").exists()
    assert verdict(summary).startswith("no failure in 20 cases")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("adapter", RIGHT, ids=lambda adapter: adapter.name)
def test_a_right_kernel_has_no_failure_in_60_cases(adapter: Adapter, dtype: str) -> None:
    summary = fuzz(adapter, FuzzPlan(cases=60, dtypes=(dtype,)))  # type: ignore[arg-type]
    assert [failure.detail for failure in summary.failures] == []
    # Where no bound is known, the allowance for bfloat16 is wide: a sixth could tell.
    assert summary.telling > (30 if has_bound(adapter, (dtype,)) or dtype != "bfloat16" else 6)


# Kernel -> quantity or exception, largest shape of the smallest case, and the kernel without the fault.
FAULTS = {
    "drops_the_last_partial_chunk": ("outside o", {"T": 1, "K": 1, "V": 1}),
    "ignores_the_initial_state": ("outside o", {"T": 1, "K": 1, "V": 1}),
    "wrong_for_one_token": ("outside o", {"T": 1, "K": 1, "V": 1}),
    "wrong_above_16_features": ("outside o", {"T": 2, "K": 17, "V": 1}),
    "nan_for_beta_0": ("not finite o", {"T": 1, "K": 1, "V": 1}),
    "raises_for_strides": ("raised RuntimeError", {"T": 1, "K": 2, "V": 1}),
    "mixes_packed_sequences": ("outside", {"B": 2, "T": 1, "K": 1, "V": 1}),
    "wrong_in_bfloat16": ("outside o", {"T": 1, "K": 1, "V": 1}),
    "late_path": ("outside d", {"T": 2, "K": 1}),
    "late_oskda": ("outside", {"T": 2, "K": 1, "V": 1}),
}


EVERYDAY = (
    "late_oskda",
    "ignores_the_initial_state",
    "wrong_for_one_token",
    "nan_for_beta_0",
    "raises_for_strides",
)
"""A wrong number, a wrong length, no number, and an error; the others take CI."""


@pytest.mark.parametrize(
    "name", [name if name in EVERYDAY else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
)
def test_a_fault_is_found_shrunk_and_left_to_be_repeated(name: str, tmp_path: Path) -> None:
    signature, largest = FAULTS[name]
    failure = first_failure(named(name), tmp_path)
    assert failure.signature.startswith(signature)
    assert failure.repeats
    limits = {"B": 1, "H": 1, **largest}
    assert all(failure.shape[axis] <= size for axis, size in limits.items()), failure.shape
    recording, script = map(Path, failure.files)
    check_replay(recording, named(name), raises=signature.startswith("raised"))
    check_script(script, {"late_path": "path_alone", "late_oskda": "oskda"}.get(name, "right"))


@pytest.mark.parametrize(
    ("name", "recurrence", "right"),
    [("late_gated", "gated_delta_net", "gated"), ("kda_of_one_gate", "kda", "kda")],
)
def test_memories_that_decay_in_layouts_of_their_own(
    name: str, recurrence: str, right: str, tmp_path: Path
) -> None:
    adapter = own_layout(getattr(fuzz_kernels, name), recurrence)  # type: ignore[arg-type]
    failure = first_failure(adapter, tmp_path)
    assert failure.shape["T"] <= 2
    assert failure.shape["K"] <= 2
    recording, script = map(Path, failure.files)
    check_replay(recording, adapter, raises=False)
    check_script(script, right)


def check_replay(path: Path, adapter: Adapter, *, raises: bool) -> None:
    """The same kernel gives the same bits on the same input, and leaves its bound again."""
    if raises:
        with pytest.raises(KernelError, match="view size is not compatible"):
            replay(path, adapter)
        return
    checks = replay(path, adapter)
    assert not all(check.within for check in checks)
    assert all(check.exit_code in (0, 1, 3) for check in checks)
    assert all("replay: the kernel gave the bits that were recorded" in check.notes for check in checks)


def check_script(path: Path, right: str) -> None:
    """It fails, needs nothing of this package, and passes once the kernel is right."""
    text = path.read_text()
    imported = {node.names[0].name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)}
    assert imported <= {"torch", "sys", "os", "base64"}
    assert max(map(len, text.splitlines())) < 160
    failed = run_script(path)
    assert failed.returncode == 1, failed.stderr
    assert failed.stderr == ""
    assert "outside the bound" in failed.stdout or "raised" in failed.stdout
    code, printed = run_with(path, right)
    assert code == 0, printed
    assert ": 0 of" in printed


def test_what_the_kernel_says_it_does_not_do_is_no_failure() -> None:
    summary = fuzz(named("refuses_normalised_feedback"), FuzzPlan(cases=30))
    assert summary.failures == ()
    ((what, count),) = summary.refused.items()
    assert what == "normalised feedback"
    assert 0 < count < 30
    assert any("refused by the kernel: normalised feedback" in line for line in lines(summary))


def test_a_kernel_that_takes_nothing_at_all_is_refused_at_once() -> None:
    def broken(q: object, k: object, v: object, beta: object) -> object:
        raise RuntimeError("no kernel image")

    with pytest.raises(KernelError, match=r"takes harmless input in no dtype.*no kernel image"):
        fuzz(adapt(broken), FuzzPlan(cases=5))


def test_what_cannot_be_imported_by_name_has_no_script(tmp_path: Path) -> None:
    def local(**given: object) -> object:
        return fuzz_kernels.nan_for_beta_0(**given)

    local.__wrapped__ = fuzz_kernels.right  # type: ignore[attr-defined]
    failure = first_failure(adapt(local), tmp_path)
    assert [Path(path).suffix for path in failure.files] == [".safetensors"]


def test_a_failure_that_does_not_come_again_is_said_so(tmp_path: Path) -> None:
    calls = []

    def once(**given: object) -> object:
        calls.append(1)
        o, final = fuzz_kernels.right(**given)  # type: ignore[arg-type]
        return (o + 1 if len(calls) == 12 else o), final

    once.__wrapped__ = fuzz_kernels.right  # type: ignore[attr-defined]
    summary = fuzz(adapt(once), FuzzPlan(cases=12), files=tmp_path)
    (failure,) = summary.failures
    assert not failure.repeats
    assert any("NOT again" in line for line in lines(summary))
    checks = replay(failure.files[0], adapt(once))
    assert all(check.within for check in checks)
    assert any("other bits than those that were recorded" in note for note in checks[0].notes)


def test_large_inputs_are_embedded_to_the_bit(tmp_path: Path) -> None:
    """Unshrunk, and so in base64: the script computes from the very bits of the recording."""
    from osdn_theory.crosscheck.fuzz.draw import SMALL, draw
    from osdn_theory.crosscheck.fuzz.menu import Takes
    from osdn_theory.crosscheck.fuzz.script import write_failure

    adapter = named("nan_for_beta_0")
    takes = Takes(("bfloat16", "float32"), (), empty=False)
    failing = (
        (trial, held)
        for number in range(200)
        for trial in [draw(adapter, takes, SMALL, 0, number)]
        if trial.question.put == "packed" and trial.shape["T"] * trial.shape["K"] > 300
        for held in [hold(adapter, trial, "cpu")]
        if held.faults
    )
    trial, held = next(failing)
    recording, script = write_failure(tmp_path, "big", adapter, trial, held.faults[0], held.answers, "cpu")
    assert "decoded(" in script.read_text()
    check_replay(recording, adapter, raises=False)
    check_script(script, "right")
    known = load_recording(recording).trial.question
    for old, new in zip(trial.question.cases, known.cases, strict=True):
        assert parts(old).keys() == parts(new).keys()
        assert all(np.array_equal(value, parts(new)[name]) for name, value in parts(old).items())
        assert old.rule.eta == new.rule.eta
        assert old.scale == new.scale


def test_shrinking_keeps_to_its_calls_and_to_the_clock() -> None:
    from osdn_theory.crosscheck.fuzz.draw import SMALL, draw
    from osdn_theory.crosscheck.fuzz.menu import Takes

    trial = draw(named("right"), Takes(("float32",), (16,), empty=True), SMALL, 0, 12)
    asked: list[Trial] = []

    def always(candidate: Trial) -> bool:
        asked.append(candidate)
        return True

    *_, smallest = shrink(trial, always, calls=500)
    assert smallest.shape == {"B": 1, "H": 1, "T": 1, "K": 1, "V": 1}
    assert len(asked) < 500
    asked.clear()
    list(shrink(trial, always, calls=7))
    assert len(asked) == 7
    asked.clear()
    assert list(shrink(trial, always, goes_on=lambda: False)) == []
    assert asked == []
    assert list(shrink(trial, lambda candidate: False)) == []


def test_no_case_that_could_tell_is_no_confirmation() -> None:
    none = fuzz(named("right"), FuzzPlan(cases=10, seconds=0.0))
    assert (none.cases, none.exit_code) == (0, 0)
    assert verdict(none).startswith("cannot tell")
    blind: FuzzSummary = dataclasses.replace(none, cases=3)
    assert verdict(blind).startswith("cannot tell: 3 cases, none with a bound")
