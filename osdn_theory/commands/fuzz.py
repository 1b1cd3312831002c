"""The command ``osdn-theory fuzz``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from osdn_theory.commands.console import INTERRUPTED, known_names, progress_bar
from osdn_theory.commands.options import JsonFlag, SeedOption, described

if TYPE_CHECKING:
    from osdn_theory.crosscheck.fuzz.folder import Folder
    from osdn_theory.crosscheck.fuzz.run import Failure, FuzzPlan, FuzzSummary
    from osdn_theory.crosscheck.kernel.adapters import Adapter

EXIT_CODES = (
    "Exit code: 0 no failure; 1 failures were found; 2 bad usage or input; 130 interrupted: with --out, the same "
    "command goes on from there."
)

FORMAT = "osdn-fuzz-summary/1"
"""Of the document that --json prints."""

CASES = 100
"""Without --cases and --seconds."""

FILES = Path("fuzz")
"""Where failures are written to without --out."""


@described
def fuzz(
    kernel: str,
    cases: int | None = None,
    seconds: float | None = None,
    seed: SeedOption = 0,
    dtype: list[str] | None = None,
    device: str | None = None,
    out: Path | None = None,
    json: JsonFlag = False,
) -> None:
    """Draw cases from all that a kernel takes, hold its answers against float64, shrink and write what fails.

    Shapes, dtypes, strides, options and values are drawn by seed and number alone. Each kind of failure is written
    once, as a file for crosscheck --replay and as a Python script that needs torch and the kernel alone.
    """
    from osdn_theory.commands.crosscheck import choose_device
    from osdn_theory.crosscheck.cases.case import DTYPES
    from osdn_theory.crosscheck.fuzz.run import FuzzPlan, fuzz as run_fuzz
    from osdn_theory.crosscheck.kernel.registry import resolve
    from osdn_theory.crosscheck.kernel.signature.recognition import recognise

    dtypes = known_names("--dtype", dtype, DTYPES) or []
    place = choose_device(device)
    adapter = recognise(resolve(kernel), place, dtypes[0] if dtypes else None)  # type: ignore[arg-type]
    limit = CASES if cases is None and seconds is None else cases
    chosen: Any = tuple(dict.fromkeys(dtypes))
    plan = FuzzPlan(seed=seed, cases=limit, seconds=seconds, dtypes=chosen, device=place)
    folder = None if out is None else _folder(out, adapter, plan)
    with progress_bar() as progress:
        summary = run_fuzz(adapter, plan, folder=folder, files=out or FILES, progress=progress)
    _print(summary, json, out)
    raise typer.Exit(INTERRUPTED if summary.interrupted else summary.exit_code)


def _folder(out: Path, adapter: Adapter, plan: FuzzPlan) -> Folder:
    from osdn_theory.crosscheck.check import is_interpreted
    from osdn_theory.crosscheck.fuzz.folder import Folder
    from osdn_theory.crosscheck.fuzz.origin import source_digest
    from osdn_theory.crosscheck.fuzz.replay import versions

    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: {str(out)!r} is not a folder")
    identity = {
        "kernel": adapter.name,
        "source": source_digest(adapter),
        "seed": plan.seed,
        "dtypes": list(plan.dtypes) or "all",
        "device": plan.device,
        "Triton's interpreter": is_interpreted(plan.device),
        **versions(),
    }
    return Folder(out, identity)


def _print(summary: FuzzSummary, json: bool, out: Path | None) -> None:
    from osdn_theory.base.jsonable import to_json

    if json:
        typer.echo(to_json({"format": FORMAT, **summary.as_dict()}))
    else:
        for line in lines(summary):
            typer.echo(line)
    if summary.interrupted:
        goes_on = f"; the same command goes on from there in {str(out)!r}" if out is not None else ""
        typer.echo(f"interrupted after {summary.cases} cases{goes_on}", err=True)


def lines(summary: FuzzSummary) -> Iterator[str]:
    """What was run, what failed with the smallest case of each kind, and the verdict as the last line."""
    kept = f", {summary.kept} of them by earlier calls" if summary.kept else ""
    where = f"{summary.kernel} on {summary.device}, seed {summary.seed}"
    yield f"{where}: {_cases(summary.cases)}{kept}, {summary.seconds:.1f} s"
    for what in summary.not_drawn:
        yield f"not drawn: {what}"
    for what, count in summary.refused.items():
        yield f"refused by the kernel: {what} ({_cases(count)})"
    for failure in summary.failures:
        yield from _failure(failure)
    if summary.lost:
        yield f"stopped: the device takes no more work ({summary.lost}); another call starts anew"
    yield verdict(summary)


def verdict(summary: FuzzSummary) -> str:
    """Wrong, right as far as was seen, or cannot tell."""
    if summary.failed:
        kinds = len(summary.failures)
        return (
            f"wrong: {summary.failed} of {_cases(summary.cases)} failed, in {kinds} way{'s' * (kinds != 1)}"
        )
    if summary.telling == 0:
        return f"cannot tell: {_cases(summary.cases)}, none with a bound narrow enough to tell"
    return f"no failure in {_cases(summary.cases)}; {summary.telling} of them could tell an error of a tenth"


def _failure(failure: Failure) -> Iterator[str]:
    shape = ", ".join(f"{name}={size}" for name, size in failure.shape.items())
    again = "" if failure.repeats else "; NOT again when put again"
    yield f"failed: {failure.detail}"
    yield f"  {_cases(failure.cases)} so, the first is number {failure.number}; the smallest has {shape}{again}"
    for path in failure.files:
        yield f"  written: {path}"


def _cases(count: int) -> str:
    return f"{count} case{'s' * (count != 1)}"
