"""How the inner loops are compiled; importing this module imports numba, so only a run that needs it does."""

from collections.abc import Callable
from typing import Any

import numba

# Sums may be reordered and fused, which vectorises them; NaN and infinity keep their meaning.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}


def compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled on first use, without the interpreter lock; the plain one stays as `py_func`."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # nowhere to write the cache: compile in every process
        return numba.njit(**_OPTIONS)(function)
