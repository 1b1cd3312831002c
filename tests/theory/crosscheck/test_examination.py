"""The examination from Python: right, wrong, cannot tell; what it would have seen; what must hold bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from support.crosscheck import eager_kernels
from support.crosscheck.cases import FAST, REFERENCE, interpolating
from support.crosscheck.eager_faults import State, Trajectory, kernel
from support.crosscheck.false_alarms import storing_outputs

from osdn_theory.crosscheck import crosscheck
from osdn_theory.crosscheck.alternatives.power import Power
from osdn_theory.crosscheck.evidence.limits import models_of
from osdn_theory.crosscheck.examination import run as examination
from osdn_theory.crosscheck.examination.exercises.draw import SMALL
from osdn_theory.crosscheck.examination.exercises.question import Question
from osdn_theory.crosscheck.examination.exercises.table import questions
from osdn_theory.crosscheck.examination.marking import exercise_result, grade_gradients, mark, power_of
from osdn_theory.crosscheck.examination.results import EXIT_CODES, Examination
from osdn_theory.crosscheck.examination.run import examine
from osdn_theory.crosscheck.gradients.check import REFERENCE as OWN_REFERENCE
from osdn_theory.crosscheck.invariance.result import Invariance
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt
from osdn_theory.crosscheck.kernel.calling import KernelError
from osdn_theory.crosscheck.kernel.registry import resolve
from osdn_theory.crosscheck.results import CrossCheck, Verdict
from osdn_theory.streams import synthetic


def examined(call: Any, *only: str, invariant: bool = False, **options: Any) -> Examination:
    """By exercises of chunks of 16, which are quick."""
    adapter = call if isinstance(call, Adapter) else adapt(call)
    small = replace(adapter, defaults={**adapter.defaults, "chunk_size": 16})
    return examine(small, device="cpu", only=only or None, invariant=invariant, **options)


@cache
def right() -> Examination:
    """One exercise of a right kernel."""
    return examined(eager_kernels.right, "square")


def test_a_right_kernel_is_right() -> None:
    found = examined(eager_kernels.right, invariant=True)
    assert (found.verdict, found.exit_code) == ("right", 0)
    assert found.explanations == ()
    assert found.power is not None
    assert found.power.unseen == ()
    assert {item.outcome for item in found.invariances} <= {
        "equal bit for bit",
        "inside the bound",
        "not exercised",
    }


def test_a_wrong_kernel_is_wrong_and_its_fault_named() -> None:
    found = examined(eager_kernels.beta_ignored, "everything at once")
    assert (found.verdict, found.exit_code) == ("wrong", 1)
    assert [item.name for item in found.explanations] == ["beta ignored"]
    assert "exercise 'everything at once'" in next(found.faults())


def test_what_nothing_was_asked_of_cannot_be_told() -> None:
    found = examined(eager_kernels.right, "no such exercise")
    assert (found.verdict, found.exit_code) == ("cannot tell", 3)
    assert found.power is None


def test_power_is_that_of_the_exercises_put() -> None:
    little, more = (
        examined(eager_kernels.right, *only).power for only in (["one token"], ["square", "one token"])
    )
    assert little is not None
    assert more is not None
    assert 0 < len(little.seen) < len(more.seen)
    # With one token there is none before it to be kept.
    reasons = {reach.fault.key: reach.reason for reach in little.reaches}
    assert reasons["beta ignored"] == ""
    assert "makes no difference in any exercise" in reasons.values()


def bfloat16_alone(q: Any, k: Any, v: Any, beta: Any, scale: Any = None, initial_state: Any = None,
                   output_final_state: bool = False) -> Any:  # fmt: skip
    assert q.dtype == torch.bfloat16, "bfloat16 only"
    return eager_kernels.right(q, k, v, beta, scale, initial_state, output_final_state)


def test_the_dtype_is_the_one_that_a_kernel_takes() -> None:
    assert right().dtype == "float32"
    assert examined(bfloat16_alone, "square").dtype == "bfloat16"
    assert examined(eager_kernels.right, "square", dtype="float16").dtype == "float16"


def test_what_is_required_is_a_condition() -> None:
    found = examined(
        eager_kernels.right, "square", invariant=True, require=["deterministic", "packed-invariant"]
    )
    assert found.verdict == "wrong"
    assert [line.partition(":")[0] for line in found.unmet] == ["packed-invariant"]
    assert (
        examined(eager_kernels.right, "square", invariant=True, require=["deterministic"]).verdict == "right"
    )


def overflowing(recurrence: str = "osdn") -> tuple[Adapter, Question]:
    """An exercise in float16 whose outputs leave the format from the tenth token on."""
    adapter = adapt(storing_outputs(kernel(recurrence)), "an eager recurrent loop", recurrence=recurrence)  # type: ignore[arg-type]
    (posed,) = (each for each in questions(adapter, "float16", SMALL) if each.name == "everything at once")
    (case,) = posed.cases
    queries = np.array(case.stream.queries)
    queries[..., 9:, :] *= 2.0**14
    return adapter, replace(posed, cases=(case.asking(queries),))


def test_an_exercise_that_overflows_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, posed = overflowing()
    monkeypatch.setattr(examination, "questions", lambda *_: [posed])
    found = examined(adapter, dtype="float16")
    assert "nothing can be said of everything at once: overflow" in found.sentence
    (result,) = found.exercises
    (reason,) = result.hidden
    assert "overflow" in reason
    assert result.within


def test_an_infinity_that_no_overflow_explains_is_an_error() -> None:
    adapter, posed = overflowing("delta_net")
    # The same in float32, whose range holds it all.
    (case,) = posed.cases
    wide = replace(posed, cases=(replace(case, dtype="float32"),))
    infinite = replace(adapter, call=spoiling("o", adapter.call))
    with pytest.raises(
        KernelError, match="entries of o are NaN or infinite, first in batch row 1, head 2, token 6"
    ):
        mark(infinite, wide, "cpu", models_of(adapter, "float32"))
    mark(infinite, posed, "cpu", models_of(adapter, "float16"))


def spoiling(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, with one entry of a result infinite."""

    def spoilt(**given: Any) -> Any:
        o, final, *path = call(**given)
        if what == "o":
            o[1, 5, 2, 3] = torch.inf
        state, d = (final.state, final.preconditioner) if isinstance(final, State) else (final, None)
        if what == "the final state":
            state[1, 2, 3, 4] = torch.nan
        if what == "the d handed on":
            assert d is not None
            d = d.clone()
            d[1, 2, 3] = torch.nan
        if what == "d":
            path = [Trajectory(path[0].preconditioner.clone(), path[0].alignment)]
            path[0].preconditioner[1, 5, 2, 3] = torch.nan
        return (o, State(state, d) if d is not None else state, *path)

    return spoilt


@pytest.mark.parametrize("what", ["o", "the final state", "d", "the d handed on"])
def test_what_is_not_finite_is_an_error_wherever_it_is(what: str) -> None:
    adapter = adapt(kernel("osdn"), "an eager recurrent loop", recurrence="osdn")
    (posed,) = (each for each in questions(adapter, "float32", SMALL) if each.name == "everything at once")
    with pytest.raises(KernelError, match=f"entries of {what} are NaN or infinite"):
        mark(replace(adapter, call=spoiling(what, adapter.call)), posed, "cpu", models_of(adapter, "float32"))


@pytest.mark.parametrize("part", ["state", "preconditioner"])
def test_a_sequence_without_tokens_hands_its_state_through_bit_for_bit(part: str) -> None:
    def nudged(q: Any, k: Any, v: Any, beta: Any, cu_seqlens: Any = None, **rest: Any) -> Any:
        o, final, *path = kernel("osdn")(q, k, v, beta, cu_seqlens=cu_seqlens, **rest)
        if cu_seqlens is not None and final is not None:
            empty = torch.diff(cu_seqlens) == 0
            x = getattr(final, part)
            # The next number.
            x[empty] = torch.nextafter(x[empty], torch.tensor(torch.inf))
        return (o, final, *path)

    plain = adapt(kernel("osdn"), "an eager recurrent loop", recurrence="osdn")
    assert examined(plain, "packed sequences").verdict == "right"
    found = examined(replace(plain, call=nudged), "packed sequences")
    assert found.verdict == "wrong"
    name = "S" if part == "state" else "d handed on"
    wrong = [
        (at, each.name)
        for at, check in enumerate(found.exercises[0].checks)
        for each in check.comparisons
        if not each.within
    ]
    assert wrong == [(3, name)]


def test_pieces_have_power_over_what_is_handed_on() -> None:
    adapter = adapt(kernel("osdn"), "an eager recurrent loop", recurrence="osdn")
    (posed,) = (each for each in questions(adapter, "float32", SMALL) if each.name == "continued")
    silent = replace(adapter, parameters=adapter.parameters - {"return_trajectory"})
    marked = mark(silent, posed, "cpu", models_of(silent, "float32"))
    # Pieces start where the kernel was; the alternatives from the exact chain: rounding apart, the same.
    found = power_of(silent, [marked], models_of(silent, "float32"))
    assert found.unseen != found.possible
    nothing = {reach.fault.key for reach in found.reaches if reach.obstacle is None and reach.excess < 1}
    assert "beta ignored" not in nothing
    # Of a right recurrence nothing is left but rounding: no row is seen that makes no difference here.
    assert nothing


def test_a_kernel_that_hands_on_another_state_has_truths_of_its_own_start() -> None:
    """Only the hand-over is wrong: every piece is right from where the kernel in fact started."""

    def forgetting(initial_state: Any = None, output_final_state: bool = False, **given: Any) -> Any:
        o, state = eager_kernels.right(initial_state=initial_state, output_final_state=True, **given)
        return o, 0.5 * state

    adapter = replace(adapt(eager_kernels.right), call=forgetting)
    found = examined(adapter, "continued")
    assert found.verdict == "wrong"
    assert {
        each.name for check in found.exercises[0].checks for each in check.comparisons if not each.within
    } == {"S"}


# The verdict


def stream(outcome: str, code: int) -> CrossCheck:
    check = crosscheck(kernel("delta_net"), interpolating(8), device="cpu")
    assert check.exit_code == 0
    verdict = Verdict("T18", "", outcome, "because")  # type: ignore[arg-type]
    changed = replace(check, verdicts=(verdict,))
    assert changed.exit_code == code
    return changed


CHANGES: dict[str, tuple[Any, str]] = {
    "as it is": (dict, "right"),
    "a stream contradicts": (lambda: {"streams": (stream("contradicted", 1),)}, "wrong"),
    "a stream shows nothing": (lambda: {"streams": (stream("not observable", 3),)}, "cannot tell"),
    "a stream alone": (lambda: {"streams": (stream("confirmed", 0),), "exercises": ()}, "right"),
    "wrong where it is held against itself": (
        lambda: {"invariances": (Invariance("deterministic", "wrong", reason="it differs"),)},
        "wrong",
    ),
    "something required is not met": (lambda: {"unmet": ("deterministic: no",)}, "wrong"),
    "no exercise had any power": (lambda: {"power": Power(())}, "cannot tell"),
    "nothing was asked": (lambda: {"exercises": ()}, "cannot tell"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_verdict_is_right_only_where_everything_is(change: str) -> None:
    changes, word = CHANGES[change]
    found = replace(right(), **changes())
    assert found.verdict == word
    assert found.exit_code == {"right": 0, "wrong": 1, "cannot tell": 3}[word]
    assert found.exit_code == EXIT_CODES[found.verdict]
    assert found.sentence.startswith(f"{word}: ")


def test_one_wrong_case_makes_an_exercise_wrong() -> None:
    (exercise,) = right().exercises
    (check,) = exercise.checks
    (bad,) = examined(eager_kernels.beta_ignored, "square").exercises[0].checks
    assert not replace(exercise, checks=(check, bad)).within
    assert not replace(exercise, checks=(bad, check)).within


def test_what_hides_an_exercise_is_told_and_nothing_else() -> None:
    (exercise,) = right().exercises
    for outcome, hidden in (
        ("not applicable", 1),
        ("not observable", 1),
        ("confirmed", 0),
        ("contradicted", 0),
    ):
        check = replace(exercise.checks[0], verdicts=(Verdict("T18", "", outcome, "because"),))  # type: ignore[arg-type]
        assert len(replace(exercise, checks=(check,)).hidden) == hidden
    other = replace(exercise.checks[0], verdicts=(Verdict("T3", "", "not observable", "because"),))
    assert replace(exercise, checks=(other,)).hidden == ()


def test_a_theorem_that_one_stream_hides_is_not_confirmed() -> None:
    found = replace(right(), streams=(stream("confirmed", 0), stream("not observable", 3)))
    assert "T18 cannot be observed" in found.sentence
    assert "confirms" not in found.sentence


def test_theorems_of_streams_are_held_as_well() -> None:
    """A comparator at d_1: the regret is zero, and float32 cannot tell it from what rounding leaves."""
    rng = np.random.default_rng(0)
    still = synthetic.isotropic(rng, length=24, key_dim=8, value_dim=6)
    found = examined(kernel("osdn"), "square", problems=[(still, "fast", FAST)])
    assert found.verdict == "cannot tell"
    assert examined(kernel("osdn"), "square", problems=[(interpolating(24), "fast", FAST)]).verdict == "right"


# Gradients


def test_gradients_are_a_part_of_the_verdict() -> None:
    found = examined(eager_kernels.right, "square", gradients=True)
    assert found.verdict == "right"
    assert found.backward is not None
    assert found.backward.power
    assert found.backward.seen == len(found.backward.power)
    half = examined(eager_kernels.half_of_the_key_gradient, "square", gradients=True)
    assert half.verdict == "wrong"
    assert half.backward is not None
    assert [item.name for item in half.backward.wrong] == ["grad k"]
    assert replace(half.backward, power={"a": 0.9, "b": 1.0, "c": 1.1}).seen == 1


def test_where_the_derivative_is_a_matter_of_choice_nothing_is_a_fault() -> None:
    adapter = resolve(REFERENCE)
    (posed,) = (each for each in questions(adapter, "float32", SMALL) if each.name == "everything at once")
    found = grade_gradients(adapter, posed, "cpu", resolve(OWN_REFERENCE))
    assert found.power
    assert "clip open" not in found.power
    assert found.wrong == ()


def test_an_exercise_knows_its_worst_case() -> None:
    adapter = adapt(kernel("osdn"), "an eager recurrent loop", recurrence="osdn")
    (posed,) = (each for each in questions(adapter, "float32", SMALL) if each.name == "lengths")
    result = exercise_result(adapter, mark(adapter, posed, "cpu", models_of(adapter, "float32")), "cpu")
    assert result.worst is not None
    everything = [each.worst_excess for check in result.checks for each in check.comparisons]
    assert result.worst[1].worst_excess == max(everything)
    assert 0 < max(everything) <= 1
