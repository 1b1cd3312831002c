"""What ``osdn-theory analyze`` prints: heads beside DeltaNet, the authors' measure, and what the columns mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from osdn_theory.commands.console import print_table

if TYPE_CHECKING:
    from osdn_theory.bounds.check import BoundCheck
    from osdn_theory.measures.analysis import HeadAnalysis
    from osdn_theory.measures.read_twice import ReadTwice
    from osdn_theory.recurrence.rules import CalibrationRule
    from osdn_theory.streams.stream import Stream

COLUMNS: Mapping[str, tuple[str, Callable[[HeadAnalysis], float]]] = {
    "q": (
        "token residual ratio of OSDN: loss of a token after its write over that before, geometric mean (T3)",
        lambda head: head.measures["osdn"].residual_ratio,
    ),
    "q DN": ("the same under DeltaNet, d = 1", lambda head: head.measures["delta_net"].residual_ratio),
    "missing": (
        "missing share: of all values, what the last state of OSDN misses, sum |S k - v|^2 / sum |v|^2",
        lambda head: head.measures["osdn"].missing_share,
    ),
    "missing DN": ("the same under DeltaNet", lambda head: head.measures["delta_net"].missing_share),
    "d from": (
        "least entry of the preconditioner d over all tokens",
        lambda head: head.measures["osdn"].preconditioner_min,
    ),
    "d to": ("largest entry", lambda head: head.measures["osdn"].preconditioner_max),
    "|d-1|": (
        "farthest that an entry of d is from 1, DeltaNet's",
        lambda head: head.measures["osdn"].drift_max,
    ),
    "Newton": (
        "distance of the last state of OSDN from exact Newton, the ridge least squares, relative to its norm",
        lambda head: head.measures["osdn"].newton_distance,
    ),
    "cond G": (
        "condition number of the Gram matrix of the keys, on its range",
        lambda head: head.key_condition,
    ),
    "rank": ("effective rank of the keys, between 1 and K", lambda head: head.effective_rank),
    "tau min": (
        "tokens that the fastest direction of d takes to calibrate, to be held against T",
        lambda head: head.fastest_calibration,
    ),
    "T": ("tokens", lambda head: head.length),
}
"""Column -> what it means and where it comes from."""


def print_analysis(
    heads: Sequence[HeadAnalysis], twice: Sequence[ReadTwice], checks: Sequence[BoundCheck]
) -> None:
    """A row per head and what its columns mean; what was read twice; and which of the checked bounds hold."""
    print_table("OSDN beside DeltaNet (DN)", ["head", *COLUMNS], map(_analysis_row, heads))
    for name, (meaning, _) in COLUMNS.items():
        typer.echo(f"  {name:<11}{meaning}")
    for line in _identity_lines(heads):
        typer.echo(line)
    names = list(twice[0].layer)
    rows = [[layer.stream, *(f"{layer.layer[name]:.3g}" for name in names)] for layer in twice]
    print_table(
        "The authors' measure, every context read twice", ["layer", *(f"d {name}" for name in names)], rows
    )
    typer.echo(
        "  Geometric mean of q (T3) over tokens and heads, of OSDN and with its d replaced by 1 (DeltaNet's), by its "
        "mean over features, shuffled and reversed over features. The paper's 39 % at 1.3 billion parameters are of "
        "this measure; by head and position it is in analysis.json."
    )
    if checks:
        from osdn_theory.commands.matrix import print_matrix
        from osdn_theory.verification.digest import count_outcomes, digest

        found = digest(checks)
        print_matrix(found)
        typer.echo(count_outcomes(found))


def gated_lines(streams: Sequence[Stream], rule: CalibrationRule) -> Iterator[str]:
    """What the columns are of where the file has gates of the memory, and which feedback they are of."""
    gated = [(stream, stream.state_gate) for stream in streams if stream.state_gate is not None]
    for stream, gate in gated:
        names = "OS-KDA and KDA" if gate.shape == stream.keys.shape else "OS-GDN and Gated DeltaNet"
        yield f"{stream.name}: its memory fades by the file's state gates, so that OSDN and DN are {names} (T17)."
    if gated and rule.eta != 0 and not rule.beta_aware:
        yield "Feedback is plain here, and beta-aware in the kernels of OS-GDN and OS-KDA: see --beta-aware."


def _identity_lines(heads: Sequence[HeadAnalysis]) -> Iterator[str]:
    """What T15 makes of the table, where it applies."""
    same = [head for head in heads if head.identity]
    if not same:
        return
    drift = max(head.measures["osdn"].drift_max for head in same)
    where = "every head" if len(same) == len(heads) else f"{len(same)} of {len(heads)} heads"
    yield (
        f"T15 makes OSDN equal to DeltaNet on {where}: from d_1 = 1, keys of unit norm (up to rounding) keep d at 1 "
        f"unless it is forgotten away from 1. The largest |d - 1| is {drift:.1g}, and every column of OSDN is that of "
        "DeltaNet."
    )
    yield (
        "To see OSDN differ: start elsewhere (--d1 1.25), forget (--forgetting 0.999) or keep the norms "
        "(--no-normalize)."
    )


def _analysis_row(head: HeadAnalysis) -> list[str]:
    where = f"{head.stream}[{','.join(map(str, head.index))}]"
    cells: list[Any] = [read(head) for _, read in COLUMNS.values()]
    return [where, *(str(cell) if isinstance(cell, int) else f"{cell:.3g}" for cell in cells)]
