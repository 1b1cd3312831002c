"""What a call takes the host: every cell with plans and without, and what is asked for wrongly."""

import csv
import time

import pytest
import typer
from osdn_kernels.benchmarks import host_times
from osdn_kernels.benchmarks.host_times import COLUMNS, time_host
from osdn_kernels.launch.planned import Planned

TINY = {"shapes": "1x4", "heads": 1, "dim": 16, "calls": 1}


def test_every_cell_is_timed_with_plans_and_without(tmp_path, capsys):
    file, before, used = tmp_path / "times.csv", Planned.runs, Planned.used
    host_times.run(regimes="pinned", out=file, **TINY)
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert tuple(rows[0]) == COLUMNS
    cells = [(row["passes"], row["plans"]) for row in rows]
    assert cells == [("forward", "False"), ("forward", "True"), ("both", "False"), ("both", "True")]
    assert all(float(row["host_microseconds"]) > 0 for row in rows)
    assert Planned.runs >= before + 3, "one of a forward pass, two of both"
    assert Planned.used == used
    assert capsys.readouterr().out.count("regime pinned") == 4


def test_a_regime_that_is_not_there_is_named():
    with pytest.raises(typer.BadParameter, match=r"nothing clips.*'no such'"):
        host_times.run(regimes="no such", **TINY)


def test_the_median_of_calls_is_taken(monkeypatch):
    sleeps = iter([0.02, 0.0, 0.0, 0.0, 0.02])
    assert time_host(lambda: time.sleep(next(sleeps)), 5) < 10_000
    sleeps = iter([0.02, 0.02, 0.0, 0.02, 0.02])
    assert time_host(lambda: time.sleep(next(sleeps)), 5) >= 20_000
