"""Mutation testing: a package with one line changed must fail its tests.

``PYTHONPATH=tests python -m mutation.mutation_run rounding`` runs the suite of `mutation_rounding.py` and writes
``tests/mutation/rounding.csv``. A suite is a module ``mutation_NAME`` beside this one with a `SUITE`: a table of
mutants, and the tests that should tell each from the original. Mutants are made on a copy of the packages in a
temporary folder, in which the tests run; the checkout is left alone.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

_COPIED = ("osdn_theory", "tests", "setup.cfg", "pyproject.toml", "notebooks/figures")


@dataclass(frozen=True)
class Mutant:
    """One change of `file`, from `old`, which occurs there once, to `new`.

    `equivalent`, if no test can see it, says why; `first` is the test file that is likeliest to see it.
    """

    file: str
    name: str
    old: str
    new: str
    equivalent: str = ""
    first: str = ""

    def changed(self, text: str) -> str:
        """`text` of the file with the change.

        Raises
        ------
        ValueError
            If `old` does not occur exactly once.
        """
        count = text.count(self.old)
        if count != 1:
            raise ValueError(f"{self.file}, {self.name}: expected the old text once, found it {count} times")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Suite:
    """Mutants, and the test files that should find every one of them, each run by itself until one fails."""

    mutants: tuple[Mutant, ...]
    tests: tuple[str, ...]


def suite(
    folder: str, table: Mapping[tuple[str, str], Sequence[tuple[str, ...]]], tests: Sequence[str]
) -> Suite:
    """A suite from rows of a table: (file below `folder`, the test file that is likeliest to see it) -> its mutants."""
    rows = [(file, first, row) for (file, first), rows in table.items() for row in rows]
    return Suite(
        tuple(Mutant(f"{folder}/{file}", *row, first=first) for file, first, row in rows), tuple(tests)
    )


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: the first test that failed, or none."""

    mutant: Mutant
    failed: str

    @property
    def verdict(self) -> str:
        if self.failed:
            return "killed"
        return "equivalent" if self.mutant.equivalent else "survived"


def copied(folder: Path, mutant: Mutant | None = None) -> None:
    """A copy of what the tests need, with what is compiled already unless the mutant is in a compiled loop."""
    # Machine code of a loop does not notice that a loop it calls has changed.
    fresh = mutant is not None and "@compiled" in (ROOT / mutant.file).read_text()
    ignored = shutil.ignore_patterns("__pycache__") if fresh else None
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)


def tried(mutant: Mutant | None, tests: Sequence[str], before: str = "") -> tuple[str, str]:
    """The first failing test on a mutated copy (without a mutant, on a copy) and pytest's output, or "" for none.

    That which failed `before` is run before all others.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied(folder, mutant)
        if mutant is not None:
            path = folder / mutant.file
            path.write_text(mutant.changed(path.read_text()))
        first = mutant.first if mutant is not None else ""
        for test in [before] * bool(before) + sorted(tests, key=lambda name: name != first):
            failed, output = _failed(folder, test)
            if failed:
                return failed, output
    return "", ""


def _failed(folder: Path, test: str) -> tuple[str, str]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(folder), str(folder / "tests"))),
        "OMP_NUM_THREADS": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # half of the time of a short test
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--tb=no",
        "-m",
        "not slow",
        test,
    ]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    # A single test that is gone, or slow by now, has failed nothing.
    nothing = (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
    gone = "::" in test and run.returncode in nothing
    if run.returncode == 0 or gone:
        return "", run.stdout
    lines = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return (lines[0].split(" - ")[0] if lines else f"pytest ended with {run.returncode}"), run.stdout


def results(suite: Suite, *, parallel: int = 2, table: Path | None = None) -> Iterator[Outcome]:
    """Every mutant's outcome, as it is known; what failed in an earlier `table` is run first.

    Raises
    ------
    RuntimeError
        If the tests fail without any mutant.
    """
    failed, output = tried(None, suite.tests)
    if failed:
        raise RuntimeError(f"the tests fail on the original: {failed}\n{output}")
    rows = {} if table is None else read_table(table)

    def outcome(mutant: Mutant) -> Outcome:
        return Outcome(mutant, tried(mutant, suite.tests, failed_before(rows, mutant))[0])

    with ThreadPoolExecutor(parallel) as pool:
        yield from pool.map(outcome, suite.mutants)


def failed_before(rows: Mapping[tuple[str, str], Sequence[str]], mutant: Mutant) -> str:
    """The single test that a table says has failed; "" where it names none, such as a file that did not load."""
    *_, verdict, reason = rows.get((mutant.file, mutant.name), ("", ""))
    return reason if verdict == "killed" and reason.startswith("tests/") and "::" in reason else ""


def read_table(path: Path) -> dict[tuple[str, str], list[str]]:
    """Rows of a table by file and name of the mutant; none where there is no table."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {(row[0], row[1]): row for row in csv.reader(file)}


def write_table(outcomes: Sequence[Outcome], mutants: Sequence[Mutant], path: Path) -> None:
    """One row per mutant of a suite; those that were not run keep the row that they have."""
    rows = read_table(path)
    for outcome in outcomes:
        mutant = outcome.mutant
        reason = outcome.failed.removeprefix("FAILED ") or mutant.equivalent
        rows[mutant.file, mutant.name] = [mutant.file, mutant.name, outcome.verdict, reason]
    known = [(mutant.file, mutant.name) for mutant in mutants]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "mutant", "verdict", "by test, or why equivalent"))
        writer.writerows(rows[key] for key in known if key in rows)


def suite_of(name: str) -> Suite:
    """The suite of the module ``mutation_NAME``."""
    suite: Suite = importlib.import_module(f"mutation.mutation_{name}").SUITE
    return suite


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the mutants of a suite and write their table.")
    parser.add_argument("suite", help="NAME of mutation_NAME.py")
    parser.add_argument("--parallel", type=int, default=2, help="mutants at a time")
    parser.add_argument(
        "--only", nargs="*", default=[""], help="mutants whose file or name contains this, or one of these"
    )
    given = parser.parse_args()
    # Run as a script this module is __main__; suites import it by its name.
    sys.modules.setdefault("mutation.mutation_run", sys.modules[__name__])
    whole = suite_of(given.suite)
    chosen = tuple(m for m in whole.mutants if any(part in f"{m.file}: {m.name}" for part in given.only))
    survived, table = 0, Path(__file__).parent / f"{given.suite}.csv"
    for outcome in results(Suite(chosen, whole.tests), parallel=given.parallel, table=table):
        print(f"{outcome.verdict:10s} {outcome.mutant.file}: {outcome.mutant.name}", flush=True)
        write_table([outcome], whole.mutants, table)
        survived += outcome.verdict == "survived"
    print(f"{len(chosen)} mutants, {survived} survived")
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main())
