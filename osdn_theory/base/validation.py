"""Checks at the public boundary: every bad argument raises and names itself."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def as_float64(name: str, value: Any, *, min_ndim: int = 0, check_finite: bool = True) -> Array:
    """`value` as a float64 array, or an error that names the argument.

    Arrays of bfloat16 and float8, and tensors of PyTorch in any float format and on any device, are converted exactly.

    Raises TypeError: if `value` is not real-valued numeric data.
    Raises ValueError: if it has fewer than `min_ndim` axes, or holds NaN or infinity and `check_finite` is set.
    """
    array = _as_array(name, value)
    if array.dtype.kind not in "fiub" and not _is_extended_float(array.dtype):
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    result: Array = np.asarray(array, dtype=np.float64)
    if result.ndim < min_ndim:
        raise ValueError(f"{name}: expected at least {min_ndim} axes, got shape {result.shape}")
    if check_finite and not np.isfinite(result).all():
        raise ValueError(f"{name}: expected finite numbers, got {_first_non_finite(result)}")
    return result


def _as_array(name: str, value: Any) -> npt.NDArray[Any]:
    if hasattr(value, "detach"):
        # A tensor of PyTorch, which hands NumPy no bfloat16, nothing on a GPU, and nothing with a gradient.
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: expected an array of real numbers: {error}") from None


def _is_extended_float(dtype: np.dtype[Any]) -> bool:
    # bfloat16 and the float8 formats register with NumPy as void-like kinds but convert exactly.
    return dtype.name.startswith(("bfloat", "float8"))


def _first_non_finite(array: Array) -> str:
    if array.ndim == 0:
        return str(array)
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return f"{array[index]} at index {index}"


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def require_generator(rng: Any) -> None:
    """Raise ``TypeError``, which says what to pass, unless `rng` is a ``numpy.random.Generator``."""
    if not isinstance(rng, np.random.Generator):
        seed = rng if isinstance(rng, int | np.integer) else 0
        raise TypeError(
            f"rng: expected a numpy.random.Generator, got {type(rng).__name__} {rng!r:.40}; "
            f"pass numpy.random.default_rng({seed})"
        )


def broadcastable(name: str, shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    """Raise unless an array of `shape` broadcasts to exactly `target`."""
    try:
        fits = np.broadcast_shapes(shape, target) == target
    except ValueError:
        fits = False
    require(fits, f"{name}: shape {shape} does not broadcast to {target}")
