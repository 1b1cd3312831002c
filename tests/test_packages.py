"""What is installed: every package of the checkout."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = {"osdn_theory": "osdn_theory", "kernels": "osdn_kernels", "proofs_check": "proofs_check"}


def test_every_package_is_listed() -> None:
    """An editable installation finds those that are not; a wheel would lack them."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    there = {
        ".".join((name, *path.parent.relative_to(ROOT / folder).parts))
        for folder, name in FOLDERS.items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert listed == there
