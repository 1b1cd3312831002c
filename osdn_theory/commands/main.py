"""The command ``osdn-theory``."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osdn_theory import __version__
from osdn_theory.base.folders import ensure_writable, write_atomically
from osdn_theory.commands import tables
from osdn_theory.commands.console import (
    OneLineErrors,
    known_names,
    number_or,
    print_table,
    progress_bar,
    split_names,
)
from osdn_theory.commands.crosscheck import EXIT_CODES as CROSSCHECK_EXIT_CODES, crosscheck
from osdn_theory.commands.fuzz import EXIT_CODES as FUZZ_EXIT_CODES, fuzz
from osdn_theory.commands.recall import EXIT_CODES as RECALL_EXIT_CODES, recall
from osdn_theory.commands.sweep import EXIT_CODES as SWEEP_EXIT_CODES, sweep

if TYPE_CHECKING:
    from osdn_theory.bounds.check import BoundCheck
    from osdn_theory.recurrence.rules import CalibrationRule
    from osdn_theory.streams.stream import Stream
    from osdn_theory.verification.run import Verification

EXIT_CODES = (
    "Exit code: 0 every bound that applies holds; 1 a bound is violated; 2 bad usage or input; "
    "3 nothing is violated but something is undecided."
)
DONE = "Exit code: 0 done; 2 bad usage or input."

COMMANDS = "osdn_theory.commands"
"""Entry point group: command name -> Typer app with that one command."""


class Commands(OneLineErrors):
    """The commands of this module and those of the entry points, each of these imported only when it is named."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *sorted(entry_points(group=COMMANDS).names)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found = tuple(entry_points(group=COMMANDS, name=cmd_name))
        return typer.main.get_command(found[0].load()) if found else None


app = typer.Typer(
    name="osdn-theory",
    cls=Commands,
    help="Exact theory of Online Scaled DeltaNet: check its bounds, analyse activations, draw convergence.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print one strictly valid JSON document instead of tables.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder to write figures and data to.")]


def main() -> None:
    """Entry point of the installed command."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"osdn-theory {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command; `debug` is read where errors are caught."""


@app.command(epilog=EXIT_CODES)
def verify(
    stream: Annotated[
        list[str] | None, typer.Option(help="Only this stream; repeat it or separate with commas.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Activations (safetensors or npz) to check; no other stream then, unless named."),
    ] = None,
    bounds: Annotated[list[str] | None, typer.Option(help="Only these theorems, such as T5,T6.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of every random stream.")] = 1,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option(help="Report folder.")] = Path("report"),
    report: Annotated[bool, typer.Option(help="Write the report folder.")] = True,
    json: JsonFlag = False,
) -> None:
    """Check all bounds on all streams; print a table and write a report folder."""
    from osdn_theory.verification.run import BOUND_IDS, STREAM_NAMES, verify as run_verify

    streams = known_names("--stream", stream, STREAM_NAMES)
    theorems = known_names("--bounds", bounds, BOUND_IDS)
    if report:
        # Found out now rather than after minutes of work.
        ensure_writable(out)
    with progress_bar() as progress:
        verification = run_verify(
            streams=streams, file=file, bounds=theorems, seeds=seeds, seed=seed, progress=progress
        )
        page = _write_report(verification, out, seed, file) if report else None
    if json:
        _print_json(verification.as_dict())
    else:
        tables.print_verification(verification, page)
    raise typer.Exit(verification.exit_code)


def _write_report(verification: Verification, out: Path, seed: int, file: Path | None) -> Path:
    from osdn_theory.report import write_report
    from osdn_theory.report.gallery import exhibits

    return write_report(verification, out, exhibits=exhibits(verification, seed=seed, file=file))


def _write_json(out: Path, name: str, value: Any) -> Path:
    from osdn_theory.base.jsonable import to_json

    path = ensure_writable(out) / name
    write_atomically(path, (to_json(value) + "\n").encode())
    return path


def _print_json(value: Any) -> None:
    from osdn_theory.base.jsonable import to_json

    typer.echo(to_json(value))


@app.command()
def streams(json: JsonFlag = False) -> None:
    """List the streams that `verify` knows, with what each one is."""
    from osdn_theory.verification.run import STREAM_DESCRIPTIONS

    if json:
        _print_json(STREAM_DESCRIPTIONS)
    else:
        print_table("Streams", ["name", "what it is"], STREAM_DESCRIPTIONS.items(), left=["what it is"])


@app.command(epilog=DONE)
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
        _write_json(out, "analysis.json", document)
    if json:
        _print_json(document)
    else:
        tables.print_analysis(heads, verdicts)


def _bounds_on(stream: Stream, rule: CalibrationRule) -> list[BoundCheck]:
    from osdn_theory.bounds import check_bounds
    from osdn_theory.recurrence.solve import osdn

    return check_bounds(osdn(stream, rule, return_states=True), rule_label="as given")


@app.command(epilog=DONE)
def converge(
    rule: Annotated[
        list[str] | None, typer.Option(help="gradient, best_fixed_diagonal, diagonal, full, newton.")
    ] = None,
    condition: Annotated[
        list[float] | None, typer.Option(help="Condition number; repeat it for more.")
    ] = None,
    steps: Annotated[int, typer.Option(min=0, help="Steps on the context.")] = 1000,
    key_dim: Annotated[int, typer.Option(min=1, help="K.")] = 8,
    value_dim: Annotated[int, typer.Option(min=1, help="V.")] = 8,
    rotate: Annotated[bool, typer.Option(help="A general Gram matrix; --no-rotate: a diagonal one.")] = True,
    eta: Annotated[float | None, typer.Option(help="Step of both OSDN rules. Default 1/(2 L^2).")] = None,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option(help="Folder to write figures and data to.")] = Path("convergence"),
    json: JsonFlag = False,
) -> None:
    """Draw suboptimality against steps for several rules, with T10's bound and where it is vacuous."""
    import numpy as np

    from osdn_theory import plotting
    from osdn_theory.context.convergence import LABELS, RULES, convergence_rates

    chosen: Any = known_names("--rule", rule, RULES) or RULES
    document: dict[str, Any] = {}
    files: list[Path] = []
    for kappa in condition or [6.0, 100.0]:
        data = convergence_rates(
            np.random.default_rng(seed),
            condition=kappa,
            key_dim=key_dim,
            value_dim=value_dim,
            steps=steps,
            rotate=rotate,
            rules=chosen,
            eta=eta,
        )
        document[f"{kappa:g}"] = data.as_dict()
        figure, _ = plotting.convergence_rates(
            data, labels=LABELS, title=f"K = {key_dim}, condition number {kappa:g}"
        )
        files += plotting.save_figure(figure, ensure_writable(out) / f"convergence-{kappa:g}.png", svg=True)
    files.append(_write_json(out, "convergence.json", document))
    if json:
        _print_json(document)
        return
    tables.print_convergence(document)
    typer.echo("written: " + ", ".join(map(str, files)))


@app.command(epilog=DONE)
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes; the ratios then say nothing.")] = False,
    json: JsonFlag = False,
) -> None:
    """Measure the solvers: every number a ratio to something measured in the same run."""
    from osdn_theory.measures.speed import run_benchmarks

    result = run_benchmarks(quick=quick)
    if json:
        _print_json(result)
    else:
        tables.print_benchmarks(result)


@app.command(epilog=DONE)
def tighten(
    bounds: Annotated[list[str] | None, typer.Option(help="Only these theorems, such as T5,T6.")] = None,
    restarts: Annotated[int, typer.Option(min=1, help="Random starting points of each search.")] = 8,
    evaluations: Annotated[int, typer.Option(min=1, help="Limit of one local optimisation.")] = 600,
    seed: SeedOption = 0,
    json: JsonFlag = False,
) -> None:
    """Search for the streams and comparators on which each bound has the smallest slack."""
    import numpy as np

    from osdn_theory.verification.tightness import TIGHTENABLE, TightenResult, tighten as search

    theorems = known_names("--bounds", bounds, TIGHTENABLE) or list(TIGHTENABLE)
    rng = np.random.default_rng(seed)
    results: list[TightenResult] = []
    with progress_bar() as progress:
        for done, theorem in enumerate(theorems):
            progress(theorem, done, len(theorems))
            results.extend(search(theorem, rng, restarts=restarts, evaluations=evaluations))
    if json:
        _print_json({"seed": seed, "results": results})
    else:
        tables.print_tightness(results)


app.command(epilog=SWEEP_EXIT_CODES)(sweep)
app.command(epilog=CROSSCHECK_EXIT_CODES)(crosscheck)
app.command(epilog=FUZZ_EXIT_CODES)(fuzz)
app.command(epilog=RECALL_EXIT_CODES)(recall)
