"""The command ``osdn-theory analyze``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from osdn_theory.base.folders import ensure_writable
from osdn_theory.base.names import given_names
from osdn_theory.commands.analysis_tables import gated_lines, print_analysis
from osdn_theory.commands.console import note_unread, number_or, progress_bar
from osdn_theory.commands.options import (
    JsonFlag,
    OutOption,
    SeedOption,
    described,
    print_json,
    print_written,
    write_json,
)

if TYPE_CHECKING:
    from osdn_theory.bounds.check import BoundCheck
    from osdn_theory.measures.analysis import HeadAnalysis
    from osdn_theory.recurrence.rules import CalibrationRule
    from osdn_theory.streams.stream import Stream


@described
def analyze(
    file: Path | None = None,
    layer: list[str] | None = None,
    checkpoint: Path | None = None,
    text: Path | None = None,
    tokens: int = 512,
    reads: int = 2,
    setting: str | None = None,
    eta: float | None = None,
    d1: float | None = None,
    d_min: float | None = None,
    d_max: float | None = None,
    forgetting: str | None = None,
    anchor: str | None = None,
    normalize_feedback: bool | None = None,
    beta_aware: bool | None = None,
    silu: bool = False,
    normalize: bool = True,
    beta: str | None = None,
    bounds: bool = True,
    seed: SeedOption = 0,
    out: OutOption = None,
    json: JsonFlag = False,
) -> None:
    """Measure OSDN and DeltaNet on captured activations, layer by layer and head by head.

    --out writes analysis.json, the calibration times of all layers, and for each layer the preconditioner of the head
    that moves it most; of a checkpoint also its activations.
    """
    from contextlib import ExitStack

    import numpy as np

    from osdn_theory.commands.checkpoints import captured
    from osdn_theory.measures.analysis import analyze as measure
    from osdn_theory.measures.read_twice import measure_read_twice
    from osdn_theory.streams.activations import load_activations, require_tokens

    given = {
        "eta": eta,
        "d_min": d_min,
        "d_max": d_max,
        "forgetting": number_or("--forgetting", forgetting, ["token"]),
        "anchor": number_or("--anchor", anchor, ["initial"]),
        "normalize_feedback": normalize_feedback,
        "beta_aware": beta_aware,
    }
    rule = _rule(setting, None, given)
    if out is not None:
        ensure_writable(out)
    if text is not None and checkpoint is None:
        raise ValueError("--text: expected a --checkpoint that reads it, got none")
    with ExitStack() as files:
        if checkpoint is not None:
            if file is not None:
                raise ValueError(f"--checkpoint: expected no file beside it, got {str(file)!r}")
            file, own = files.enter_context(captured(checkpoint, text, tokens=tokens, reads=reads, out=out))
            rule = _rule(setting, own, given)
        _check_start(d1, rule)
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
    for stream in streams:
        _check_parts(stream, rule)
    heads, twice, verdicts = [], [], []
    with progress_bar() as progress:
        for done, stream in enumerate(streams):
            progress(stream.name, done, len(streams))
            heads.extend(measure([stream], rule))
            twice.append(measure_read_twice(stream, rule, already=checkpoint is not None and reads == 2))
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
    print_analysis(heads, twice, verdicts)
    for line in gated_lines(streams, rule):
        typer.echo(line)
    print_written(written)


def _rule(setting: str | None, own: CalibrationRule | None, given: dict[str, Any]) -> CalibrationRule:
    """What is given of a rule, the rest as the setting has it, or a checkpoint where none is named."""
    from dataclasses import replace

    from osdn_theory.recurrence.rules import setting_named

    named = own if own is not None and setting is None else setting_named(setting or "bounded")
    return replace(named, **{name: value for name, value in given.items() if value is not None})


def _check_start(d1: float | None, rule: CalibrationRule) -> None:
    if d1 is None:
        return
    if not 0 < d1 < float("inf"):
        raise ValueError(f"--d1: expected a finite number > 0, got {d1:g}")
    _require_inside("--d1", d1, rule)


def _require_inside(label: str, start: float, rule: CalibrationRule) -> None:
    low, high = float(rule.d_min), float(rule.d_max)
    # Layers keep their starts in float32, where a face may be rounded outwards.
    slack = 2.0**-24
    if not low - slack * abs(low) <= start <= high + slack * abs(high):
        raise ValueError(
            f"{label}: {start:g} is outside the box [{low:g}, {high:g}]; widen --d-min or --d-max"
        )


def _check_parts(stream: Stream, rule: CalibrationRule) -> None:
    """Refuse a layer whose d0 the box does not hold, or whose gates the rule needs and the file has not."""
    path, layer = stream.metadata["path"], stream.metadata["layer"]
    if rule.forgetting == "token" and stream.forget_gate is None:
        raise ValueError(
            f"--forgetting: 'token' takes the gates of the file, and there is no {layer}.g in {path}"
        )
    if stream.initial_preconditioner is None:
        return
    for start in (stream.initial_preconditioner.min(), stream.initial_preconditioner.max()):
        _require_inside(f"{path}: {layer}.d0", start, rule)


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
