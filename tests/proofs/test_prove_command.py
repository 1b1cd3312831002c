"""`osdn-theory prove` and `python -m proofs_check`: found by entry point, loaded only when named."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest
from typer.testing import CliRunner

from osdn_theory.commands import main as cli

PROVE = EntryPoint("prove", "proofs_check.cli:app", cli.COMMANDS)


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda **wanted: EntryPoints([PROVE]).select(**wanted))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.mark.usefixtures("entry_point")
def test_prove_is_a_command_with_help() -> None:
    assert "prove" in run("--help").stdout
    result = run("prove", "--help")
    assert result.exit_code == 0
    assert "--claim" in result.stdout


@pytest.mark.usefixtures("entry_point")
def test_bad_usage_is_one_line_and_exit_2() -> None:
    result = run("prove", "--claim", "T77")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --claim: unknown name 'T77'")
    assert len(result.stderr.splitlines()) == 1


def test_an_unknown_command_is_still_unknown() -> None:
    assert run("prvoe").exit_code == 2


@pytest.mark.usefixtures("entry_point")
def test_other_commands_do_not_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: EntryPoint) -> None:
        raise AssertionError(f"{self.name} was loaded")

    monkeypatch.setattr(EntryPoint, "load", refuse)
    assert run("streams", "--json").exit_code == 0


def test_the_theory_does_not_import_the_proofs() -> None:
    code = "import sys, osdn_theory.commands.main; sys.exit('proofs_check' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_python_m_runs_the_same_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "proofs_check", "--method", "zzz"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: --method: unknown name 'zzz'")
