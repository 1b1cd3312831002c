"""Links between code and proof: all agree, and a wrong formula on either side is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
from flint import fmpq

from osdn_theory import objective, symbolic
from osdn_theory.bounds.numbers import matrix
from osdn_theory.bounds.runs import enclosed as float_run
from osdn_theory.bounds.runs.window import Window
from osdn_theory.bounds.statements import (
    alternating as alternation,
    calibration_time,
    context,
    contraction,
    forgetting,
    gated,
    memory,
    quadratic,
    recall,
    regret,
    span,
    sweeps as sweep_bounds,
)
from osdn_theory.context import newton, newton_bounds
from osdn_theory.measures import calibration_times as calibration
from osdn_theory.recurrence import calibrate as preconditioner, solve as recurrence, sweeps
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams.stream import Stream
from proofs_check import links
from proofs_check.exact import rules
from proofs_check.exact.draw import Instance
from proofs_check.exact.laws import token
from proofs_check.exact.numbers import array
from proofs_check.exact.propositions import difference, eq, every
from proofs_check.links import bound_links, bridge, scan_links, token_links
from proofs_check.links.link import CodeNumber, Link, balls_agree, check_link, numbers
from proofs_check.links.sized import Sized, reciprocal

BY_NAME = {(link.claim, link.name): link for link in links.LINKS}


def verdict(claim: str, name: str) -> str:
    """Of one link, with few instances; a comparison that does not come to its end counts as failed."""
    try:
        return check_link(BY_NAME[claim, name], count=24).verdict
    except (ValueError, AssertionError):
        return "failed"


@pytest.mark.parametrize("link", links.LINKS, ids=lambda link: f"{link.claim} {link.name}")
def test_code_and_proof_agree(link: Link) -> None:
    found = check_link(link, count=24, seed=5)
    assert found.verdict == "passed", found.detail
    assert found.instances == 24
    # A formula that is wrong in its seventh digit would be seen.
    assert found.data["most_allowed"] < 1e-6
    json.dumps(dict(found.data))


def test_every_claim_has_a_link_and_names_are_unique() -> None:
    assert {link.claim for link in links.LINKS} >= {f"T{number}" for number in range(1, 30)}
    assert len(BY_NAME) == len(links.LINKS)
    assert [proof.name for proof in links.proofs()] == [link.name for link in links.LINKS]


def test_instances_are_for_others_to_use() -> None:
    first, again = (next(links.instances(BY_NAME["T2", "write"])) for _ in range(2))
    assert vars(first).keys() == vars(again).keys()
    assert difference(*(every(eq(getattr(x, name), 0) for name in vars(x)) for x in (first, again))) == ""
    assert np.array_equal(bridge.floats(first.k), bridge.floats(again.k))


def scaled(function: Callable[..., Any], factor: float = 1 + 1e-6) -> Callable[..., Any]:
    return lambda *args, **kwargs: factor * function(*args, **kwargs)


def uphill(d: Any, feature: Any, weight: Any, gamma: Any, anchor: Any, rule: CalibrationRule) -> Any:
    return STEP(d, feature, -np.asarray(weight), gamma, anchor, rule)


def unclipped(d: Any, feature: Any, weight: Any, gamma: Any, anchor: Any, rule: CalibrationRule) -> Any:
    return STEP(d, feature, weight, gamma, anchor, replace(rule, d_min=-np.inf, d_max=np.inf))


def shifted_scan(*args: Any, **kwargs: Any) -> Any:
    path, final = SCAN(*args, **kwargs)
    return np.concatenate([path[1:], final[None]]), final


def later_reads(stream: Stream, *args: Any, **kwargs: Any) -> Any:
    run = OSDN(stream, *args, **kwargs)
    return replace(run, outputs=np.roll(run.outputs, 1, axis=0) + 0.5)


def ungated(stream: Stream, rule: Any, **kwargs: Any) -> Any:
    return OSDN(stream, rule, **kwargs)


DRIVE, RUN_MAPS, COUPLING = sweeps.drive, sweeps.run_maps, sweeps.coupling
DRIVE_ADJOINT = sweeps._drive_adjoint
SWEPT_LIMIT, BINOMIAL_LIMIT, CERTIFICATE = (
    sweep_bounds.swept_limit,
    sweep_bounds.binomial_limit,
    sweep_bounds.certificate,
)
STEP, SCAN, OSDN = preconditioner.calibrate_step, preconditioner.calibration_scan, recurrence.osdn

WRONG: list[tuple[Any, str, Callable[..., Any], list[tuple[str, str]]]] = [
    (objective, "token_loss", scaled(objective.token_loss), [("T1", "token objective")]),
    (objective, "token_gradient", scaled(objective.token_gradient, -1), [("T1", "token objective"), ("T2", "write")]),
    (objective, "context_loss", scaled(objective.context_loss, 2), [("T1", "context objective")]),
    (objective, "context_gradient", scaled(objective.context_gradient), [("T1", "context objective")]),
    (objective, "gram", scaled(objective.gram, 1 + 1e-12), [("T1", "context objective")]),
    (objective, "context_minimizer", scaled(objective.context_minimizer, 0.5), [("T1", "context objective")]),
    (objective, "suboptimality", scaled(objective.suboptimality, 2), [("T1", "context objective")]),
    (objective, "write", lambda s, k, v, d, b: objective.token_gradient(s, k, v) * d * b, [("T2", "write")]),
    (objective, "residual_ratio", lambda a, b: np.square(1 - a) + 0 * b, [("T3", "residual ratio")]),
    (objective, "surrogate", scaled(objective.surrogate, 2), [("T4", "surrogate")]),
    (objective, "hypergradient", scaled(objective.hypergradient, -1), [("T4", "surrogate")]),
    (preconditioner, "calibrate_step", uphill, [("T4", "calibrate step"), ("T11", "delta rule"), ("T11", "scan"),
                                                ("T13", "APF step"), ("T3", "trajectory"),
                                                ("T17", "plain feedback")]),
    (preconditioner, "calibrate_step", unclipped, [("T4", "calibrate step"), ("T11", "scan"), ("T3", "trajectory")]),
    (preconditioner, "calibration_scan", shifted_scan, [("T11", "scan"), ("T13", "APF step")]),
    (recurrence, "osdn", later_reads, [("T3", "trajectory"), ("T12", "chunk form"), ("T15", "identity fixed point")]),
    (recurrence, "kda", ungated, [("T17", "gated trajectories")]),
    (recurrence, "gated_delta_net", ungated, [("T17", "gated trajectories")]),
    (regret, "interpolating_constant", scaled(regret.interpolating_constant, 2),
     [("T5", "interpolating regret"), ("T6", "super-geometric convergence"), ("T7", "any gate"),
      ("T7", "beta-aware regret")]),
    (regret, "gated_rate", scaled(regret.gated_rate, 2), [("T7", "any gate")]),
    (regret, "agnostic_bound", scaled(regret.agnostic_bound, 2), [("T8", "agnostic regret"), ("T14", "tracking")]),
    (regret, "path_length", scaled(regret.path_length, 2), [("T14", "tracking")]),
    (regret, "box_diameter", scaled(regret.box_diameter, 2), [("T14", "tracking")]),
    (forgetting, "separation_sq", scaled(forgetting.separation_sq, 2), [("T13", "stability")]),
    (forgetting, "bias_limit", scaled(forgetting.bias_limit, 2), [("T13", "constant-key bias")]),
    (contraction, "metric", scaled(contraction.metric, 2), [("T16", "Lyapunov")]),
    (sweeps, "drive", lambda scan, gains: DRIVE(scan, 1.0 + 0.0 * gains), [("T29", "sweeps")]),
    (sweeps, "run_maps", lambda maps, *rest: RUN_MAPS(replace(maps, high=maps.high + 1), *rest), [("T29", "sweeps")]),
    (sweeps, "coupling", lambda scan: COUPLING(replace(scan, gamma=0 * scan.gamma + 1)), [("T29", "coupling")]),
    (sweeps, "_drive_adjoint", lambda scan, kept, *rest: DRIVE_ADJOINT(scan, 0 * kept + 1, *rest),
     [("T29", "adjoint")]),
    (sweep_bounds, "swept_limit", lambda window: window.spread(SWEPT_LIMIT(window)), [("T29", "bounds")]),
    (sweep_bounds, "binomial_limit", lambda window: BINOMIAL_LIMIT(window)[1:], [("T29", "bounds")]),
    (sweep_bounds, "certificate", lambda window: window.spread(CERTIFICATE(window)), [("T29", "bounds")]),
    (calibration_time, "_linear_part", lambda problem, features, gap: gap, [("T19", "mean step")]),
    (calibration_time, "_stationary", lambda problem, features: [fmpq(1)] * len(features[0]), [("T19", "mean step")]),
    (context, "newton_constant", lambda smoothness, distance: smoothness * distance, [("T10", "context bounds")]),
    (context, "_diagonal_part", lambda value: value, [("T10", "context bounds")]),
    (newton, "context_ratio", scaled(newton.context_ratio, 2), [("T9", "context ratio")]),
    (newton, "context_hypergradient", scaled(newton.context_hypergradient, 0.5), [("T9", "context ratio")]),
    (newton, "context_hessian", scaled(newton.context_hessian, 0.5), [("T9", "context ratio")]),
    (newton_bounds, "vacuous_until", scaled(newton_bounds.vacuous_until, 2), [("T10", "context run")]),
    (calibration, "constant_key_alignment", scaled(calibration.constant_key_alignment), [("T13", "constant key")]),
    (calibration, "isotropic_alignment", scaled(calibration.isotropic_alignment), [("T13", "isotropic keys")]),
    (calibration, "moment_matrix", scaled(calibration.moment_matrix), [("T19", "moments")]),
    (calibration, "isotropic_eigenvalues", lambda k: (1 / k, 2 / (k * (k + 1))), [("T19", "isotropic rates")]),
    (span.Pull, "comparator", property(lambda pull: [fmpq(1)] * pull.window.problem.key_dim), [("T23", "pull")]),
    (span.Pull, "curvature", property(lambda pull: fmpq(1, 2)), [("T23", "pull")]),
    (span.Pull, "rate", property(lambda pull: fmpq(1)), [("T23", "pull")]),
    (Window, "_moved", lambda window, d, token, gain: [2 * each for each in d], [("T23", "span")]),
    (recall, "recalled", lambda problem, path, tokens: [fmpq(1) for _ in tokens],
     [("T24", "blindness"), ("T22", "recall")]),
    (memory, "mean_loss", scaled(memory.mean_loss, 2), [("T25", "mean energy")]),
    (memory, "speed_limit", scaled(memory.speed_limit, 2), [("T25", "speed limit")]),
    (memory, "rate_form", scaled(memory.rate_form, 2), [("T25", "speed limit")]),
    (memory, "difference_limit", scaled(memory.difference_limit, 2), [("T26", "near DeltaNet")]),
    (memory, "metric_growth", scaled(memory.metric_growth, 2), [("T27", "growth of the error")]),
    (memory, "metric", scaled(memory.metric, 2), [("T25", "mean energy"), ("T27", "growth of the error")]),
    (gated, "gate_growth", scaled(gated.gate_growth, 2), [("T27", "growth with gates")]),
    (gated, "gates", lambda problem, field, length: [[fmpq(1)] * problem.key_dim] * length,
     [("T27", "growth with gates"), ("T27", "plain norm with gates")]),
    (gated, "last_difference", lambda problem, field, path: matrix(field, np.eye(problem.key_dim)),
     [("T27", "growth with gates"), ("T27", "plain norm with gates")]),
    (quadratic, "quadratic_bound", scaled(quadratic.quadratic_bound, 2),
     [("T20", "quadratic regret"), ("T20", "beta-aware regret"), ("T21", "forgetting regret"),
      ("T17", "beta-aware losses")]),
    (alternation, "tight_factor", lambda: fmpq(3, 8), [("T28", "alternating features")]),
    (alternation, "sine_sq", lambda e: fmpq(1, 2), [("T28", "alternating features")]),
    (float_run, "dot_error", lambda n: n * float_run.UNIT, [("T18", "error terms")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "name", "wrong", "seen_by"), WRONG, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_wrong_function_is_seen(
    module: Any,
    name: str,
    wrong: Callable[..., Any],
    seen_by: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, name, wrong)
    for link in seen_by:
        assert verdict(*link) == "failed", link


def test_a_wrong_bound_in_the_code_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds of the registry are looked up there: replace the sides of one."""
    right = {(b.theorem, b.title): b for b in bridge.BOUNDS}
    for key, link in (
        (("T5", "Interpolating regret"), ("T5", "interpolating regret")),
        (("T15", "Identity fixed point"), ("T15", "identity bound")),
        (("T17", "Residual identity, gated state"), ("T17", "gated residual bound")),
        (("T3", "Residual identity"), ("T3", "residual bound")),
    ):
        bound = right[key]

        def off(e: Any, sides: Any = bound.sides) -> Any:
            return [replace(pair, lhs=pair.lhs + 1) for pair in sides(e)]

        changed = [replace(b, sides=off) if b is bound else b for b in right.values()]
        monkeypatch.setattr(bridge, "BOUNDS", changed)
        assert verdict(*link) == "failed", key
        monkeypatch.setattr(bridge, "BOUNDS", list(right.values()))
        assert verdict(*link) == "passed", key


def test_a_wrong_chunk_form_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = recurrence.solve_chunks

    def wrong(problem: Any, chunk_size: int) -> Any:
        run = right(problem, chunk_size)
        return replace(run, final_state=run.final_state * (1 + 1e-6))

    monkeypatch.setattr(recurrence, "solve_chunks", wrong)
    assert verdict("T12", "chunk form") == "failed"
    assert verdict("T17", "gated trajectories") == "failed"


def test_a_wrong_symbolic_expression_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    n = token_links.NAMES
    loss, write = symbolic.token_loss(n.S, n.k, n.v), symbolic.write(n.S, n.k, n.v, n.d, -n.beta)
    monkeypatch.setitem(token_links.TOKEN, "loss", 2 * loss)
    monkeypatch.setitem(token_links.TOKEN, "write", write)
    monkeypatch.setitem(token_links.CONTEXT, "right Hessian", 2 * symbolic.gram(n.keys))
    monkeypatch.setattr(scan_links, "DELTA_RULE", symbolic.delta_rule_step(n.d, n.s, n.c, -n.eta))
    for link in (
        ("T1", "token objective"),
        ("T2", "write"),
        ("T1", "context objective"),
        ("T11", "delta rule"),
    ):
        assert verdict(*link) == "failed", link


def test_a_wrong_proven_formula_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other way round: the code is right, what is proved is something else."""
    monkeypatch.setattr(token, "token_loss", lambda s, k, v: rules.sq(s @ k - v))
    monkeypatch.setattr(bound_links, "moments_of", lambda x: np.outer(sum(x.s), sum(x.s)))
    assert verdict("T1", "token objective") == "failed"
    assert verdict("T19", "moments") == "failed"


def test_numbers_of_the_code() -> None:
    assert CodeNumber("x", 0.5, fmpq(1, 2)).holds()
    assert not CodeNumber("x", 0.5, fmpq(1, 3)).holds()
    assert CodeNumber("x", 0.5, fmpq(1, 3), fmpq(1, 6)).holds()
    assert not CodeNumber("x", float("nan"), fmpq(0), fmpq(10)).holds()
    assert not CodeNumber("x", float("inf"), fmpq(0), fmpq(10)).holds()
    with pytest.raises(ValueError, match="2 numbers against 1"):
        list(numbers("x", np.zeros(2), [fmpq(0)]))


def test_balls_agree_only_if_they_are_narrow() -> None:
    with flint.ctx.workprec(512):
        two = flint.arb(2).sqrt()
        close = two + fmpq(1, 10**30)
    assert balls_agree(two, two)
    assert not balls_agree(two, close)
    assert not balls_agree(flint.arb(1, 1e-3), fmpq(1))
    assert balls_agree(flint.arb.neg_inf(), flint.arb.neg_inf())
    assert not balls_agree(flint.arb.neg_inf(), flint.arb.pos_inf())
    assert not balls_agree(flint.arb.neg_inf(), fmpq(1))
    assert not balls_agree(flint.arb.nan(), flint.arb.nan())
    assert not balls_agree(flint.arb("0 +/- inf"), flint.arb("0 +/- inf"))


def test_a_link_that_compares_nothing_fails() -> None:
    empty = Link("T1", "empty", "", lambda draw: Instance(), lambda x: iter(()))
    assert check_link(empty).detail == "an instance compares nothing"


def test_only_float64_numbers_reach_the_code() -> None:
    assert bridge.floats(array([[fmpq(1, 2)], [fmpq(3)]])).tolist() == [[0.5], [3.0]]
    with pytest.raises(ValueError, match="1/3 is not a float64 number"):
        bridge.floats(fmpq(1, 3))
    assert bridge.exact(np.array([[0.1]])).tolist() == [[fmpq(*(0.1).as_integer_ratio())]]


def test_sides_of_a_bound_that_does_not_apply_are_refused() -> None:
    x = next(links.instances(BY_NAME["T8", "agnostic regret"]))
    with pytest.raises(ValueError, match="no comparator"):
        bridge.bound_sides(bound_links.run_of(x), "T5", "Interpolating regret")


@pytest.mark.parametrize("seed", range(20))
def test_sized_numbers_enclose_float64_in_any_order(seed: int) -> None:
    """Sums of products, added in random order: never farther off than allowed, and not allowed much."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.standard_normal(8), rng.standard_normal(8), rng.standard_normal()
    order = rng.permutation(8)
    found = 0.0
    for i in order:
        found += (a[i] * c) * b[i]
    found = 1.0 - found * found
    x, y, z = (array([Sized.of(fmpq(*float(v).as_integer_ratio())) for v in row]) for row in (a, b, [c]))
    total = (x @ y) * z[0]
    expected = 1 - total * total
    error = abs(Fraction(found) - Fraction(int(expected.value.p), int(expected.value.q)))
    assert error <= Fraction(int(expected.allowed.p), int(expected.allowed.q))
    assert expected.allowed < fmpq(1, 10**11) * (1 + expected.size)


def test_sized_numbers_behave() -> None:
    x = Sized.of(fmpq(3, 2))
    assert x.allowed == 0
    assert (-x).value == fmpq(-3, 2)
    assert (x - x).value == 0
    assert (x - x).allowed > 0
    assert x == fmpq(3, 2)
    assert (x**3 / 2).value == fmpq(27, 16)
    clipped = (x - 5).clipped(Sized.of(-1), Sized.of(1))
    assert (clipped.value, clipped.size) == (-1, fmpq(13, 2))
    assert reciprocal(x * x).value == fmpq(4, 9)
    with pytest.raises(ValueError, match="non-negative terms"):
        reciprocal(x - 1)


def test_links_cover_what_is_extreme() -> None:
    runs = list(links.instances(BY_NAME["T11", "scan"]))
    clipped = [x for x in runs if any((a != b).any() for a, b in zip(rules.path(x), x.free, strict=True))]
    assert len(clipped) > len(runs) / 12
    assert {x.normalized for x in runs} == {x.aware for x in runs} == {x.forgets for x in runs} == {0, 1}
    assert any(x.T % x.size for x in runs)
    tracked = list(links.instances(BY_NAME["T14", "tracking"]))
    assert any(x.surrogates > 0 for x in tracked)
