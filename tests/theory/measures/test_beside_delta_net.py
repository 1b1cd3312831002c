"""OSDN beside DeltaNet and beside exact Newton, against the formulas of T22 and T24 to T27."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osdn_theory.measures.beside_delta_net import (
    GROWING,
    OPEN,
    blindness,
    captured_differences,
    difference_from_delta_net,
    fastest_corner,
    growth,
    recall_by_reads,
    speed_factor,
)
from osdn_theory.measures.least_squares import newton_distance, recursive_least_squares
from osdn_theory.measures.newton_approach import RIDGE, newton_approach
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC
from osdn_theory.recurrence.solve import delta_net, osdn
from osdn_theory.streams.exhibits import disjoint, growing, overlapping
from osdn_theory.streams.synthetic import interpolating


def test_recall_by_reads_is_the_formula_of_t22() -> None:
    shares = recall_by_reads((1, 3))
    for number, reads in enumerate((1, 3)):
        stream = disjoint(np.random.default_rng(0), reads=(reads,) * 4)
        keys, first = np.unique(stream.keys, axis=0, return_index=True)
        sizes = np.sum(stream.values[first] ** 2, axis=-1)
        left = sizes * (1 - np.sum(keys**2, axis=-1)) ** (2 * reads)
        assert shares["delta_net"][number] == pytest.approx(left.sum() / sizes.sum(), rel=1e-9)
        left *= (1 - OPEN.eta * np.sum(keys**4, axis=-1)) ** (reads * (reads - 1))
        assert shares["osdn"][number] == pytest.approx(left.sum() / sizes.sum(), rel=1e-9)


def test_blindness_leaves_osdn_where_delta_net_is() -> None:
    shares = blindness()
    assert shares["osdn"] == shares["delta_net"] > 1
    assert shares["static"] == 0


def test_no_diagonal_in_the_box_is_faster_than_the_limit_and_a_corner_comes_close() -> None:
    gains = fastest_corner((0.1, 0.01))
    assert gains[0] < gains[1] < 2
    assert gains[1] == pytest.approx(2, abs=1e-3)
    rng = np.random.default_rng(0)
    for _ in range(200):
        keys = rng.standard_normal((6, 3))
        keys /= np.linalg.norm(keys, axis=1, keepdims=True)
        assert speed_factor(keys, rng.uniform(2 / 3, 1.5, 3)) <= 2
    assert speed_factor(keys, np.ones(3)) == pytest.approx(1)


@pytest.mark.parametrize("beta", [1.0, 0.5, -0.5])
def test_difference_from_delta_net_is_exact_for_one_token(beta: float) -> None:
    stream = interpolating(np.random.default_rng(1), length=1, key_dim=6, value_dim=3, lead=(2,))
    stream = replace(stream, beta=beta)
    run = osdn(stream, HISTORIC, initial_preconditioner=np.full(6, 1.5))
    apart, limit = difference_from_delta_net(run)
    assert apart == pytest.approx(limit, rel=1e-12)
    plain = delta_net(stream).final_state
    expected = np.linalg.norm(run.final_state - plain, axis=(-2, -1)) / np.linalg.norm(plain, axis=(-2, -1))
    assert apart == pytest.approx(expected, rel=1e-12)


def test_delta_net_writes_with_ones_where_the_stream_has_its_own_start() -> None:
    """A frozen d_1 of 3/2 is far from DeltaNet, though it is the same at every token (T26)."""
    stream = interpolating(np.random.default_rng(1), length=1, key_dim=6, value_dim=3, lead=(2,))
    own = replace(stream, initial_preconditioner=np.full(6, 1.5))
    apart, limit = difference_from_delta_net(osdn(own, HISTORIC))
    assert apart == pytest.approx([0.5, 0.5], rel=1e-12)
    assert limit == pytest.approx([0.5, 0.5], rel=1e-12)


def test_captured_heads_stay_below_their_bound() -> None:
    pairs = captured_differences()
    assert len(pairs) == 5
    for apart, limit in pairs.values():
        assert apart.shape == limit.shape == (36,)
        assert np.all((apart > 0) & (apart < limit))


def test_growth_is_geometric() -> None:
    first = osdn(growing(length=1), GROWING).final_state - np.eye(2)
    assert growth(1) == pytest.approx([np.log10(np.linalg.norm(first) / np.linalg.norm(np.eye(2)))])
    found = growth(2000)
    assert found[-1] > 7
    assert found[1999] - found[999] == pytest.approx(found[999], rel=0.05)


def test_newton_approach_is_the_distance_of_each_prefix() -> None:
    data = newton_approach(3, conditions=(1.0, 30.0), tokens=(8, 40), key_dim=6, seeds=2)
    assert data.distances["osdn"].shape == (2, 2)
    sizes = {"lead": (2,), "length": 40, "key_dim": 6, "value_dim": 8}
    stream = interpolating(np.random.default_rng([3, 1]), condition=30.0, **sizes)  # type: ignore[arg-type]
    for name, rule in (("osdn", HISTORIC), ("osdn_bounded", BOUNDED)):
        run = osdn(stream, rule, return_states=True)
        expected = np.median(newton_distance(run, ridge=RIDGE, positions=(8, 40)), axis=0)
        assert data.distances[name][1] == pytest.approx(expected, rel=1e-6)
    newton = recursive_least_squares(stream, ridge=RIDGE).final_state
    assert newton == pytest.approx(np.asarray(stream.solution), rel=1e-6)  # RIDGE is not felt
    assert np.all(data.distances["delta_net"][1] > data.distances["delta_net"][0])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"tokens": ()}, "tokens"),
        ({"seeds": 0}, "seeds"),
        ({"conditions": (0.5,)}, "condition"),
        ({"key_dim": 4}, "K >= 5|key_dim"),
    ],
)
def test_bad_sizes_are_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        newton_approach(**wrong)  # type: ignore[arg-type]


def test_exhibits_refuse_what_they_cannot_be() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="reads"):
        disjoint(rng, reads=(1, 0))
    assert np.all(np.sum(overlapping(rng).keys ** 2, axis=-1) == 1)
    assert np.allclose(np.sum(growing(length=4).keys ** 2, axis=-1), 1, rtol=0, atol=1e-15)
