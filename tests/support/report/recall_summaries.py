"""A made-up summary of the recall experiment: its form is that of ``recall.json``, its numbers mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from osdn_theory.base.documents import convert
from osdn_theory.base.source import source_hash
from osdn_theory.recall.document import RECALL, RecallSummary

MODELS = {
    "deltanet": "DeltaNet (d = 1)",
    "osdn": "OSDN (eta 0.003, learned d_1)",
    "osdn_eta1": "OSDN (eta 1, learned d_1)",
    "static": "d frozen at its learned d_1 (eta 0)",
    "apf": "OSDN-APF (eta 1, per-token forgetting towards 0)",
    "anchored_apf": "OSDN-APF (eta 1, forgetting towards d_1)",
    "gated_deltanet": "Gated DeltaNet (state decays; d = 1)",
}
STATISTICS = ("isotropic", "anisotropic", "nonstationary")
PAIRS = (4, 8, 16, 32, 64)
RANGES = ((1, 8), (8, 16), (16, 32), (32, 64), (64, 128), (128, 256))
ABLATIONS = ("none", "ones", "mean", "shuffled", "initial")
GAINS = {
    "osdn": 0.002,
    "osdn_eta1": 0.05,
    "static": 0.01,
    "apf": -0.04,
    "anchored_apf": 0.06,
    "gated_deltanet": 0.0,
}


def recall_summary(
    *, seeds: int = 5, complete: bool = True, models: Sequence[str] = tuple(MODELS), **fields: Any
) -> dict[str, Any]:
    """recall.json of these models and as many seeds; `fields` replace parts of it."""
    draws = Draws(seeds, models)
    summary: dict[str, Any] = {
        "format": RECALL.format,
        "osdn": "0.1.0",
        "code": {name: source_hash(name) for name in RECALL.code},
        "preset": "cpu",
        "command": "osdn-theory recall --preset cpu --out report/recall",
        "environment": {"osdn": "0.1.0", "torch": "2.13.0", "processor": "a made-up processor", "threads": 2},
        "seconds": 3021.5,
        "complete": complete,
        "task": {"vocabulary": 64, "pairs": list(PAIRS), "repeats": [1, 2]},
        "seeds": list(range(1, seeds + 1)),
        "models": [_model(name) for name in models],
        "accuracy": list(draws.accuracy()),
        "distance": list(draws.distance()),
        "overall": list(draws.overall()),
        "ablations": list(draws.ablations()),
        "predictions": [
            _prediction("T15", "OSDN from d_1 = 1 stays there", "max |d_t - 1|", 3e-13, 1e-9),
            _prediction("T19", "eta = 0.003 does not differ from a frozen d_1", "accuracy", 0.02, 0.01),
        ],
        "sentences": [
            "OSDN (eta 1, learned d_1) recalls better than DeltaNet.",
            "The other models do not differ.",
        ],
    }
    return {**summary, **fields}


def summary_of(**options: Any) -> RecallSummary:
    """:func:`recall_summary`, read."""
    return convert(recall_summary(**options), RecallSummary)


class Draws:
    """Means, intervals and paired differences over seeds of drawn numbers, reproducibly."""

    def __init__(self, seeds: int, models: Sequence[str]) -> None:
        self.rng = np.random.default_rng(0)
        self.seeds, self.models = seeds, models

    def accuracy(self) -> Iterator[dict[str, Any]]:
        for statistic in STATISTICS:
            for repeats in (1, 2):
                for pairs in PAIRS:
                    level = 0.98 / (1 + (pairs / (24 * repeats)) ** 2)
                    cell = {"statistic": statistic, "repeats": repeats, "pairs": pairs}
                    yield from self._rows(
                        cell, lambda name, level=level: level + 2 * GAINS.get(name, 0) * level * (1 - level)
                    )

    def distance(self) -> Iterator[dict[str, Any]]:
        for repeats in (1, 2):
            for low, high in RANGES:
                place = {"repeats": repeats, "nearest": low, "farthest": high}
                for row in self._rows(
                    {}, lambda name, high=high: 0.9 - 0.08 * np.log2(high) + GAINS.get(name, 0)
                ):
                    del row["difference"]
                    yield {**row, **place}

    def overall(self) -> Iterator[dict[str, Any]]:
        parts = ("", "_once", "_twice", *(f"_{statistic}" for statistic in STATISTICS))
        for part in parts:
            yield from self._rows({"measure": f"accuracy{part}"}, lambda name: 0.6 + GAINS.get(name, 0))
        for measure, level in (
            ("token_residual_ratio", 0.03),
            ("missing_share", 0.4),
            ("read_twice_ratio", 0.04),
        ):
            yield from self._rows(
                {"measure": measure},
                lambda name, level=level: level * (1 - 5 * GAINS.get(name, 0)),
                level / 40,
            )

    def ablations(self) -> Iterator[dict[str, Any]]:
        for ablation in ABLATIONS:
            for row in self._rows({"ablation": ablation}, lambda name: 0.6 + GAINS.get(name, 0)):
                if row["model"] in ("osdn", "osdn_eta1", "static"):
                    yield {**row, "difference": None if ablation == "none" else row["difference"]}

    def _rows(
        self, cell: dict[str, Any], level: Callable[[str], float], spread: float = 0.012
    ) -> Iterator[dict[str, Any]]:
        drawn = {name: level(name) + spread * self.rng.standard_normal(self.seeds) for name in self.models}
        for name in self.models:
            same = name == "deltanet" or "deltanet" not in drawn
            yield {
                "model": name,
                **cell,
                **_interval(drawn[name]),
                "by_seed": [],
                "difference": None if same else _difference(drawn[name] - drawn["deltanet"]),
            }


def _model(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": MODELS[name],
        "parameters": 66_432,
        "rule": {
            "eta": 0.0 if name == "static" else 0.003,
            "d_min": 0.0,
            "d_max": 2.0,
            "forgetting": 1.0,
            "anchor": 0.0,
            "normalize_feedback": False,
        },
        "learning_rate": 0.003,
        "tuning": [{"learning_rate": 0.001, "validation": 0.7}, {"learning_rate": 0.003, "validation": 0.8}],
    }


def _prediction(theorem: str, statement: str, what: str, value: float, limit: float) -> dict[str, Any]:
    outcome = "as predicted" if value <= limit else "not as predicted"
    return {
        "theorem": theorem,
        "statement": statement,
        "measured": f"{what} = {value:g}, at most {limit:g}",
        "value": value,
        "limit": limit,
        "outcome": outcome,
    }


def _interval(values: np.ndarray) -> dict[str, float | None]:
    mean = float(np.mean(values))
    if values.size < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(stdtrit(values.size - 1, 0.975) * _standard_error(values))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _standard_error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(values.size))


def _difference(values: np.ndarray) -> dict[str, Any]:
    if values.size < 2:
        return {**_interval(values), "p": None, "p_adjusted": None, "significant": False}
    p = float(2 * stdtr(values.size - 1, -abs(np.mean(values)) / _standard_error(values)))
    adjusted = min(1.0, 6 * p)
    return {**_interval(values), "p": p, "p_adjusted": adjusted, "significant": adjusted < 0.05}
