"""Which code computed a row: the release, and a hash of the source that its numbers depend on."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import osdn_theory

PACKAGE = "osdn_theory"
MEASURING = f"{PACKAGE}.sweep.measure"


@lru_cache(maxsize=1)
def code_version() -> str:
    """Release, hash of the source that :func:`measure.measure` reaches, and the versions of NumPy and SciPy."""
    digest = hashlib.sha256()
    for name, path in sorted(measuring_sources().items()):
        digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    libraries = " ".join(f"{name} {version(name)}" for name in ("numpy", "scipy"))
    return f"{osdn_theory.__version__}+{digest.hexdigest()[:12]} {libraries}"


def measuring_sources() -> dict[str, Path]:
    """Modules of this package that measuring a cell can import, by name: the closure of their import statements.

    Commands, reports and plots stay outside, so that a change of theirs does not part a sweep in two.
    """
    found: dict[str, Path] = {}
    waiting = [MEASURING]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is None or name in found:
            continue
        found[name] = path
        waiting.extend(_imported(ast.parse(path.read_bytes())))
        if "." in name:
            # Importing a module runs the packages around it.
            waiting.append(name.rpartition(".")[0])
    return found


def _path(name: str) -> Path | None:
    base = Path(osdn_theory.__file__).parent.joinpath(*name.split(".")[1:])
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


def _imported(tree: ast.AST) -> Iterator[str]:
    """Every name that could be a module of this package: ``from a import b`` may mean ``a`` or ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name == PACKAGE or name.startswith(f"{PACKAGE}."))
