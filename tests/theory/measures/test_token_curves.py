"""Token by token: every curve is what its label says, and the bound lies above where T6 applies and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from osdn_theory.base.brief import LONGEST_LINE
from osdn_theory.base.jsonable import to_json
from osdn_theory.bounds import check_bounds
from osdn_theory.measures.central import (
    CAPTURED_START,
    KEYS,
    central_contexts,
    central_streams,
    describe_stream,
    summarise_contexts,
)
from osdn_theory.measures.least_squares import recursive_least_squares
from osdn_theory.measures.token_curves import (
    RECURRENCES,
    TokenCurves,
    curve_ranges,
    interpolating_constant,
    token_curves,
)
from osdn_theory.objective import context_loss, context_minimizer
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.recurrence.solve import delta_net, osdn
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import constant_key, interpolating

RIDGE = 1e-6


@pytest.fixture(scope="module")
def streams() -> dict[str, Stream]:
    return central_streams(0, key_dim=8, value_dim=3, length=60, seeds=2)


@pytest.fixture(scope="module")
def curves(streams: dict[str, Stream]) -> TokenCurves:
    return token_curves(streams["isotropic"], ridge=RIDGE)


def log10_product(ratio: np.ndarray) -> np.ndarray:
    return np.cumsum(np.log10(ratio), axis=-1)


def test_products_are_those_of_the_recurrences(curves: TokenCurves) -> None:
    assert tuple(curves.log10_product) == tuple(curves.log10_suboptimality) == RECURRENCES
    stream = curves.stream
    for head in range(2):
        one = stream.at((head,))
        largest = np.sum(one.keys**4, axis=-1).max()
        assert curves.eta["osdn"][head] == 1 / largest
        expected = {
            "osdn": osdn(one, CalibrationRule(eta=1 / largest)).residual_ratio,
            "osdn_bounded": osdn(one, BOUNDED).residual_ratio,
            "delta_net": delta_net(one).residual_ratio,
        }
        for name, ratio in expected.items():
            assert_allclose(curves.log10_product[name][head], log10_product(ratio), rtol=1e-12)
    ends = [curves.log10_product[name][:, -1] for name in RECURRENCES]
    assert all(np.min(np.abs(a - b)) > 1e-3 for n, a in enumerate(ends) for b in ends[:n])


def test_newton_divides_every_residual_by_one_plus_its_leverage(curves: TokenCurves) -> None:
    keys = curves.stream.keys[0]
    gram = RIDGE * np.eye(8)
    ratios = []
    for key in keys:
        ratios.append((1 + key @ np.linalg.solve(gram, key)) ** -2)
        gram += np.outer(key, key)
    assert_allclose(curves.log10_product["newton"][0], log10_product(np.array(ratios)), rtol=1e-3)


def test_losses_are_those_of_the_states(curves: TokenCurves) -> None:
    one = curves.stream.at((1,))
    best = context_loss(context_minimizer(one.keys, one.values), one.keys, one.values)
    start = context_loss(np.zeros((3, 8)), one.keys, one.values)
    largest = np.sum(one.keys**4, axis=-1).max()
    states: dict[str, Any] = {
        "osdn": osdn(one, CalibrationRule(eta=1 / largest), return_states=True).states,
        "osdn_bounded": osdn(one, return_states=True).states,
        "delta_net": delta_net(one, return_states=True).states,
        "newton": recursive_least_squares(one, ridge=RIDGE, return_states=True).states,
    }
    for name, each in states.items():
        share = np.array(
            [(context_loss(state, one.keys, one.values) - best) / (start - best) for state in each]
        )
        seen = share > 1e-10  # below, the difference of losses has no digits left
        assert seen.sum() >= 8
        assert_allclose(curves.log10_suboptimality[name][1][seen], np.log10(share[seen]), atol=1e-4)


@pytest.mark.parametrize("kind", KEYS)
def test_the_bound_is_above_and_its_constant_is_that_of_t5(kind: str, streams: dict[str, Stream]) -> None:
    stream = streams[kind].tokens(0, 40)
    found = token_curves(stream)
    tokens = np.arange(1, 41)
    for name in ("osdn", "osdn_bounded"):
        assert np.isfinite(found.constants[name]).all()
        assert np.all(found.log10_product[name] <= found.log10_bound[name])
        assert_allclose(found.log10_bound[name][0], tokens * np.log10(found.constants[name][0] / tokens))
    first = stream.at((0,) * len(stream.lead))
    (check,) = check_bounds(osdn(first, BOUNDED), ["T5"])
    assert check.outcome in ("holds", "holds, vacuously")
    assert check.rhs is not None
    assert_allclose(found.constants["osdn_bounded"][0], check.rhs, rtol=1e-12)


def test_a_constant_that_is_too_small_would_be_seen() -> None:
    # One key over and over, d_1 off along its square: T5 is nearly attained.
    stream = constant_key(np.random.default_rng(0), length=40, key_dim=8)
    start = 1 + stream.squared_keys[0]
    found = token_curves(replace(stream, initial_preconditioner=start))
    product, bound = found.log10_product["osdn_bounded"], found.log10_bound["osdn_bounded"]
    assert np.all(product <= bound)
    assert not np.all(product <= bound - 3 * np.arange(1, 41))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"comparator": None}, {}),
        ({"comparator": np.full(8, 2.0)}, {}),
        ({}, {"eta": 100.0}),
        ({}, {"eta": 0.0}),
        ({}, {"forgetting": 0.5}),
        ({}, {"normalize_feedback": True}),
        ({}, {"beta_aware": True}),
        ({}, {"d_min": 1.25}),
    ],
)
def test_without_a_hypothesis_there_is_no_bound(changes: dict[str, Any], rule: dict[str, Any]) -> None:
    stream = interpolating(np.random.default_rng(0), length=20, key_dim=8)
    assert np.isfinite(interpolating_constant(osdn(stream)))
    broken = replace(stream, **changes)
    run = osdn(broken, CalibrationRule(**{"eta": 0.003, **rule}), initial_preconditioner=1.25)
    assert np.isnan(interpolating_constant(run))


def test_keys_a_rounding_away_have_no_bound() -> None:
    stream = interpolating(np.random.default_rng(0), length=20, key_dim=8)
    moved = replace(stream, keys=stream.keys * (1 + 2.0**-52))
    assert np.isnan(token_curves(moved).log10_bound["osdn"]).all()


def test_the_kinds_of_keys(streams: dict[str, Stream]) -> None:
    wide = central_streams(0, key_dim=32, length=2000, seeds=1)
    variance = {kind: np.square(wide[kind].keys).mean(axis=(0, 1)) for kind in KEYS}
    spread = {kind: values.max() / values.min() for kind, values in variance.items()}
    assert spread["isotropic"] < 4 < 20 < spread["anisotropic"]
    captured = streams["captured"]
    assert captured.length == 60
    assert_array_equal(np.sum(captured.squared_keys, axis=-1), 1.0)
    assert captured.initial_preconditioner is not None
    assert np.all(captured.initial_preconditioner == CAPTURED_START)
    # T15: on exactly unit keys the writes of DeltaNet leave nothing, which no bound on OSDN can say.
    found = token_curves(captured.at((0, 0)).tokens(0, 20))
    assert np.isneginf(found.log10_product["delta_net"]).all()
    assert np.isfinite(found.log10_product["osdn"]).all()
    assert describe_stream("captured", captured).endswith("12 heads of MiniLM layer 0")
    assert "2 seeds" in describe_stream("isotropic", streams["isotropic"])


def test_curves_as_a_document_and_in_a_line(curves: TokenCurves) -> None:
    document = curves.as_dict()
    assert document["count"] == 2
    assert document["tokens"][-1] == 60
    low, middle, high = document["log10_product"]["osdn"][-1]
    ends = curves.log10_product["osdn"][:, -1]
    assert (low, high) == (ends.min(), ends.max())
    assert low <= middle <= high
    assert len(repr(curves)) <= LONGEST_LINE
    assert curve_ranges({"a": np.arange(6.0).reshape(3, 2)}, [1])["a"].tolist() == [[1.0, 3.0, 5.0]]


def test_contexts_are_one_per_seed() -> None:
    contexts = central_contexts(3, key_dim=4, steps=30, seeds=2)
    again = central_contexts(3, key_dim=4, steps=30, seeds=1)
    assert contexts[0].as_dict() == again[0].as_dict() != contexts[1].as_dict()
    document = summarise_contexts(contexts)
    assert document["count"] == 2
    assert document["log10_suboptimality"]["newton"][-1] == ["-inf"] * 3
    assert document["vacuous_until"] == [each.vacuous_until for each in contexts]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": np.zeros((0, 8)), "values": np.zeros((0, 2))}, "has no tokens"),
        ({"keys": np.zeros((3, 8)), "values": np.zeros((3, 2))}, "all keys of 'stream' are zero"),
        ({"beta": 0.5}, "expected beta = 1"),
    ],
)
def test_streams_that_say_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    arrays: dict[str, Any] = {"keys": np.ones((3, 8)), "values": np.ones((3, 2))}
    with pytest.raises(ValueError, match=message):
        token_curves(Stream(**{**arrays, **changes}))
    with pytest.raises(ValueError, match="length, seeds: expected >= 1"):
        central_streams(seeds=0)


FIGURES = Path(__file__).parents[3] / "notebooks" / "figures"


def test_the_stored_figure_is_of_the_stored_numbers() -> None:
    document = json.loads((FIGURES / "central.json").read_text())
    assert document["tokens"]["isotropic"]["key_dim"] == 64
    assert document["tokens"]["captured"]["count"] == 12
    assert {path.name for path in FIGURES.glob("*.png")} == {
        "central.png",
        "central-narrow.png",
        "tokens.png",
    }
    # One token is quick to compute: it already tells whether the streams are still those of the figure.
    stored = document["tokens"]["isotropic"]["log10_product"]["delta_net"][0]
    first = central_streams()["isotropic"].tokens(0, 1)
    fresh = np.log10(delta_net(first).residual_ratio[:, 0])
    assert_allclose([stored[0], stored[2]], [fresh.min(), fresh.max()])


@pytest.mark.slow
def test_the_stored_numbers_are_those_of_a_fresh_run() -> None:
    document = json.loads((FIGURES / "central.json").read_text())
    for kind, stream in central_streams().items():
        fresh = json.loads(to_json(token_curves(stream).as_dict()))
        for name in ("log10_product", "log10_suboptimality", "log10_bound"):
            for recurrence, ranges in fresh[name].items():
                stored = np.array(document["tokens"][kind][name][recurrence], dtype=float)
                assert_allclose(np.array(ranges, dtype=float), stored, rtol=1e-3, atol=1e-3)
    contexts = json.loads(to_json(summarise_contexts(central_contexts())))
    for rule, ranges in contexts["log10_suboptimality"].items():
        stored = np.array(document["contexts"]["log10_suboptimality"][rule], dtype=float)
        found = np.array(ranges, dtype=float)
        # What is left below 1e-100 is made of roundings, which differ from processor to processor.
        certain = stored > -100.0
        assert certain.any()
        assert_allclose(found[certain], stored[certain], rtol=1e-6)
        assert_allclose(found[~certain], stored[~certain], rtol=5e-3)


@pytest.mark.parametrize(
    ("keys", "box", "known"),
    [
        ([1.0, 1.0], (0.5, 1.5), True),
        ([1.0, 1.0], (1.0, 1.0), True),
        ([1.0, 1.0], (0.5, 0.75), False),
        ([1.0, 1.0], (1.25, 1.5), False),
        ([1.0, 0.5], (0.5, 1.5), False),
    ],
)
def test_the_constant_is_unknown_off_the_box_or_at_one_token(
    keys: list[float], box: tuple[float, float], known: bool
) -> None:
    column = np.array(keys)[:, None]
    stream = Stream(keys=column, values=column, comparator=np.ones(1))
    run = osdn(stream, CalibrationRule(eta=0.5, d_min=box[0], d_max=box[1]))
    assert np.isfinite(interpolating_constant(run)) == known
