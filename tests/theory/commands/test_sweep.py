"""The command ``osdn-theory sweep``: exit codes, one line for every error, and what a person can interrupt."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.sweep_cases import ids_in
from support.sweep_folders import rows_on_disk, table_of, wait_until
from typer.testing import CliRunner

from osdn_theory.commands.main import app
from osdn_theory.commands.sweep import _duration
from osdn_theory.sweep import run as run_module
from osdn_theory.sweep.grid import Grid
from osdn_theory.sweep.local import WorkersLostError

COMMAND = str(Path(sys.executable).with_name("osdn-theory"))
TINY = ["--stream", "isotropic", "--key-dim", "5", "--value-dim", "4", "--length", "6", "--jobs", "1"]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["sweep", *arguments])


def test_every_option_reaches_the_grid(tmp_path: Path) -> None:
    out = tmp_path / "s"
    arguments = [
        "--stream",
        "orthogonal",
        "--key-dim",
        "5,6",
        "--value-dim",
        "4",
        "--length",
        "7",
        "--condition",
        "4",
    ]
    arguments += [
        "--eta",
        "0.5",
        "--gamma",
        "0.9",
        "--anchor",
        "1",
        "--box",
        "open,0:2",
        "--precision",
        "float64,tf32",
    ]
    result = run(*arguments, "--seeds", "2", "--seed", "3", "--out", str(out), "--jobs", "1", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["cells"], summary["computed"], summary["failed"]) == (16, 16, 0)
    expected = Grid(
        stream=("orthogonal",),
        key_dim=(5, 6),
        value_dim=(4,),
        length=(7,),
        condition=(4.0,),
        eta=(0.5,),
        forgetting=(0.9,),
        anchor=(1.0,),
        box=((float("-inf"), float("inf")), (0.0, 2.0)),
        seed=(3, 4),
        precision=("float64", "tf32"),
    )
    assert set(ids_in(summary["table"])) == {cell.id for cell in expected.cells()}


def test_a_sweep_says_what_it_did_and_goes_on(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "s")]
    first = run(*TINY, *out)
    assert first.exit_code == 0, first.output
    assert "1 cells: 1 computed in " in first.stdout
    assert f"written: {tmp_path / 's' / 'sweep.parquet'}" in first.stdout
    assert "3 cells: 2 computed in " in run(*TINY, *out, "--seeds", "3").stdout
    assert "1 kept, 0 failed" in run(*TINY, *out).stdout


def test_a_dry_run_computes_and_writes_nothing(tmp_path: Path) -> None:
    result = run(*TINY, "--seeds", "5", "--out", str(tmp_path / "s"), "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("5 cells, 0 finished, 5 to compute: about ")
    assert not (tmp_path / "s").exists()
    document = json.loads(
        run(*TINY, "--seeds", "5", "--out", str(tmp_path / "s"), "--dry-run", "--json").stdout
    )
    assert (document["to_compute"], document["jobs"]) == (5, 1)


def test_failed_cells_are_exit_1_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = run_module.row_of

    def fails(cell: Any, *, measure: Any) -> Any:
        return {**real(cell, measure=measure), "error": f"ValueError: seed {cell.seed}"}

    monkeypatch.setattr(run_module, "row_of", fails)
    result = run(*TINY, "--seeds", "7", "--out", str(tmp_path / "s"))
    assert result.exit_code == 1
    assert "failed: ValueError: seed 0\n" in result.stderr
    assert "and 2 other reasons, in the table" in result.stderr
    assert "7 failed" in result.stdout


def test_lost_workers_are_exit_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise WorkersLostError("worker processes were killed")

    monkeypatch.setattr(run_module, "run_sweep", lost)
    result = run(*TINY, "--out", str(tmp_path / "s"))
    assert (result.exit_code, result.stderr) == (1, "error: worker processes were killed\n")


def test_damage_found_is_said(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b"00000000 {")
    result = run(*TINY, "--out", str(tmp_path))
    assert result.exit_code == 0
    assert result.stderr == "warning: 1 torn rows in the journal; their cells are computed again\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key-dim", "0"], "key_dim: expected at least 1, got 0"),
        (["--key-dim", "4"], "key_dim: expected at least 5"),
        (["--key-dim", "2.5"], "key_dim: expected a whole number, got '2.5'"),
        (["--length", "10000000000000"], "this machine has"),
        (["--eta", ","], "eta: the grid is empty"),
        (["--eta", "-1"], "eta: expected finite and >= 0"),
        (["--eta", "fast"], "eta: expected a number, got 'fast'"),
        (["--stream", "isotropc"], "did you mean 'isotropic'?"),
        (["--precision", "float8"], "precision: unknown name 'float8'"),
        (["--box", "1"], "box: expected LOW:HIGH or one of bounded, historic, open, got '1'"),
        (["--gamma", "2"], "forgetting: expected values in (0, 1]"),
        (["--grid", "missing.toml"], "missing.toml: no such file"),
        (["--out", "/proc/none"], "cannot write to the folder '/proc/none'"),
        (
            ["--scheduler", "nobody", "--out", "{tmp}"],
            "scheduler: expected an address such as tcp://host:8786",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run(*(text.format(tmp=tmp_path) for text in arguments))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--jobs", "0"], ["--nonsense"]])
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.output


def in_session(*arguments: str, before: Callable[[], None] = lambda: None) -> subprocess.Popen[str]:
    """The installed command, in a process group of its own, as a terminal starts it: Ctrl-C interrupts it.

    A shell without job control ignores SIGINT in what it runs in the background, and so would its children. `before`
    is called in the new process.
    """

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before()

    return subprocess.Popen(
        [COMMAND, "sweep", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    )


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_is_exit_130_and_the_same_command_goes_on(tmp_path: Path, jobs: str) -> None:
    out = tmp_path / "s"
    arguments = [*TINY[:-1], jobs, "--out", str(out)]
    process = in_session(*arguments, "--seeds", "2000")
    wait_until(lambda: rows_on_disk(out) >= 5, process)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == ""
    assert (
        errors
        == f"interrupted: finished cells are saved in {str(out)!r}; the same command goes on from there\n"
    )
    saved = rows_on_disk(out)
    plan = json.loads(run(*arguments, "--seeds", "2000", "--dry-run", "--json").stdout)
    assert plan["finished"] == saved >= 5


def test_sigkill_of_the_command_and_the_same_command_again(tmp_path: Path) -> None:
    arguments = [*TINY, "--seeds", "40"]
    process = in_session(*arguments, "--out", str(tmp_path / "s"))
    wait_until(lambda: rows_on_disk(tmp_path / "s") >= 3, process)
    process.kill()
    process.communicate(timeout=60)
    result = run(*arguments, "--out", str(tmp_path / "s"), "--json")
    assert json.loads(result.stdout)["kept"] >= 3
    run(*arguments, "--out", str(tmp_path / "fresh"))
    assert table_of(tmp_path / "s") == table_of(tmp_path / "fresh")


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_file_that_may_not_grow_is_one_line_and_tears_nothing(tmp_path: Path, jobs: str) -> None:
    arguments = [*TINY[:-1], jobs, "--seeds", "12", "--out", str(tmp_path / "s")]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, resource.RLIM_INFINITY))

    output, errors = in_session(*arguments, before=limit).communicate(timeout=120)
    assert output == ""
    assert errors == (
        f"error: cannot save to {str(tmp_path / 's' / 'journal.jsonl')!r}: File too large; "
        "the cells before are saved, the same command goes on from there\n"
    )
    saved = rows_on_disk(tmp_path / "s")
    assert 0 < saved < 12
    summary = json.loads(run(*arguments, "--json").stdout)
    assert (summary["kept"], summary["warnings"]) == (saved, [])


def test_progress_shows_cells_and_the_time_left(tmp_path: Path) -> None:
    script = [
        sys.executable,
        "-c",
        _IN_A_TERMINAL,
        COMMAND,
        "sweep",
        *TINY,
        "--seeds",
        "60",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=120)
    assert "/60 cells" in done.stdout
    assert "left" in done.stdout


_IN_A_TERMINAL = """
import os, pty, sys
os.environ.update(TERM="xterm", COLUMNS="100")
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


def test_help_is_there_and_durations_read_well() -> None:
    assert "--scheduler" in run("--help").stdout
    assert [_duration(s) for s in (1.25, 600, 36_000)] == ["1.2 s", "10 min", "10.0 h"]
