"""The enclosed trajectories: exact in rationals, contained in balls, covered by the float64 radius."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import flint
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from osdn_theory.bounds.numbers import (
    Balls,
    Floats,
    Rationals,
    as_float,
    ball,
    dot,
    log,
    matrix,
    sqrt,
    total,
    vector,
)
from osdn_theory.bounds.problem import CalibrationProblem, problem
from osdn_theory.bounds.runs.enclosed import FloatRun, dot_error
from osdn_theory.bounds.runs.exact import ExactRun
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn, preconditioned_delta_net
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import interpolating, isotropic


def fraction(value: flint.fmpq) -> Fraction:
    return Fraction(int(value.p), int(value.q))


def naive_path(
    stream: Stream, rule: CalibrationRule, d1: np.ndarray, c: float, gamma: float
) -> list[list[Fraction]]:
    """The calibrate recurrence with Python's own fractions, straight from THEORY.md."""
    path = [[Fraction(x) for x in d1.tolist()]]
    eta, epsilon = Fraction(rule.eta), Fraction(rule.epsilon)
    for key, beta in zip(stream.keys.tolist(), np.asarray(stream.beta).tolist(), strict=True):
        s = [Fraction(k) ** 2 for k in key]
        w = 1 / (sum(s) + epsilon) if rule.normalize_feedback else Fraction(1)
        x = [Fraction(beta) * v for v in s] if rule.beta_aware else s
        d = path[-1]
        gain = eta * w * (1 - sum(a * b for a, b in zip(d, x, strict=True)))
        stepped = [
            Fraction(c) + Fraction(gamma) * (a - Fraction(c)) + gain * b for a, b in zip(d, x, strict=True)
        ]
        low, high = Fraction(float(rule.d_min)), Fraction(float(rule.d_max))
        path.append([min(max(v, low), high) for v in stepped])
    return path


def encloses(balls: list[flint.arb], rationals: list[flint.fmpq]) -> bool:
    # arb.contains rounds its argument to a ball at the working precision; dyadic rationals must not be rounded.
    with Balls(1 << 15).working():
        return all(b.contains(r) for b, r in zip(balls, rationals, strict=True))


RULES = [
    CalibrationRule(eta=0.5),
    CalibrationRule(eta=0.5, d_min=0.96875, d_max=1.03125),
    CalibrationRule(eta=0.5, forgetting=0.75, anchor=1.25),
    CalibrationRule(eta=0.25, normalize_feedback=True),
    CalibrationRule(eta=0.5, beta_aware=True),
]


def case(rule: CalibrationRule, *, seed: int = 0, length: int = 9, key_dim: int = 6) -> CalibrationProblem:
    rng = np.random.default_rng(seed)
    stream = interpolating(rng, length=length, key_dim=key_dim, value_dim=2, beta="random")
    return problem(osdn(stream, rule), ())


@pytest.mark.parametrize("rule", RULES)
def test_rationals_are_the_recurrence_exactly(rule: CalibrationRule) -> None:
    p = case(rule)
    run = ExactRun(p, Rationals())
    naive = naive_path(p.stream, rule, p.initial, float(p.anchor[0]), float(p.gamma[0]))
    assert [[fraction(v) for v in d] for d in run.preconditioners] == naive


@pytest.mark.parametrize("rule", RULES)
def test_balls_contain_the_rational_run(rule: CalibrationRule) -> None:
    p = case(rule)
    exact = ExactRun(p, Rationals())
    field = Balls(96)
    with field.working():
        enclosed = ExactRun(p, field)
        for balls, rationals in zip(enclosed.preconditioners, exact.preconditioners, strict=True):
            assert encloses(balls, rationals)
        assert encloses(enclosed.gaps, exact.gaps)
        assert encloses(enclosed.alignment_gaps, exact.alignment_gaps)
        assert encloses(enclosed.norms_sq, exact.norms_sq)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    length=st.integers(1, 40),
    rule=st.sampled_from(RULES),
    float_keys=st.booleans(),
)
def test_float64_radius_covers_the_exact_run(
    seed: int, length: int, rule: CalibrationRule, float_keys: bool
) -> None:
    rng = np.random.default_rng(seed)
    if float_keys:
        stream = isotropic(rng, length=length, key_dim=5, value_dim=2, exact=False)
    else:
        stream = interpolating(rng, length=length, key_dim=5, value_dim=2)
    p = problem(osdn(stream, rule), ())
    exact, run = ExactRun(p, Rationals()), FloatRun(p)
    for token in range(length + 1):
        missed = [
            fraction(flint.fmpq(e) - Rationals().of(f))
            for e, f in zip(exact.preconditioners[token], run.path[token], strict=True)
        ]
        assert sum(m * m for m in missed) <= Fraction(float(run.radius[token])) ** 2
    for enclosed, rational in (
        (run.gaps, exact.gaps),
        (run.alignment_gaps, exact.alignment_gaps),
        (run.norms_sq, exact.norms_sq),
        (run.weights, exact.weights),
    ):
        assert encloses(enclosed, rational)
    u = np.ones(5)
    assert encloses(run.comparator_gaps(u), exact.comparator_gaps(u))
    assert encloses([run.distance_sq(length, u)], [exact.distance_sq(length, u)])
    steps = zip(run.unprojected, exact.unprojected, strict=True)
    assert all(encloses(balls, rationals) for balls, rationals in steps)


def test_radius_stays_small_and_grows_with_a_wrong_trajectory() -> None:
    p = case(CalibrationRule(eta=0.5), length=200)
    run = FloatRun(p)
    assert 0 < run.radius[-1] < 1e-12
    shifted = p.preconditioner + 1e-6 * (np.arange(200) >= 100)[:, None]
    wrong = FloatRun(p, preconditioner=shifted)
    assert wrong.radius[-1] > 1e-7


def test_radius_counts_a_wrong_start() -> None:
    p = case(CalibrationRule(eta=0.5))
    moved = replace(p, initial=p.initial + 0.5)
    assert FloatRun(moved).radius[0] >= 0.5


def test_forgetting_shrinks_what_is_missed() -> None:
    p = case(CalibrationRule(eta=0.5, forgetting=0.5, anchor=1.0))
    radius = FloatRun(replace(p, initial=p.initial + 0.5)).radius
    assert radius[-1] <= 0.5**9 * radius[0] * (1 + 1e-6)


def test_gaps_without_the_propagated_error_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    # Breaking the enclosure on purpose: a trajectory that drifted, and a radius that denies it.
    p = case(CalibrationRule(eta=0.5), length=12)
    exact = ExactRun(p, Rationals())
    drifted = p.preconditioner + 1e-9
    assert encloses(FloatRun(p, preconditioner=drifted).gaps, exact.gaps)
    monkeypatch.setattr(FloatRun, "radius", np.zeros(13))
    assert not encloses(FloatRun(p, preconditioner=drifted).gaps, exact.gaps)


def test_the_distance_of_two_runs_knows_what_both_miss() -> None:
    """Both follow one problem: what is between them is what they miss, and the exact distance is zero."""
    p = case(CalibrationRule(eta=0.5), length=12)
    drifted = FloatRun(p, preconditioner=p.preconditioner + 1e-6, final=p.preconditioner[-1] + 1e-6)
    for first, second in ((FloatRun(p), drifted), (drifted, FloatRun(p))):
        assert encloses([first.run_distance_sq(second, 11)], [flint.fmpq(0)])


def test_dot_error_is_the_standard_model() -> None:
    u = 2.0**-53
    assert dot_error(10) == pytest.approx(10 * u / (1 - 10 * u))
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(200):
        a, b = rng.standard_normal(16), rng.standard_normal(16)
        exact = sum(Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True))
        size = sum(abs(Fraction(x) * Fraction(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True))
        worst = max(worst, float(abs(Fraction(float(a @ b)) - exact) / size))
    assert 0 < worst <= dot_error(16)


@pytest.mark.parametrize("field", [Balls(64), Rationals(), Floats()])
def test_conversion_is_exact(field: Balls | Rationals | Floats) -> None:
    with field.working():
        tenth = field.of(0.1)
        assert as_float(tenth) == 0.1
        assert as_float(field.maximum(tenth, field.of(0.2))) == 0.2
        assert as_float(field.minimum(tenth, field.of(0.2))) == 0.1
        assert total([]) == 0
        assert as_float(dot(vector(field, np.array([1.0, 2.0])), vector(field, np.array([3.0, 4.0])))) == 11


def test_matrices_convert_without_error() -> None:
    values = np.array([[0.1, -3.0], [2.5, 1e-300]])
    assert [[as_float(v) for v in row] for row in matrix(Rationals(), values).tolist()] == values.tolist()
    with Balls(64).working():
        assert [[as_float(v) for v in row] for row in matrix(Balls(64), values).tolist()] == values.tolist()


def test_log_and_sqrt_keep_exact_zero() -> None:
    with Balls(64).working():
        assert log(flint.arb(0)) == flint.arb.neg_inf()
        assert as_float(log(flint.arb(1))) == 0
        assert sqrt(flint.fmpq(0)) == 0
        assert sqrt(flint.fmpq(9, 4)) == flint.fmpq(3, 2)
        assert (sqrt(flint.fmpq(2)) ** 2).contains(2)
        assert (sqrt(flint.fmpq(9, 5)) ** 2).overlaps(ball(flint.fmpq(9, 5)))
        assert sqrt(flint.arb(0, 1e-9)).contains(3e-5)
        assert sqrt(flint.arb(4)).contains(2)


def test_as_float_survives_huge_rationals() -> None:
    huge = flint.fmpq(10) ** 400
    assert as_float(huge) == np.inf
    assert as_float(-huge) == -np.inf
    assert as_float(1 / huge) == 0


def test_precision_is_restored() -> None:
    before = flint.ctx.prec
    with pytest.raises(ZeroDivisionError), Balls(777).working():
        1 / (flint.ctx.prec - 777)
    assert flint.ctx.prec == before


def test_a_recurrence_without_calibration_is_refused() -> None:
    stream = isotropic(np.random.default_rng(0), length=4, key_dim=5, value_dim=2)
    with pytest.raises(ValueError, match="preconditioned_delta_net has no calibrate step"):
        problem(preconditioned_delta_net(stream), ())
