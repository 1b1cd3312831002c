"""The command ``osdn-theory analyze``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osdn_theory.base.folders import ensure_writable
from osdn_theory.base.names import given_names
from osdn_theory.commands.console import note_unread, number_or, print_table, progress_bar
from osdn_theory.commands.options import (
    JsonFlag,
    OutOption,
    SeedOption,
    print_json,
    print_written,
    write_json,
)

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


def analyze(
    file: Annotated[
        Path | None,
        typer.Argument(help="Activations, safetensors or npz. Default: the packaged MiniLM data."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Only this layer, such as layer0, 0 or minilm/layer0; repeat it or use commas."),
    ] = None,
    setting: Annotated[
        str, typer.Option(help="bounded, or historic (eta 1, box [0, 1e9]), the one of the authors' results.")
    ] = "bounded",
    eta: Annotated[float | None, typer.Option(help="Hypergradient step. Default: the setting's.")] = None,
    d1: Annotated[
        float | None,
        typer.Option("--d1", help="Initial preconditioner of OSDN. Default: the file's d0, else 1."),
    ] = None,
    d_min: Annotated[
        float | None,
        typer.Option(help="Lower side of the box; -inf switches it off. Default: the setting's."),
    ] = None,
    d_max: Annotated[
        float | None, typer.Option(help="Upper side of the box; inf switches it off. Default: the setting's.")
    ] = None,
    forgetting: Annotated[str, typer.Option(help="Gamma in (0, 1], or 'token' for the file's gates.")] = "1",
    anchor: Annotated[
        str, typer.Option(help="What forgetting decays towards: a number, or 'initial'.")
    ] = "0",
    normalize_feedback: Annotated[bool, typer.Option(help="Feedback over the squared key norm.")] = False,
    beta_aware: Annotated[bool, typer.Option(help="Beta-aware feedback.")] = False,
    silu: Annotated[bool, typer.Option(help="SiLU before the normalisation.")] = False,
    normalize: Annotated[bool, typer.Option(help="L2-normalise queries and keys.")] = True,
    beta: Annotated[str | None, typer.Option(help="Write gate: a number in [0, 2], or 'random'.")] = None,
    bounds: Annotated[bool, typer.Option(help="Check which bounds apply and hold (slower).")] = True,
    seed: SeedOption = 0,
    out: OutOption = None,
    json: JsonFlag = False,
) -> None:
    """Measure OSDN and DeltaNet on captured activations, layer by layer and head by head.

    --out writes analysis.json, the calibration times of all layers, and for each layer the preconditioner of the head
    that moves it most.
    """
    import numpy as np

    from osdn_theory.measures.analysis import analyze as measure
    from osdn_theory.measures.read_twice import measure_read_twice
    from osdn_theory.recurrence.rules import CalibrationRule, setting_named
    from osdn_theory.streams.activations import load_activations, require_tokens

    named = setting_named(setting)
    rule = CalibrationRule(
        eta=named.eta if eta is None else eta,
        d_min=named.d_min if d_min is None else d_min,
        d_max=named.d_max if d_max is None else d_max,
        forgetting=number_or("--forgetting", forgetting, ["token"]),
        anchor=number_or("--anchor", anchor, ["initial"]),
        normalize_feedback=normalize_feedback,
        beta_aware=beta_aware,
    )
    _check_start(d1, rule.d_min, rule.d_max)
    if out is not None:
        ensure_writable(out)
    loaded = load_activations(
        file,
        layers=_layers(layer),
        l2_normalize=normalize,
        silu=silu,
        beta=number_or("--beta", beta, ["random"]),
        rng=np.random.default_rng(seed) if beta == "random" else None,
    )
    require_tokens(loaded)
    note_unread(file)
    once = {stream.name: stream if d1 is None else _from_start(stream, d1) for stream in loaded}
    streams = list(once.values())
    heads, twice, verdicts = [], [], []
    with progress_bar() as progress:
        for done, stream in enumerate(streams):
            progress(stream.name, done, len(streams))
            heads.extend(measure([stream], rule))
            twice.append(measure_read_twice(stream, rule))
            verdicts.extend(_bounds_on(stream, rule) if bounds else [])
    document = {
        "rule": rule,
        "d1": d1,
        "heads": [head.as_dict() for head in heads],
        "read_twice": [layer.as_dict() for layer in twice],
        "checks": verdicts,
    }
    written = [] if out is None else [write_json(out, "analysis.json", document)]
    if out is not None:
        written += _write_figures(out, streams, rule, heads)
    if json:
        print_json(document)
        return
    _print_analysis(heads, twice, verdicts)
    for line in _gated_lines(streams):
        typer.echo(line)
    print_written(written)


def _check_start(d1: float | None, d_min: Any, d_max: Any) -> None:
    if d1 is not None and not 0 < d1 < float("inf"):
        raise ValueError(f"--d1: expected a finite number > 0, got {d1:g}")
    if d1 is not None and not d_min <= d1 <= d_max:
        raise ValueError(f"--d1: {d1:g} is outside the box [{d_min:g}, {d_max:g}]; widen --d-min or --d-max")


def _layers(given: Sequence[str] | None) -> list[str | int] | None:
    names = given_names("--layer", given)
    return None if names is None else [int(name) if name.isdecimal() else name for name in names]


def _from_start(stream: Stream, d1: float) -> Stream:
    from dataclasses import replace

    import numpy as np

    return replace(stream, initial_preconditioner=np.full(stream.key_dim, d1))


def _bounds_on(stream: Stream, rule: CalibrationRule) -> list[BoundCheck]:
    from osdn_theory.bounds import check_bounds
    from osdn_theory.recurrence.solve import solver_of

    return check_bounds(solver_of(stream)(stream, rule, return_states=True), rule_label="as given")


def _write_figures(
    out: Path, streams: Sequence[Stream], rule: CalibrationRule, heads: Sequence[HeadAnalysis]
) -> list[Path]:
    from osdn_theory import plotting
    from osdn_theory.measures.calibration_times import calibration_times
    from osdn_theory.recurrence.solve import solver_of

    written: list[Path] = []
    for length in sorted({stream.length for stream in streams}):
        times = {
            stream.name: calibration_times(stream, rule) for stream in streams if stream.length == length
        }
        name = (
            "calibration-times"
            if len({each.length for each in streams}) == 1
            else f"calibration-times-{length}"
        )
        figure, _ = plotting.calibration_spectrum(times)
        written += plotting.save_figure(figure, out / f"{name}.png")
    for stream in streams:
        own = [head for head in heads if head.stream == stream.name]
        most = max(own, key=lambda head: head.measures["osdn"].drift_max)
        figure, _ = plotting.preconditioner_heatmap(solver_of(stream)(stream.at(most.index), rule))
        written += plotting.save_figure(figure, out / f"preconditioner-{stream.name.rpartition('/')[2]}.png")
    return written


def _print_analysis(
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


def _gated_lines(streams: Sequence[Stream]) -> Iterator[str]:
    """What the columns are of where the file has gates of the memory."""
    for stream in streams:
        if stream.state_gate is not None:
            per_feature = stream.state_gate.shape == stream.keys.shape
            names = "OS-KDA and KDA" if per_feature else "OS-GDN and Gated DeltaNet"
            yield f"{stream.name}: its memory fades by the file's state gates, so that OSDN and DN are {names} (T17)."


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
