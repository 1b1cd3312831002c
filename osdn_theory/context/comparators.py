"""The best fixed diagonal preconditioner in hindsight, for tokens (T8) and for a context (T9, T10)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import Bounds, lsq_linear, minimize
from scipy.special import logsumexp

from osdn_theory.base.layouts import transpose
from osdn_theory.base.threads import map_leading
from osdn_theory.base.validation import Array, as_float64, broadcastable, require
from osdn_theory.context.problem import invert

_EPS = float(np.finfo(np.float64).eps)


def best_fixed_diagonal(features: Any, d_min: Any, d_max: Any, *, targets: Any = 1.0) -> Array:
    r"""The diagonal in the box with the least total surrogate loss: the comparator of T8.

    .. math:: u = \arg\min_{d_{\min} \le u \le d_{\max}} \sum_t (y_t - \langle u, x_t \rangle)^2

    a box-constrained least squares, solved by SciPy's active-set method on the triangular factor of the
    features. Where the minimiser is not unique, one of them.

    - `features` (..., T, K): x_t, the squared keys for instance.
    - `d_min`, `d_max` (..., K) or scalar: The box; infinite sides are off, equal ones fix the coordinate.
    - `targets` (..., T) or scalar: y_t.

    Returns (..., K) float64.

    Raises TypeError, ValueError: non-numeric data, non-finite features or targets, an empty box, or shapes
    that do not match.
    Raises ArithmeticError: if the solution misses the optimality conditions.
    """
    x = as_float64("features", features, min_ndim=2)
    lead, (length, key_dim) = x.shape[:-2], x.shape[-2:]
    low, high = _box(d_min, d_max, (*lead, key_dim))
    y = as_float64("targets", targets)
    broadcastable("targets", y.shape, (*lead, length))
    y = np.broadcast_to(y, (*lead, length))
    return _each(lambda at: _boxed_least_squares(x[at], y[at], low[at], high[at]), lead, key_dim)


def optimality_gap(features: Any, solution: Any, d_min: Any, d_max: Any, *, targets: Any = 1.0) -> Array:
    r"""How far a diagonal is from the optimality conditions of :func:`best_fixed_diagonal`, (...).

    .. math:: \frac{\|u - \Pi(u - \nabla\phi(u)/\mathrm{tr} A)\|_\infty}{\max(1, \|u\|_\infty)},
              \quad \phi(u) = \tfrac12\sum_t (y_t - \langle u, x_t\rangle)^2,\ A = \sum_t x_t x_t^\top

    Zero exactly at a minimiser (the Karush-Kuhn-Tucker conditions of the box). Arguments and errors
    as in :func:`best_fixed_diagonal`.
    """
    x = as_float64("features", features, min_ndim=2)
    u = as_float64("solution", solution, min_ndim=1)
    low, high = _box(d_min, d_max, (*x.shape[:-2], x.shape[-1]))
    y = as_float64("targets", targets)
    excess = np.einsum("...tk,...k->...t", x, u) - y
    gradient = np.einsum("...t,...tk->...k", excess, x)
    curvature = np.sum(np.square(x), axis=(-2, -1))
    stepped = np.clip(u - gradient * invert(curvature)[..., None], low, high)
    gap: Array = np.max(np.abs(u - stepped), axis=-1) / np.maximum(1.0, np.max(np.abs(u), axis=-1))
    return gap


def context_contraction(gram: Any, preconditioner: Any) -> Array:
    r"""Worst ratio of a context step with a fixed diagonal, over all states, (...) (T9).

    .. math:: \theta(d) = \|I - G^{1/2}\,\mathrm{Diag}(d)\,G^{1/2}\|_2^2 = \max_S \rho_S(\mathrm{Diag}(d))

    because with E = S - S* and :math:`X = E G^{1/2}` the step is
    :math:`X^+ = X (I - G^{1/2} \mathrm{Diag}(d) G^{1/2})` and :math:`F(S) - F^* = \tfrac12\|X\|_F^2`: the
    ratio of the squared norms is at most the squared spectral norm, attained by X of rank one. A
    singular G is taken on its range.

    - `gram` (..., K, K): G, symmetric positive semi-definite.
    - `preconditioner` (..., K): d.

    Returns (...) float64: Convex in d. Zero for G = 0.

    Raises TypeError, ValueError: non-numeric or non-finite arguments, a Gram matrix that is not symmetric
    positive semi-definite, or shapes that do not match.
    """
    g = _gram(gram)
    d = as_float64("preconditioner", preconditioner, min_ndim=1)
    require(d.shape[-1] == g.shape[-1], f"preconditioner: expected last axis {g.shape[-1]}, got {d.shape}")
    lead = np.broadcast_shapes(g.shape[:-2], d.shape[:-1])
    g = np.broadcast_to(g, (*lead, *g.shape[-2:]))
    d = np.broadcast_to(d, (*lead, d.shape[-1]))
    result = np.empty(lead)
    for index in np.ndindex(*lead):
        result[index] = _contraction(_root(g[index]), d[index])
    return result


def best_context_diagonal(gram: Any, d_min: Any = 0.0, d_max: Any = np.inf) -> Array:
    r"""The fixed diagonal with the least worst-case contraction of the context step (T9, T10).

    .. math:: u = \arg\min_{d_{\min} \le d \le d_{\max}} \theta(d), \qquad
              \theta(d) = \|I - G^{1/2}\,\mathrm{Diag}(d)\,G^{1/2}\|_2^2

    the objective of :func:`context_contraction`, a convex problem. Without a box it is diagonal scaling to
    the least condition number, :math:`\theta = ((\kappa - 1)/(\kappa + 1))^2`; that smooth
    problem is solved first, and the box by a smoothed maximum of the eigenvalues on both sides of 1.
    The result is the best of these, the best scalar step and Jacobi's 1/diag(G): never worse than
    the last two, and optimal up to the tolerance of the smoothing.

    - `gram` (..., K, K): G, symmetric positive semi-definite.
    - `d_min`, `d_max` (..., K) or scalar: The box, not below zero. Default: no box but the sign.

    Returns (..., K) float64.

    Raises TypeError, ValueError: as :func:`context_contraction`, an empty box, or one that reaches below
    zero.
    """
    g = _gram(gram)
    lead, key_dim = g.shape[:-2], g.shape[-1]
    low, high = _box(d_min, d_max, (*lead, key_dim))
    require(bool(np.all(low >= 0)), "d_min: expected a box that does not reach below zero")
    return _each(lambda at: _best_scaling(g[at], low[at], high[at]), lead, key_dim)


def _each(solve: Callable[[tuple[int, ...]], Array], lead: tuple[int, ...], key_dim: int) -> Array:
    """One solution per entry of the leading axes, (..., K)."""
    solution = np.empty((*lead, key_dim))
    indices = list(np.ndindex(*lead))

    def work(part: slice) -> None:
        for index in indices[part]:
            solution[index] = solve(index)

    map_leading(work, len(indices))
    return solution


def _box(d_min: Any, d_max: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    sides = []
    for name, side in (("d_min", d_min), ("d_max", d_max)):
        array = as_float64(name, side, check_finite=False)
        require(not np.isnan(array).any(), f"{name}: NaN in the box")
        broadcastable(name, array.shape, shape)
        sides.append(np.broadcast_to(array, shape))
    require(bool(np.all(sides[0] <= sides[1])), "d_min, d_max: the box is empty (d_min > d_max)")
    return sides[0], sides[1]


def _boxed_least_squares(x: Array, y: Array, low: Array, high: Array) -> Array:
    solution = np.array(np.clip(0.0, low, high))
    # SciPy refuses equal sides, and a feature that never fires is indifferent to its coordinate.
    free = (low < high) & np.any(x != 0, axis=0)
    if not free.any():
        return solution
    target = y - x[:, ~free] @ solution[~free]
    triangle: Any = np.linalg.qr(np.column_stack([x[:, free], target]), mode="r")
    bounds = (low[free], high[free])
    result = lsq_linear(triangle[:, :-1], triangle[:, -1], bounds, method="bvls", tol=_EPS, max_iter=10_000)
    solution[free] = np.clip(result.x, *bounds)
    gap = float(optimality_gap(x, solution, low, high, targets=y))
    if gap > 1e-9:
        raise ArithmeticError(f"features: box-constrained least squares stopped {gap:.2e} from optimality")
    return solution


def _gram(gram: Any) -> Array:
    g = as_float64("gram", gram, min_ndim=2)
    require(g.shape[-1] == g.shape[-2], f"gram: expected a square matrix, got shape {g.shape}")
    size = np.max(np.abs(g), initial=0.0)
    skew = np.max(np.abs(g - transpose(g)), initial=0.0)
    require(skew <= 1e-12 * size, f"gram: expected a symmetric matrix, off by {skew}")
    least = np.min(np.linalg.eigvalsh(g), initial=0.0)
    require(least >= -1e-10 * size, f"gram: expected no negative eigenvalue, got {least}")
    return g


def _root(gram: Array) -> Array:
    """R with G = R^T R, one row per non-zero eigenvalue."""
    eigenvalues, vectors = np.linalg.eigh(gram)
    keep = eigenvalues > gram.shape[-1] * _EPS * np.max(eigenvalues, initial=0.0)
    root: Array = np.sqrt(eigenvalues[keep])[:, None] * vectors[:, keep].T
    return root


def _spectrum(root: Array, d: Array) -> tuple[Array, Array]:
    """Eigenvalues of R Diag(d) R^T, and their derivatives in d as rows (w^T R)^2."""
    eigenvalues, vectors = np.linalg.eigh((root * d) @ root.T)
    return eigenvalues, np.square(vectors.T @ root)


def _contraction(root: Array, d: Array) -> float:
    return float(np.square(np.max(np.abs(_spectrum(root, d)[0] - 1.0), initial=0.0)))


def _best_scaling(gram: Array, low: Array, high: Array) -> Array:
    root = _root(gram)
    if root.shape[0] == 0:
        return np.array(np.clip(0.0, low, high))
    diagonal = np.diagonal(gram)
    scaled = _balanced(root, np.where(diagonal > 0, invert(diagonal), 0.0))
    shapes = [np.ones(gram.shape[-1]), invert(diagonal), scaled]
    candidates = [np.clip(_centred(root, shape) * shape, low, high) for shape in shapes]
    scalar = np.clip(_centred(root, shapes[0]), np.max(low), np.max([np.max(low), np.min(high)]))
    candidates.append(np.clip(scalar * shapes[0], low, high))
    best = min(candidates, key=lambda d: _contraction(root, d))
    if np.array_equal(best, _centred(root, scaled) * scaled):
        return best
    candidates.append(_boxed_scaling(root, best, low, high))
    return min(candidates, key=lambda d: _contraction(root, d))


def _centred(root: Array, shape: Array) -> float:
    """The multiple of a diagonal that centres its spectrum on 1, where its contraction is least."""
    eigenvalues, _ = _spectrum(root, shape)
    return float(2.0 / (eigenvalues[0] + eigenvalues[-1]))


def _balanced(root: Array, start: Array) -> Array:
    """Scale-free stage: least condition number of R Diag(d) R^T through power means of its eigenvalues."""
    free = start > 0
    logs = np.log(start[free])

    def objective(x: Array, power: float) -> tuple[float, Array]:
        d = np.zeros(start.shape)
        d[free] = np.exp(x)
        eigenvalues, slopes = _spectrum(root, d)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.log(np.maximum(eigenvalues, np.finfo(np.float64).tiny))
        top, bottom = logsumexp(power * spread), logsumexp(-power * spread)
        weight = (np.exp(power * spread - top) - np.exp(-power * spread - bottom)) / np.exp(spread)
        return float(top + bottom) / power, (weight @ slopes)[free] * d[free]

    for power in (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0):
        logs = minimize(objective, logs, (power,), "L-BFGS-B", True, options={"maxiter": 100}).x
    scaled = np.zeros(start.shape)
    scaled[free] = np.exp(logs)
    return scaled


def _boxed_scaling(root: Array, start: Array, low: Array, high: Array) -> Array:
    """Boxed stage: smoothed largest distance of an eigenvalue of R Diag(d) R^T from 1, ever sharper."""
    unit = np.where(start > 0, start, 1.0)
    bounds = Bounds(low / unit, high / unit)

    def objective(x: Array, width: float) -> tuple[float, Array]:
        eigenvalues, slopes = _spectrum(root, x * unit)
        sides = np.concatenate([eigenvalues - 1.0, 1.0 - eigenvalues]) / width
        total = logsumexp(sides)
        weight = np.exp(sides - total)
        signed = weight[: eigenvalues.size] - weight[eigenvalues.size :]
        return float(width * total), (signed @ slopes) * unit

    x = start / unit
    best = x
    for width in (1e-1, 1e-2, 1e-3, 1e-4):
        x = minimize(objective, x, (width,), "L-BFGS-B", True, bounds=bounds, options={"maxiter": 200}).x
        best = min(best, x, key=lambda y: _contraction(root, np.clip(y * unit, low, high)))
    return np.array(np.clip(best * unit, low, high))
