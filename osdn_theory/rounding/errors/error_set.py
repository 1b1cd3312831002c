r"""Sets of errors, carried through the exact transitions of a recurrence (T18).

The error E (K rows; one column for a preconditioner, V for a memory) obeys E_t = (g_t I - u_t k_t^T) E_{t-1} + local_t
with *known* transitions and local errors of known size. Absolute values of the transitions would blow up
exponentially, so what is carried is

- lines z_j rho_j^T with ||rho_j|| <= r_j, one per error whose direction is known when it is made: a transition takes
  z_j to (g I - u k^T) z_j, exactly;
- for errors of any direction, an ellipsoid {P^{1/2} U : ||U||_F <= 1}, which a linear map A takes to that of A P A^T,
  exactly. sup <G, E> over it is ||P^{1/2} G||_F. A sum of ellipsoids lies in that of (sum_j p_j)(sum_i P_i / p_i)
  for any positive p, as sum_i ||P_i^{1/2} G|| <= sqrt(sum p_j) sqrt(sum ||P_i^{1/2} G||^2 / p_i) by Cauchy-Schwarz;
  p_i = sqrt(tr P_i) gives the least trace;
- beside both, a bound on the norm of the whole, which grows by the transition's spectral norm: coarser, but it never
  loses by adding up parts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array

Mask = npt.NDArray[np.bool_]
"""Which of some entries a statement is about."""

_ROUNDING = 2.0**-44
# A transition updates P by three rank-one terms in float64: each entry errs by a few 2^-53 of the trace.

_LINES = 512
# Lines kept apart; older ones, of which transitions have left little, go into the ellipsoid.


class ErrorSet:
    """A batch of such sets: `lines` (N, J, K) and `radii` (N, J), `shape` P (N, K, K), `limit` (N,)."""

    def __init__(self, lines: Array, radii: Array, shape: Array, limit: Array) -> None:
        self.lines, self.radii, self.shape, self.limit = lines, radii, shape, limit

    @classmethod
    def zero(cls, count: int, dim: int) -> ErrorSet:
        empty = np.zeros((count, 0, dim)), np.zeros((count, 0))
        return cls(*empty, np.zeros((count, dim, dim)), np.zeros(count))

    def copy(self) -> ErrorSet:
        return ErrorSet(self.lines.copy(), self.radii.copy(), self.shape.copy(), self.limit.copy())

    def padded(self, count: int) -> tuple[Array, Array]:
        """Lines and radii with lines of radius zero added, so that there are `count`."""
        missing = count - self.radii.shape[1]
        return np.pad(self.lines, ((0, 0), (0, missing), (0, 0))), np.pad(self.radii, ((0, 0), (0, missing)))

    def radius(self) -> Array:
        """sup ||E||_F, (N,): the square root of the largest eigenvalue of the ellipsoid around everything."""
        around = np.sqrt(_largest(_sum(self.shape, _around(self.lines, self.radii))))
        return _least(self.limit, around)

    def rows(self) -> Array:
        """sup of the norm of each row of E, (N, K)."""
        diagonal = np.diagonal(self.shape, axis1=-2, axis2=-1)
        rows = np.sqrt(np.maximum(diagonal, 0.0)) + np.einsum("nj,njk->nk", self.radii, np.abs(self.lines))
        return _least(rows, self.limit[:, None])

    def along(self, direction: Array) -> Array:
        """sup ||E^T x|| for x (N, K), (N,)."""
        square = np.einsum("nk,nkj,nj->n", direction, self.shape, direction)
        met = np.abs(np.einsum("njk,nk->nj", self.lines, direction))
        size = np.sqrt(np.maximum(square, 0.0)) + np.sum(self.radii * met, -1)
        return _least(size, self.limit * np.linalg.norm(direction, axis=-1))

    def transition(self, keep: Array | float, write: Array, key: Array) -> None:
        """E <- (keep I - write key^T) E; keep (N,) or a number, write and key (N, K)."""
        keep = np.broadcast_to(np.asarray(keep, dtype=np.float64), self.limit.shape)
        met = np.einsum("njk,nk->nj", self.lines, key)
        self.lines = keep[:, None, None] * self.lines - met[:, :, None] * write[:, None, :]
        p = self.shape
        along = np.einsum("nkj,nj->nk", p, key)
        size = np.einsum("nk,nk->n", key, along)
        slack = _ROUNDING * (_trace(p) * keep**2 + np.abs(size) * np.sum(write**2, -1))
        cross = (keep[:, None] * write)[:, :, None] * along[:, None, :]
        p = (keep**2)[:, None, None] * p - cross - transpose(cross)
        p += (size[:, None] * write)[:, :, None] * write[:, None, :]
        self.shape = p + slack[:, None, None] * np.eye(p.shape[-1])
        self.limit = self.limit * _norm(keep, write, key)

    def fade(self, gate: Array) -> None:
        """E <- Diag(gate) E for a gate in [0, 1] of every error (N,) or every row (N, K)."""
        rows = np.broadcast_to(gate[:, None] if gate.ndim == 1 else gate, self.shape.shape[:2])
        self.lines = rows[:, None, :] * self.lines
        self.shape = rows[:, :, None] * self.shape * rows[:, None, :]
        self.limit = self.limit * rows.max(axis=-1)

    def add_line(self, direction: Array, radius: Array) -> None:
        """Add direction rho^T with ||rho|| <= radius; (N, K) and (N,)."""
        self.lines = np.concatenate((self.lines, direction[:, None]), axis=1)
        self.radii = np.concatenate((self.radii, radius[:, None]), axis=1)
        self.limit = self.limit + radius * np.linalg.norm(direction, axis=-1)
        if self.radii.shape[1] > _LINES:
            old = slice(None, _LINES // 2)
            self.shape = _sum(self.shape, _around(self.lines[:, old], self.radii[:, old]))
            self.lines, self.radii = self.lines[:, _LINES // 2 :], self.radii[:, _LINES // 2 :]

    def add_ball(self, radius: Array) -> None:
        """Add anything with ||E||_F <= radius (N,)."""
        self.shape = _sum(self.shape, (radius**2)[:, None, None] * np.eye(self.shape.shape[-1]))
        self.limit = self.limit + radius

    def plus(self, other: ErrorSet) -> ErrorSet:
        """Every sum of an error of each."""
        return ErrorSet(
            np.concatenate((self.lines, other.lines), axis=1),
            np.concatenate((self.radii, other.radii), axis=1),
            _sum(self.shape, other.shape),
            self.limit + other.limit,
        )

    def shrunk(self, kept: Mask, unsure: Mask) -> ErrorSet:
        r"""Errors of a vector under an unknown diagonal D, 0 <= D <= 1; `kept` and `unsure` (N, K) are boolean.

        D_i = 1 where kept, and D_i = 0 where neither kept nor unsure. Unsure rows are split off into a box,
        \|e_i\| <= b_i, which P_ii = b_i sum_j b_j contains, as then sum e_i^2/P_ii <= 1; or everything becomes the
        ball of radius `limit`, which no D leaves, if that is smaller.
        """
        box = np.where(unsure, self.rows(), 0.0)
        mask = kept.astype(np.float64)
        shape = self.shape * mask[:, :, None] * mask[:, None, :]
        shape = _sum(shape, (box * box.sum(-1, keepdims=True))[:, :, None] * np.eye(box.shape[-1]))
        split = ErrorSet(self.lines * mask[:, None, :], self.radii, shape, self.limit)
        whole = np.sqrt(_largest(_sum(shape, _around(split.lines, split.radii)))) > self.limit
        whole &= ~kept.all(-1)
        ball = (self.limit**2)[:, None, None] * np.eye(box.shape[-1])
        return ErrorSet(
            split.lines,
            np.where(whole[:, None], 0.0, split.radii),
            np.where(whole[:, None, None], ball, shape),
            self.limit,
        )


def choose(condition: Mask, first: ErrorSet, second: ErrorSet) -> ErrorSet:
    """`first` where the condition (N,) holds, else `second`."""
    count = max(first.radii.shape[1], second.radii.shape[1])
    (lines, radii), (other_lines, other_radii) = first.padded(count), second.padded(count)
    which = condition[:, None]
    return ErrorSet(
        np.where(which[:, :, None], lines, other_lines),
        np.where(which, radii, other_radii),
        np.where(which[:, :, None], first.shape, second.shape),
        np.where(condition, first.limit, second.limit),
    )


def _trace(shape: Array) -> Array:
    trace: Array = np.trace(shape, axis1=-2, axis2=-1)
    return np.maximum(trace, 0.0)


def _largest(shape: Array) -> Array:
    """Largest eigenvalue, widened by the rounding of its computation; infinite where the shape overflowed."""
    finite = np.asarray(np.isfinite(shape).all((-2, -1)))
    shape = np.where(finite[..., None, None], shape, 0.0)
    value = np.maximum(np.linalg.eigvalsh(shape)[..., -1], 0.0)
    return np.where(finite, value + _ROUNDING * _trace(shape), np.inf)


def _least(first: Array, second: Array) -> Array:
    """The smaller of two bounds; one that overflowed to NaN is none."""
    both = np.fmin(first, second)
    return np.where(np.isnan(both), np.inf, both)


def _sum(first: Array, second: Array) -> Array:
    """P of an ellipsoid around the sum of two."""
    p, q = np.sqrt(_trace(first)), np.sqrt(_trace(second))
    # An ellipsoid of trace zero is the point zero.
    of_first = np.divide(q, p, out=np.zeros_like(p), where=p > 0)[:, None, None]
    of_second = np.divide(p, q, out=np.zeros_like(q), where=q > 0)[:, None, None]
    return (1 + of_first) * first + (1 + of_second) * second


def _around(lines: Array, radii: Array) -> Array:
    """P of an ellipsoid around all sums of the lines: p_j is line j's length, which makes the trace (sum_j p_j)^2."""
    length: Array = np.asarray(np.linalg.norm(lines, axis=-1), dtype=np.float64)
    share: Array = np.divide(radii, length, out=np.zeros_like(length), where=length > 0)
    shape = transpose(share[:, :, None] * lines) @ lines
    result: Array = np.sum(radii * length, -1)[:, None, None] * shape
    return result


def _norm(keep: Array, write: Array, key: Array) -> Array:
    """Spectral norm of keep I - write key^T, (N,), from its two singular values on the span of both vectors."""
    of_write, of_key = np.sum(write**2, -1), np.sum(key**2, -1)
    both = np.sum(write * key, -1)
    trace = 2 * keep**2 - 2 * keep * both + of_write * of_key
    root = np.sqrt(np.maximum(trace**2 - 4 * (keep * (keep - both)) ** 2, 0.0))
    norm: Array = np.maximum(np.abs(keep), np.sqrt(np.maximum(0.5 * (trace + root), 0.0)))
    return norm * (1 + _ROUNDING)
