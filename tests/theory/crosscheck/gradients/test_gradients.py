"""Gradients: the float64 reference is right, every known fault is seen and named, and no right kernel is blamed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from support.crosscheck.cases import ANCHORED, FAST
from support.crosscheck.faulty_kernels import correct, gated_delta_net, wrong_backward

from osdn_theory.crosscheck import Adapter, adapt, pose, resolve
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.gradients.check import (
    REFERENCE,
    RESULTS,
    SEED,
    GradedGradients,
    compare_gradients,
    kernel_gradients,
)
from osdn_theory.crosscheck.gradients.explanations import (
    GradientExplanation,
    explain_gradients,
    gradient_alternatives,
    gradient_power,
)
from osdn_theory.crosscheck.gradients.reference import Backward, calibration_reference, recurrence_reference
from osdn_theory.crosscheck.kernel.adapters import ARGUMENTS
from osdn_theory.crosscheck.kernel.calling import KernelError
from osdn_theory.crosscheck.kernel.recurrences import CALIBRATING
from osdn_theory.recurrence.rules import FROZEN, CalibrationRule
from osdn_theory.streams import synthetic
from osdn_theory.streams.transforms import with_gates

GATED_OSDN = ("osgdn", "oskda")
RECURRENCES = ("osdn", "delta_net", "gated_delta_net", "kda", "preconditioner", "osgdn", "oskda")
SCALE = 0.35
NORMALIZED = replace(ANCHORED, normalize_feedback=True)


def peer(recurrence: Any, backward: Backward | None = None) -> Adapter:
    """The reference as a kernel: in whatever dtype it is called with."""
    scan = recurrence == "preconditioner"
    call = calibration_reference if scan else recurrence_reference
    taken = set(adapt(call).parameters)
    options = {} if backward is None else {"backward": backward}
    options |= {} if scan else {"decays": recurrence in GATED_OSDN}
    known = {"beta_aware": False}
    return Adapter("peer", call, recurrence, "recurrent", frozenset(taken), defaults=known, options=options)


def case(
    recurrence: Any,
    rule: CalibrationRule = ANCHORED,
    *,
    seed: int = 0,
    length: int = 40,
    value_dim: int = 6,
    dtype: Any = "float32",
) -> Case:
    """Two batch rows and three heads with states, gates, and a box that clips; the gated forms' feedback is aware."""
    rule = replace(rule, beta_aware=recurrence in GATED_OSDN)
    rng = np.random.default_rng(seed)
    stream = synthetic.interpolating(
        rng, lead=(2, 3), length=length, key_dim=8, value_dim=value_dim, beta="random"
    )
    state = "feature" if recurrence in ("kda", "oskda") else "token"
    stream = with_gates(stream, rng, state=state, forget="random")
    queries = rng.standard_normal(stream.keys.shape)
    # Inside of the box, also once it is float32.
    middle, half = (rule.d_max + rule.d_min) / 2, 0.999 * (rule.d_max - rule.d_min) / 2
    start = np.clip(1.0 + 0.05 * rng.standard_normal((2, 3, 8)), middle - half, middle + half)
    stream = replace(stream, queries=queries, initial_preconditioner=start)
    calibrates = recurrence in CALIBRATING
    adapter = Adapter("any", correct, recurrence, "recurrent", frozenset(ARGUMENTS))
    initial = None if recurrence == "preconditioner" else rng.standard_normal((2, 3, value_dim, 8))
    return pose(adapter, stream, rule if calibrates else FROZEN, dtype, scale=SCALE, initial_state=initial)


@cache
def graded(recurrence: str, rule: CalibrationRule = ANCHORED, value_dim: int = 6) -> GradedGradients:
    return kernel_gradients(peer(recurrence), case(recurrence, rule, value_dim=value_dim), "cpu")


def form(posed: Case, results: tuple[str, ...]) -> float:
    """The random linear form of the exact run's results, by the theory's own float64 recurrences."""
    exact = posed.exact()
    values = {
        "o": np.swapaxes(exact.outputs, 1, 2),
        "final state": None if exact.states is None else np.swapaxes(exact.states[:, :, -1], -1, -2),
        "d handed on": exact.final_preconditioner,
        "d": np.swapaxes(exact.preconditioner, 1, 2),
    }
    total = 0.0
    for name in results:
        value = np.asarray(values[name])
        drawn = np.random.default_rng([SEED, RESULTS.index(name)]).standard_normal(value.shape)
        total += float(np.sum(drawn.astype(np.float32).astype(np.float64) * value))
    return total


def moved(posed: Case, name: str, by: np.ndarray) -> Case:
    """The case with one input moved, `by` in the layout of `GradedGradients`."""
    if name == "initial_state":
        return replace(posed, initial_state=posed.initial_state + np.swapaxes(by[:, :, 0], -1, -2))
    if name == "initial_preconditioner":
        return replace(posed, initial_preconditioner=posed.initial_preconditioner + by[:, :, 0])
    if name == "anchor":
        anchor = posed.anchor + by[:, :, 0]
        return replace(posed, anchor=anchor, rule=replace(posed.rule, anchor=anchor))
    if name in ("g", "g_d"):
        forgets = name == "g_d" or posed.state_gate is None
        log_gate = np.asarray(posed.log_gate if forgets else posed.log_state_gate) + by
        field = "forget_gate" if forgets else "state_gate"
        stream = replace(posed.stream, **{field: np.exp(log_gate)})
        return replace(posed, stream=stream, **{"log_gate" if forgets else "log_state_gate": log_gate})
    field = {"q": "queries", "k": "keys", "v": "values", "beta": "beta"}[name]
    return replace(posed, stream=replace(posed.stream, **{field: getattr(posed.stream, field) + by}))


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_the_reference_agrees_with_finite_differences_of_the_theory(recurrence: str) -> None:
    """Which share no code: a random direction in every input. Away from kinks of the clip, by its seed."""
    rule = CalibrationRule(eta=0.5, d_min=0.5, d_max=2.0, forgetting="token", anchor=1.2)
    right = graded(recurrence, rule)
    expected = {"k", "g", "anchor", "initial_preconditioner"} if "osdn" in recurrence else {"k"}
    assert expected <= right.exact.keys()
    step = 1e-5
    for name, exact in right.exact.items():
        by = np.random.default_rng(3).standard_normal(exact.shape)
        if name in ("g", "g_d"):
            # A gate stays below 1.
            forgets = name == "g_d" or right.case.state_gate is None
            by *= np.abs(right.case.log_gate if forgets else right.case.log_state_gate)
        ahead = form(moved(right.case, name, step * by), right.results)
        behind = form(moved(right.case, name, -step * by), right.results)
        np.testing.assert_allclose((ahead - behind) / (2 * step), np.sum(exact * by), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("rule", [ANCHORED, NORMALIZED, FAST, CalibrationRule(eta=1.0, d_min=1.0, d_max=1.0)])
def test_the_reference_agrees_with_that_of_the_kernels(rule: CalibrationRule) -> None:
    posed = case("osdn", rule)
    other = resolve("osdn_kernels.reference:osdn_reference")
    own = kernel_gradients(peer("osdn"), posed, "cpu")
    theirs = kernel_gradients(peer("osdn"), posed, "cpu", reference=other)
    assert own.exact.keys() == theirs.exact.keys()
    for name, exact in own.exact.items():
        np.testing.assert_allclose(exact, theirs.exact[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_the_reference_computes_what_the_theory_does(recurrence: str) -> None:
    from osdn_theory.crosscheck.kernel.calling import ask

    posed = case(recurrence)
    said, exact = ask(peer(recurrence), posed, "cpu"), posed.exact()
    for found, right in ((said.outputs, exact.outputs), (said.preconditioner, exact.preconditioner)):
        if found is not None:
            np.testing.assert_allclose(found, right, atol=1e-5)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_every_input_that_the_case_uses_is_compared(recurrence: str) -> None:
    memory = {"q", "k", "v", "beta", "initial_state"}
    calibration = {"k", "g", "anchor", "initial_preconditioner"}
    expected = {
        "osdn": memory | calibration,
        "delta_net": memory,
        "gated_delta_net": memory | {"g"},
        "kda": memory | {"g"},
        **dict.fromkeys(GATED_OSDN, memory | calibration | {"g_d"}),
        "preconditioner": calibration,
    }[recurrence]
    found = graded(recurrence)
    assert set(found.found) == expected
    assert {item.name for item in found.compared()} == {f"grad {name}" for name in expected}
    assert all(item.within for item in found.compared())
    assert "final state" in found.results or recurrence == "preconditioner"
    assert ("d handed on" in found.results) == bool(expected & {"anchor"})


NOTHING_TO_SEE = {
    (recurrence, "clip open"): "no step of d ends exactly on a face" for recurrence in CALIBRATING
}


@pytest.mark.parametrize(
    ("recurrence", "rule"),
    [*((recurrence, ANCHORED) for recurrence in RECURRENCES), ("osdn", NORMALIZED)],
)
def test_every_alternative_is_seen_and_named(recurrence: str, rule: CalibrationRule) -> None:
    """Each as the gradients of a kernel that is right up to float32: contradicted, and told from all the others."""
    right = graded(recurrence, rule, 8)
    alternatives = gradient_alternatives(peer(recurrence), right)
    power = gradient_power(right, alternatives)
    assert len(power) == len(alternatives) >= 50
    for alternative in alternatives:
        if (recurrence, alternative.name) in NOTHING_TO_SEE:
            assert power[alternative.name] == 0.0
            continue
        assert power[alternative.name] > 1, f"{alternative.name} has no power"
        off = {name: value - right.exact[name] for name, value in alternative.gradients.items()}
        faulty = replace(right, found={name: value + off[name] for name, value in right.found.items()})
        assert not all(item.within for item in faulty.compared())
        named = [e.name for e in explain_gradients(faulty, alternatives) if e.explains]
        assert alternative.name in named
        assert len(named) <= 3, (alternative.name, named)


def explained(adapter: Adapter, found: GradedGradients) -> list[GradientExplanation]:
    return explain_gradients(found, gradient_alternatives(adapter, found))


def through(x: torch.Tensor, change: Any) -> torch.Tensor:
    """The same tensor, its gradient changed on the way back."""
    same = x.clone()
    same.register_hook(change)
    return same


def constant_d(**given: Any) -> Any:
    """OSDN by two passes over `correct`: the path of d first, then DeltaNet with the write keys of a detached d."""
    with torch.no_grad():
        path = correct(**given, return_trajectory=True)[2].preconditioner
    q, k, v, beta = (given[name] for name in ("q", "k", "v", "beta"))
    h, outputs = given["initial_state"], []
    for t in range(k.shape[1]):
        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", h, k[:, t])
        h = h + torch.einsum("bhk,bhv->bhkv", path[:, t] * k[:, t], beta[:, t, :, None] * residual)
        outputs.append(given["scale"] * torch.einsum("bhkv,bhk->bhv", h, q[:, t]))
    # The d handed on comes from the right recurrence, and so does its gradient.
    final = correct(**given)[1]
    return torch.stack(outputs, 1), type(final)(h, final.preconditioner)


def half_beta(**given: Any) -> Any:
    return correct(**{**given, "beta": through(given["beta"], lambda x: 0.5 * x)})


def detached_state(**given: Any) -> Any:
    return correct(**{**given, "initial_state": given["initial_state"].detach()})


def unscaled(**given: Any) -> Any:
    o, final = correct(**given)
    return through(o, lambda x: x / given["scale"]), final


def deaf_to_the_state(**given: Any) -> Any:
    """A backward pass that takes the final state's cotangent to be zero."""
    o, final = correct(**given)
    return o, type(final)(through(final.state, torch.zeros_like), final.preconditioner)


def deaf_to_d(**given: Any) -> Any:
    o, final = correct(**given)
    return o, type(final)(final.state, through(final.preconditioner, torch.zeros_like))


def gate_for_logarithm(**given: Any) -> Any:
    return correct(**{**given, "g": through(given["g"], lambda x: x / given["g"].exp())})


def third_of_v(**given: Any) -> Any:
    return correct(**{**given, "v": through(given["v"], lambda x: x / 3)})


def osdn_kernel(call: Any) -> Adapter:
    return replace(adapt(correct), call=call, parameters=adapt(correct).parameters - {"return_trajectory"})


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        (constant_d, "d constant in the write"),
        (half_beta, "beta: half"),
        (detached_state, "initial_state: zero"),
        (unscaled, "scale missing"),
        (deaf_to_the_state, "final state ignored"),
        (deaf_to_d, "d handed on ignored"),
        (gate_for_logarithm, "g: of the gate"),
        (third_of_v, "v: a multiple"),
    ],
)
def test_faults_of_kernels_are_named(kernel: Any, name: str) -> None:
    """Kernels that owe nothing to the reference."""
    adapter = osdn_kernel(kernel)
    found = kernel_gradients(adapter, case("osdn"), "cpu")
    told = explained(adapter, found)
    assert [e.name for e in told] == [name]
    assert told[0].explains
    assert told[0].left < 1e-2


def test_several_faults_are_each_named() -> None:
    adapter = osdn_kernel(lambda **given: half_beta(**{**given, "v": given["v"].detach()}))
    told = explained(adapter, kernel_gradients(adapter, case("osdn"), "cpu"))
    assert {e.name for e in told} == {"beta: half", "v: zero"}


def test_what_nothing_explains_gets_no_name() -> None:
    adapter = osdn_kernel(
        lambda **given: correct(**{**given, "k": through(given["k"], lambda x: x + torch.randn(x.shape))})
    )
    torch.manual_seed(0)
    found = kernel_gradients(adapter, case("osdn"), "cpu")
    assert [item.name for item in found.compared() if not item.within] == ["grad k"]
    assert not [e for e in explained(adapter, found) if e.explains]


def test_gradients_that_are_not_finite_are_wrong_and_explained_by_nothing() -> None:
    adapter = osdn_kernel(
        lambda **given: correct(**{**given, "k": through(given["k"], lambda x: x * torch.nan)})
    )
    found = kernel_gradients(adapter, case("osdn"), "cpu")
    assert [item.name for item in found.compared() if not item.within] == ["grad k"]
    assert explained(adapter, found) == []


def test_a_right_kernel_has_nothing_to_explain() -> None:
    assert explained(peer("osdn"), graded("osdn")) == []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_no_false_alarm(recurrence: str, dtype: Any) -> None:
    for seed in range(50):
        posed = case(recurrence, (ANCHORED, FAST, NORMALIZED)[seed % 3], seed=seed, dtype=dtype)
        found = kernel_gradients(in_float32(recurrence), posed, "cpu")
        assert found.found
        worst = {item.name: item.worst_error / found.allowed for item in found.compared()}
        assert max(worst.values()) < 1, (seed, worst)


def in_float32(recurrence: Any) -> Adapter:
    """An eager kernel that widens 16-bit inputs, and returns its output in their dtype."""
    adapter = peer(recurrence)

    def kernel(**given: Any) -> Any:
        tensors = {n: x.float() if isinstance(x, torch.Tensor) else x for n, x in given.items()}
        first, final = adapter.call(**tensors)
        return (first if recurrence == "preconditioner" else first.to(given["k"].dtype)), final

    return replace(adapter, call=kernel)


def test_a_gated_kernel_is_compared_with_head_first_tensors() -> None:
    """Layouts are turned inside of the graph."""

    def kernel(
        query: Any, key: Any, value: Any, g: Any, beta: Any, scale: Any, output_final_state: Any
    ) -> Any:
        x = [x.transpose(1, 2) for x in (query, key, value, g, beta)]
        o, state = gated_delta_net(*x, scale, output_final_state)
        return o.transpose(1, 2), state.transpose(-1, -2)

    adapter = Adapter(
        "head first", kernel, "gated_delta_net", "recurrent",
        frozenset({"q", "k", "v", "g", "beta", "scale", "output_final_state"}),
        names={"q": "query", "k": "key", "v": "value"}, layout="head first", state_layout="VK",
    )  # fmt: skip
    posed = replace(case("gated_delta_net"), initial_state=np.zeros((2, 3, 6, 8)))
    compared, notes = compare_gradients(adapter, posed, None, "cpu")
    assert {item.name for item in compared} == {"grad q", "grad k", "grad v", "grad beta", "grad g"}
    assert all(item.within for item in compared)
    assert notes == ()


def test_repeated_batches_have_the_same_gradients_and_the_worst_copy_is_seen() -> None:
    posed = case("osdn")
    assert all(
        item.within for item in compare_gradients(osdn_kernel(correct), posed, None, "cpu", copies=3)[0]
    )

    def last_copy_wrong(**given: Any) -> Any:
        def spoil(x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x[:-1], 2 * x[-1:]]) if len(x) > 2 else x

        return correct(**{**given, "v": through(given["v"], spoil)})

    for copies, right in ((1, True), (3, False)):
        compared, _ = compare_gradients(osdn_kernel(last_copy_wrong), posed, None, "cpu", copies=copies)
        assert all(item.within for item in compared) == right


def test_results_without_gradients_are_notes() -> None:
    def kernel(change: Any) -> Adapter:
        return osdn_kernel(lambda **given: change(*correct(**given)))

    def without(*names: str) -> Any:
        return lambda o, final: (o, final._replace(**{name: getattr(final, name).detach() for name in names}))

    posed = case("osdn")
    found = kernel_gradients(kernel(lambda o, final: (o.detach(), None)), posed, "cpu")
    assert found.found == {}
    assert found.notes == ("gradients: nothing that correct_recurrent returns carries any",)
    found = kernel_gradients(kernel(without("state", "preconditioner")), posed, "cpu")
    assert found.results == ("o",)
    assert [note.split(" that ")[0] for note in found.notes] == [
        "gradients: the final state", "gradients: the d handed on",
    ]  # fmt: skip
    assert all(item.within for item in found.compared())
    found = kernel_gradients(kernel(lambda o, final: (o.detach(), final)), posed, "cpu")
    assert found.results == ("final state", "d handed on")
    assert all(item.within for item in found.compared())
    found = kernel_gradients(kernel(lambda o, final: o), posed, "cpu")
    assert (found.results, found.notes) == (("o",), ())


class _Refuses(torch.autograd.Function):
    error: Exception = NotImplementedError("no backward here\nsee elsewhere")

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        raise _Refuses.error


def test_a_backward_pass_that_is_missing_is_a_note_and_one_that_fails_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = osdn_kernel(lambda **given: correct(**{**given, "q": _Refuses.apply(given["q"])}))
    found = kernel_gradients(adapter, case("osdn"), "cpu")
    assert found.notes == ("gradients: correct_recurrent has no backward pass: no backward here",)
    monkeypatch.setattr(_Refuses, "error", RuntimeError("a shape is wrong\nlong story"))
    with pytest.raises(KernelError) as raised:
        kernel_gradients(adapter, case("osdn"), "cpu")
    assert str(raised.value) == (
        "kernel: correct_recurrent raised in the backward pass: RuntimeError: a shape is wrong"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda o, final: ({"o": o}, final),
            "returned o as dict in the call with gradients, expected a tensor",
        ),
        (
            lambda o, final: (o[:, 1:], final),
            r"returned o of shape \[2, 39, 3, 6\] in .*, expected \[2, 40, 3, 6\]",
        ),
        (
            lambda o, final: (o, final.state.mT),
            r"returned final state of shape \[2, 3, 6, 8\] in .*, expected",
        ),
    ],
)
def test_wrong_structures_are_errors_of_one_line(change: Any, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        kernel_gradients(osdn_kernel(lambda **given: change(*correct(**given))), case("osdn"), "cpu")


def test_a_kernel_wrong_only_backward_is_named() -> None:
    posed = replace(case("osdn", FAST), initial_state=np.zeros((2, 3, 6, 8)))
    posed = replace(posed, initial_preconditioner=np.ones((2, 3, 8)))
    adapter = adapt(wrong_backward)
    told = explained(adapter, kernel_gradients(adapter, posed, "cpu"))
    assert [e.sentence for e in told] == ["the gradient in k is half of what it should be"]


def test_a_recurrence_that_the_reference_does_not_know_is_a_note() -> None:
    posed = replace(case("delta_net"), recurrence="preconditioned_delta_net")
    for reference in (None, resolve(REFERENCE)):
        found = kernel_gradients(peer("delta_net"), posed, "cpu", reference=reference)
        assert found.found == {}
        assert found.notes == ("gradients: there is no float64 reference for preconditioned_delta_net",)
