"""What is computed of one cell: its tokens, both recurrences on them, and the bounds of the theory."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from osdn_theory.base.threads import single_threaded_blas
from osdn_theory.bounds import check_bounds
from osdn_theory.measures.analysis import HeadAnalysis, RecurrenceMeasures, analyze
from osdn_theory.recurrence.solve import osdn
from osdn_theory.rounding.formats import FORMATS, round_to
from osdn_theory.streams import synthetic
from osdn_theory.streams.stream import Stream
from osdn_theory.sweep.columns import BOUNDS
from osdn_theory.sweep.grid import Cell

Row = dict[str, Any]

COMPARED = ("log_residual_ratio", "residual_ratio", "missing_share", "newton_distance", "mean_alignment")
"""Measures that are kept of DeltaNet on the same tokens."""


def measure(cell: Cell) -> Row:
    """The row of one cell, without its parameters: `columns.MEASURES` by name.

    Raises ValueError, FloatingPointError: tokens that the format of the cell cannot hold, or a recurrence that
    overflows.
    """
    with single_threaded_blas():
        stream, rule = tokens(cell), cell.rule
        (head,) = analyze([stream], rule)
        trajectory = osdn(stream, rule)
        checks = {check.theorem: check for check in check_bounds(trajectory, list(BOUNDS))}
    gaps = float(np.sum(np.square(1.0 - trajectory.alignment)))
    constant = checks["T5"].rhs
    row = _of_head(head) | {"gap_sum": gaps, "interpolating_constant": constant}
    row["bound_per_token"] = None if constant is None else constant / cell.length
    for theorem, check in checks.items():
        row[f"{theorem}_outcome"] = check.outcome
        row[f"{theorem}_log10_slack"] = check.log10_slack
        row[f"{theorem}_reason"] = check.reason or None
    return row


def tokens(cell: Cell) -> Stream:
    """The stream of a cell, drawn from its own parameters and rounded to its format.

    Keys with a chosen condition number are scaled by a power of two so that none is longer than 1: the write gate
    then never overshoots by itself, and the values stay exactly realisable.
    """
    rng = np.random.default_rng(np.random.SeedSequence(cell.entropy))
    sizes: dict[str, Any] = {"length": cell.length, "key_dim": cell.key_dim, "value_dim": cell.value_dim}
    return round_inputs(_draw(cell, rng, sizes), cell.precision)


def _draw(cell: Cell, rng: np.random.Generator, sizes: dict[str, Any]) -> Stream:
    match cell.stream:
        case "ill_conditioned":
            assert cell.condition is not None
            return _shortened(synthetic.ill_conditioned(rng, **sizes, condition=cell.condition))
        case "orthogonal":
            assert cell.condition is not None
            return synthetic.orthogonal(rng, **sizes, condition=cell.condition)
        case "drifting" | "switching":
            return synthetic.non_stationary(
                rng, **sizes, mode="drift" if cell.stream == "drifting" else "switch"
            )
        case "associative_recall":
            # As many pairs as tokens, each written once: what is asked for is every one of them.
            return synthetic.associative_recall(rng, **sizes, pairs=cell.length, queries=0)
        case "interpolating" | "isotropic" | "constant_key":
            stream: Stream = getattr(synthetic, cell.stream)(rng, **sizes)
            return stream
    raise ValueError(f"stream: unknown name {cell.stream!r}")


def _shortened(stream: Stream) -> Stream:
    """Keys and values times the largest power of two that leaves no key longer than 1; exact."""
    longest = float(np.max(np.linalg.norm(stream.keys, axis=-1)))
    scale = 2.0 ** np.floor(-np.log2(longest)) if longest > 0 else 1.0
    return replace(stream, keys=stream.keys * scale, values=stream.values * scale)


def round_inputs(stream: Stream, precision: str) -> Stream:
    """Keys, values and queries rounded to a format, ties to even; the arithmetic on them stays float64.

    A known comparator is kept: whether it still interpolates is for the bounds to find out.
    """
    if precision == "float64":
        return stream
    return stream.map(lambda array: round_to(array, FORMATS[precision]), "keys", "values", "queries")


def _of_head(head: HeadAnalysis) -> Row:
    row = asdict(head)
    for absent in ("stream", "index", "length", "identity", "measures"):
        del row[absent]
    ours: RecurrenceMeasures = head.measures["osdn"]
    theirs: RecurrenceMeasures = head.measures["delta_net"]
    return row | asdict(ours) | {f"delta_net_{name}": getattr(theirs, name) for name in COMPARED}
