"""One context, factorised once: what the steps, bounds and comparators of T9 and T10 all need."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, as_float64, broadcastable, require
from osdn_theory.objective import context_minimizer, gram

Form = Literal["diagonal", "full"]


@show_briefly
@dataclass(frozen=True, eq=False)
class FactoredContext:
    """Keys and values with G = R^T R, its pseudo-inverse, the minimiser and the extreme eigenvalues.

    `null` projects onto the null space of G and is exactly zero if there is none; `diagonal` says
    whether G is exactly diagonal.
    """

    keys: Array
    values: Array
    lead: tuple[int, ...]
    gram: Array
    root: Array
    root_pinv: Array
    newton: Array
    null: Array
    minimizer: Array
    smoothness: Array
    least: Array
    diagonal: Array

    @property
    def key_dim(self) -> int:
        """K."""
        return int(self.keys.shape[-1])


def factor_context(keys: Any, values: Any, lead: tuple[int, ...], smoothness: Any = None) -> FactoredContext:
    """Factorise a context through the singular values of its keys, whose condition is the root of G's."""
    k = as_float64("keys", keys, min_ndim=2)
    v = as_float64("values", values, min_ndim=2)
    minimizer = context_minimizer(k, v)
    k = np.broadcast_to(k, (*lead, *k.shape[-2:]))
    _, sigma, rotation = np.linalg.svd(k, full_matrices=False)
    # The same rank as the minimiser's pseudo-inverse, or E would have parts that P* cannot see.
    tolerance = max(k.shape[-2:]) * np.finfo(np.float64).eps
    keep = sigma > tolerance * np.max(sigma, axis=-1, keepdims=True, initial=0.0)
    sigma = np.where(keep, sigma, 0.0)
    root_pinv = transpose(rotation) * invert(sigma)[..., None, :]
    onto = transpose(rotation) @ (rotation * keep[..., None])
    deficient = np.sum(keep, axis=-1) < k.shape[-1]
    g = gram(k)
    largest = np.square(np.max(sigma, axis=-1, initial=0.0))
    if smoothness is not None:
        largest = np.array(np.broadcast_to(as_float64("smoothness", smoothness), lead))
        require(bool(np.all(largest > 0)), "smoothness: expected a number > 0")
    least = np.square(np.min(sigma, axis=-1, initial=np.inf, where=keep))
    return FactoredContext(
        keys=k,
        values=np.broadcast_to(v, (*lead, *v.shape[-2:])),
        lead=lead,
        gram=g,
        root=sigma[..., None] * rotation,
        root_pinv=root_pinv,
        newton=root_pinv @ transpose(root_pinv),
        null=np.where(deficient[..., None, None], np.eye(k.shape[-1]) - onto, 0.0),
        minimizer=np.broadcast_to(minimizer, (*lead, *minimizer.shape[-2:])),
        smoothness=largest,
        least=np.where(np.isfinite(least), least, 0.0),
        diagonal=~np.any(g * (1.0 - np.eye(k.shape[-1])), axis=(-2, -1)),
    )


def broadcast_leads(**arguments: tuple[Any, int]) -> tuple[int, ...]:
    """Broadcast leading axes of the given ``name=(array, core axes)``; None is skipped."""
    lead: tuple[int, ...] = ()
    for name, (value, core) in arguments.items():
        if value is None:
            continue
        shape = as_float64(name, value, min_ndim=core).shape
        own = shape[: len(shape) - core]
        try:
            lead = np.broadcast_shapes(lead, own)
        except ValueError:
            raise ValueError(f"{name}: leading axes {own} do not broadcast with {lead}") from None
    return lead


def count_axes(form: Form) -> int:
    """Core axes of a preconditioner: 1 for a diagonal, 2 for a full matrix."""
    require(form in ("diagonal", "full"), f"form: expected 'diagonal' or 'full', got {form!r}")
    return 1 if form == "diagonal" else 2


def scale_identity(size: Array, key_dim: int, form: Form) -> Array:
    """`size` times the identity."""
    identity = np.ones(key_dim) if form == "diagonal" else np.eye(key_dim)
    return append_axes(size, count_axes(form)) * identity


def check_preconditioner(name: str, value: Any, problem: FactoredContext, form: Form) -> Array:
    """A preconditioner handed in by the caller, checked and broadcast to the problem's leading axes."""
    array = as_float64(name, value, min_ndim=count_axes(form))
    target = (*problem.lead, *(problem.key_dim,) * count_axes(form))
    broadcastable(name, array.shape, target)
    return np.broadcast_to(array, target)


def precondition(rows: Array, preconditioner: Array, form: Form) -> Array:
    """``rows @ P`` for a diagonal or a full P."""
    if form == "diagonal":
        return rows * preconditioner[..., None, :]
    return rows @ preconditioner


def cross(left: Array, right: Array, form: Form) -> Array:
    """``left^T right``, or its diagonal."""
    if form == "diagonal":
        diagonal: Array = np.sum(left * right, axis=-2)
        return diagonal
    return transpose(left) @ right


def normalise(matrix: Array) -> tuple[Array, Array]:
    """A matrix over its Frobenius norm, and the norm; zero stays zero. No under- or overflow in between."""
    largest = np.max(np.abs(matrix), axis=(-2, -1), initial=0.0)
    scaled = matrix / append_axes(np.where(largest > 0, largest, 1.0), 2)
    length = np.sqrt(sum_squares(scaled))
    return scaled / append_axes(np.where(length > 0, length, 1.0), 2), largest * length


def sum_squares(matrix: Array) -> Array:
    """Squared Frobenius norm."""
    total: Array = np.sum(np.square(matrix), axis=(-2, -1))
    return total


def invert(values: Array) -> Array:
    """1/x, and 0 for 0: the pseudo-inverse of a number."""
    return np.divide(1.0, values, out=np.zeros_like(values, dtype=np.float64), where=values != 0)


def append_axes(values: Array, count: int) -> Array:
    """`values` with `count` axes of length 1 appended."""
    return np.reshape(values, (*np.shape(values), *(1,) * count))
