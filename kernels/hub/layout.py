"""The files of a kernel-builder project, made of this package."""

import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent
PACKAGE = PROJECT.parent
DESCRIPTION = ("build.toml", "flake.nix")

LEFT_OUT = ("benchmarks", "experiments", "hub", "machine_code", "models", "selftest")
"""Tools, and what needs more than torch and Triton."""


def write_project(folder: Path) -> None:
    """Write build.toml, flake.nix and the modules below ``torch-ext/``, over what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in DESCRIPTION:
        shutil.copy(PROJECT / name, folder / name)
    target = folder / "torch-ext" / module_name(folder)
    for source in sorted(PACKAGE.rglob("*")):
        place = source.relative_to(PACKAGE)
        if source.suffix in suffixes(folder) and place.parts[0] not in LEFT_OUT:
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / place)
    (target / "__init__.py").write_text(package_text())


def package_text() -> str:
    """The package's own module, which loads every public name at once: nothing but torch and Triton may be needed."""
    package = sys.modules[__name__.removesuffix(".hub.layout")]
    names = sorted(package.__all__)
    modules = [getattr(package, name).__module__.removeprefix(package.__name__) for name in names]
    imports = [f"from {module} import {name}" for module, name in zip(modules, names, strict=True)]
    title = str(package.__doc__).splitlines()[0]
    return "\n".join([f'"""{title}"""', "", *imports, "", f"__all__ = {names}", ""])


def module_name(folder: Path) -> str:
    """What kernel-builder looks for below ``torch-ext/``."""
    name: str = _description(folder)["general"]["name"]
    return name.replace("-", "_")


def suffixes(folder: Path) -> set[str]:
    """Of the files that kernel-builder takes along."""
    return {f".{kind}" for kind in _description(folder)["torch-noarch"]["pyext"]}


def _description(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "build.toml").read_text())
