from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from osdn_theory.streams import synthetic
from osdn_theory.streams.exact_keys import dyadic_comparator

GENERATORS = {
    "isotropic": synthetic.isotropic,
    "isotropic/float": lambda rng, **kw: synthetic.isotropic(rng, exact=False, **kw),
    "constant_key": synthetic.constant_key,
    "interpolating": synthetic.interpolating,
    "ill_conditioned": synthetic.ill_conditioned,
    "orthogonal": synthetic.orthogonal,
    "orthogonal/random": lambda rng, **kw: synthetic.orthogonal(rng, scales="random", **kw),
    "non_stationary/drift": synthetic.non_stationary,
    "non_stationary/switch": lambda rng, **kw: synthetic.non_stationary(rng, mode="switch", **kw),
}
INTERPOLATING = [
    "isotropic",
    "constant_key",
    "interpolating",
    "orthogonal",
    "orthogonal/random",
    "non_stationary/drift",
    "non_stationary/switch",
]
EXACT_VALUES = [*INTERPOLATING, "ill_conditioned"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def exact_dot(first, second) -> Fraction:
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))


def interpolates_exactly(stream) -> bool:
    """<u_t, k_t * k_t> = 1 in rational arithmetic for every token of a stream without leading axes."""
    u = np.broadcast_to(stream.comparator, stream.keys.shape)
    return all(
        sum(Fraction(c) * Fraction(k) ** 2 for c, k in zip(row_u.tolist(), row_k.tolist(), strict=True)) == 1
        for row_u, row_k in zip(u, stream.keys, strict=True)
    )


def realised_exactly(stream) -> bool:
    """v_t = S* k_t in rational arithmetic for every token of a stream without leading axes."""
    return all(
        exact_dot(row, key) == Fraction(float(value))
        for key, values in zip(stream.keys, stream.values, strict=True)
        for row, value in zip(stream.solution, values, strict=True)
    )


sizes = st.fixed_dictionaries(
    {"length": st.integers(0, 7), "key_dim": st.integers(5, 12), "value_dim": st.integers(1, 4)}
)


@pytest.mark.parametrize("name", INTERPOLATING)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=sizes)
def test_the_comparator_interpolates_exactly(name, seed, size):
    stream = GENERATORS[name](rng(seed), lead=(2,), **size)
    assert stream.keys.shape == (2, size["length"], size["key_dim"])
    assert all(interpolates_exactly(stream.at((i,))) for i in range(2))


@pytest.mark.parametrize("name", EXACT_VALUES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=sizes)
def test_values_are_realised_exactly_without_noise(name, seed, size):
    stream = GENERATORS[name](rng(seed), **size)
    assert stream.values.shape == (size["length"], size["value_dim"])
    assert realised_exactly(stream)


def test_values_are_exact_at_large_sizes_too():
    stream = synthetic.isotropic(rng(1), length=6, key_dim=256, value_dim=8)
    assert realised_exactly(stream)


def test_one_ulp_on_a_key_breaks_both_properties():
    stream = synthetic.interpolating(rng(2), length=6, key_dim=8, value_dim=2)
    assert interpolates_exactly(stream)
    assert realised_exactly(stream)
    keys = stream.keys.copy()
    keys[3, 1] = np.nextafter(keys[3, 1], np.inf)
    object.__setattr__(stream, "keys", keys)
    assert not interpolates_exactly(stream)
    assert not realised_exactly(stream)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("length", [0, 1, 9])
def test_shapes_metadata_and_reproducibility(name, length):
    def make(seed):
        return GENERATORS[name](
            rng(seed), lead=(2, 1), length=length, key_dim=6, value_dim=3, beta="random", noise=0.5
        )

    stream, again, other = make(1), make(1), make(2)
    assert stream.keys.shape == stream.queries.shape == (2, 1, length, 6)
    assert stream.values.shape == (2, 1, length, 3)
    assert stream.solution.shape == (2, 1, 3, 6)
    assert stream.metadata["generator"] == name.split("/")[0]
    assert stream.metadata["noise"] == 0.5
    assert np.array_equal(stream.keys, again.keys)
    assert np.array_equal(stream.values, again.values)
    assert np.array_equal(stream.beta, again.beta)
    assert np.array_equal(stream.queries, again.queries)
    assert length == 0 or not np.array_equal(stream.values, other.values)


def test_noise_has_the_given_level_and_leaves_the_solution_known():
    stream = synthetic.isotropic(rng(), length=4000, key_dim=8, value_dim=4, noise=0.25)
    residual = stream.values - stream.keys @ stream.solution.T
    assert residual.std() == pytest.approx(0.25, rel=0.03)
    assert stream.metadata["noise"] == 0.25


def test_random_beta_fills_the_unit_interval_on_its_grid():
    beta = synthetic.isotropic(rng(), length=3000, key_dim=8, beta="random").beta
    assert np.array_equal(beta * 256, np.rint(beta * 256))
    assert (beta.min(), beta.max()) == (0.0, 1.0)
    assert beta.mean() == pytest.approx(0.5, abs=0.03)


def test_beta_arrays_broadcast():
    gate = np.linspace(0, 1, 5)
    stream = synthetic.isotropic(rng(), lead=(3,), length=5, key_dim=8, beta=gate)
    assert np.array_equal(stream.beta, np.broadcast_to(gate, (3, 5)))


def test_queries_are_unit_vectors_and_not_the_keys():
    stream = synthetic.isotropic(rng(), length=9, key_dim=8)
    assert np.allclose(np.linalg.norm(stream.queries, axis=-1), 1, rtol=1e-15)
    assert not np.allclose(stream.queries, stream.keys)


def test_float_keys_are_unit_only_up_to_rounding():
    stream = synthetic.isotropic(rng(), length=50, key_dim=3, exact=False)
    assert np.allclose(np.linalg.norm(stream.keys, axis=-1), 1, rtol=1e-15)
    assert not interpolates_exactly(stream)


def test_constant_key_repeats_one_key_per_leading_index():
    stream = synthetic.constant_key(rng(), lead=(2,), length=7, key_dim=8, noise=1.0)
    assert np.array_equal(stream.keys, np.repeat(stream.keys[:, :1], 7, axis=1))
    assert not np.array_equal(stream.keys[0], stream.keys[1])
    assert not np.array_equal(stream.values[:, 0], stream.values[:, 1])


def test_hidden_comparator_is_in_the_box_and_a_given_one_is_used():
    hidden = synthetic.interpolating(rng(), lead=(20,), length=2, key_dim=8).comparator
    assert hidden.min() >= 2 / 3
    assert hidden.max() <= 3 / 2
    assert not np.all(hidden == 1)
    given_u = dyadic_comparator(rng(4), (), 8, low=0.5, high=2.0, bits=2)
    stream = synthetic.interpolating(rng(), lead=(2,), length=3, comparator=given_u, key_dim=8)
    assert np.array_equal(stream.comparator[1], given_u)
    assert interpolates_exactly(stream.at((1,)))


def test_ill_conditioned_sample_gram_has_the_spectrum():
    stream = synthetic.ill_conditioned(
        rng(), lead=(2,), length=40, key_dim=7, condition=1e4, smallest=0.5, spectrum="sample"
    )
    gram = np.swapaxes(stream.keys, -1, -2) @ stream.keys
    expected = 0.5 * np.geomspace(1, 1e4, 7)
    assert np.allclose(np.linalg.eigvalsh(gram), expected, rtol=1e-2)
    assert not np.allclose(gram, gram * np.eye(7))


def test_ill_conditioned_expected_gram_has_the_spectrum():
    stream = synthetic.ill_conditioned(rng(), length=40_000, key_dim=4, condition=100.0, grid_bits=20)
    assert np.allclose(np.linalg.eigvalsh(stream.keys.T @ stream.keys), np.geomspace(1, 100, 4), rtol=0.06)


def test_ill_conditioned_sample_at_condition_one_is_tight():
    stream = synthetic.ill_conditioned(rng(), length=9, key_dim=9, condition=1.0, spectrum="sample")
    assert np.allclose(stream.keys.T @ stream.keys, np.eye(9), atol=1e-4)


def test_orthogonal_gram_is_exactly_diagonal_and_nonsingular_from_t_equal_k():
    for length in (6, 17):
        stream = synthetic.orthogonal(rng(), lead=(3,), length=length, key_dim=6)
        gram = np.swapaxes(stream.keys, -1, -2) @ stream.keys
        assert np.array_equal(gram, gram * np.eye(6))
        assert np.all(np.diagonal(gram, axis1=-2, axis2=-1) > 0)
    assert len({tuple(np.abs(keys[:6]).argmax(-1)) for keys in stream.keys}) > 1


@pytest.mark.parametrize("scales", ["geometric", "random"])
def test_orthogonal_scales_span_the_condition(scales):
    stream = synthetic.orthogonal(rng(), length=64, key_dim=32, scales=scales, condition=64.0)
    squared = stream.squared_keys[stream.squared_keys > 0]
    assert set(squared) == {1.0, 1 / 4, 1 / 16, 1 / 64}
    assert set(stream.comparator) == {1.0, 4.0, 16.0, 64.0}


def test_orthogonal_unit_and_given_scales():
    unit = synthetic.orthogonal(rng(), length=8, key_dim=3, scales="unit")
    assert np.array_equal(unit.comparator, np.ones(3))
    assert np.array_equal(np.unique(unit.keys), [-1.0, 0.0, 1.0])
    uneven = synthetic.orthogonal(rng(), length=8, key_dim=3, scales=np.array([1.0, 0.3, 2.0]))
    assert uneven.comparator is None
    assert np.array_equal(np.abs(uneven.keys).max(axis=0), [1.0, 0.3, 2.0])


@pytest.mark.parametrize("mode", ["drift", "switch"])
def test_the_moving_comparator_moves_inside_the_box(mode):
    stream = synthetic.non_stationary(rng(), lead=(4,), length=50, key_dim=8, mode=mode, segments=3)
    path = stream.comparator
    assert path.shape == stream.keys.shape
    assert path.min() >= 2 / 3
    assert path.max() <= 3 / 2
    by_hand = [sum(np.linalg.norm(b - a) for a, b in pairwise(p)) for p in path]
    assert np.allclose(stream.metadata["path_length"], by_hand, rtol=1e-14)
    assert np.all(stream.metadata["path_length"] > 0)
    changes = np.count_nonzero(np.any(np.diff(path, axis=-2) != 0, axis=-1), axis=-1)
    assert np.all(changes == 2) if mode == "switch" else np.all(changes > 5)


def test_a_single_switch_segment_does_not_move():
    stream = synthetic.non_stationary(rng(), length=9, key_dim=8, mode="switch", segments=1)
    assert stream.metadata["path_length"] == 0.0


def recall(**changes):
    parameters = {"lead": (2,), "key_dim": 8, "value_dim": 3, "pairs": 5, "queries": 7}
    return synthetic.associative_recall(rng(), **{**parameters, **changes})


def test_recall_asks_for_stored_pairs_and_answers_right():
    stream = recall(repeats=3, distractors=4, beta="random")
    meta = stream.metadata
    pair = meta["pair_index"]
    assert stream.length == 5 * 3 + 4 + 7
    assert meta["write_positions"].tolist() == list(range(15))
    assert meta["distractor_positions"].tolist() == list(range(15, 19))
    assert meta["query_positions"].tolist() == list(range(19, 26))
    assert np.array_equal(np.bincount(pair[meta["write_positions"]]), [3] * 5)
    assert np.all(pair[meta["distractor_positions"]] == -1)
    assert set(pair[meta["query_positions"]][:5]) == set(range(5))
    for position in [*meta["write_positions"], *meta["query_positions"]]:
        first = int(np.argmax(pair == pair[position]))
        assert np.array_equal(stream.keys[:, position], stream.keys[:, first])
        assert np.array_equal(stream.values[:, position], stream.values[:, first])
    assert np.all(stream.beta[:, meta["query_positions"]] == 0)
    assert np.any(stream.beta[:, meta["write_positions"]] > 0)
    assert len(np.unique(stream.keys[0], axis=0)) == 5 + 4
    assert np.array_equal(stream.queries, stream.keys)
    assert interpolates_exactly(stream.at((0,)))


def test_recall_noise_spares_the_answers():
    stream = recall(repeats=40, noise=0.5)
    pair, asked = stream.metadata["pair_index"], stream.metadata["query_positions"]
    for position in asked:
        written = np.flatnonzero(pair[:200] == pair[position])
        spread = stream.values[:, written] - stream.values[:, [position]]
        assert spread.std() == pytest.approx(0.5, rel=0.25)
        assert abs(spread.mean()) < 0.2


def test_recall_pads_to_the_length_without_writing():
    stream = recall(length=20)
    assert stream.length == 20
    assert np.all(stream.beta[:, 12:] == 0)
    assert np.all(stream.beta[:, :5] == 1)
    assert np.all(stream.values[:, 12:] == 0)
    assert np.all(stream.metadata["pair_index"][12:] == -1)


def test_recall_may_be_empty_or_have_one_token():
    assert recall(pairs=0, queries=0).length == 0
    assert recall(pairs=1, queries=0).length == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 11}, "length: 12 tokens do not fit into 11"),
        ({"pairs": 0}, "queries: 7 queries but no pair"),
        ({"repeats": 0}, "queries: 7 queries but no pair"),
        ({"pairs": -1}, "pairs"),
        ({"queries": -1}, "queries"),
        ({"repeats": -1}, "repeats"),
        ({"distractors": -1}, "distractors"),
        ({"value_dim": 0}, "value_dim"),
        ({"noise": -1.0}, "noise"),
        ({"beta": "often"}, "beta"),
        ({"key_dim": 4}, "K >= 5"),
    ],
)
def test_recall_names_the_bad_argument(changes, message):
    with pytest.raises(ValueError, match=message):
        recall(**changes)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lead": (-1,)}, "lead"),
        ({"length": -1}, "length"),
        ({"key_dim": 0}, "key_dim"),
        ({"value_dim": 0}, "value_dim"),
        ({"noise": -0.1}, "noise"),
        ({"noise": np.inf}, "noise"),
        ({"beta": "sometimes"}, "beta: expected one of random, got 'sometimes'"),
        ({"beta": np.ones(3)}, "beta: shape"),
    ],
)
def test_every_generator_names_the_bad_argument(name, changes, message):
    with pytest.raises(ValueError, match=message):
        GENERATORS[name](rng(), **{"length": 4, "key_dim": 6, **changes})


@pytest.mark.parametrize(
    ("generator", "changes", "message"),
    [
        (synthetic.ill_conditioned, {"condition": 0.5}, "condition"),
        (synthetic.ill_conditioned, {"condition": np.inf}, "condition"),
        (synthetic.ill_conditioned, {"smallest": 0.0}, "smallest"),
        (synthetic.ill_conditioned, {"grid_bits": 25}, "grid_bits"),
        (synthetic.ill_conditioned, {"grid_bits": 24, "condition": 1e14}, "grid_bits: 24 is too fine"),
        (synthetic.ill_conditioned, {"spectrum": "flat"}, "one of expected, sample, got 'flat'"),
        (synthetic.ill_conditioned, {"spectrum": "sample", "length": 7, "key_dim": 8}, "T >= K"),
        (synthetic.orthogonal, {"scales": "odd"}, "one of geometric, random, unit, got 'odd'"),
        (synthetic.orthogonal, {"scales": np.array([1.0, 0.0]), "key_dim": 2}, "scales"),
        (synthetic.orthogonal, {"scales": np.ones(3), "key_dim": 2}, "scales: shape"),
        (synthetic.orthogonal, {"condition": 0.0}, "condition"),
        (synthetic.non_stationary, {"mode": "jump"}, "one of drift, switch, got 'jump'"),
        (synthetic.non_stationary, {"segments": 0}, "segments"),
        (synthetic.interpolating, {"comparator": np.float64(1.0)}, "comparator"),
        (synthetic.interpolating, {"comparator": np.full(16, 2.0)}, "four entries equal to 1"),
        (synthetic.isotropic, {"key_dim": 4}, "K >= 5"),
    ],
)
def test_specific_arguments_are_checked(generator, changes, message):
    with pytest.raises(ValueError, match=message):
        generator(rng(), **changes)
