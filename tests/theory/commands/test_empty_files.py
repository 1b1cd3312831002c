"""Every command that reads a file refuses one without tokens, a folder, and one of another kind, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from osdn_theory.commands.main import app

READERS = {
    "analyze": ["analyze", "{}"],
    "verify": ["verify", "--no-report", "--bounds", "T3", "--file", "{}"],
    "converge": ["converge", "{}"],
    "crosscheck": ["crosscheck", "--file", "{}"],
    "replay": ["crosscheck", "--device", "cpu", "--replay", "{}"],
    "sweep": ["sweep", "--grid", "{}", "--dry-run"],
}
each = pytest.mark.parametrize("command", READERS.values(), ids=list(READERS))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(command: list[str], path: Path) -> str:
    result: Any = CliRunner().invoke(app, [part.format(path) for part in command])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    *_, line = result.stderr.splitlines()
    assert line.startswith("error: ")
    return str(line)


@each
def test_a_folder(command: list[str], tmp_path: Path) -> None:
    line = refused(command, tmp_path)
    assert str(tmp_path) in line
    assert "folder" in line or "is a directory" in line


@each
def test_a_missing_file(command: list[str], tmp_path: Path) -> None:
    assert "absent.npz: no such file" in refused(command, tmp_path / "absent.npz")


@each
def test_an_empty_file(command: list[str], tmp_path: Path) -> None:
    if command[0] == "sweep":
        pytest.skip("an empty grid file leaves every axis as it is")
    (tmp_path / "empty.npz").touch()
    assert "empty.npz: the file is empty" in refused(command, tmp_path / "empty.npz")


@each
def test_another_kind_of_file(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello, world")
    assert "text.npz: not a" in refused(command, tmp_path / "text.npz")


@pytest.mark.parametrize("name", ["analyze", "verify", "converge"])
def test_activations_without_tokens(name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz", **{part: np.zeros((1, 0, 2, 6)) for part in "qkv"})
    assert "no tokens (T = 0)" in refused(READERS[name], tmp_path / "none.npz")


def test_a_saved_call_without_tokens(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    tensors = {name: np.zeros((1, 0, 2, 4), np.float32) for name in ("q", "k", "v", "o")}
    metadata = {"recurrence": "osdn", "order": "recurrent", "scale": "1.0", "chunk_size": "64", "eta": "1.0"}
    path = tmp_path / "call.safetensors"
    box = {"d_min": "0.0", "d_max": "2.0", "normalize_feedback": "False"}
    save_file({**tensors, "beta": np.zeros((1, 0, 2), np.float32)}, str(path), {**metadata, **box})
    assert "k: there are no tokens" in refused(READERS["crosscheck"], path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "--length", "0"], "length: expected at least 1, got 0"),
        (["recall", "--pairs", "0"], "pairs: expected"),
    ],
)
def test_sizes_of_zero(arguments: list[str], message: str) -> None:
    result: Any = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_file_where_a_folder_belongs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments in (["sweep"], ["sweep", "--dry-run"], ["converge"], ["central"], ["analyze"]):
        result: Any = CliRunner().invoke(app, [*arguments, "--out", "file"])
        assert result.exit_code == 2, arguments
        assert "'file'" in result.stderr
        assert "folder" in result.stderr
