"""The command ``osdn-theory analyze``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osdn_theory.base.folders import ensure_writable
from osdn_theory.commands.console import number_or, print_table, progress_bar, split_names
from osdn_theory.commands.matrix import print_matrix
from osdn_theory.commands.options import JsonFlag, OutOption, SeedOption, print_json, write_json

if TYPE_CHECKING:
    from osdn_theory.bounds.check import BoundCheck
    from osdn_theory.measures.analysis import HeadAnalysis
    from osdn_theory.recurrence.rules import CalibrationRule
    from osdn_theory.streams.stream import Stream


def analyze(
    file: Annotated[
        Path | None,
        typer.Argument(help="Activations, safetensors or npz. Default: the packaged MiniLM data."),
    ] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Only this layer; repeat it or use commas.")] = None,
    eta: Annotated[float, typer.Option(help="Hypergradient step.")] = 0.003,
    d_min: Annotated[float, typer.Option(help="Lower side of the box; -inf switches it off.")] = 2 / 3,
    d_max: Annotated[float, typer.Option(help="Upper side of the box; inf switches it off.")] = 3 / 2,
    forgetting: Annotated[str, typer.Option(help="Gamma in (0, 1], or 'token' for the file's gates.")] = "1",
    anchor: Annotated[
        str, typer.Option(help="What forgetting decays towards: a number, or 'initial'.")
    ] = "0",
    normalize_feedback: Annotated[bool, typer.Option(help="Feedback over the squared key norm.")] = False,
    beta_aware: Annotated[bool, typer.Option(help="Beta-aware feedback.")] = False,
    silu: Annotated[bool, typer.Option(help="SiLU before the normalisation.")] = False,
    normalize: Annotated[bool, typer.Option(help="L2-normalise queries and keys.")] = True,
    beta: Annotated[str | None, typer.Option(help="Write gate: a number, or 'random'.")] = None,
    bounds: Annotated[bool, typer.Option(help="Check which bounds apply and hold (slower).")] = True,
    seed: SeedOption = 0,
    out: OutOption = None,
    json: JsonFlag = False,
) -> None:
    """Measure OSDN and DeltaNet on captured activations, layer by layer and head by head."""
    import numpy as np

    from osdn_theory.measures.analysis import analyze as measure
    from osdn_theory.recurrence.rules import CalibrationRule
    from osdn_theory.streams.activations import load_activations

    rule = CalibrationRule(
        eta=eta,
        d_min=d_min,
        d_max=d_max,
        forgetting=number_or("--forgetting", forgetting, ["token"]),
        anchor=number_or("--anchor", anchor, ["initial"]),
        normalize_feedback=normalize_feedback,
        beta_aware=beta_aware,
    )
    if out is not None:
        ensure_writable(out)
    loaded = load_activations(
        file,
        layers=split_names(layer),
        l2_normalize=normalize,
        silu=silu,
        beta=number_or("--beta", beta, ["random"]),
        rng=np.random.default_rng(seed) if beta == "random" else None,
    )
    heads, verdicts = [], []
    with progress_bar() as progress:
        for done, stream in enumerate(loaded):
            progress(stream.name, done, len(loaded))
            heads.extend(measure([stream], rule))
            verdicts.extend(_bounds_on(stream, rule) if bounds else [])
    document = {"rule": rule, "heads": [head.as_dict() for head in heads], "checks": verdicts}
    if out is not None:
        write_json(out, "analysis.json", document)
    if json:
        print_json(document)
    else:
        _print_analysis(heads, verdicts)


def _bounds_on(stream: Stream, rule: CalibrationRule) -> list[BoundCheck]:
    from osdn_theory.bounds import check_bounds
    from osdn_theory.recurrence.solve import osdn

    return check_bounds(osdn(stream, rule, return_states=True), rule_label="as given")


def _print_analysis(heads: Sequence[HeadAnalysis], checks: Sequence[BoundCheck]) -> None:
    """One row per head; then, where they were checked, which bounds apply and hold."""
    print_table(
        "OSDN beside DeltaNet (DN); q is the geometric mean residual ratio, tau the calibration time in tokens",
        [
            "head",
            "q",
            "q DN",
            "recall",
            "recall DN",
            "d from",
            "d to",
            "|d-1|",
            "Newton",
            "cond G",
            "rank",
            "tau min",
            "T",
        ],
        (_analysis_row(head) for head in heads),
    )
    if checks:
        from osdn_theory.verification.digest import digest

        print_matrix(digest(checks))


def _analysis_row(head: HeadAnalysis) -> list[str]:
    osdn, plain = head.measures["osdn"], head.measures["delta_net"]
    numbers = (
        osdn.residual_ratio,
        plain.residual_ratio,
        osdn.recall_ratio,
        plain.recall_ratio,
        osdn.preconditioner_min,
        osdn.preconditioner_max,
        osdn.drift_max,
        osdn.newton_distance,
        head.key_condition,
        head.effective_rank,
        head.fastest_calibration,
    )
    where = f"{head.stream}[{','.join(map(str, head.index))}]"
    return [where, *(f"{number:.3g}" for number in numbers), str(head.length)]
