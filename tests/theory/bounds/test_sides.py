"""Both sides of the bounds, number by number, against their formulas in NumPy; and identities wrong at one place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.bound_cases import FAST, checked, one, stream_of

from osdn_theory.bounds import Sides, check_bounds
from osdn_theory.bounds.facts import Facts
from osdn_theory.bounds.numbers import Balls, as_float
from osdn_theory.bounds.problem import problem
from osdn_theory.bounds.registry import BOUNDS, BoundEvidence
from osdn_theory.bounds.runs import local_step
from osdn_theory.bounds.runs.exact import ExactRun
from osdn_theory.bounds.runs.local_step import LocalStep, local_steps
from osdn_theory.bounds.runs.window import SWEEPS
from osdn_theory.bounds.statements import calibration_time, forgetting
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import gated_delta_net, kda, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import isotropic, non_stationary
from osdn_theory.streams.transforms import with_gates


def sides(run: Trajectory, title: str) -> list[Sides]:
    """As the bound called `title` gives them, in balls of 256 bits."""
    (found,) = [bound for bound in BOUNDS if bound.title == title]
    case, field = problem(run, ()), Balls(256)
    with field.working():
        return found.sides(BoundEvidence(case, Facts(case), ExactRun(case, field)))


def numbers(run: Trajectory, title: str) -> np.ndarray:
    """(n, 2): left and right sides."""
    return np.array([[as_float(each.lhs), as_float(each.rhs)] for each in sides(run, title)])


def random_run(**rule: Any) -> Trajectory:
    stream = stream_of(beta="random")
    return osdn(stream, CalibrationRule(**({"eta": 0.5} | rule)), initial_preconditioner=np.full(6, 1.25))


def test_regret_bounds_in_numpy() -> None:
    run = random_run()
    s, u, beta, length = (
        run.stream.squared_keys,
        np.asarray(run.stream.comparator),
        np.asarray(run.stream.beta),
        24,
    )
    m, gaps = np.max(np.sum(s**2, -1)), 1 - run.alignment
    constant = np.sum((1.25 - u) ** 2) / (0.5 * (2 - 0.5 * m))
    rate = np.mean(np.abs(1 - beta)) + np.sqrt(np.mean(beta**2) * constant / length)
    roots = np.abs(1 - beta * run.alignment)
    expected = {
        "Interpolating regret": [np.sum(gaps**2), constant],
        "Super-geometric convergence": [np.sum(np.log(gaps**2)), length * np.log(constant / length)],
        "Mean contraction, any gate": [roots.mean(), rate],
        "Product contraction, any gate": [np.log(roots).sum(), length * np.log(rate)],
    }
    for title, pair in expected.items():
        assert numbers(run, title)[0] == pytest.approx(pair, rel=1e-9), title


def test_beta_aware_regret_in_numpy() -> None:
    """u = 2 and beta = 1/2 interpolate unit keys; the gaps are those of beta times the alignment."""
    stream = replace(stream_of("isotropic"), beta=0.5, comparator=np.full(6, 2.0))
    rule = CalibrationRule(eta=1.0, d_min=0.5, d_max=4.0, beta_aware=True)
    run = osdn(stream, rule, initial_preconditioner=np.full(6, 1.25))
    m = np.max(np.sum(stream.squared_keys**2, -1)) / 4
    expected = [np.sum((1 - run.alignment / 2) ** 2), 6 * 0.75**2 / (2 - m)]
    assert numbers(run, "Interpolating regret")[0] == pytest.approx(expected, rel=1e-9)


def test_agnostic_and_tracking_bounds_in_numpy() -> None:
    """A path of which the last move alone, and the last coordinate alone, counts as well."""
    stream = non_stationary(np.random.default_rng(4), length=24, key_dim=6, value_dim=2, mode="drift")
    path = np.array(stream.comparator)
    path[:-1] = path[0]
    path[-1] = path[0] + np.array([0, 0, 0, 0, 0, 0.125])
    stream = replace(stream, comparator=path)
    run = osdn(
        stream, CalibrationRule(eta=0.25, d_min=0.5, d_max=2.0), initial_preconditioner=np.full(6, 1.25)
    )
    s, eta = stream.squared_keys, 0.25
    m, gaps = np.max(np.sum(s**2, -1)), 1 - run.alignment
    (best,) = (Facts(problem(run, ())).best_comparator,)

    def limit(loss: float, distance: float) -> float:
        return (loss + distance / (2 * eta)) / (1 - eta * m)

    def loss(u: np.ndarray) -> float:
        return float(np.sum((1 - np.sum(u * s, -1)) ** 2) / 2)

    moves = 2 * np.sqrt(6 * 1.5**2) * 0.125
    assert numbers(run, "Agnostic regret")[0] == pytest.approx(
        [np.sum(gaps**2) / 2, limit(loss(best), np.sum((1.25 - best) ** 2))], rel=1e-9
    )
    assert numbers(run, "Tracking a moving comparator")[0] == pytest.approx(
        [np.sum(gaps**2) / 2, limit(loss(path), np.sum((1.25 - path[0]) ** 2) + moves)], rel=1e-9
    )


def test_stability_in_numpy() -> None:
    stream = with_gates(stream_of(), np.random.default_rng(6), forget="random")
    rule = CalibrationRule(eta=0.5, forgetting="token", anchor="initial")
    run = osdn(stream, rule, initial_preconditioner=np.full(6, 1.25))
    case = problem(run, ())
    second = forgetting._float_run_from(case, forgetting.other_start(case))
    first = np.concatenate([run.preconditioner, run.final_preconditioner[None]])
    apart = np.sum((first - second.path) ** 2, -1)
    found = numbers(run, "Stability under forgetting")
    assert found[:, 0] == pytest.approx(apart[1:], rel=1e-6)
    assert found[:, 1] == pytest.approx(apart[0] * np.cumprod(np.asarray(stream.forget_gate) ** 2), rel=1e-9)


def test_the_bias_of_a_constant_key_in_numpy() -> None:
    rule = CalibrationRule(eta=0.5, forgetting=0.75, anchor=0.5, d_min=-np.inf, d_max=np.inf)
    run = osdn(stream_of("constant"), rule)
    s = run.stream.squared_keys[0]
    pull = 0.5 * np.sum(s**2)
    limit = (0.25 * 0.5 * s.sum() + pull) / (0.25 + pull)
    rest = (0.75 - pull) ** np.arange(24) * (run.alignment[0] - limit)
    assert numbers(run, "Bias for a constant key") == pytest.approx(
        np.stack([run.alignment - limit, rest], -1), rel=1e-6, abs=1e-9
    )


def test_one_write_in_numpy() -> None:
    run = random_run()
    run = osdn(run.stream, FAST, initial_preconditioner=np.full(6, 1.25), return_states=True)
    stream, solution = run.stream, np.asarray(run.stream.solution)
    before = np.concatenate([0 * run.states[:1], run.states[:-1]])  # type: ignore[index]
    after, d = np.asarray(run.states), run.preconditioner

    def missed(states: np.ndarray) -> np.ndarray:
        return np.sum((np.einsum("tvk,tk->tv", states, stream.keys) - stream.values) ** 2, -1)

    def energy(states: np.ndarray, by: np.ndarray) -> np.ndarray:
        return np.sum((states - solution) ** 2 / by[:, None, :], (-2, -1))

    beta, a = np.asarray(stream.beta), run.alignment
    assert numbers(run, "Residual identity") == pytest.approx(
        np.stack([missed(after), (1 - beta * a) ** 2 * missed(before)], -1), rel=1e-6, abs=1e-20
    )
    drop = beta * (2 - beta * a) * missed(before)
    assert numbers(run, "Lyapunov identity") == pytest.approx(
        np.stack([energy(after, d), energy(before, d) - drop], -1), rel=1e-9
    )
    ratio = np.max(d[:-1] / d[1:], -1)
    assert numbers(run, "Cost of the moving metric") == pytest.approx(
        np.stack([energy(after[:-1], d[1:]), ratio * energy(after[:-1], d[:-1])], -1), rel=1e-9
    )


@pytest.mark.parametrize("kind", ["token", "feature"])
def test_a_gated_write_in_numpy(kind: Any) -> None:
    stream = with_gates(stream_of(beta="random"), np.random.default_rng(5), state=kind)
    run = (gated_delta_net if kind == "token" else kda)(stream, FAST, return_states=True)
    states, gate = np.asarray(run.states), np.asarray(stream.state_gate)
    decayed = np.concatenate([0 * states[:1], states[:-1]])
    decayed = decayed * (gate[:, None, None] if kind == "token" else gate[:, None, :])
    loss = np.sum((np.einsum("tvk,tk->tv", decayed, stream.keys) - stream.values) ** 2, -1)
    ratio = (1 - np.asarray(stream.beta) * run.alignment) ** 2
    assert numbers(run, "Residual identity, gated state")[:, 1] == pytest.approx(ratio * loss, rel=1e-9)


def test_the_mean_step_in_numpy() -> None:
    rule = CalibrationRule(eta=0.5, forgetting=0.75, anchor=0.5, d_min=-np.inf, d_max=np.inf)
    stream = isotropic(np.random.default_rng(0), length=40, key_dim=5, value_dim=2)
    start = np.array([1.0, 1.25, 0.75, 1.5, 1.0])
    run = osdn(stream, rule, initial_preconditioner=start)
    drawn = np.linspace(0, 39, 16).astype(int)
    assert calibration_time.drawn_tokens(problem(run, ())) == drawn.tolist()
    s = stream.squared_keys[drawn]
    moments = s.T @ s / 16
    u = np.linalg.solve(0.25 * np.eye(5) + 0.5 * moments, 0.25 * 0.5 + 0.5 * s.mean(0))
    rhs = (0.75 * np.eye(5) - 0.5 * moments) @ (start - u)
    found = numbers(run, "Mean calibration step")
    assert found == pytest.approx(np.concatenate([np.stack([rhs] * 2, -1), np.stack([u] * 2, -1)]), rel=1e-9)
    last = np.array(stream.keys)
    last[-1] *= 64
    clipping = CalibrationRule(eta=0.5, d_min=0.5, d_max=2.0)
    check = one(checked(replace(stream, keys=last), clipping, "T19"), "T19")
    assert check.reason == "needs the box inactive; the step with token 40 clips"


@pytest.mark.parametrize("token", range(24))
def test_identities_wrong_at_one_token_are_caught(token: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever token it is: samples alone would miss most of them."""
    run = random_run()
    whole = LocalStep.alignment.func

    def wrong(step: LocalStep) -> Any:
        return whole(step) + (step.token == token)

    monkeypatch.setattr(LocalStep, "alignment", property(wrong))
    found = check_bounds(run, ["T3", "T16"])
    assert one(found, "T3").outcome == one(found, "T16", "identity").outcome == "violated"
    gated = gated_delta_net(with_gates(run.stream, np.random.default_rng(0), state="token"), FAST)
    assert one(check_bounds(gated, ["T17"]), "T17").outcome == "violated"


@pytest.mark.parametrize("row", range(3))
def test_losses_count_every_value_row(row: int) -> None:
    """One write from zero, of one row alone."""
    values = np.zeros((1, 3))
    values[0, row] = 2.0
    run = osdn(Stream(keys=np.ones((1, 1)), values=values), FAST, initial_preconditioner=0.5)
    assert numbers(run, "Residual identity").tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("coordinate", range(6))
def test_the_mean_step_wrong_in_one_coordinate_is_caught(
    coordinate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = osdn(stream_of("isotropic"), FAST, initial_preconditioner=np.full(6, 1.25))
    whole = calibration_time._linear_part

    def wrong(*given: Any) -> Any:
        return [value + (i == coordinate) for i, value in enumerate(whole(*given))]

    assert one(check_bounds(run, ["T19"]), "T19").outcome == "holds"
    monkeypatch.setattr(calibration_time, "_linear_part", wrong)
    assert one(check_bounds(run, ["T19"]), "T19").outcome == "violated"


def test_as_many_gains_are_exact_as_there_were_sweeps() -> None:
    run = osdn(stream_of(length=8), FAST)
    lengths = [window.length for window in Facts(problem(run, ())).windows]
    assert len(sides(run, "First gains exact")) == sum(min(SWEEPS, length) for length in lengths)


def test_long_streams_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    case = problem(random_run(), ())
    assert [step.token for step in local_steps(case)] == list(range(24))
    monkeypatch.setattr(local_step, "WHOLE", 24 * 6 * 3 - 1)
    assert [step.token for step in local_steps(case)] == [0, 4, 9, 13, 18, 23]


@pytest.mark.parametrize("at", [(0, 5), (23, 0), (24, 5)])
def test_an_iterate_that_leaves_1_is_seen_wherever_it_does(
    at: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from osdn_theory.bounds import checking
    from osdn_theory.bounds.runs.enclosed import FloatRun

    run = osdn(stream_of("isotropic"), CalibrationRule(eta=0.5))
    path = np.ones((25, 6))
    path[at] += 2.0**-52
    moved = replace(run, preconditioner=path[:-1], final_preconditioner=path[-1])
    monkeypatch.setattr(checking, "runs_for", lambda case: [FloatRun(case)])
    assert one(check_bounds(run, ["T15"]), "T15").outcome == "holds"
    assert one(check_bounds(moved, ["T15"]), "T15").outcome == "violated"


def test_the_fixed_point_is_compared_to_the_last_iterate() -> None:
    run = osdn(stream_of("isotropic"), CalibrationRule(eta=0.5))
    assert len(sides(run, "Identity fixed point")) == 25
