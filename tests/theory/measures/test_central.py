"""What the central figure shows: kinds of keys, contexts that differ by seed, and their summary."""

from __future__ import annotations

import numpy as np
import pytest

from osdn_theory.measures.central import central_contexts, central_streams, summarise_contexts


def test_features_of_anisotropic_keys_differ_in_variance() -> None:
    streams = central_streams(1, key_dim=8, value_dim=2, length=512, seeds=2)
    spread = {kind: np.var(streams[kind].keys, axis=-2) for kind in ("isotropic", "anisotropic")}
    ratios = {kind: found.max(axis=-1) / found.min(axis=-1) for kind, found in spread.items()}
    assert np.all(ratios["isotropic"] < 2)
    assert np.all((ratios["anisotropic"] > 10) & (ratios["anisotropic"] < 100))


def test_captured_keys_are_of_unit_norm_and_start_away_from_1() -> None:
    captured = central_streams(key_dim=8, length=8, seeds=1)["captured"]
    assert np.all(captured.squared_keys.sum(axis=-1) == 1)
    assert np.all(np.asarray(captured.initial_preconditioner) == 1.25)


@pytest.mark.parametrize("wrong", [{"length": 0}, {"seeds": 0}])
def test_no_token_and_no_seed_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="length, seeds: expected >= 1"):
        central_streams(**wrong)


def test_contexts_differ_and_are_summed_up_from_the_start_in_decades() -> None:
    contexts = central_contexts(key_dim=4, steps=5, seeds=2)
    first, second = (context.log10_suboptimality("full") for context in contexts)
    assert not np.any(first == second)
    summary = summarise_contexts(contexts)
    assert (summary["steps"][0], summary["steps"][-1], summary["count"]) == (0, 5, 2)
    start = sorted([first[0], second[0]])
    for curves in (summary["log10_suboptimality"], summary["log10_bounds"]):
        assert np.array(curves["full"])[0, [0, 2]] == pytest.approx(start, rel=1e-12)
