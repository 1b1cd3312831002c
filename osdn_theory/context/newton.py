"""Steps on the loss of a whole context: OSDN against the right-Newton comparator (T9, T10).

The error E_j = S_j - S* is propagated, not the state: E_{j+1} = E_j (I - G P_j). Only its direction is
kept, in the coordinates E R^T with G = R^T R, beside the logarithm of its length, so a loss of 1e-4000 is
no harder to hold than one of 1. Where P* = G^+ belongs to the class of preconditioners, so does
D_j = P_j - P*, and E_{j+1} = -E_j G D_j needs no subtraction at all.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, as_float64, broadcastable, require
from osdn_theory.context.problem import (
    FactoredContext,
    Form,
    append_axes,
    broadcast_leads,
    check_preconditioner,
    count_axes,
    cross,
    factor_context,
    invert,
    normalise,
    precondition,
    scale_identity,
    sum_squares,
)

Label = Literal["gradient", "fixed_diagonal", "diagonal", "full", "newton"]


@show_briefly
@dataclass(frozen=True, eq=False)
class ContextTrajectory:
    """Iterates S_{j+1} = S_j - grad F(S_j) P_j of J steps on one context, float64.

    - `form`: ``"gradient"``, ``"fixed_diagonal"``, ``"diagonal"``, ``"full"`` or ``"newton"``.
    - `eta` (...) or None: Step on the ratio; None where the preconditioner is fixed.
    - `smoothness` (...): L.
    - `states` (..., J+1, V, K)
    - `preconditioners` (..., J+1, K) or (..., J+1, K, K): P_j, as a diagonal or in full.
    - `ratios` (..., J): rho_j = (F(S_{j+1}) - F*) / (F(S_j) - F*). NaN once F(S_j) = F* exactly; zero where
      the square underflows, which `log_suboptimality` does not.
    - `log_suboptimality` (..., J+1): Natural logarithm of F(S_j) - F*; -inf once the minimum is reached exactly.
    - `initial_suboptimality` (...): F(S_1) - F*.
    - `minimizer` (..., V, K): S*, of least norm.
    - `gram`, `newton` (..., K, K): G and the right-Newton comparator P* = G^+.
    - `diagonal_gram` (...) bool: Whether G is exactly diagonal, so that P* is a diagonal too.
    - `directions` (..., J+1, V, R): E_j R^T divided by its Frobenius norm; zero where E_j R^T is.
    - `root` (..., R, K): R, from the singular values of the keys; G = R^T R.
    - `keys`, `values` (..., T, K), (..., T, V)
    """

    form: Label
    eta: Array | None
    smoothness: Array
    states: Array
    preconditioners: Array
    ratios: Array
    log_suboptimality: Array
    initial_suboptimality: Array
    minimizer: Array
    gram: Array
    newton: Array
    diagonal_gram: Array
    directions: Array
    root: Array
    keys: Array
    values: Array


def context_ratio(
    state: Any, preconditioner: Any, keys: Any, values: Any, *, form: Form = "diagonal"
) -> Array:
    r"""Suboptimality after one preconditioned step on the context, over that before it (T9).

    .. math:: \rho_S(P) = \frac{F(S - \nabla F(S) P) - F^*}{F(S) - F^*}

    - `state` (..., V, K), `preconditioner` (..., K) if `form` is "diagonal", (..., K, K) if "full", `keys` (..., T,
      K), `values` (..., T, V)
    - `form`: "diagonal" or "full"

    Returns (...) float64: NaN where the state is a minimiser already.

    Raises TypeError, ValueError: non-numeric or non-finite arguments, or shapes that do not match.
    """
    problem, error, p = _at_state(state, preconditioner, keys, values, form)
    after = error - precondition(error @ problem.root, p, form) @ transpose(problem.root)
    with np.errstate(invalid="ignore"):
        ratio: Array = sum_squares(after) / sum_squares(error)
    return ratio


def context_hypergradient(
    state: Any, preconditioner: Any, keys: Any, values: Any, *, form: Form = "diagonal"
) -> Array:
    r"""Gradient of the context ratio in the preconditioner (T9).

    .. math:: \nabla_P \rho = -2\, g^\top (E - gP) G \,/\, \mathrm{tr}(E G E^\top),
              \quad E = S - S^*,\ g = \nabla F(S) = E G

    and the diagonal of that matrix for a diagonal preconditioner. Parameters, errors and NaN as in
    :func:`context_ratio`; returns (..., K) or (..., K, K).
    """
    problem, error, p = _at_state(state, preconditioner, keys, values, form)
    g = error @ problem.root
    after = error - precondition(g, p, form) @ transpose(problem.root)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = -2.0 / sum_squares(error)
        return append_axes(scale, count_axes(form)) * cross(g, after @ problem.root, form)


def context_hessian(state: Any, keys: Any, values: Any) -> Array:
    r"""Hessian of the context ratio in a diagonal preconditioner, (..., K, K) (T9).

    .. math:: \nabla^2_d \rho = 2\,(g^\top g \circ G) \,/\, \mathrm{tr}(E G E^\top)

    It does not depend on the preconditioner, is positive semi-definite, and at most
    :math:`2\lambda_{\max}(G)^2`. Arguments, errors and NaN as in :func:`context_ratio`.
    """
    key_dim = as_float64("keys", keys, min_ndim=2).shape[-1]
    problem, error, _ = _at_state(state, np.zeros(key_dim), keys, values, "diagonal")
    g = error @ problem.root
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = 2.0 / sum_squares(error)
        hessian: Array = scale[..., None, None] * (transpose(g) @ g) * problem.gram
    return np.where(np.isfinite(hessian), hessian, np.nan)


def context_osdn(
    keys: Any,
    values: Any,
    *,
    steps: int,
    form: Form = "diagonal",
    eta: Any = None,
    smoothness: Any = None,
    initial_state: Any = None,
    initial_preconditioner: Any = None,
) -> ContextTrajectory:
    r"""OSDN on a whole context: gradient steps on the ratio between steps on the loss (T9, T10).

    .. math:: S_{j+1} = S_j - \nabla F(S_j) P_j, \qquad P_{j+1} = P_j - \eta \nabla\rho_{S_j}(P_j)

    - `keys` (..., T, K), `values` (..., T, V)
    - `steps`, int >= 0: J.
    - `form`, "diagonal" or "full": The class of preconditioners.
    - `eta` (...): Default 1/(2 L^2), the step of T10.
    - `smoothness` (...): L. Default the largest eigenvalue of the Gram matrix; T10 holds for that and anything above.
    - `initial_state` (..., V, K): S_1. Default zero.
    - `initial_preconditioner` (..., K) or (..., K, K) as `form` says: P_1. Default I/L, so that the first step is the
      plain gradient step.

    Raises TypeError, ValueError: non-numeric or non-finite arguments, shapes that do not match, a negative
    step or number of steps, or iterates that overflow because `eta` is too large.
    """
    lead = broadcast_leads(
        keys=(keys, 2), values=(values, 2), initial_state=(initial_state, 2), eta=(eta, 0),
        smoothness=(smoothness, 0), initial_preconditioner=(initial_preconditioner, count_axes(form)),
    )  # fmt: skip
    problem = factor_context(keys, values, lead, smoothness)
    if initial_preconditioner is None:
        first = scale_identity(invert(problem.smoothness), problem.key_dim, form)
    else:
        first = check_preconditioner("initial_preconditioner", initial_preconditioner, problem, form)
    step = 0.5 * invert(problem.smoothness**2) if eta is None else as_float64("eta", eta)
    require(bool(np.all(step >= 0)), "eta: expected a step >= 0")
    return _iterate(problem, form, form, first, steps, initial_state, np.broadcast_to(step, lead))


def gradient_descent(
    keys: Any,
    values: Any,
    *,
    steps: int,
    step: Literal["inverse_smoothness", "best"] | float | Array = "inverse_smoothness",
    initial_state: Any = None,
) -> ContextTrajectory:
    r"""Plain gradient steps on the context, P = step * I: DeltaNet's counterpart.

    - `keys` (..., T, K), `values` (..., T, V)
    - `steps`: int >= 0
    - `step`, "inverse_smoothness", "best", or (...): 1/L; 2/(L + smallest non-zero eigenvalue), the best constant
      step in the worst case; or given.
    - `initial_state` (..., V, K)

    Raises TypeError, ValueError: as :func:`context_osdn`.
    """
    given = None if isinstance(step, str) else step
    lead = broadcast_leads(
        keys=(keys, 2), values=(values, 2), initial_state=(initial_state, 2), step=(given, 0)
    )
    problem = factor_context(keys, values, lead)
    if isinstance(step, str):
        require(step in ("inverse_smoothness", "best"), f"step: expected a known choice, got {step!r}")
        low = problem.smoothness if step == "inverse_smoothness" else problem.least
        size = 2.0 * invert(problem.smoothness + low)
    else:
        size = np.broadcast_to(as_float64("step", step), lead)
    fixed = scale_identity(size, problem.key_dim, "diagonal")
    return _iterate(problem, "gradient", "diagonal", fixed, steps, initial_state, None)


def fixed_diagonal(
    keys: Any, values: Any, preconditioner: Any, *, steps: int, initial_state: Any = None
) -> ContextTrajectory:
    """Steps with one fixed diagonal preconditioner, (..., K). Otherwise as :func:`gradient_descent`."""
    lead = broadcast_leads(
        keys=(keys, 2), values=(values, 2), initial_state=(initial_state, 2),
        preconditioner=(preconditioner, 1),
    )  # fmt: skip
    problem = factor_context(keys, values, lead)
    fixed = check_preconditioner("preconditioner", preconditioner, problem, "diagonal")
    return _iterate(problem, "fixed_diagonal", "diagonal", fixed, steps, initial_state, None)


def right_newton(keys: Any, values: Any, *, steps: int, initial_state: Any = None) -> ContextTrajectory:
    """Right-Newton steps, P = G^+: one step reaches the minimum exactly, for every state (T10).

    With a singular Gram matrix the pseudo-inverse acts on its range, which is all that the loss sees.
    Otherwise as :func:`gradient_descent`.
    """
    lead = broadcast_leads(keys=(keys, 2), values=(values, 2), initial_state=(initial_state, 2))
    problem = factor_context(keys, values, lead)
    return _iterate(problem, "newton", "full", problem.newton, steps, initial_state, None)


def _iterate(
    problem: FactoredContext,
    label: Label,
    form: Form,
    first: Array,
    steps: int,
    initial_state: Any,
    eta: Array | None,
) -> ContextTrajectory:
    require(isinstance(steps, int) and steps >= 0, f"steps: expected an integer >= 0, got {steps!r}")
    root, root_t, pinv_t = problem.root, transpose(problem.root), transpose(problem.root_pinv)
    start = _start(initial_state, problem)
    reference, transition = _reference(problem, label)
    deviation = first - reference
    unseen = (start - problem.minimizer) @ problem.null
    error, norm = normalise((start - problem.minimizer) @ root_t)
    log_norm = _log(norm)
    states, preconditioners, directions, logs, ratios = [start], [first], [error], [log_norm], []
    # Steps on small matrices: a second BLAS thread costs more in waiting than it computes.
    with threadpool_limits(1, user_api="blas"):
        for _ in range(steps):
            g = error @ root
            after = error @ transition - precondition(g, deviation, form) @ root_t
            moved = precondition(g, reference + deviation, form) @ problem.null
            unseen = unseen - append_axes(np.exp(log_norm), 2) * moved
            if eta is not None:
                # `error` has norm one, so the denominator of the hypergradient is one as well.
                deviation = deviation + 2.0 * append_axes(eta, count_axes(form)) * cross(
                    g, after @ root, form
                )
                _require_finite(deviation, "eta: the preconditioner overflows, take a smaller step")
            ratios.append(np.where(np.isneginf(log_norm), np.nan, 0.0))
            error, norm = normalise(after)
            ratios[-1] += np.square(norm)
            log_norm = log_norm + _log(norm)
            seen = _scaled(error @ pinv_t, log_norm)
            _require_finite(seen, "preconditioner: the states overflow, it is too large")
            states.append(problem.minimizer + unseen + seen)
            preconditioners.append(reference + deviation)
            directions.append(error)
            logs.append(log_norm)
    log_norms = np.stack(logs, axis=-1)
    return ContextTrajectory(
        form=label,
        eta=eta,
        smoothness=problem.smoothness,
        states=np.stack(states, axis=-3),
        preconditioners=np.stack(preconditioners, axis=-1 - count_axes(form)),
        ratios=np.stack(ratios, axis=-1) if ratios else np.empty((*problem.lead, 0)),
        log_suboptimality=2.0 * log_norms - np.log(2.0),
        initial_suboptimality=0.5 * np.exp(2.0 * log_norms[..., 0]),
        minimizer=problem.minimizer,
        gram=problem.gram,
        newton=problem.newton,
        diagonal_gram=problem.diagonal,
        directions=np.stack(directions, axis=-3),
        root=root,
        keys=problem.keys,
        values=problem.values,
    )


def _reference(problem: FactoredContext, label: Label) -> tuple[Array, Array]:
    """U and I - R U R^T: U = P* and exactly zero where P* is in the class, else U = 0 and I."""
    rank = problem.root.shape[-2]
    if label in ("full", "newton"):
        return problem.newton, np.zeros((*problem.lead, rank, rank))
    inside = problem.diagonal
    inverse = invert(np.diagonal(problem.gram, axis1=-2, axis2=-1))
    return np.where(inside[..., None], inverse, 0.0), np.where(append_axes(inside, 2), 0.0, np.eye(rank))


def _start(initial_state: Any, problem: FactoredContext) -> Array:
    shape = problem.minimizer.shape
    if initial_state is None:
        return np.zeros(shape)
    state = as_float64("initial_state", initial_state, min_ndim=2)
    broadcastable("initial_state", state.shape, shape)
    return np.broadcast_to(state, shape)


def _at_state(
    state: Any, preconditioner: Any, keys: Any, values: Any, form: Form
) -> tuple[FactoredContext, Array, Array]:
    lead = broadcast_leads(
        state=(state, 2),
        keys=(keys, 2),
        values=(values, 2),
        preconditioner=(preconditioner, count_axes(form)),
    )
    problem = factor_context(keys, values, lead)
    error = (_start(state, problem) - problem.minimizer) @ transpose(problem.root)
    return problem, error, check_preconditioner("preconditioner", preconditioner, problem, form)


def _log(norm: Array) -> Array:
    with np.errstate(divide="ignore"):
        log: Array = np.log(norm)
    return log


def _scaled(matrix: Array, log_scale: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return matrix * append_axes(np.exp(log_scale), 2)


def _require_finite(values: Array, message: str) -> None:
    require(bool(np.isfinite(values).all()), message)
