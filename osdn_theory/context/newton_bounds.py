"""Bounds on a run of context-level OSDN, as curves beside its suboptimality (T10)."""

from typing import Any, Literal

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, as_float64, broadcastable, require
from osdn_theory.context.newton import ContextTrajectory
from osdn_theory.context.problem import Form, count_axes, precondition, sum_squares

Argument = Literal["quadratic", "convex"]


def vacuous_until(run: ContextTrajectory) -> Array:
    r"""The sum that the ratios of a run against right-Newton cannot exceed (T10).

    .. math:: \sum_j \rho_j \le C = \frac{\|P_1 - P^*\|_F^2}{4\eta(1 - \eta L^2)}
              = L^2 \|P_1 - P^*\|_F^2 \ \text{ at } \eta = 1/(2L^2)

    The bound (C/T)^T says nothing until T > C, whence the name. From P_1 = I/L, C is about the square
    of the condition number of G.

    - `run`: Of the form "diagonal" or "full".

    Returns (...) float64: In steps. NaN where the theorem does not apply: for a diagonal form where G is not exactly
    diagonal, and for eta outside (0, 1/L^2).

    Raises ValueError: for a run with a fixed preconditioner.
    """
    form, eta = _learned(run)
    budget = _distance(run, _newton(run, form), form) / (4.0 * _usable(eta, 1.0 - eta * run.smoothness**2))
    applies = run.diagonal_gram if form == "diagonal" else np.ones(budget.shape, dtype=bool)
    return np.where(applies, budget, np.nan)


def newton_bound(run: ContextTrajectory) -> Array:
    r"""Natural logarithm of the bound on F(S_{T+1}) - F*, for T = 0 ... J (T10).

    .. math:: \log(F(S_1) - F^*) + T \log(C / T), \qquad C = L^2 \|P_1 - P^*\|_F^2

    with C from :func:`vacuous_until`, which covers every step below 1/L^2.

    - `run`: Of the form "diagonal" or "full".

    Returns (..., J+1) float64: NaN after T = 0 where the theorem does not apply.

    Raises ValueError: as :func:`vacuous_until`.
    """
    steps = run.ratios.shape[-1]
    return _curve(run, np.repeat(vacuous_until(run)[..., None], steps, axis=-1))


def comparator_ratios(run: ContextTrajectory, comparator: Any) -> Array:
    r"""Ratios that a fixed preconditioner would have had at the states of a run (T9, T10).

    .. math:: \rho_j(U) = \frac{F(S_j - \nabla F(S_j) U) - F^*}{F(S_j) - F^*}

    - `comparator` (..., K) or (..., K, K): U, of the same form as the preconditioners of the run.

    Returns (..., J) float64: NaN where F(S_j) = F*.

    Raises TypeError, ValueError: non-numeric or non-finite comparator, or a shape that does not match.
    """
    form = _form(run)
    u = np.expand_dims(_comparator(run, comparator, form), -1 - count_axes(form))
    errors = run.directions[..., :-1, :, :]
    root = run.root[..., None, :, :]
    after = errors - precondition(errors @ root, u, form) @ transpose(root)
    return np.where(np.isneginf(run.log_suboptimality[..., :-1]), np.nan, sum_squares(after))


def agnostic_ratio_sum(run: ContextTrajectory, comparator: Any, *, argument: Argument = "quadratic") -> Array:
    r"""Bound on the sum of the ratios of a run, against any fixed preconditioner U (T10).

    With :math:`A = \sum_j \rho_j(U)` along the states of the run and
    :math:`B = \|P_1 - U\|_F^2/(2\eta)`, the argument of T8 (convexity and
    :math:`\|\nabla\rho\|^2 \le 4L^2\rho`) gives, for :math:`\eta < 1/(2L^2)`,

    .. math:: \sum_j \rho_j \le \frac{A + B}{1 - 2\eta L^2}. \qquad\text{("convex")}

    It is vacuous at the default step. A quadratic does better than a convex function: with
    :math:`q_j = \|g_j (P_j - U) R^\top\|^2 / \|E_j R^\top\|^2` exactly
    :math:`\langle\nabla\rho_j(P_j), P_j - U\rangle = \rho_j(P_j) - \rho_j(U) + q_j`, and
    :math:`q_j \ge (\sqrt{\rho_j(P_j)} - \sqrt{\rho_j(U)})^2` by the triangle inequality. Hence with
    :math:`m = 2 - 2\eta L^2`, for :math:`\eta < 1/L^2`, by Cauchy-Schwarz over j,

    .. math:: \sum_j \rho_j \le \Bigl(\frac{\sqrt{A} + \sqrt{A + mB}}{m}\Bigr)^2, \qquad\text{("quadratic")}

    never above the first, and equal to T10 where A = 0.

    - `run`: Of the form "diagonal" or "full".
    - `comparator` (..., K) or (..., K, K): U, of the same form.
    - `argument`: "quadratic" or "convex"

    Returns (..., J) float64: For the first T = 1 ... J steps. NaN where the step is too large for the argument.

    Raises TypeError, ValueError: as :func:`comparator_ratios` and :func:`vacuous_until`.
    """
    require(argument in ("quadratic", "convex"), f"argument: expected a known argument, got {argument!r}")
    form, eta = _learned(run)
    u = _comparator(run, comparator, form)
    spent = np.cumsum(np.nan_to_num(comparator_ratios(run, u), nan=0.0), axis=-1)
    start = (0.5 * _distance(run, u, form) / _usable(eta, 1.0))[..., None]
    slope = eta * run.smoothness**2
    if argument == "convex":
        return (spent + start) / _usable(1.0 - 2.0 * slope, 1.0)[..., None]
    m = _usable(2.0 - 2.0 * slope, 1.0)[..., None]
    return np.square((np.sqrt(spent) + np.sqrt(spent + m * start)) / m)


def agnostic_bound(run: ContextTrajectory, comparator: Any, *, argument: Argument = "quadratic") -> Array:
    r"""Natural logarithm of the bound on F(S_{T+1}) - F* against a fixed U, (..., J+1) (T10).

    .. math:: \log(F(S_1) - F^*) + T \log(X_T / T)

    with :math:`X_T` from :func:`agnostic_ratio_sum`, whose parameters and errors it shares.
    """
    return _curve(run, agnostic_ratio_sum(run, comparator, argument=argument))


def _curve(run: ContextTrajectory, ratio_sum: Array) -> Array:
    counts = np.arange(1, run.ratios.shape[-1] + 1)
    with np.errstate(divide="ignore"):
        product = counts * np.log(ratio_sum / counts)
    first = run.log_suboptimality[..., :1]
    return np.concatenate([first, first + product], axis=-1)


def _form(run: ContextTrajectory) -> Form:
    return "full" if run.form in ("full", "newton") else "diagonal"


def _learned(run: ContextTrajectory) -> tuple[Form, Array]:
    if run.eta is None:
        raise ValueError(f"run: expected the form 'diagonal' or 'full', got {run.form!r}")
    return _form(run), run.eta


def _newton(run: ContextTrajectory, form: Form) -> Array:
    return run.newton if form == "full" else np.diagonal(run.newton, axis1=-2, axis2=-1)


def _comparator(run: ContextTrajectory, value: Any, form: Form) -> Array:
    array = as_float64("comparator", value, min_ndim=count_axes(form))
    target = run.smoothness.shape + (run.keys.shape[-1],) * count_axes(form)
    broadcastable("comparator", array.shape, target)
    return np.broadcast_to(array, target)


def _distance(run: ContextTrajectory, other: Array, form: Form) -> Array:
    first = run.preconditioners[..., 0, :] if form == "diagonal" else run.preconditioners[..., 0, :, :]
    distance: Array = np.sum(np.square(first - other), axis=tuple(range(-count_axes(form), 0)))
    return distance


def _usable(step: Array, margin: Array | float) -> Array:
    """`step` times `margin`, NaN unless both are positive."""
    return np.where((step > 0) & (np.asarray(margin) > 0), step * margin, np.nan)
