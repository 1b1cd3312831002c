"""Worst executions beside their bounds: none is above, and all come so near that no term may be smaller (T18)."""

import pytest
import support.rounding_worst as worst

CASES = {
    "TF32": (
        ("anchored", "single", [0]),
        ("clipped", "single", [1]),
        ("forgetting alone", "single", [0]),
        ("long steps", "swallowed", [0]),
        ("long steps", "two", [1]),
        ("normalised", "two", [2]),
        ("steps", "single", [2]),
    ),
    "any order, formed first": (
        ("clipped", "single", [1, 2]),
        ("long steps", "swallowed", [0]),
        ("normalised", "swallowed", [2]),
        ("steps", "single", [0, 2]),
    ),
    "bfloat16, bits dropped": (
        ("clipped", "single", [1]),
        ("forgetting", "single", [2]),
        ("long steps", "swallowed", [0]),
        ("steps", "single", [0, 2]),
    ),
    "bfloat16, formed first": (
        ("clipped", "single", [1]),
        ("long steps", "swallowed", [0]),
        ("steps", "single", [0, 2]),
    ),
    "chunk_any_order": (
        ("clipped", "single", [1]),
        ("long steps", "swallowed", [0]),
        ("normalised", "two", [2]),
        ("steps", "single", [2]),
    ),
    "chunk_bf16": (
        ("clipped", "single", [1]),
        ("long steps", "swallowed", [0]),
        ("short steps", "two", [0]),
        ("steps", "single", [0, 2]),
    ),
    "chunk_fp16": (
        ("clipped", "single", [0, 1]),
        ("frozen", "blocks", [2]),
        ("frozen", "scalar", [2]),
        ("frozen", "two", [2]),
        ("long steps", "swallowed", [0]),
        ("normalised", "single", [0]),
        ("steps", "single", [0, 2]),
    ),
    "chunk_fp32": (
        ("clipped", "single", [1, 3]),
        ("frozen", "swallowed", [0]),
        ("long steps", "swallowed", [0]),
        ("normalised", "two", [2]),
        ("steps", "single", [2]),
    ),
    "coarse exact products": (
        ("clipped", "single", [1, 2]),
        ("long steps", "swallowed", [0]),
        ("long steps", "two", [1]),
        ("steps", "blocks", [0]),
        ("steps", "single", [0, 2]),
        ("steps", "two", [0]),
    ),
    "coarse formation": (
        ("anchored", "blocks", [2]),
        ("clipped", "single", [1]),
        ("long steps", "two", [0]),
        ("short steps", "scalar", [0]),
        ("short steps", "swallowed", [1]),
        ("steps", "swallowed", [0]),
    ),
    "coarse inverse": (
        ("clipped", "scalar", [0]),
        ("frozen", "blocks", [1]),
        ("frozen", "scalar", [1]),
        ("normalised", "swallowed", [1]),
    ),
    "coarse sums on top": (
        ("clipped", "single", [1]),
        ("forgetting", "scalar", [0]),
        ("long steps", "scalar", [2]),
        ("short steps", "scalar", [0]),
        ("short steps", "blocks", [2]),
        ("short steps", "two", [0]),
    ),
    "coarse sums": (
        ("clipped", "single", [1, 2]),
        ("long steps", "swallowed", [0]),
        ("long steps", "two", [2]),
        ("steps", "blocks", [2]),
        ("steps", "single", [0, 2]),
        ("steps", "two", [0]),
    ),
    "d_in_bf16": (
        ("anchored", "scalar", [0]),
        ("clipped", "single", [0]),
        ("forgetting", "scalar", [0]),
        ("forgetting alone", "scalar", [0]),
        ("long steps", "scalar", [2]),
        ("steps", "scalar", [0]),
        ("steps", "single", [2]),
    ),
    "float16 outputs": (
        ("anchored", "single", [0]),
        ("clipped", "single", [0]),
        ("forgetting", "scalar", [0]),
        ("forgetting", "single", [0]),
        ("forgetting alone", "single", [0]),
        ("frozen", "scalar", [0]),
        ("normalised", "single", [2]),
        ("steps", "single", [0, 2]),
    ),
    "in order, formed first": (
        ("clipped", "single", [1, 2]),
        ("clipped", "swallowed", [0]),
        ("frozen", "blocks", [1]),
        ("frozen", "scalar", [0]),
        ("frozen", "swallowed", [0]),
        ("long steps", "swallowed", [0]),
        ("normalised", "swallowed", [2]),
        ("steps", "single", [1, 2]),
    ),
    "recurrent_bf16": (
        ("clipped", "single", [0]),
        ("clipped", "swallowed", [0]),
        ("forgetting", "swallowed", [2]),
        ("frozen", "scalar", [1]),
        ("frozen", "single", [0]),
        ("frozen", "swallowed", [0]),
        ("frozen", "two", [2]),
        ("long steps", "swallowed", [0]),
        ("long steps", "two", [2]),
        ("steps", "scalar", [1]),
        ("steps", "single", [0]),
        ("steps", "swallowed", [0, 1]),
    ),
    "recurrent_fp16": (
        ("anchored", "single", [2]),
        ("clipped", "swallowed", [0]),
        ("forgetting", "single", [2]),
        ("forgetting alone", "single", [2]),
        ("frozen", "scalar", [0]),
        ("frozen", "single", [0, 1]),
        ("frozen", "two", [2]),
        ("long steps", "scalar", [1]),
        ("long steps", "swallowed", [0]),
        ("normalised", "single", [1, 2]),
        ("normalised", "two", [2]),
        ("steps", "single", [0, 1]),
    ),
    "recurrent_fp32": (
        ("anchored", "scalar", [0]),
        ("anchored", "single", [2]),
        ("anchored", "swallowed", [2]),
        ("clipped", "single", [2]),
        ("clipped", "swallowed", [0, 2]),
        ("forgetting", "scalar", [0]),
        ("forgetting", "single", [2]),
        ("forgetting", "swallowed", [2]),
        ("forgetting alone", "scalar", [1]),
        ("forgetting alone", "single", [1, 2]),
        ("forgetting alone", "two", [1]),
        ("frozen", "single", [0]),
        ("long steps", "single", [2]),
        ("long steps", "swallowed", [0, 2]),
        ("normalised", "single", [2]),
        ("normalised", "swallowed", [2]),
        ("steps", "single", [2]),
        ("steps", "swallowed", [2]),
    ),
    "recurrent_plain": (
        ("anchored", "single", [0, 2]),
        ("clipped", "single", [0, 2]),
        ("forgetting", "scalar", [0]),
        ("forgetting", "single", [0, 2]),
        ("forgetting alone", "single", [0, 2]),
        ("frozen", "scalar", [1]),
        ("frozen", "single", [0]),
        ("frozen", "swallowed", [2]),
        ("frozen", "two", [2]),
        ("long steps", "single", [0, 2]),
        ("normalised", "single", [0, 2]),
        ("steps", "single", [0, 2]),
    ),
    "short inputs": (
        ("clipped", "single", [1]),
        ("frozen", "blocks", [2]),
        ("frozen", "scalar", [2]),
        ("frozen", "single", [2]),
        ("frozen", "swallowed", [2]),
        ("frozen", "two", [2]),
        ("long steps", "single", [2]),
        ("long steps", "swallowed", [0]),
        ("normalised", "single", [2]),
        ("steps", "single", [0, 2]),
    ),
}
"""By model: rule, shape and seeds of runs (`rounding_worst.drawn`) whose worst executions come near their bounds."""


@pytest.fixture(scope="module")
def reached():
    """The largest error over bound of every quantity so far."""
    return {}


@pytest.mark.parametrize(
    ("model", "rule", "shape", "seeds"),
    [(model, *case) for model, cases in CASES.items() for case in cases],
)
def test_worst_executions_stay_below_their_bounds(model, rule, shape, seeds, reached):
    for seed in seeds:
        bounds = worst.drawn(model, rule, shape, seed).bounds()
        found, limits = worst.worst(bounds), worst.limits(bounds)
        assert {name: x for name, x in found.items() if not x <= limits[name]} == {}
        ratios = {name: x / limits[name] for name, x in found.items() if limits[name] > 0}
        assert max(ratios.values()) > 0.9
        for name, ratio in ratios.items():
            reached[name] = max(ratio, reached.get(name, 0.0))


def test_every_bound_is_nearly_reached(reached):
    """By some run above; run alone, this has nothing to say."""
    assert all(ratio > 0.98 for ratio in reached.values())
