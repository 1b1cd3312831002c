"""What the README shows runs, and the commands and options that it names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from osdn_theory.cli import app
from osdn_theory.verification import BOUND_IDS

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip() for line in re.findall(r"^    (osdn-theory .*)$", README, flags=re.MULTILINE)
]


def test_python_blocks_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    assert capsys.readouterr().out.startswith("holds ")
    assert (tmp_path / "regret.png").stat().st_size > 1000


def test_the_first_block_is_ten_lines() -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 10


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    parsed = command.make_context(name, list(arguments))
    assert parsed.args == []


def test_every_command_is_shown() -> None:
    shown = {shlex.split(line)[1] for line in COMMANDS}
    assert shown == set(get_command(app).commands)  # type: ignore[attr-defined]
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0


def test_every_bound_is_explained() -> None:
    assert set(re.findall(r"^\| (T\d+|float64) \|", README, flags=re.MULTILINE)) == set(BOUND_IDS)
