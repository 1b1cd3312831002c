"""Where a kernel comes from, as lines of Python that import it anywhere."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path
from typing import Any

from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.registry import KERNELS


@dataclass(frozen=True)
class Origin:
    """A kernel's module and its name there; `folder` where the module is found, "" if it is installed."""

    module: str
    name: str
    folder: str = ""

    def lines(self) -> str:
        """Statements after which `kernel` is the kernel."""
        found = f"sys.path.insert(0, {self.folder!r})\n" if self.folder else ""
        first, *rest = self.name.split(".")
        if not rest:
            return f"{found}from {self.module} import {first} as kernel"
        return f"{found}from {self.module} import {first}\n\nkernel = {self.name}"


def origin_of(adapter: Adapter) -> Origin | None:
    """Where the kernel of an adapter can be imported from; None for what has no name there (a local function)."""
    target = _target(adapter)
    if target is None:
        return None
    module, _, name = target.partition(":")
    if module.endswith(".py"):
        path = Path(module).resolve()
        return Origin(path.stem, name, str(path.parent))
    try:
        found = _attribute(module, name)
    except (ImportError, AttributeError):
        return None
    name = f"{name}.call" if isinstance(found, Adapter) else name
    return Origin(module, name, _folder(module))


def source_digest(adapter: Adapter) -> str:
    """A hash of the file that the kernel is written in; "" where there is none."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(adapter.call))
    except TypeError:
        return ""
    return sha256(Path(path).read_bytes()).hexdigest()[:12] if path and Path(path).is_file() else ""


def _target(adapter: Adapter) -> str | None:
    if ":" in adapter.name:
        return adapter.name
    registered = tuple(entry_points(group=KERNELS, name=adapter.name))
    if registered:
        return registered[0].value
    call: Callable[..., Any] = adapter.call
    module, name = getattr(call, "__module__", ""), getattr(call, "__qualname__", "<unknown>")
    return None if not module or "<" in name or module == "__main__" else f"{module}:{name}"


def _attribute(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _folder(module: str) -> str:
    """The folder to import an uninstalled module from."""
    package, depth = module.split(".")[0], module.count(".")
    path = getattr(importlib.import_module(module), "__file__", None)
    if package in packages_distributions() or path is None:
        return ""
    file = Path(path).resolve()
    parents = [file, *file.parents] if file.name != "__init__.py" else [file.parent, *file.parent.parents]
    return str(parents[depth + 1])
