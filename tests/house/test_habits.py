"""What the repository says of itself is so: changes, citation, hooks, and how to contribute."""

from __future__ import annotations

import re
import subprocess
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from support.checkout import ROOT, tracked

CONFIG = ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
MOVED = re.findall(
    r"^\| `([\w.]+)` \| `([\w.]+)` \|$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE
)


def exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def test_names_that_moved_are_where_the_table_says() -> None:
    assert len(MOVED) > 150
    assert [now for _, now in MOVED if not exists(now)] == []
    assert len({before for before, _ in MOVED}) == len(MOVED)


def test_a_name_that_moved_is_gone_or_a_package_by_now() -> None:
    """`osdn_theory.newton` is gone; `osdn_theory.recurrence` is the room of what it was a module of."""
    there = [before for before, _ in MOVED if exists(before)]
    assert all(find_spec(before).submodule_search_locations for before in there), there  # type: ignore[union-attr]


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == CONFIG["metadata"]["version"]
    assert citation["license"] == CONFIG["metadata"]["license"]
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Zhou", "Li", "Liu", "Lin", "Ge", "Ye"]
    assert paper["identifiers"][0]["value"] == "arXiv:2605.13473"


def test_the_hooks_are_the_tools_of_make_lint() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    assert [hook["id"] for hook in hooks] == ["ruff", "ruff-format", "mypy"]
    lint = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    for hook in hooks:
        command = Path(hook["entry"].split()[0])
        assert command.parent == Path(".venv/bin")
        assert f"$(BIN)/{command.name}" in lint


def test_how_to_contribute_names_what_is_there() -> None:
    named = re.findall(r"`((?:osdn_theory|kernels|proofs_check|tests|notebooks)/[\w./]*)`", CONTRIBUTING)
    assert len(named) > 8
    assert [path for path in named if not (ROOT / path).exists()] == []
    modules = re.findall(r"(?:`|python -m )((?:osdn_kernels|osdn_theory)(?:\.\w+)+)", CONTRIBUTING)
    groups = set(CONFIG["options.entry_points"])
    assert [name for name in modules if not exists(name) and name not in groups] == []


def test_the_matrix_covers_what_setup_cfg_promises() -> None:
    promised = re.findall(r"Python :: (3\.\d+)", CONFIG["metadata"]["classifiers"])
    assert [f"Python {version}" for version in promised] == re.findall(
        r"^\| (Python 3\.\d+)", CONTRIBUTING, re.MULTILINE
    )
    header = next(line for line in CONTRIBUTING.splitlines() if "Triton 3.6 |" in line)
    assert re.findall(r"3\.\d", header) == ["3.6", "3.7", "3.8", "3.9"]
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    assert f"Triton {pinned['triton'].rpartition('.')[0]}" in CONTRIBUTING


def dry_run(*arguments: str) -> str:
    command = ["make", "--dry-run", "--always-make", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "line", re.findall(r"^(make test .*?)(?:\s+#.*)?$", CONTRIBUTING, flags=re.MULTILINE)
)
def test_another_python_or_triton_gets_an_environment_of_its_own(line: str) -> None:
    options = dict(part.split("=") for part in line.split()[2:])
    planned = dry_run("test", *line.split()[2:])
    if options:
        assert f"{options.get('PYTHON', 'python3')} -m venv {options['VENV']}" in planned
        assert f"{options['VENV']}/bin/python -m pytest" in planned
    if "TRITON" in options:
        assert f"triton == {options['TRITON']}.*" in planned
        assert f"-c {options['VENV']}/constraints.txt" in planned


def test_the_pinned_triton_is_the_default() -> None:
    assert "-c constraints.txt -e" in dry_run("test")


def test_only_what_the_layout_names_lies_at_the_top() -> None:
    folders = {path.parts[0] for path in tracked() if len(path.parts) > 1}
    assert folders == {".ci", "osdn_theory", "kernels", "proofs_check", "notebooks", "tests"}
