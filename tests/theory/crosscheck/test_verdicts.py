"""Curves, verdicts and distances: on kernels of plain PyTorch, whose results are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.crosscheck.cases import ANCHORED, CHUNK_REFERENCE, FAST, REFERENCE, gated, interpolating
from support.crosscheck.faulty_kernels import Fault, correct, recurrent

from osdn_theory.base.jsonable import to_json
from osdn_theory.crosscheck import CrossCheck, crosscheck, pose, resolve
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.streams import synthetic
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.transforms import with_gates


def check(
    kernel: Any = CHUNK_REFERENCE, stream: Stream | None = None, rule: Any = FAST, **given: Any
) -> CrossCheck:
    options = {"chunk_size": 16} if kernel == CHUNK_REFERENCE else {}
    return crosscheck(kernel, stream or interpolating(), rule, device="cpu", **{**options, **given})


def test_super_geometric_decay_is_confirmed_over_many_decades() -> None:
    """The kernel's own reads prove it, rounding taken into account, over far more than 12 powers of ten."""
    found = check()
    verdict = found.verdict("T6")
    assert verdict.outcome == "confirmed"
    assert verdict.lhs is not None
    assert verdict.rhs is not None
    assert verdict.lhs < verdict.rhs < -12
    curve = found.curve
    assert curve is not None
    assert curve.bound is not None
    assert curve.decades > 12
    at = curve.guaranteed.argmin()
    assert curve.guaranteed[at] <= curve.bound[at] < -12
    assert curve.least[at] <= curve.exact[at] <= curve.guaranteed[at]


def test_the_curve_ends_at_the_floor_that_was_predicted() -> None:
    """Over a longer stream the ratios fall below what rounding leaves, and only then does the kernel depart."""
    found = check(REFERENCE, interpolating(160, heads=1))
    curve = found.curve
    assert curve is not None
    assert curve.ends is not None
    assert curve.departs is not None
    assert curve.decades > 12
    assert abs(curve.departs - curve.ends) < 0.2 * curve.ends
    apart = np.abs(curve.ratio - curve.exact_ratio) > np.log10(2)
    assert np.all(curve.exact_ratio[apart] < curve.floor[apart])
    assert found.verdict("T6").outcome == "confirmed"


def test_theorems_of_an_interpolating_stream_are_confirmed() -> None:
    outcomes = {verdict.theorem: verdict.outcome for verdict in check().verdicts}
    for theorem in ("T3", "T4", "T5", "T6", "T7", "T8", "T11", "T12", "T18"):
        assert outcomes[theorem] == "confirmed", theorem
    assert outcomes["T15"] == "not applicable"


def test_a_kernel_token_by_token_has_no_verdict_on_chunks() -> None:
    theorems = {verdict.theorem for verdict in check(correct).verdicts}
    assert not theorems & {"T11", "T12"}


def test_the_identity_fixed_point_is_confirmed_on_unit_keys() -> None:
    stream = synthetic.isotropic(np.random.default_rng(0), length=40, key_dim=8, value_dim=6)
    found = check(stream=stream, rule=BOUNDED)
    assert found.verdict("T15").outcome == "confirmed"
    drifting = recurrent(Fault(), "drifting_recurrent")

    def kernel(q: Any, k: Any, v: Any, beta: Any, scale: Any = None, eta: float = 0.0, **rest: Any) -> Any:
        o, final, path = drifting(q, k, v, beta, scale=scale, output_final_state=True, return_trajectory=True)
        return o, final, path._replace(preconditioner=path.preconditioner + 1e-3)

    assert check(kernel, stream, BOUNDED).verdict("T15").outcome == "contradicted"


def test_rounded_keys_make_a_theorem_inapplicable_and_say_why() -> None:
    found = check(dtype="bfloat16")
    verdict = found.verdict("T5")
    assert verdict.outcome == "not applicable"
    assert "<u, s_t> = 1 fails" in verdict.reason


def test_a_wrong_read_contradicts_the_residual_identity() -> None:
    found = check(recurrent(Fault(read_first=True), "faulty_recurrent"))
    assert found.verdict("T3").outcome == "contradicted"


def test_a_wrong_step_contradicts_the_calibrate_step() -> None:
    found = check(recurrent(Fault(ignore_gate=True), "faulty_recurrent"), gated(), ANCHORED)
    assert found.verdict("T4").outcome == "contradicted"


def test_a_memory_that_does_not_learn_contradicts_the_regret() -> None:
    """A kernel that reports a_t = 0 has a regret of T, far above C."""

    def kernel(q: Any, k: Any, v: Any, beta: Any, scale: Any = None, eta: float = 0.0, **rest: Any) -> Any:
        o, final, path = correct(
            q, k, v, beta, scale=scale, eta=eta, output_final_state=True, return_trajectory=True
        )
        return o, final, path._replace(alignment=0 * path.alignment)

    found = check(kernel)
    assert found.verdict("T5").outcome == "contradicted"
    assert found.verdict("T8").outcome == "contradicted"


def test_steps_below_rounding_are_not_observable() -> None:
    stream = interpolating(12)
    found = check(stream=replace(stream, keys=stream.keys * 2.0**-12), rule=BOUNDED)
    assert found.verdict("T4").outcome == "not observable"
    assert found.exit_code == 3


def test_newton_distances_are_those_of_the_theory() -> None:
    found = check().newton
    assert found is not None
    np.testing.assert_allclose(found.kernel, found.exact, rtol=1e-4)
    assert found.tokens[-1] == 56
    # d converges to the right-Newton condition <d, s> = 1.
    assert np.mean(found.right_newton[..., -16:] ** 2) < 0.1 * np.mean(found.right_newton[..., :16] ** 2)
    np.testing.assert_allclose(found.right_newton, found.exact_right_newton, atol=1e-6)


@pytest.mark.parametrize("rule", [FAST, ANCHORED, CalibrationRule(eta=0.5, normalize_feedback=True)])
def test_gradients_of_a_correct_kernel_agree(rule: CalibrationRule) -> None:
    found = check(
        stream=gated(40), rule=rule, gradients=True, reference=REFERENCE, initial_state=np.ones((6, 8))
    )
    graded = {item.name for item in found.comparisons if item.name.startswith("grad ")}
    expected = {"grad q", "grad k", "grad v", "grad beta", "grad initial_state"}
    assert graded == expected | ({"grad g", "grad anchor"} if rule is ANCHORED else set())
    assert found.within


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (NotImplementedError("no backward here\nsee elsewhere"), "has no backward pass: no backward here"),
        (NotImplementedError(), "has no backward pass"),
    ],
)
def test_a_kernel_without_backward_is_a_note(error: NotImplementedError, note: str) -> None:
    def kernel(q: Any, k: Any, v: Any, beta: Any, scale: Any = None, eta: float = 0.0, **rest: Any) -> Any:
        if q.requires_grad:
            raise error
        return correct(q, k, v, beta, scale=scale, eta=eta, output_final_state=True)

    found = check(kernel, gradients=True, reference=REFERENCE)
    assert any(each.endswith(note) for each in found.notes)
    assert found.within


def test_a_reference_of_another_recurrence_is_refused() -> None:
    from support.crosscheck.faulty_kernels import gated_delta_net

    with pytest.raises(ValueError, match="computes osdn, the kernel gated_delta_net"):
        crosscheck(gated_delta_net, gated(), device="cpu", gradients=True, reference=REFERENCE)


def test_inputs_are_the_same_bits_for_kernel_and_theory() -> None:
    seen: dict[str, Any] = {}

    def kernel(
        q: Any, k: Any, v: Any, beta: Any, g: Any = None, scale: Any = None, eta: float = 0.0,
        d_min: float = 0.0, d_max: float = 0.0, anchor: Any = None, initial_preconditioner: Any = None,
    ) -> Any:  # fmt: skip
        seen.setdefault("k", k), seen.setdefault("g", g), seen.setdefault("anchor", anchor)
        return correct(
            q, k, v, beta, g=g, scale=scale, eta=eta, anchor=anchor, d_min=d_min, d_max=d_max,
            initial_preconditioner=initial_preconditioner, output_final_state=True,
        )  # fmt: skip

    stream = with_gates(interpolating(20), np.random.default_rng(2), forget=0.9)
    start = replace(stream, initial_preconditioner=np.full(8, 1.01))
    rule = CalibrationRule(eta=1.0, forgetting=0.9, anchor=1.1)
    found = crosscheck(kernel, start, rule, dtype="bfloat16", device="cpu")
    case = pose(resolve(kernel), start, rule, "bfloat16")
    np.testing.assert_array_equal(seen["k"].double().numpy(), case.stream.keys.swapaxes(1, 2))
    np.testing.assert_array_equal(np.exp(seen["g"].double().numpy()), case.stream.forget_gate.swapaxes(1, 2))
    np.testing.assert_array_equal(seen["anchor"].double().numpy(), case.anchor)
    assert found.within


def test_leading_axes_and_lengths() -> None:
    flat = synthetic.interpolating(np.random.default_rng(0), length=20, key_dim=8, value_dim=6)
    assert check(stream=flat).shape == {"B": 1, "H": 1, "T": 20, "K": 8, "V": 6}
    assert check(stream=interpolating(), tokens=7).shape["T"] == 7
    assert check(stream=interpolating(1), chunk_size=16).within
    with pytest.raises(ValueError, match="no tokens"):
        check(stream=interpolating(0))


def test_the_result_is_json_ready() -> None:
    import json

    text = to_json(check(gradients=True, reference=REFERENCE))
    assert {"statement", "comparisons", "verdicts", "curve", "newton", "exit_code"} <= json.loads(text).keys()
