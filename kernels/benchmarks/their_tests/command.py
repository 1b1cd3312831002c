"""The command ``python -m osdn_kernels.benchmarks.their_tests CHECKOUT``."""

import csv
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from xml.etree import ElementTree

import typer

from .in_place import VARIABLE

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Replacement(NamedTuple):
    """An operator of theirs, with ours that takes its place, where it is imported from, and its tests."""

    theirs: str
    ours: str
    module: str
    tests: str

    @property
    def present(self) -> bool:
        """Whether there is such an operator of ours."""
        from ... import ops

        return hasattr(ops, self.ours)


PLACES = tuple(
    Replacement(f"{order}_{theirs}", f"{order}_{ours}", f"fla.ops.{folder}", f"tests/ops/{tests}.py")
    for theirs, ours, folder, tests in (
        ("delta_rule", "osdn", "delta_rule", "test_delta"),
        ("gated_delta_rule", "osgdn", "gated_delta_rule", "test_gdn"),
        ("kda", "oskda", "kda", "test_kda"),
    )
    for order in ("chunk", "fused_recurrent")
)
"""One at a time: their tests hold one operator against another."""

Row = dict[str, Any]

COLUMNS = ("theirs", "ours", "test", "outcome", "calls", "seconds", "reason")

GOOD = {"passed", "collected"}

WHOLE = {"FLA_DISABLE_BACKEND_DISPATCH": "1"}
"""Without this their tests of grouped heads skip themselves, for the sake of an operator that ours stands in for."""

NONE_COLLECTED = 5
"""pytest's exit code where no test is left."""

NO_GPU = "no CUDA device is present, and their tests need one: --collect says which tests would run"


@app.command()
def run_their_tests(
    checkout: Annotated[Path, typer.Argument(help="Folder of a checkout of flash-linear-attention.")],
    only: Annotated[
        str, typer.Option("--only", help="Comma-separated operators of theirs; all of them without.")
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", help="CSV file to write, a row for each test.")] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Say which tests would run, and run none.")
    ] = False,
) -> None:
    """Run flash-linear-attention's tests of its delta rules with our operators in their place, d pinned at 1.

    Exit code: 0 all that ran passed; 1 some failed, or none ran; 2 bad usage or no GPU.
    """
    places = _chosen(only)
    _check(checkout, places)
    if not collect:
        _require_device()
    rows: list[Row] = []
    for place in places:
        if not place.present:
            typer.echo(f"{place.theirs}: there is no {place.ours} to take its place; its tests are not run")
            continue
        found = list(run(place, checkout, collect=collect))
        typer.echo(_line(place, found))
        rows += found
    if out is not None:
        _write(out, rows)
    for row in rows:
        if row["outcome"] not in GOOD:
            typer.echo(f"  {row['outcome']}: {row['theirs']}: {row['test']}: {row['reason']}")
    outcomes = {row["outcome"] for row in rows}
    if not outcomes & GOOD or outcomes & {"failed", "never called"}:
        raise typer.Exit(1)


def _chosen(only: str) -> list[Replacement]:
    known = {place.theirs: place for place in PLACES}
    names = [name.strip() for name in only.split(",")] if only else list(known)
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"--only: {name!r} is none of {', '.join(known)}")
    return [known[name] for name in names]


def _check(checkout: Path, places: list[Replacement]) -> None:
    if not checkout.is_dir():
        raise typer.BadParameter(f"CHECKOUT: {checkout} is not a folder")
    for name in ("fla", *dict.fromkeys(place.tests for place in places)):
        if not (checkout / name).exists():
            raise typer.BadParameter(
                f"CHECKOUT: {checkout} has no {name}: it is no checkout of flash-linear-attention"
            )


def _require_device() -> None:
    import torch

    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET", "0") != "1":
        raise typer.BadParameter(NO_GPU)


def run(place: Replacement, checkout: Path, *, collect: bool = False) -> Iterator[Row]:
    """Their tests of one operator, in a process that imports the checkout; a row for each."""
    paths = [str(checkout.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
    names = f"{place.module}:{place.theirs}={place.ours}"
    environment = {**WHOLE, **os.environ, "PYTHONPATH": os.pathsep.join(paths), VARIABLE: names}
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", place.tests, "--rootdir=.", "-q", "-p", "no:cacheprovider"]
        command += ["-p", f"{__package__}.in_place", f"--junitxml={told}", *["--collect-only"] * collect]
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 1, NONE_COLLECTED):
            raise typer.BadParameter(
                f"CHECKOUT: pytest ends with {done.returncode} on {place.tests}:\n{done.stdout}{done.stderr}"
            )
        head = {"theirs": place.theirs, "ours": place.ours}
        if collect:
            tests = [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]
            yield from ({**head, "test": name, "outcome": "collected"} for name in tests)
        else:
            yield from ({**head, **_row(case)} for case in ElementTree.parse(told).iter("testcase"))


def _row(case: ElementTree.Element) -> Row:
    """Test, outcome, calls of ours, seconds and the first line of a reason."""
    calls = [int(each.get("value", 0)) for each in case.iter("property") if each.get("name") == "calls"]
    trouble = next((each for each in case if each.tag in ("failure", "error", "skipped")), None)
    outcome = "passed" if trouble is None else "skipped" if trouble.tag == "skipped" else "failed"
    if outcome == "passed" and sum(calls) == 0:
        outcome = "never called"
    reason = "" if trouble is None else trouble.get("message", "").partition("\n")[0]
    told = {"calls": sum(calls), "seconds": float(case.get("time", 0.0)), "reason": reason}
    return {"test": case.get("name", ""), "outcome": outcome, **told}


def _line(place: Replacement, rows: list[Row]) -> str:
    counts = Counter(row["outcome"] for row in rows)
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"{place.ours} in the place of {place.theirs}: {told or 'no test names it'}"


def _write(out: Path, rows: list[Row]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
