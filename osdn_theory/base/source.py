"""What ran: hashes of source, versions of what is installed, and the command line."""

import ast
import hashlib
import shlex
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("osdn_theory", "osdn_kernels", "proofs_check")
APART = ("osdn_theory.commands", "osdn_theory.plotting", "osdn_theory.report")
"""What asks for results and shows them: no result depends on it."""

SUFFIXES = (".py", ".v", ".json", ".toml")
"""Of the files of a package that count as its source."""


@cache
def source_hash(root: str) -> str:
    """Twelve digits of the SHA-256 of `sources`; "" where the root is not installed."""
    found = sources(root)
    digest = hashlib.sha256()
    for name, path in sorted(found.items()):
        digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12] if found else ""


def installed_versions(*packages: str) -> dict[str, str]:
    """Of those of the packages that are installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError, ValueError):
            found[name] = version(name)
    return found


def sources(root: str) -> dict[str, Path]:
    """Source files that a module can import, by name: the closure of the import statements within `PACKAGES`.

    - `root`, dotted name of a module, or of a package: then with all that lies in it, Coq files included
    """
    found: dict[str, Path] = {}
    waiting = [root]
    path = _path(root)
    if path is not None and path.name == "__init__.py":
        inside = [each for each in path.parent.rglob("*") if each.suffix in SUFFIXES and each.is_file()]
        modules = {
            each: f"{root}.{'.'.join(each.relative_to(path.parent).with_suffix('').parts)}" for each in inside
        }
        waiting += [name for each, name in modules.items() if each.suffix == ".py"]
        found |= {f"{name}{each.suffix}": each for each, name in modules.items() if each.suffix != ".py"}
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is None or name in found or name.startswith(APART):
            continue
        found[name] = path
        table = path.with_suffix(".toml")
        if table.is_file():
            found[f"{name}.toml"] = table
        waiting.extend(_imported(path))
        if "." in name:
            # Importing a module runs the packages around it.
            waiting.append(name.rpartition(".")[0])
    return found


def _path(name: str) -> Path | None:
    package, *parts = name.split(".")
    folder = _folder(package)
    if folder is None:
        return None
    base = folder.joinpath(*parts)
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


@cache
def _folder(package: str) -> Path | None:
    """Where one of `PACKAGES` lies; it is not imported."""
    spec = find_spec(package) if package in PACKAGES else None
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


@cache
def _imported(path: Path) -> tuple[str, ...]:
    """Every name that could be a module of ours: ``from a import b`` may mean ``a`` or ``a.b``."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in found if name.startswith(PACKAGES))


def command() -> str:
    """The command line that is running, as one would type it."""
    name = Path(sys.argv[0]).name
    return shlex.join(["osdn-theory" if name == "__main__.py" else name, *sys.argv[1:]])
