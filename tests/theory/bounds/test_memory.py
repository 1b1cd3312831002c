"""T25, T26 and T27: where they are attained, and that a wrong constant, index or missing hypothesis is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from support.bound_cases import FAST, checked, one, outcome, stream_of, unguarded

from osdn_theory.bounds import check_bounds, runs
from osdn_theory.bounds.numbers import Balls
from osdn_theory.bounds.statements import gated, memory
from osdn_theory.recurrence.rules import BOUNDED, FROZEN, CalibrationRule
from osdn_theory.recurrence.solve import delta_net, gated_delta_net, kda, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.exhibits import growing
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.transforms import with_gates

SPEED, NEAR, GROWTH = "Speed limit of the box", "Near DeltaNet", "Growth of the error"
GATED = "Growth of a difference, gated state"
PLAIN_NORM = "Gates that contract the plain norm"
OF_GATED = (GATED, PLAIN_NORM)
OPEN = CalibrationRule(eta=0.0, d_min=-np.inf, d_max=np.inf)


def still(
    keys: np.ndarray, d: list[float], box: tuple[float, float], beta: np.ndarray | float = 1.0
) -> Trajectory:
    """A static d in a box."""
    rule = CalibrationRule(eta=0.0, d_min=box[0], d_max=box[1])
    stream = Stream(keys=keys, values=np.ones((len(keys), 1)), beta=beta)
    return osdn(stream, rule, initial_preconditioner=np.array(d))


def fast_corner() -> Trajectory:
    """Unit keys that are nearly all in one direction: d = (h, l) comes close to h (2 - l)."""
    keys = np.array([[1 / 64, 1.0], [-1 / 64, 1.0]])
    keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    return still(keys, [1.5, 2 / 3], (2 / 3, 1.5))


def one_feature(sizes: list[float]) -> Trajectory:
    """A box of one point on one feature: the limit is attained where one token decides."""
    return still(np.sqrt(sizes)[:, None], [0.5], (0.5, 0.5))


def aligned(length: int = 3) -> Trajectory:
    """Short keys on one feature and residuals of one sign: the differences of the writes add up."""
    stream = Stream(keys=np.full((length, 1), 0.0625), values=np.ones((length, 1)))
    return osdn(stream, OPEN, initial_preconditioner=np.full(1, 1.5))


def idle(length: int = 5) -> Trajectory:
    """Nothing is written and d falls towards its anchor: the metric alone changes."""
    stream = Stream(
        keys=np.ones((length, 1)), values=np.ones((length, 1)), solution=np.ones((1, 1)), beta=0.0,
    )  # fmt: skip
    rule = CalibrationRule(eta=2.0**-20, d_min=0.25, d_max=4.0, forgetting=0.5, anchor=0.5)
    return osdn(stream, rule, initial_preconditioner=np.full(1, 2.0))


def test_mean_energy_that_leaves_out_a_token_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    run = osdn(stream_of(beta="random"), FAST)
    assert outcome(run, "T25", "Mean") == "holds"
    whole = memory.mean_loss
    for left_out in (0, 9, 15):
        monkeypatch.setattr(
            memory,
            "mean_loss",
            lambda step, tokens, out=left_out: whole(step, tokens[:out] + tokens[out + 1 :]),
        )
        assert outcome(run, "T25", "Mean") == "violated", left_out


def test_mean_energy_in_numpy() -> None:
    """The form W_d against one pass over the tokens, from the state and d of the first token."""
    stream = stream_of(length=16, beta="random")
    run = osdn(stream, FAST)
    found = one(check_bounds(run, ["T25"]), "T25", "Mean")
    d, error = run.preconditioner[0], -np.asarray(stream.solution)
    after = [
        np.sum((error - b * np.outer(error @ k, d * k)) ** 2 / d)
        for k, b in zip(stream.keys, np.asarray(stream.beta), strict=True)
    ]
    assert "token 1 shown" in found.scope
    assert found.lhs == pytest.approx(np.mean(after), rel=1e-12)


def test_the_speed_limit_is_two_in_the_bounded_box_and_nearly_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = one(check_bounds(fast_corner(), ["T25"]), "T25", "Speed")
    assert found.outcome == "holds"
    plain = one(check_bounds(osdn(fast_corner().stream, BOUNDED), ["T25"]), "T25", "Speed")
    assert found.lhs is not None
    assert plain.lhs is not None
    assert found.lhs / plain.lhs == pytest.approx(1.9992, abs=1e-3)
    whole = memory.speed_limit
    monkeypatch.setattr(memory, "speed_limit", lambda e: whole(e) * 999 / 1000)
    assert outcome(fast_corner(), "T25", "Speed") == "violated"


@pytest.mark.parametrize("token", range(3))
def test_a_speed_limit_that_leaves_out_a_token_is_caught(token: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [1.5 if t == token else 2.0**-10 for t in range(3)]
    assert outcome(one_feature(sizes), "T25", "Speed") == "holds"
    whole = memory.write_sizes
    monkeypatch.setattr(memory, "write_sizes", lambda e: [n for t, n in enumerate(whole(e)) if t != token])
    assert outcome(one_feature(sizes), "T25", "Speed") == "violated"


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda: one_feature([0.5, 0.5, 2.0]), "needs 0 <= beta ||k||^2 < 2, got 2 at token 3"),
        (
            lambda: still(np.ones((2, 1)) / 2, [1.0], (0.5, 1.5), np.array([1.0, -1.0])),
            "got -0.25 at token 2",
        ),
        (lambda: still(np.ones((2, 1)), [1.0], (-0.5, 1.5)), "needs d_min >= 0"),
        (lambda: still(np.ones((2, 1)), [1.0], (0.5, np.inf)), "bounded box"),
        (
            lambda: still(np.full((3, 2), 0.5), [1.0, 1.0], (0.5, 1.5)),
            "needs keys that span, got rank 1 of 2",
        ),
        (lambda: still(2.0**-17 * np.eye(2), [1.0, 1.0], (0.5, 1.5)), "(h - l) of 2^-32 or more"),
        (lambda: still(np.eye(2), [1.0, 1.0], (1.0 - 2.0**-40, 1.0)), "(h - l) of 2^-32 or more"),
    ],
)
def test_what_the_speed_limit_asks_for(run: Callable[[], Trajectory], reason: str) -> None:
    assert reason in one(check_bounds(run(), ["T25"]), "T25", "Speed").reason


def test_the_speed_limit_without_its_hypothesis_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key beyond 2 turns the form of DeltaNet negative, where d = 1/2 keeps it positive."""
    run = one_feature([3.0])
    assert outcome(run, "T25", "Speed") == "not applicable"
    unguarded(monkeypatch, SPEED, "stable_writes")
    monkeypatch.setattr(memory, "speed_limit", lambda e: memory.EXACT.of(2.5))
    assert outcome(run, "T25") == "violated"


def test_the_difference_from_delta_net_is_that_of_the_solvers(monkeypatch: pytest.MonkeyPatch) -> None:
    run = osdn(stream_of(), FAST)
    found = one(check_bounds(run, ["T26"]), "T26")
    assert found.lhs == pytest.approx(
        np.linalg.norm(run.final_state - delta_net(run.stream).final_state) ** 2, rel=1e-12
    )
    k, r = run.stream.keys, run.residuals
    terms = np.linalg.norm(r, axis=-1) * np.linalg.norm((run.preconditioner - 1) * k, axis=-1)
    assert found.rhs == pytest.approx(float(terms.sum()) ** 2, rel=1e-12)


def test_the_memory_starts_where_the_run_does() -> None:
    run = osdn(
        stream_of(length=1), FAST, initial_state=np.ones((3, 6)), initial_preconditioner=np.full(6, 1.1)
    )
    plain = delta_net(run.stream, initial_state=np.ones((3, 6)))
    found = one(check_bounds(run, ["T26"]), "T26")
    assert found.lhs == pytest.approx(np.linalg.norm(run.final_state - plain.final_state) ** 2, rel=1e-12)


def test_a_smaller_difference_limit_is_caught_where_it_is_attained(monkeypatch: pytest.MonkeyPatch) -> None:
    single = one(checked(stream_of(length=1), FAST, "T26", initial_preconditioner=np.full(6, 1.1)), "T26")
    assert (single.outcome, single.log10_slack) == ("holds", 0.0)
    whole = memory.difference_limit
    for token in range(3):
        monkeypatch.setattr(memory, "difference_limit", whole)
        assert outcome(aligned(), "T26") == "holds"
        monkeypatch.setattr(
            memory, "difference_limit", lambda steps, t=token: whole(steps[:t] + steps[t + 1 :])
        )
        assert outcome(aligned(), "T26") == "violated", token
    monkeypatch.setattr(memory, "difference_limit", lambda steps: whole(steps) * 99 / 100)
    assert outcome(aligned(), "T26") == "violated"


def test_writes_that_expand_are_told_and_without_the_hypothesis_violate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = np.array([[1.0], [1.0], [2.0]])
    stream = Stream(keys=keys, values=np.array([[1.0], [1.0], [0.0]]))
    run = osdn(stream, OPEN, initial_preconditioner=np.full(1, 0.5))
    assert "got 4 at token 3" in one(check_bounds(run, ["T26"]), "T26").reason
    negative = osdn(Stream(keys=keys / 2, values=keys, beta=np.array([1.0, 1.0, -1.0])), OPEN)
    assert "got -1 at token 3" in one(check_bounds(negative, ["T26"]), "T26").reason
    grown = osdn(
        Stream(keys=np.full((6, 1), 2.0), values=np.eye(6, 1)), OPEN, initial_preconditioner=np.full(1, 0.375)
    )
    unguarded(monkeypatch, NEAR, "contracting_writes")
    assert outcome(grown, "T26") == "violated"


def test_gated_states_are_left_out() -> None:
    stream = with_gates(stream_of(), np.random.default_rng(0), state="token")
    checks = check_bounds(gated_delta_net(stream, FAST), ["T25", "T26", "T27"])
    assert {c.reason for c in checks if c.title not in OF_GATED} == {"the state is gated: see T17"}
    for title in OF_GATED:
        told = one(check_bounds(osdn(stream_of(), FAST), ["T27"]), "T27", title)
        assert told.reason == "the recurrence has no state gate"


def faded(length: int = 4, gate: object = 0.5, beta: float = 0.0) -> Trajectory:
    """On one feature, without writes, a gate is all that happens to a difference."""
    ones = np.ones((length, 1))
    stream = Stream(keys=ones, values=ones, beta=beta, state_gate=np.broadcast_to(gate, length))
    return gated_delta_net(stream, CalibrationRule(eta=2.0**-20), initial_preconditioner=np.ones(1))


@pytest.mark.parametrize("token", range(4))
def test_a_gate_left_out_of_the_growth_is_caught(token: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = one(check_bounds(faded(), ["T27"]), "T27", GATED)
    assert (found.outcome, found.lhs, found.rhs) == ("holds", 2.0**-8, 2.0**-8)
    whole = gated.gate_growth
    monkeypatch.setattr(
        gated, "gate_growth", lambda field, a: whole(field, a) * whole(field, a[token : token + 1])
    )
    assert outcome(faded(), "T27", GATED) == "violated"


@pytest.mark.parametrize("token", range(4))
def test_a_move_of_the_metric_left_out_of_gated_growth_is_caught(
    token: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = replace(idle().stream, state_gate=np.full(5, 0.5))
    run = gated_delta_net(stream, idle().rule, initial_preconditioner=np.full(1, 2.0))
    found = one(check_bounds(run, ["T27"]), "T27", GATED)
    assert found.outcome == "holds"
    assert found.log10_slack == pytest.approx(0, abs=1e-9)
    whole = gated.metric_growth
    monkeypatch.setattr(
        gated,
        "metric_growth",
        lambda field, path: whole(field, path[: token + 1]) * whole(field, path[token + 1 :]),
    )
    assert outcome(run, "T27", GATED) == "violated"


def test_the_difference_of_two_gated_memories_is_that_of_the_solver() -> None:
    for gate, solver in (("token", gated_delta_net), ("feature", kda)):
        stream = with_gates(stream_of(value_dim=6), np.random.default_rng(0), state=gate)
        first, second = (solver(stream, FAST, initial_state=start) for start in (np.zeros((6, 6)), np.eye(6)))
        found = one(check_bounds(first, ["T27"]), "T27", GATED)
        apart = (second.final_state - first.final_state) ** 2 / first.preconditioner[-1]
        assert found.outcome == "holds"
        assert found.lhs == pytest.approx(float(apart.sum()), rel=1e-9)


def test_gated_growth_asks_for_stable_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    wild = faded(gate=1.0, beta=3.0)
    assert "needs 0 <= beta a <= 2, got 3 at token 1" in one(check_bounds(wild, ["T27"]), "T27", GATED).reason
    unguarded(monkeypatch, GATED, "stable_alignment")
    assert outcome(wild, "T27") == "violated"


def test_errors_grow_without_forgetting_where_keys_are_not_unit() -> None:
    """T27's other counterexample: plain OSDN at eta = 1, three keys in turn, 35/32 a period."""
    keys = np.array([[1.0, 0.0], [1.25, 0.75], [1.5, 0.75]])[np.arange(300) % 3]
    stream = Stream(keys=keys, values=np.zeros((300, 1)), solution=np.zeros((1, 2)))
    run = osdn(
        stream, CalibrationRule(eta=1.0), initial_state=np.array([[0.0, 1.0]]), initial_preconditioner=2 / 3
    )
    assert 0 < run.alignment.min() < run.alignment.max() < 2
    assert run.final_state == pytest.approx(np.array([[0.0, (35 / 32) ** 100]]), rel=1e-9)
    assert {c.outcome for c in check_bounds(run, ["T16"])} == {"holds"}


def test_a_gate_of_the_box_s_ratio_contracts_the_plain_norm_and_a_larger_one_need_not() -> None:
    """beta a = 2 reflects; in the box [l, h] that expands a row by sqrt(h / l), which a gate of sqrt(l / h) undoes."""
    low, high = 2 / 3, 3 / 2
    d = np.array([high, low])
    key = 1 / np.sqrt(2 * d)
    step = np.eye(2) - 2 * np.outer(key, d * key)
    assert np.linalg.norm(step, 2) == pytest.approx(np.sqrt(high / low), rel=1e-12)
    assert np.sqrt(low / high) * np.linalg.norm(step, 2) <= 1 + 1e-12


def test_growth_is_attained_where_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    found = one(check_bounds(idle(), ["T27"]), "T27", GROWTH)
    assert found.outcome == "holds"
    assert found.log10_slack == pytest.approx(0, abs=1e-9)
    whole = memory.metric_growth
    for token in range(4):
        monkeypatch.setattr(
            memory,
            "metric_growth",
            lambda field, path, t=token: whole(field, path[: t + 1]) * whole(field, path[t + 1 :]),
        )
        assert outcome(idle(), "T27", GROWTH) == "violated", token


def test_an_unstable_write_is_told_and_without_the_hypothesis_violates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = np.array([[1.0], [1.0], [2.0]])
    stream = Stream(keys=keys, values=keys, solution=np.ones((1, 1)), beta=np.array([0.5, 0.5, 1.0]))
    run = osdn(stream, OPEN, initial_preconditioner=np.full(1, 1.0))
    assert "needs 0 <= beta a <= 2, got 4 at token 3" in one(check_bounds(run, ["T27"]), "T27", GROWTH).reason
    unguarded(monkeypatch, GROWTH, "stable_alignment")
    wild = osdn(
        Stream(keys=np.full((1, 1), 2.0), values=np.full((1, 1), 2.0), solution=np.ones((1, 1))), OPEN
    )
    assert outcome(wild, "T27") == "violated"


def test_errors_grow_geometrically_although_every_write_contracts() -> None:
    """T27's counterexample: unit keys, 0 <= a <= 2, d in the box [2/3, 3/2], T16 at every step."""
    rule = CalibrationRule(eta=1.9, forgetting=1 / 64, anchor="initial")
    norms = []
    for length in (500, 1000, 2000):
        run = osdn(growing(length=length), rule)
        assert run.alignment.min() > 0
        assert run.alignment.max() < 2
        norms.append(float(np.log(np.linalg.norm(run.final_state - np.eye(2)))))
    assert (norms[2] - norms[1]) / 1000 == pytest.approx(norms[1] / 1000, rel=0.1)
    assert norms[2] > 18
    assert {c.outcome for c in check_bounds(run, ["T16", "T27"]) if c.title not in OF_GATED} == {"holds"}


def test_the_last_token_of_a_long_stream_counts() -> None:
    """A write beyond 2 at the end makes T26 and T27 not applicable; what it does to the states is in both sides."""
    stream = stream_of(length=100)
    for theorem, title in (("T26", NEAR), ("T27", GROWTH)):
        parts = (stream, stream.tokens(0, 99))
        whole, shorter = (one(checked(part, FAST, theorem), theorem, title) for part in parts)
        assert (whole.outcome, whole.scope) == ("holds", "whole trajectory")
        assert (whole.lhs, whole.rhs) != (shorter.lhs, shorter.rhs)
        wild = replace(stream, beta=np.append(np.ones(99), 4.0))
        assert "at token 100" in one(checked(wild, FAST, theorem), theorem, title).reason


def test_a_prefix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs.states, "WHOLE", 20**2 * 6 * 6)
    checks = checked(stream_of(length=21), FAST, "T26", "T27")
    assert {c.scope for c in checks if c.title not in OF_GATED} == {"tokens 1 to 20"}
    assert {c.scope for c in checked(stream_of(length=20), FAST, "T26", "T27")} == {"whole trajectory"}


def test_balls_are_finer_by_a_bit_for_each_token() -> None:
    assert runs.states.widened(Balls(128), 10) == Balls(138)
    assert runs.states.widened(memory.EXACT, 10) == memory.EXACT


def test_a_form_that_is_too_wide_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_WIDEST", 1)
    found = one(check_bounds(fast_corner(), ["T25"]), "T25", "Speed")
    assert (found.outcome, found.reason) == ("not applicable", "takes too long for K > 1, got K = 2")


def reflected(gate: float, length: int = 1) -> Trajectory:
    """The write of the test above, in the solver: beta a = 2 with d at both ends of the box, frozen."""
    key = 1 / np.sqrt(2 * np.array([3 / 2, 2 / 3]))
    keys = np.broadcast_to(key, (length, 2))
    stream = Stream(keys=keys, values=np.zeros((length, 1)), beta=1.9999, state_gate=np.full(length, gate))
    return gated_delta_net(stream, FROZEN, initial_preconditioner=np.array([3 / 2, 2 / 3]))


def test_gates_below_the_ratio_of_d_contract_the_plain_norm() -> None:
    found = one(check_bounds(reflected(0.66, 5), ["T27"]), "T27", PLAIN_NORM)
    assert (found.outcome, found.rhs) == ("holds", 2.0)
    # 1/2 ||alpha (I - beta k (d k)^T)||^2 of one write.
    (single,) = (one(check_bounds(reflected(0.66), ["T27"]), "T27", PLAIN_NORM),)
    key = reflected(0.66).stream.keys[0]
    step = 0.66 * (np.eye(2) - 1.9999 * np.outer(key, np.array([3 / 2, 2 / 3]) * key))
    assert single.lhs == pytest.approx(np.sum(step**2), rel=1e-12)


def test_a_gate_above_the_ratio_is_refused_and_the_norm_may_then_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for gate, told in ((1.0, "1"), (0.7, "0.49")):
        refused = one(check_bounds(reflected(gate), ["T27"]), "T27", PLAIN_NORM)
        assert refused.reason == f"needs alpha^2 <= min d / max d, got {told} > 0.444444 at token 1"
    unguarded(monkeypatch, PLAIN_NORM, "gates_within_metric")
    grown = one(check_bounds(reflected(1.0), ["T27"]), "T27", PLAIN_NORM)
    assert grown.outcome == "violated"


@pytest.mark.parametrize(("token", "feature"), [(0, 0), (1, 1), (2, 0), (2, 1)])
def test_one_gate_above_the_ratio_is_told_wherever_it_is(token: int, feature: int) -> None:
    gate = np.full((3, 2), 0.5)
    gate[token, feature] = 0.75
    stream = replace(reflected(0.5, 3).stream, state_gate=gate)
    run = kda(stream, FROZEN, initial_preconditioner=np.array([3 / 2, 2 / 3]))
    told = one(check_bounds(run, ["T27"]), "T27", PLAIN_NORM)
    assert told.reason.endswith(f"got 0.5625 > 0.444444 at token {token + 1}")


def test_a_norm_that_is_too_small_is_violated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without writes and with a gate of one nothing contracts: the norm is that of the start."""
    assert outcome(faded(gate=1.0), "T27", PLAIN_NORM) == "holds"
    monkeypatch.setattr(gated, "total", lambda terms: sum(terms) + 2.0**-20)
    assert outcome(faded(gate=1.0), "T27", PLAIN_NORM) == "violated"
