"""Kernels by name: entry points, and ``module:function`` for anybody's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any

from osdn_theory.crosscheck.adapters import Adapter, adapt

KERNELS = "osdn_theory.kernels"
"""Entry point group: name -> a callable with flash-linear-attention's signature, or an `Adapter`."""

CONFIGURATIONS = "osdn_theory.kernel_configurations"
"""Entry point group: package -> a function that walks through the configurations of its kernels."""


def kernel_names() -> list[str]:
    """Names of all registered kernels, installed or not."""
    return sorted(entry_points(group=KERNELS).names)


def resolve(kernel: str | Callable[..., Any] | Adapter, **options: Any) -> Adapter:
    """The adapter of a registered name, of ``module:function``, or of a callable.

    Raises
    ------
    ValueError
        An unknown name (the closest one and all of them are listed), a package that is not installed, or a
        module that has no such function.
    TypeError
        Something else than a name, a callable or an Adapter.
    """
    if not isinstance(kernel, str):
        return adapt(kernel, **options)
    return adapt(_load(kernel), kernel, **options)


def _load(name: str) -> Any:
    if ":" in name:
        return _imported(name)
    found = tuple(entry_points(group=KERNELS, name=name))
    if not found:
        known = kernel_names()
        close = get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ";"
        raise ValueError(
            f"kernel: unknown {name!r}{hint} Registered: {', '.join(known) or 'none'}; or module:function"
        )
    return _imported(found[0].value, registered=name)


def _imported(target: str, registered: str = "") -> Any:
    module, _, attribute = target.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        what = f"{registered} ({target})" if registered else target
        raise ValueError(f"kernel: {what} is not installed: {error}") from None
    except ImportError as error:
        raise ValueError(f"kernel: {target} cannot be imported here: {error}") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ValueError(f"kernel: {module} has no {attribute!r}")
        found = getattr(found, part)
    return found
