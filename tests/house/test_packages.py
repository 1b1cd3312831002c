"""What is installed: every package of the checkout, under the name by which it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {"osdn_theory": "osdn_theory", "kernels": "osdn_kernels", "proofs_check": "proofs_check"}


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
