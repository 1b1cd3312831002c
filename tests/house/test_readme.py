"""What the README shows runs, and the commands and options that it names exist."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from osdn_theory.commands.main import app
from osdn_theory.verification.run import BOUND_IDS

README = (Path(__file__).parents[2] / "README.md").read_text()
ALL_BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
BLOCKS = [block for block in ALL_BLOCKS if "osdn_kernels" not in block]
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


def test_kernel_blocks_run_without_a_gpu(tmp_path: Path) -> None:
    """After the others, in a process of its own: the kernel tests turn on an interpreter that no user has on."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = [sys.executable, "-c", "\n".join(ALL_BLOCKS)]
    done = subprocess.run(script, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("runs through its PyTorch reference") == 1


def test_the_replacement_fits_the_signature() -> None:
    from osdn_kernels import chunk_osdn

    (call,) = re.findall(r"^\+o, state = chunk_osdn\((.*)\)$", README, flags=re.MULTILINE)
    arguments = [part.split("=") for part in call.split(", ")]
    positional = [part[0] for part in arguments if len(part) == 1]
    inspect.signature(chunk_osdn).bind(*positional, **{part[0]: None for part in arguments if len(part) == 2})
    assert f"chunk_delta_rule({call})" in README


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    group = get_command(app)
    command = group.get_command(group.make_context("osdn-theory", [], resilient_parsing=True), name)  # type: ignore[attr-defined]
    parsed = command.make_context(name, list(arguments))
    assert parsed.args == []


def test_every_command_is_shown() -> None:
    shown = {shlex.split(line)[1] for line in COMMANDS}
    group = get_command(app)
    context = group.make_context("osdn-theory", [], resilient_parsing=True)
    assert shown == set(group.list_commands(context))  # type: ignore[attr-defined]
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0


def test_every_bound_is_explained() -> None:
    assert set(re.findall(r"^\| (T\d+|float64) \|", README, flags=re.MULTILINE)) == set(BOUND_IDS)
