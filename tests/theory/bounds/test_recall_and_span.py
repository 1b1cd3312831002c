"""T22, T23, T24 and T28: exhibits, and that a wrong constant, index or missing hypothesis is caught."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import flint
import numpy as np
import pytest
from support.bound_cases import FAST, checked, one, outcome, unguarded

from osdn_theory.bounds import check_bounds
from osdn_theory.bounds.problem import problem
from osdn_theory.bounds.runs.window import Window
from osdn_theory.bounds.statements import alternating as alternation, recall, span
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.recurrence.solve import delta_net, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.exhibits import alternating, disjoint, overlapping
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import interpolating

OPEN = CalibrationRule(eta=0.5, d_min=-np.inf, d_max=np.inf)
RECALL, BLIND = "Recall of pairs that do not overlap", "Blind to overlap"
DECAY, WITHIN = "Decay of two alternating features", "T6 within a constant factor a token"
WHOLE_STEP = replace(OPEN, eta=16.0)


def pairs(**options: object) -> Stream:
    return disjoint(np.random.default_rng(3), **options)  # type: ignore[arg-type]


def changed(stream: Stream, name: str, index: tuple[int, ...], value: float) -> Stream:
    array = np.array(getattr(stream, name))
    array[index] = value
    return replace(stream, **{name: array})


# --- T22 --------------------------------------------------------------------------------------------------------


def test_recall_of_disjoint_pairs_is_that_of_the_solver() -> None:
    stream = pairs()
    run = osdn(stream, OPEN, initial_preconditioner=np.full(8, 1.25))
    found = one(check_bounds(run, ["T22"]), "T22", "Recall")
    assert found.outcome == "holds"
    missed = np.sum((stream.values - stream.keys @ run.final_state.T) ** 2, axis=-1)
    assert np.isclose(missed, found.lhs).any()


@pytest.mark.parametrize("read", [1, 2, 3, 4])
def test_every_number_of_reads_and_both_exponents_count(read: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = osdn(pairs(), OPEN)
    whole = recall.disjoint_residual
    wrong: dict[str, Callable[..., object]] = {
        "one read too many": lambda start, gap, drop, reads: whole(start, gap, drop, reads + (reads == read)),
        "no square": lambda start, gap, drop, reads: (
            start * gap**reads * drop ** (reads * (reads - 1))
            if reads == read
            else whole(start, gap, drop, reads)
        ),
        "m (m + 1)": lambda start, gap, drop, reads: (
            start * gap ** (2 * reads) * drop ** (reads * (reads + 1))
            if reads == read
            else whole(start, gap, drop, reads)
        ),
    }
    for name, formula in wrong.items():
        monkeypatch.setattr(recall, "disjoint_residual", formula)
        assert outcome(run, "T22", "Recall") == "violated", name


def test_reads_beyond_the_first_beat_delta_net_and_a_first_one_does_not() -> None:
    """By exp of minus a multiple of m^2: the ratio's logarithm is m (m - 1) log |1 - eta |s|^2|."""
    for reads in (1, 2, 4, 8):
        stream = pairs(reads=(reads,))
        found = one(checked(stream, OPEN, "T22"), "T22", "DeltaNet")
        plain = delta_net(stream)
        residual = np.sum((stream.values[0] - plain.final_state @ stream.keys[0]) ** 2)
        assert found.rhs == pytest.approx(float(residual), rel=1e-9)
        drop = 1 - 0.5 * float(np.sum(stream.keys[0] ** 4))
        expected = -reads * (reads - 1) * math.log10(abs(drop))
        assert found.log10_slack == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda: osdn(changed(pairs(), "keys", (-1, slice(None)), 1.0), OPEN), "disjoint supports"),
        (
            lambda: osdn(changed(pairs(reads=(2, 2, 2)), "values", (-1, -1), 99.0), OPEN),
            "one value for each key",
        ),
        (
            lambda: osdn(replace(pairs(), beta=np.append(np.ones(9), 0.5)), OPEN),
            "needs beta = 1, got 0.5 to 1",
        ),
        (lambda: osdn(pairs(), replace(OPEN, forgetting=0.5)), "needs gamma = 1"),
        (lambda: osdn(pairs(), replace(OPEN, d_max=1.001)), "needs the box inactive"),
    ],
)
def test_what_recall_of_pairs_asks_for(
    run: Callable[[], Trajectory], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reason in one(check_bounds(run(), ["T22"]), "T22", "Recall").reason
    name = {
        "disjoint supports": "disjoint_pairs", "one value for each key": "disjoint_pairs",
        "needs gamma = 1": "no_forgetting", "needs the box inactive": "box_inactive",
    }.get(reason, "plain_writes")  # fmt: skip
    unguarded(monkeypatch, RECALL, name)
    assert outcome(run(), "T22") == "violated"


def test_steps_beyond_two_may_lose_to_delta_net(monkeypatch: pytest.MonkeyPatch) -> None:
    run = osdn(pairs(), replace(OPEN, eta=64.0))
    assert "eta w ||s_t||^2 <= 2" in one(check_bounds(run, ["T22"]), "T22", "DeltaNet").reason
    unguarded(monkeypatch, "At least DeltaNet's recall", "contracting_step")
    assert outcome(run, "T22") == "violated"
    elsewhere = osdn(pairs(), OPEN, initial_preconditioner=np.full(8, 3.0))
    unguarded(monkeypatch, "At least DeltaNet's recall", "starts_at_one")
    assert outcome(elsewhere, "T22") == "violated"


# --- T24 --------------------------------------------------------------------------------------------------------


def test_blindness_of_osdn_and_exact_recall_of_a_static_comparator() -> None:
    stream = overlapping(np.random.default_rng(0))
    run = osdn(stream, BOUNDED)
    found = one(check_bounds(run, ["T24"]), "T24")
    assert found.outcome == "holds"
    assert np.array_equal(run.final_state, delta_net(stream).final_state)
    missed = float(np.sum((stream.values - stream.keys @ run.final_state.T) ** 2))
    assert missed > 1
    assert f"OSDN misses {missed:.4g}" in found.scope
    static = osdn(
        stream, CalibrationRule(eta=0.0, d_min=0.0, d_max=100.0), initial_preconditioner=stream.comparator
    )
    assert np.array_equal(stream.keys @ static.final_state.T, stream.values)


def test_blindness_asks_for_two_exact_solutions_of_the_surrogate(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = overlapping(np.random.default_rng(0))
    nudged = changed(stream, "comparator", (-1,), 64.5)
    assert "tokens 6 and 6" in one(checked(nudged, BOUNDED, "T24"), "T24").reason
    crossed = changed(stream, "comparator", (0,), 0.5)
    assert "tokens 1 and 1" in one(checked(crossed, BOUNDED, "T24"), "T24").reason
    # Each key is recalled, but its write reaches the others: 1/2 along the last feature that all share.
    meeting = replace(stream, comparator=np.append([0.0, 0.0, 0.0], np.full(7, 32.0)))
    assert "= 0, fails for tokens 1 and 2" in one(checked(meeting, BOUNDED, "T24"), "T24").reason
    start = np.append(np.ones(9), 1.5)
    started = checked(stream, BOUNDED, "T24", initial_preconditioner=start)
    assert "<d_1, s_t> = 1, fails at token 6" in one(started, "T24").reason
    for wrong, name in (
        (nudged, "written_once"),
        (replace(stream, initial_preconditioner=start), "start_interpolates"),
    ):
        with monkeypatch.context() as patch:
            unguarded(patch, BLIND, name)
            assert outcome(osdn(wrong, replace(BOUNDED, eta=0.5)), "T24") == "violated", name


def test_more_tokens_than_features_cannot_be_written_apart() -> None:
    stream = replace(pairs(), comparator=np.ones(8))
    assert "more tokens than features" in one(checked(stream, OPEN, "T24"), "T24").reason


# --- T23 --------------------------------------------------------------------------------------------------------


def single(size: float = 1.0) -> Trajectory:
    return osdn(
        Stream(keys=np.array([[size, size, 0.0]]), values=np.ones((1, 1))),
        FAST,
        initial_preconditioner=np.full(3, 1.25),
    )


def test_the_pull_is_attained_by_one_token(monkeypatch: pytest.MonkeyPatch) -> None:
    found = one(check_bounds(single(0.75), ["T23"]), "T23", "Pull")
    assert found.outcome == "holds"
    assert found.log10_slack == pytest.approx(0, abs=2e-3)
    whole = span.Pull.rate.fget
    monkeypatch.setattr(span.Pull, "rate", property(lambda pull: whole(pull) - flint.fmpq(1, 50)))
    assert outcome(single(0.75), "T23", "Pull") == "violated"


def test_the_projection_is_where_d_goes_and_the_rate_is_no_worse_than_it_is() -> None:
    """Read over and over, a window of independent features brings d to the projection of d_1."""
    stream = interpolating(np.random.default_rng(4), length=4, key_dim=8, value_dim=1)
    again = replace(stream.tokens(0, 4), keys=np.tile(stream.keys, (2000, 1)), values=np.tile(stream.values, (2000, 1)),
                    queries=np.tile(stream.keys, (2000, 1)), beta=1.0)  # fmt: skip
    rule = replace(OPEN, eta=1.0)
    run, short = osdn(again, rule), osdn(stream, rule)
    pull = span.Pull(Window(problem(short, ()), 0))
    target = np.array([float(u) for u in pull.comparator])
    rows = stream.squared_keys
    expected = 1 + rows.T @ np.linalg.solve(rows @ rows.T, 1 - rows @ np.ones(8))
    assert np.allclose(target, expected, rtol=0, atol=1e-12)
    assert np.allclose(run.final_preconditioner, expected, rtol=0, atol=1e-9)
    distances = np.sum((run.preconditioner[::4] - target) ** 2, axis=-1)
    assert np.all(distances[1:50] <= float(pull.rate) * distances[:49] * (1 + 1e-9))
    assert 0 < float(pull.rate) < 1


def test_mu_is_that_of_the_longest_feature() -> None:
    keys = np.array([[1.0, 0.0], [0.0, 0.5]])
    run = osdn(Stream(keys=keys, values=keys), OPEN)
    assert span.Pull(Window(problem(run, ()), 0)).curvature == flint.fmpq(3, 2)


def test_sigma_is_that_of_one_plus_n_and_divides_the_rate() -> None:
    keys = np.array([[1.0, 0.0], [1.0, 0.0]])
    pull = span.Pull(Window(problem(osdn(Stream(keys=keys, values=keys), OPEN), ()), 0))
    assert float(pull.spread) == pytest.approx((2.25 + math.sqrt(1.0625)) / 2, rel=2e-3)
    assert pull.rate == 1 - flint.fmpq(3, 4) * pull.excitation / pull.spread


def test_an_iterate_off_the_span_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Window._moved

    def astray(window: Window, d: object, token: int, gain: object) -> list[object]:
        moved = whole(window, d, token, gain)  # type: ignore[arg-type]
        moved[-1] += token + 1 == window.length
        return moved

    run = osdn(interpolating(np.random.default_rng(5), length=5, key_dim=9, value_dim=1), OPEN)
    assert outcome(run, "T23", "span") == "holds"
    monkeypatch.setattr(Window, "_moved", astray)
    assert outcome(run, "T23", "span") == "violated"


def test_a_clip_leaves_the_span_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = replace(FAST, d_min=0.99, d_max=1.01)
    run = osdn(interpolating(np.random.default_rng(5), length=5, key_dim=9, value_dim=1), narrow)
    assert "it clips after token" in one(check_bounds(run, ["T23"]), "T23", "span").reason
    unguarded(monkeypatch, "Moves within the span", "windows_inside")
    assert outcome(run, "T23") == "violated"


def test_what_the_pull_asks_for() -> None:
    keys = np.array([[1.0, 0.0], [0.5, 0.0]])
    both = osdn(Stream(keys=keys, values=keys), replace(OPEN, eta=0.1))
    assert (
        "no u interpolates the window from token 1" in one(check_bounds(both, ["T23"]), "T23", "Pull").reason
    )
    zero = osdn(Stream(keys=0 * keys, values=keys), OPEN)
    assert "no u interpolates" in one(check_bounds(zero, ["T23"]), "T23", "Pull").reason
    late = osdn(Stream(keys=np.array([[0.5, 0.0], [0.0, 1.0]]), values=keys), replace(OPEN, eta=2.0))
    assert "needs eta M < 2: 2 against 2" in one(check_bounds(late, ["T23"]), "T23", "Pull").reason


# --- T28 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 4, 8])
def test_t6_is_off_by_e_over_two_a_token(width: int) -> None:
    run = osdn(alternating(width=width), replace(OPEN, eta=float(width**2)))
    checks = check_bounds(run, ["T6", "T28"])
    assert {c.outcome for c in checks if c.theorem == "T28"} == {"holds"}
    tokens, slack = width**2 - 1, one(checks, "T6").log10_slack
    assert slack is not None
    assert 10 ** (slack / tokens) == pytest.approx(math.e / 2, rel=1 / (20 * width**2))
    assert 10 ** (slack / tokens) < math.e / 2


def test_a_larger_constant_or_angle_of_t28_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    run = osdn(alternating(), WHOLE_STEP)
    with monkeypatch.context() as patch:
        patch.setattr(alternation, "tight_factor", lambda: flint.arb("0.737"))
        assert outcome(run, "T28", "within") == "violated"
    whole = alternation.sine_sq
    monkeypatch.setattr(alternation, "sine_sq", lambda e: whole(e) * flint.fmpq(101, 100))
    assert outcome(run, "T28", "Decay") == "violated"


def test_what_t28_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = alternating()
    start, tilt = np.asarray(stream.initial_preconditioner), (np.eye(17)[5] - np.eye(17)[6]) / 8
    told = {
        "in the plane": replace(stream, initial_preconditioner=start + tilt),
        "features of one norm that alternate": replace(
            stream, keys=np.append(stream.keys[:-1], stream.keys[1:2], axis=0)
        ),
        "needs <d_1 - u, s_2> = 0": replace(stream, initial_preconditioner=start + 0.125),
    }
    for reason, wrong in told.items():
        assert reason in one(checked(wrong, WHOLE_STEP, "T28"), "T28", "Decay").reason
    assert (
        "needs eta M = 1, got 0.5"
        in one(checked(stream, replace(OPEN, eta=8.0), "T28"), "T28", "Decay").reason
    )
    short = stream.tokens(0, 14)
    assert "cosine is 1 - 1/(T+1)" in one(checked(short, WHOLE_STEP, "T28"), "T28", "within").reason
    assert outcome(osdn(short, WHOLE_STEP), "T28", "Decay") == "holds"
    unguarded(monkeypatch, DECAY, "starts_in_the_plane")
    assert outcome(osdn(told["needs <d_1 - u, s_2> = 0"], WHOLE_STEP), "T28") == "violated"
    unguarded(monkeypatch, DECAY, "alternating")
    assert outcome(osdn(stream, replace(OPEN, eta=8.0)), "T28") == "violated"


def test_features_of_two_norms_are_told() -> None:
    """Everything else is as T28 asks: they alternate, eta M = 1, d_1 - u is orthogonal to the second feature."""
    keys = np.array([[1.0, 0.0], [0.5, 0.5]])[np.arange(4) % 2]
    u, turn = np.array([1.0, 3.0]), np.array([0.25, -0.25])
    stream = Stream(keys=keys, values=keys @ np.ones((2, 1)), comparator=u, initial_preconditioner=u + turn)
    told = one(checked(stream, replace(OPEN, eta=1.0), "T28"), "T28", "Decay")
    assert told.reason == "needs two features of one norm that alternate"
