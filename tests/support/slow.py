"""Which tests the everyday suite leaves out: those that take long, as measured, beside those that are marked.

``OMP_NUM_THREADS=1 PYTHONPATH=tests python -m pytest -p support.slow -n auto -m "not slow"`` measures what it runs, on
an idle machine, and adds to ``tests/slow.csv`` what takes longer than `LONGEST` there, unless a mutant is known by it
(`mutation`): mutants meet the everyday suite alone.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from mutation.mutation_run import read_table

TABLE = Path(__file__).resolve().parents[1] / "slow.csv"
MUTANTS = TABLE.parent / "mutation"

LONGEST = 1.2
"""Seconds of a test on one of two cores of 2.0 GHz or so, without what it sets up, which others may share."""


def read_slow() -> dict[str, float]:
    """Seconds that each test of the table took."""
    with TABLE.open(newline="") as file:
        return {row["test"]: float(row["seconds"]) for row in csv.DictReader(file)}


def write_slow(seconds: dict[str, float]) -> None:
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("test", "seconds"))
        writer.writerows((test, f"{seconds[test]:.1f}") for test in sorted(seconds))


def read_killers() -> set[str]:
    """Tests that have told a mutant from the original."""
    rows = [row for path in MUTANTS.glob("*.csv") for row in read_table(path).values()]
    return {test for *_, verdict, test in rows if verdict == "killed"}


def mark_slow(items: list[pytest.Item]) -> None:
    """Mark the tests of the table."""
    slow = read_slow()
    for item in items:
        if item.nodeid in slow:
            item.add_marker(pytest.mark.slow)


class Durations:
    """Seconds of every test that runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.seconds[report.nodeid] = report.duration

    def pytest_sessionfinish(self) -> None:
        killers = read_killers()
        found = {test: took for test, took in self.seconds.items() if took > LONGEST and test not in killers}
        write_slow(read_slow() | found)


def pytest_configure(config: pytest.Config) -> None:
    # Workers report to whoever started them.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Durations())
