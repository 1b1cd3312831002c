"""What is installed: every package of the checkout, and theory and kernels without each other's dependencies."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from support.checkout import ROOT

FOLDERS = {"osdn_theory": "osdn_theory", "kernels": "osdn_kernels", "proofs_check": "proofs_check"}
# Tools that are run from the checkout, with an extra of their own.
TOOLS = ("osdn_kernels.benchmarks", "osdn_kernels.experiments", "osdn_kernels.models")


def test_every_folder_of_modules_is_a_package_that_is_installed() -> None:
    """An editable installation finds those that are not; a wheel would lack them."""
    found = subprocess.run(
        [sys.executable, "-c", FIND], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    there = {
        ".".join((name, *path.parent.relative_to(ROOT / folder).parts))
        for folder, name in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert set(found) == there


FIND = """
import runpy, setuptools
setuptools.setup = lambda packages: print(*packages)
runpy.run_path("setup.py")
"""


def required(extra: str | None) -> set[str]:
    """Other distributions that setup.cfg asks for, in one extra or, for None, in every installation."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    section, key = ("options.extras_require", extra) if extra else ("options", "install_requires")
    named = {re.split(r"[ >=\[]", line)[0] for line in config[section][key].split("\n") if line}
    return named - {"osdn"}


def modules_of(distributions: set[str]) -> set[str]:
    """Top-level modules that these distributions hold."""
    wanted = {name.lower().replace("_", "-") for name in distributions}
    return {
        module
        for module, holders in packages_distributions().items()
        if wanted & {holder.lower().replace("_", "-") for holder in holders}
    }


THEORY_ONLY = required("theory") - required("kernels")
KERNELS_ONLY = required("kernels") - required("theory")


def test_the_two_halves_share_the_least() -> None:
    assert required(None) == {"numpy", "lazy_loader"}
    assert {"scipy", "sympy", "matplotlib", "rich"} <= THEORY_ONLY
    assert {"torch", "triton"} == KERNELS_ONLY
    assert modules_of({"python-flint", "ml_dtypes"}) == {"flint", "ml_dtypes"}


def run_without(modules: set[str], code: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process that has none of `modules`."""
    script = f"BLOCKED = {sorted(modules)!r}\n{BLOCK}\n{code}"
    return subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=False
    )


BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""
IMPORT_ALL = """
import importlib, pkgutil
for name in PACKAGES:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not found.name.startswith(TOOLS) and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
"""


def import_all(packages: list[str], without: set[str]) -> str:
    """What importing every module of some packages says on stderr."""
    return run_without(without, f"PACKAGES, TOOLS = {packages!r}, {TOOLS!r}\n{IMPORT_ALL}").stderr


def test_the_theory_needs_neither_torch_nor_kernels() -> None:
    absent = modules_of(KERNELS_ONLY | required("hf")) | {"fla", "osdn_kernels"}
    assert {"torch", "triton", "transformers"} <= absent
    assert import_all(["osdn_theory", "proofs_check"], absent) == ""


def test_the_kernels_need_nothing_of_the_theory() -> None:
    absent = modules_of(THEORY_ONLY | {"transformers"}) - modules_of({"typer"}) | {
        "osdn_theory",
        "proofs_check",
    }
    assert {"scipy", "sympy", "flint", "numba", "matplotlib"} <= absent
    # typer itself prints with rich; nothing else may.
    assert import_all(["osdn_kernels"], absent - {"rich"}) == ""


def test_a_module_that_is_needed_is_missed() -> None:
    assert "No module named 'scipy'" in import_all(["osdn_theory"], {"scipy"})
    assert "No module named 'torch'" in import_all(["osdn_kernels"], {"torch"})
    done = run_without({"transformers"}, "import osdn_kernels.models")
    assert "No module named 'transformers'" in done.stderr


@pytest.mark.parametrize("missing", ["typer", "scipy"])
def test_the_command_says_what_is_not_installed(missing: str, tmp_path: Path) -> None:
    code = "sys.argv = ['osdn-theory', 'converge']\nfrom osdn_theory.commands import run\nrun()"
    done = run_without({missing}, code, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {missing} is not installed: pip install -e '.[theory]'\n"
