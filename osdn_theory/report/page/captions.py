"""What to see in the figures that the page draws of every run."""

from __future__ import annotations

from collections.abc import Mapping

from osdn_theory.crosscheck.results import CrossCheck

SUMMARY: Mapping[str, str] = {
    "contraction": "The product of the residual ratios on a stream that some preconditioner solves. OSDN's stays below "
    "the bound of T6, which falls faster than any geometric rate; DeltaNet's ends above it.",
    "slack": "How much room each bound leaves: a point for each stream, a bar at the smallest. 0 is attained.",
}

RECALL: Mapping[str, str] = {
    "accuracy": "Accuracy against the number of pairs, by key statistic and reading. Points of one number of pairs are "
    "moved apart a little, so that their intervals can be told apart.",
    "residual-ratios": "Token and recall residual ratio of every model; the dashed line is DeltaNet's.",
    "differences": "Accuracy minus DeltaNet's, paired by seed. A filled marker is significant, an open one is not.",
    "distance": "Accuracy against the number of tokens between the last write of a pair and its query.",
}


def kernel_caption(part: str, run: CrossCheck) -> str:
    """What a figure of a kernel's run shows, and no more than is drawn in it."""
    if part == "errors":
        bounded = any(each.bound is not None for each in run.comparisons)
        return f"Measured errors, the largest over heads{'; dashed, their bounds' if bounded else ''}."
    assert run.curve is not None, "decay is drawn only where there is a curve"
    beside = "the exact ones" if run.curve.bound is None else "the exact ones and the bound of T6"
    ends = run.curve.ends
    hidden = "" if ends is None else f" From token {ends} on rounding may hide every residual."
    return (
        f"The kernel's own residual ratios multiplied up, beside {beside}: whatever rounding did, the product has "
        f"fallen by at least {run.curve.decades:.1f} decades.{hidden}"
    )
