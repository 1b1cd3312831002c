"""What the central figure shows: streams of three kinds of keys, and whole contexts, each from several seeds."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from osdn_theory.base.jsonable import jsonable
from osdn_theory.base.validation import require
from osdn_theory.context.convergence import LABELS as CONTEXT_LABELS, ConvergenceData, Rule, convergence_rates
from osdn_theory.measures.least_squares import checkpoints
from osdn_theory.measures.token_curves import LABELS, curve_ranges
from osdn_theory.streams.activations import load_activations
from osdn_theory.streams.exact_keys import nearest_unit_keys
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import interpolating

KEYS = ("isotropic", "anisotropic", "captured")
"""Kinds of keys of :func:`central_streams`."""

ANISOTROPY = 100.0
"""Largest over smallest variance of a feature of the anisotropic keys."""

CAPTURED_START = 1.25
"""d_1 on captured keys: from 1 OSDN would be DeltaNet (T15)."""

CONTEXT_CONDITION = 6.0
CONTEXT_RULES: tuple[Rule, ...] = ("gradient", "diagonal", "full", "newton")


def central_streams(
    seed: int = 0, *, key_dim: int = 64, value_dim: int = 8, length: int = 1024, seeds: int = 8
) -> dict[str, Stream]:
    """Streams by kind of key, to all of which T5 applies, to the bit.

    Isotropic and anisotropic keys have a hidden comparator in the box [2/3, 3/2], and values that one state explains;
    the leading axis counts the seeds. Captured keys are those of the packaged MiniLM layer 0 (K = 32, 384 tokens at
    most, one head as one seed), moved to the nearest of exactly unit norm: their comparator is 1, and OSDN starts at
    `CAPTURED_START`.
    """
    require(min(length, seeds) >= 1, f"length, seeds: expected >= 1, got {length}, {seeds}")
    rng = np.random.default_rng(seed)
    sizes: dict[str, Any] = {"length": length, "key_dim": key_dim, "value_dim": value_dim}
    (layer,) = load_activations(layers=[0])
    layer = layer.tokens(0, length)
    captured = replace(
        layer,
        keys=nearest_unit_keys(rng, layer.keys),
        comparator=np.ones(layer.key_dim),
        initial_preconditioner=np.full(layer.key_dim, CAPTURED_START),
    )
    made = (
        interpolating(rng, lead=(seeds,), **sizes),
        interpolating(rng, lead=(seeds,), **sizes, condition=ANISOTROPY),
        captured,
    )
    return dict(zip(KEYS, made, strict=True))


def central_contexts(
    seed: int = 0, *, key_dim: int = 64, steps: int = 700, seeds: int = 8
) -> list[ConvergenceData]:
    """Steps on whole contexts of `CONTEXT_CONDITION`, one per seed (T10)."""
    return [
        convergence_rates(
            np.random.default_rng([seed, number]),
            condition=CONTEXT_CONDITION,
            key_dim=key_dim,
            steps=steps,
            rules=CONTEXT_RULES,
        )
        for number in range(seeds)
    ]


def summarise_contexts(contexts: Sequence[ConvergenceData]) -> dict[str, Any]:
    """Lowest, median and highest of every curve and bound at some steps, base-10 logarithms, JSON-ready."""
    first = contexts[0]
    steps = [0, *checkpoints(int(first.parameters["steps"]))]
    curves = {
        rule: np.stack([each.log10_suboptimality(rule) for each in contexts])
        for rule in first.log_suboptimality
    }
    bounds = {name: np.stack([each.bounds[name] for each in contexts]) / np.log(10) for name in first.bounds}
    document: dict[str, Any] = jsonable(
        {
            "steps": steps,
            "count": len(contexts),
            "log10_suboptimality": curve_ranges(curves, steps),
            "log10_bounds": curve_ranges(bounds, steps),
            "vacuous_until": [each.vacuous_until for each in contexts],
            "parameters": {name: first.parameters[name] for name in ("key_dim", "condition", "eta")},
        }
    )
    return document


def describe_stream(kind: str, stream: Stream) -> str:
    """A line on what kind of keys, how wide, and how many there are."""
    count = int(np.prod(stream.lead, dtype=int))
    what = "heads of MiniLM layer 0" if kind == "captured" else "seeds"
    start = f", $d_1$ = {CAPTURED_START:g}" if kind == "captured" else ""
    return f"{kind} keys, K = {stream.key_dim}{start},\n{count} {what}"


def central_labels() -> dict[str, str]:
    """Legend texts of the recurrences and of the rules on a context; what is Newton is called so in both."""
    return {**CONTEXT_LABELS, **LABELS, "newton": "exact Newton"}
