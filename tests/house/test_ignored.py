"""What commands write is ignored by git, and nothing that is ignored is tracked."""

from __future__ import annotations

import subprocess

import pytest
from osdn_kernels.benchmarks.cli import app as benchmarks
from support.checkout import ROOT
from typer.main import get_command

from osdn_theory.commands import fuzz
from osdn_theory.commands.main import app

BUILT = (
    "build/lib/x",
    "dist/osdn.whl",
    "osdn.egg-info/PKG-INFO",
    "site/index.html",
    "notebooks/generated/api/x.rst",
)
COQ = ("proofs_check/coq/token.vo", "proofs_check/coq/.token.aux", "proofs_check/coq/.nra.cache")
WRITTEN = (
    "regret.png", "run.safetensors", "results/benchmark.csv", "recall-gpu/recall.json", "report/proofs.json",
    "crosscheck/crosscheck.json",
)  # fmt: skip


def folders() -> set[str]:
    """Where the commands write to unless told otherwise."""
    group = get_command(app)
    context = group.make_context("osdn-theory", [], resilient_parsing=True)
    commands = [group.get_command(context, name) for name in group.list_commands(context)]  # type: ignore[attr-defined]
    options = [option for command in (*commands, get_command(benchmarks)) for option in command.params]
    return {str(option.default) for option in options if option.name == "out" and option.default}


def ignored(path: str) -> bool:
    return (
        subprocess.run(
            ["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False
        ).returncode
        == 0
    )


def test_the_commands_have_folders() -> None:
    assert {"recall", "sweep", "convergence", "benchmark", "central"} <= folders()


@pytest.mark.parametrize("folder", sorted({*folders(), str(fuzz.FILES), "report", "report/partial"}))
def test_what_a_command_writes_is_ignored(folder: str) -> None:
    assert ignored(f"{folder}/anything.json")


@pytest.mark.parametrize("path", [*BUILT, *COQ, *WRITTEN])
def test_what_is_built_or_named_in_the_documentation_is_ignored(path: str) -> None:
    assert ignored(path)


@pytest.mark.parametrize(
    "path", ["osdn_theory/recall/data.py", "kernels/benchmarks/run.py", "notebooks/index.md"]
)
def test_sources_are_not(path: str) -> None:
    assert not ignored(path)


def test_nothing_that_is_ignored_is_tracked() -> None:
    listed = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout == ""
