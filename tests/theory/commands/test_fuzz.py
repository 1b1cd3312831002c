"""The command: what it prints, its exit codes, its journal, Ctrl-C, and one line for every wrong input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from osdn_theory.commands.main import app
from osdn_theory.sweep.journal import Journal

TESTS = Path(__file__).parents[2]
RIGHT, WRONG = "support.crosscheck.fuzz_kernels:delta_net", "support.crosscheck.fuzz_kernels:nan_for_beta_0"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["fuzz", *arguments])


def rows(folder: Path) -> list[dict[str, Any]]:
    return Journal(folder / "journal.jsonl").read()[0]


def without_time(output: str) -> str:
    first, *rest = output.splitlines()
    return "\n".join([first.rpartition(", ")[0], *rest])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_right_kernel_exits_with_0_and_writes_nothing(tmp_path: Path) -> None:
    result = run("--kernel", RIGHT, "--cases", "12")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith("no failure in 12 cases")
    assert list(tmp_path.iterdir()) == []


def test_a_fault_exits_with_1_and_says_where_it_is_written(tmp_path: Path) -> None:
    result = run("--kernel", WRONG, "--cases", "4", "--dtype", "float32")
    assert result.exit_code == 1, result.output
    assert "failed: o is not finite" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("wrong: ")
    assert {path.suffix for path in (tmp_path / "fuzz").iterdir()} == {".safetensors", ".py"}


def test_json_is_one_document_on_stdout() -> None:
    result = run("--kernel", WRONG, "--cases", "4", "--json")
    document = json.loads(result.stdout)
    assert document["format"] == "osdn-fuzz-summary/1"
    assert document["exit_code"] == result.exit_code == 1
    assert document["failures"][0]["signature"] == "not finite o"


def test_the_same_command_goes_on_and_finds_the_same(tmp_path: Path) -> None:
    """In two pieces as in one: the second runs only what is left."""
    options = ["--kernel", WRONG, "--seed", "2", "--dtype", "float32"]
    assert run(*options, "--cases", "5", "--out", "pieces").exit_code in (0, 1)
    before = (tmp_path / "pieces" / "journal.jsonl").read_bytes()
    second = run(*options, "--cases", "12", "--out", "pieces")
    whole = run(*options, "--cases", "12", "--out", "whole")
    assert "12 cases, 5 of them by earlier calls" in second.stdout
    assert (tmp_path / "pieces" / "journal.jsonl").read_bytes().startswith(before)

    def found(folder: Path) -> list[Any]:
        return [(row["number"], row["telling"], row["signatures"]) for row in rows(folder)[1:]]

    assert found(tmp_path / "pieces") == found(tmp_path / "whole")
    assert len(found(tmp_path / "whole")) == 12
    assert second.exit_code == whole.exit_code == 1
    again = run(*options, "--cases", "12", "--out", "pieces")
    assert "12 of them by earlier calls" in again.stdout


def test_a_torn_line_is_run_again(tmp_path: Path) -> None:
    options = ["--kernel", RIGHT, "--cases", "6", "--out", "run"]
    run(*options)
    journal = tmp_path / "run" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:4], lines[4][:-9] + b"\n", *lines[5:]]))
    result = run(*options)
    assert "6 cases, 3 of them by earlier calls" in result.stdout
    assert sorted({row["number"] for row in rows(tmp_path / "run")[1:]}) == list(range(6))
    assert "6 of them by earlier calls" in run(*options).stdout


def start(*arguments: str) -> subprocess.Popen[str]:
    """In a process group of its own, as a terminal starts it, with SIGINT on as there."""
    return subprocess.Popen(
        [sys.executable, "-c", "from osdn_theory.commands.main import main; main()", "fuzz", *arguments],
        env={**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )


def test_ctrl_c_stops_with_what_was_found_and_the_same_command_goes_on(tmp_path: Path) -> None:
    options = ["--kernel", RIGHT, "--cases", "100000", "--out", str(tmp_path / "run")]
    process = start(*options)
    journal = tmp_path / "run" / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 4):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "the same command goes on from there" in errors
    finished = len(rows(tmp_path / "run")) - 1
    assert output.splitlines()[-1].startswith(f"no failure in {finished} cases")
    # In a process of its own again: another test may have loaded Triton here, and that would be another run.
    again = start("--kernel", RIGHT, "--cases", str(finished + 2), "--out", str(tmp_path / "run"))
    output, errors = again.communicate()
    assert f"{finished + 2} cases, {finished} of them by earlier calls" in output, errors


def test_ctrl_c_while_shrinking_writes_the_smallest_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    from osdn_theory.crosscheck.fuzz import run as running

    put = []
    real = running.hold

    def counted(*arguments: Any) -> Any:
        put.append(1)
        held = real(*arguments)
        if sum(put) == 20:
            raise KeyboardInterrupt
        return held

    monkeypatch.setattr(running, "hold", counted)
    result = run("--kernel", WRONG, "--cases", "50", "--dtype", "float32", "--out", "run")
    assert result.exit_code == 130, result.output
    assert "interrupted after" in result.stderr
    assert len(put) == 20
    (found,) = [row["failure"] for row in rows(Path("run")) if "failure" in row]
    assert found["repeats"]
    assert all(Path(path).is_file() for path in found["files"])


def test_seconds_are_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that ticks with every look at it."""
    from osdn_theory.crosscheck.fuzz import run as running

    ticks = iter(range(10**6))
    monkeypatch.setattr(running.time, "perf_counter", lambda: float(next(ticks)))
    result = run("--kernel", RIGHT, "--seconds", "7", "--json")
    assert json.loads(result.stdout)["cases"] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kernel", "no_such_kernel"], "unknown 'no_such_kernel'"),
        (["--kernel", "support.crosscheck.fuzz_kernels:absent"], "has no 'absent'"),
        (["--kernel", RIGHT, "--dtype", "float64"], "unknown name 'float64'"),
        (["--kernel", RIGHT, "--device", "tpu"], "tpu"),
        (["--kernel", RIGHT, "--cases", "0"], "Invalid value for '--cases'"),
        (["--kernel", RIGHT, "--seconds", "-1"], "Invalid value for '--seconds'"),
        (["--kernel", RIGHT, "--seed", "-1"], "Invalid value for '--seed'"),
        (["--kernel", RIGHT, "--out", "file"], "is not a folder"),
        ([], "Missing option '--kernel'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ["--kernel", "support.crosscheck.fuzz_kernels:right"],
            "holds a run with kernel support",
        ),
        (["--seed", "1"], "holds a run with seed 0, this is 1"),
        (["--dtype", "float32"], "holds a run with dtypes all"),
    ],
)
def test_the_folder_of_another_run_is_refused(change: list[str], message: str, tmp_path: Path) -> None:
    options = ["--kernel", RIGHT, "--cases", "2", "--out", "run"]
    assert run(*options).exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    result = run(*options, *change)
    assert result.exit_code == 2
    assert message in result.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("content", [b"notes of mine\n", b'00000000 {"cell": 1}\n', b"\xff\xfe\x00"])
def test_a_journal_of_something_else_is_left_alone(content: bytes, tmp_path: Path) -> None:
    journal = tmp_path / "run" / "journal.jsonl"
    journal.parent.mkdir()
    journal.write_bytes(content)
    result = run("--kernel", RIGHT, "--cases", "2", "--out", "run")
    assert result.exit_code == 2
    assert "is no journal of this version of osdn-theory fuzz" in result.stderr
    assert journal.read_bytes() == content
    assert [path.name for path in journal.parent.iterdir()] == ["journal.jsonl"]


def test_a_changed_kernel_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "kernel_of_mine.py"
    source.write_text(
        "from support.crosscheck.fuzz_kernels import delta_net\n\n"
        "mine = lambda q, k, v, beta: delta_net(q, k, v, beta)\n"
    )
    options = ["--kernel", "kernel_of_mine:mine", "--cases", "2", "--out", "run"]
    assert run(*options).exit_code == 0
    source.write_text(source.read_text() + "# mended\n")
    result = run(*options)
    assert result.exit_code == 2
    assert "holds a run with source" in result.stderr


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    from osdn_theory.crosscheck.fuzz.folder import Folder

    first, second = (Folder(tmp_path / "run", {"seed": 0}) for _ in range(2))
    with first.writing(), pytest.raises(OSError, match="another run is at work"), second.writing():
        pass
