"""Where THEORY.md needs care: each statement's limits shown by an example that would break a looser reading."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from osdn_theory.bounds import check_bounds
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, CalibrationRule
from osdn_theory.recurrence.solve import delta_net, osdn
from osdn_theory.streams.exact_keys import unit_keys
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import isotropic

OPEN = CalibrationRule(eta=1.0, d_min=-np.inf, d_max=np.inf)


def unit_stream(keys: np.ndarray) -> Stream:
    return Stream(keys=keys, values=np.zeros((*keys.shape[:-1], 1)))


def test_t15_exactly_unit_keys_make_osdn_delta_net_to_the_bit() -> None:
    stream = isotropic(np.random.default_rng(0), length=500, key_dim=16, value_dim=8)
    assert np.array_equal(osdn(stream, BOUNDED).outputs, delta_net(stream).outputs)
    assert np.array_equal(osdn(stream, HISTORIC).outputs, delta_net(stream).outputs)


def test_t15_spanning_once_does_not_bring_d_back_to_one() -> None:
    """T15 says d_t -> 1 "if the s_t span". Spanning once is not enough: the excitation has to persist."""
    rng = np.random.default_rng(1)
    spanning = unit_keys(rng, (12, 6))
    assert np.linalg.matrix_rank(spanning**2) == 6
    rest = np.broadcast_to(spanning[:1], (20_000, 6))
    start = np.linspace(0.75, 1.25, 6)
    stuck = osdn(unit_stream(np.concatenate([spanning, rest])), OPEN, initial_preconditioner=start)
    assert abs(1 - stuck.alignment[-1]) < 1e-12  # the surrogate is solved ...
    assert np.max(np.abs(stuck.final_preconditioner - 1)) > 0.05  # ... and d is not 1


def test_t15_persistent_excitation_brings_d_back_to_one() -> None:
    keys = unit_keys(np.random.default_rng(2), (3000, 6))
    start = np.linspace(0.75, 1.25, 6)
    run = osdn(unit_stream(keys), OPEN, initial_preconditioner=start)
    assert np.max(np.abs(run.final_preconditioner - 1)) < 1e-9


def test_t15_needs_normalised_keys() -> None:
    keys = 1.25 * unit_keys(np.random.default_rng(3), (200, 6))
    run = osdn(unit_stream(keys), BOUNDED)
    assert np.max(np.abs(run.final_preconditioner - 1)) > 0.05


def test_t16_a_write_can_expand_the_plain_frobenius_norm() -> None:
    """I - beta k (d * k)^T is not symmetric: 0 <= beta a <= 2, and yet ||E||_F grows."""
    key, d = np.array([0.5, 0.5]), np.array([3.0, 0.25])
    alignment = float(np.sum(d * key**2))
    assert 0 < alignment < 2
    error = np.array([[0.0, 1.0]])
    # Realisable with S* = 0: the state is the error.
    stream = Stream(keys=key[None], values=np.zeros((1, 1)), solution=np.zeros((1, 2)))
    rule = CalibrationRule(eta=0.0, d_min=0.0, d_max=10.0)
    run = osdn(stream, rule, initial_state=error, initial_preconditioner=d)
    assert np.linalg.norm(run.final_state) > 1.2 * np.linalg.norm(error)
    (identity,) = [c for c in check_bounds(run, ["T16"]) if "identity" in c.title]
    assert identity.outcome == "holds"  # while the weighted norm contracts
    assert identity.lhs is not None
    assert identity.lhs < float(np.sum(error**2 / d))


def test_t13_two_runs_forget_their_start_only_if_they_share_the_anchor() -> None:
    """With c = d_1 the anchor moves along with the start, and the two runs stay apart."""
    stream = isotropic(np.random.default_rng(4), length=2000, key_dim=16, value_dim=2)
    starts = np.ones(16), np.linspace(0.7, 1.3, 16)
    shared = replace(OPEN, eta=0.125, forgetting=0.9375, anchor=1.0)
    own = replace(shared, anchor="initial")

    def apart(rule: CalibrationRule) -> float:
        first, second = (osdn(stream, rule, initial_preconditioner=d).final_preconditioner for d in starts)
        return float(np.linalg.norm(first - second))

    assert apart(shared) < 1e-13
    assert apart(own) > 0.3


def test_d_is_not_always_positive_without_a_lower_clip() -> None:
    """The notation says d_t > 0; the historic box starts at 0 and an open box does not even stop there."""
    keys = np.array([[2.0, 0.0], [0.0, 1.0]])
    stream = unit_stream(keys)
    assert osdn(stream, HISTORIC).final_preconditioner[0] == 0
    assert osdn(stream, OPEN).final_preconditioner[0] < 0
    reasons = [c.reason for c in check_bounds(osdn(stream, HISTORIC), ["T16"])]
    assert all("needs d > 0" in reason for reason in reasons)


def test_float64_normalisation_is_not_exact_normalisation() -> None:
    """T5 and T15 ask for exact equality; keys normalised in float64 meet it only to rounding."""
    stream = isotropic(np.random.default_rng(5), length=64, key_dim=16, value_dim=2, exact=False)
    checks = check_bounds(osdn(stream, BOUNDED), ["T5", "T15", "T8"])
    outcomes = {c.theorem: c.outcome for c in checks}
    assert outcomes == {"T5": "not applicable", "T15": "not applicable", "T8": "holds"}
