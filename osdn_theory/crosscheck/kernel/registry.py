"""Kernels by name: entry points, and ``module:function`` or ``file.py:function`` for anybody's."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from osdn_theory.base.brief import first_line
from osdn_theory.base.validation import require
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt

KERNELS = "osdn_theory.kernels"
"""Entry point group: name -> a callable with flash-linear-attention's signature, or an `Adapter`."""

CONFIGURATIONS = "osdn_theory.kernel_configurations"
"""Entry point group: package -> a function that walks through the configurations of its kernels."""


def kernel_names() -> list[str]:
    """Names of all registered kernels, installed or not."""
    return sorted(entry_points(group=KERNELS).names)


def resolve(kernel: str | Callable[..., Any] | Adapter, **options: Any) -> Adapter:
    """The adapter of a registered name, of ``module:function``, of ``path/file.py:function``, or of a callable.

    A module is one that is installed, or lies in the current folder; a function may be an attribute of an attribute.
    `options` are those of `osdn_theory.crosscheck.kernel.adapters.adapt`.

    Raises ValueError: an unknown name (the closest one and all of them are listed), a package that is not
    installed, a module that fails when it is imported, or that has no such function.
    Raises TypeError: something else than a name, a callable or an Adapter.
    """
    if not isinstance(kernel, str):
        return adapt(kernel, **options)
    found = _load(kernel)
    callable_or_adapter = isinstance(found, Adapter) or callable(found)
    require(callable_or_adapter, f"kernel: {kernel} is no function: {type(found).__name__}")
    return adapt(found, kernel, **options)


def _load(name: str) -> Any:
    if ":" in name:
        module, _, attribute = name.rpartition(":")
        require(bool(module and attribute), f"kernel: expected module:function, got {name!r}")
        return _attribute(_module(module, name), module, attribute)
    found = tuple(entry_points(group=KERNELS, name=name))
    if not found:
        known = kernel_names()
        close = get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ";"
        raise ValueError(
            f"kernel: unknown {name!r}{hint} Registered: {', '.join(known) or 'none'}; or module:function"
        )
    module, _, attribute = found[0].value.partition(":")
    return _attribute(_module(module, f"{name} ({found[0].value})"), module, attribute)


def _attribute(module: ModuleType, name: str, attribute: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        require(hasattr(found, part), f"kernel: {name} has no {attribute!r}")
        found = getattr(found, part)
    return found


def _module(module: str, what: str) -> ModuleType:
    """The module, imported; `what` is what the user asked for."""
    is_file = module.endswith(".py")
    path = Path(module).resolve()
    require(not is_file or path.is_file(), f"kernel: {what}: there is no file {path}")
    try:
        return _from_file(path) if is_file else _by_name(module)
    except ModuleNotFoundError as error:
        missing = error.name or "."
        absent = module == missing or module.startswith(f"{missing}.")
        state = "is not installed" if absent else "cannot be imported here"
        raise ValueError(f"kernel: {what} {state}: {first_line(error)}") from None
    except Exception as error:
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise ValueError(f"kernel: {what} cannot be imported here: {kind}{first_line(error)}") from error


def _by_name(module: str) -> ModuleType:
    if not _only_here(module):
        return importlib.import_module(module)
    with _found_in(Path.cwd()):
        return importlib.import_module(module)


def _from_file(path: Path) -> ModuleType:
    """The module in a file, by the file's name; what lies beside it can be imported by it."""
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    # A module of that name that is something else keeps it.
    name = path.stem if known is None else f"{path.stem} ({path})"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _found_in(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _only_here(module: str) -> bool:
    """Whether it lies in the current folder and is not to be had otherwise."""
    top = module.partition(".")[0]
    here = Path.cwd() / top
    if not (here.with_suffix(".py").is_file() or here.is_dir()) or top in sys.modules:
        return False
    return importlib.util.find_spec(top) is None


@contextmanager
def _found_in(folder: Path) -> Iterator[None]:
    """The folder is where modules are looked for first, while one is imported and no longer.

    A folder in it may have the name of a package that others look for.
    """
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
