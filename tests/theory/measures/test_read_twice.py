"""The authors' measure against plain loops: geometric mean of q over two readings, with d replaced, head by head."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from osdn_theory.measures.read_twice import REPLACEMENTS, measure_read_twice, ratios_by_position
from osdn_theory.recurrence.rules import HISTORIC, SETTINGS, CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.transforms import repeated

RULES = {**SETTINGS, "beta-aware": CalibrationRule(eta=0.5, beta_aware=True)}


def drawn(length: int = 7, heads: int = 2, width: int = 4) -> Stream:
    rng = np.random.default_rng(3)
    keys = rng.normal(size=(heads, length, width)) * [1.0, 0.7, 0.4, 0.2]
    return Stream(
        keys=keys,
        values=rng.normal(size=(heads, length, 3)),
        beta=rng.uniform(0.3, 0.9, (heads, length)),
        initial_preconditioner=np.full(width, 1.25),
        name="drawn",
    )


def by_loop(stream: Stream, rule: CalibrationRule, head: int, put: Any) -> list[float]:
    """q_t of both readings, d replaced by what `put` makes of it, with the calibration as it is."""
    d, ratios = np.full(stream.key_dim, 1.25), []
    for _ in range(2):
        for key, beta in zip(stream.keys[head], np.asarray(stream.beta)[head], strict=True):
            s = key**2
            ratios.append((1 - beta * (put(d) @ s)) ** 2)
            gap = beta * (1 - beta * (d @ s)) if rule.beta_aware else 1 - d @ s
            d = np.clip(d + rule.eta * gap * s, rule.d_min, rule.d_max)
    return ratios


def mean(ratios: list[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


PUT = {
    "own": lambda d: d,
    "ones": lambda d: np.ones(len(d)),
    "mean": lambda d: np.full(len(d), d.mean()),
    "reversed": lambda d: d[::-1],
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", PUT)
def test_it_is_the_geometric_mean_of_both_readings(rule: str, name: str) -> None:
    stream = drawn()
    found = measure_read_twice(stream, RULES[rule])
    loops = [by_loop(stream, RULES[rule], head, PUT[name]) for head in range(2)]
    np.testing.assert_allclose(found.by_head[name], [mean(loop) for loop in loops], rtol=1e-12)
    np.testing.assert_allclose(found.layer[name], mean(loops[0] + loops[1]), rtol=1e-12)
    # 14 tokens make 14 classes: each position over both heads.
    positions = [mean([first, second]) for first, second in zip(*loops, strict=True)]
    np.testing.assert_allclose(found.by_position[name], positions, rtol=1e-12)
    assert found.edges == tuple(range(15))


def test_calibration_goes_on_from_reading_to_reading_and_replacements_differ() -> None:
    stream = drawn()
    found = measure_read_twice(stream, HISTORIC)
    once = mean(by_loop(stream, HISTORIC, 0, PUT["own"])[:7])
    assert abs(found.by_head["own"][0] - once) > 1e-3
    assert len({round(value, 6) for value in found.layer.values()}) == len(REPLACEMENTS)
    run = osdn(repeated(stream), HISTORIC)
    np.testing.assert_allclose(found.mean_alignment, run.alignment.mean(axis=-1))
    np.testing.assert_allclose(found.mean_write, np.mean(run.stream.beta * run.alignment, axis=-1))


def test_what_the_model_read_twice_is_not_read_again() -> None:
    stream = drawn()
    read = replace(repeated(stream), name="drawn")
    again, given = measure_read_twice(stream), measure_read_twice(read, already=True)
    np.testing.assert_allclose(given.by_head["own"], again.by_head["own"], rtol=1e-12)
    assert given.edges == again.edges
    with pytest.raises(ValueError, match="expected two readings of 'drawn', got 7 tokens"):
        measure_read_twice(stream, already=True)
    with pytest.raises(ValueError, match="'drawn' has no tokens"):
        measure_read_twice(stream.tokens(0, 0))


def test_classes_divide_both_readings_alike() -> None:
    found = measure_read_twice(drawn(length=50))
    assert len(found.edges) == 33
    assert found.edges[16] == 50
    np.testing.assert_allclose(ratios_by_position(np.full((2, 100), 0.25)), 0.25)


def test_tokens_without_a_residual_are_left_out_of_all() -> None:
    stream = replace(drawn(), values=np.zeros((2, 7, 3)))
    found = measure_read_twice(stream)
    assert all(np.isnan(values).all() for values in found.by_head.values())


def test_unit_keys_leave_nothing_to_compare() -> None:
    """T15: with unit keys every d that is constant over features has the same alignment."""
    stream = drawn()
    keys = stream.keys / np.linalg.norm(stream.keys, axis=-1, keepdims=True)
    found = measure_read_twice(replace(stream, keys=keys, initial_preconditioner=None), HISTORIC).layer
    for name in REPLACEMENTS:
        assert found[name] == pytest.approx(found["ones"], rel=1e-9)
