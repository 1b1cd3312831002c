"""Layouts, NumPy's and torch's alike: the one place that exchanges axes.

Theory has tokens (B, H, T, ...) and states (V, K); kernels have tokens [B, T, H, ...] and states [K, V].
"""

from typing import TypeVar

ArrayLike = TypeVar("ArrayLike")
"""An array of NumPy or a tensor of torch."""


def transpose(matrix: ArrayLike) -> ArrayLike:
    """The last two axes exchanged: a matrix transposed, a state (V, K) as [K, V] and back."""
    turned: ArrayLike = matrix.swapaxes(-1, -2)  # type: ignore[attr-defined]
    return turned


def exchange_time_and_heads(tokens: ArrayLike) -> ArrayLike:
    """Tokens (B, H, T, ...) as [B, T, H, ...] and back."""
    turned: ArrayLike = tokens.swapaxes(1, 2)  # type: ignore[attr-defined]
    return turned
