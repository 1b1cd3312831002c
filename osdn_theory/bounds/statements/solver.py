r"""Is the float64 trajectory a rounding of the recurrence it claims to follow?

Each computed quantity is compared with one exact step from the computed quantities before it, evaluated apart from
the solvers, and must stay within the standard model's error of that step. A wrong sign, a missing clip, a
preconditioner used after its calibration or a decay applied twice leaves this bound by many orders of magnitude.
"""

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.bounds.check import BoundCheck, Outcome
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.bounds.runs.enclosed import TINY, UNIT, FloatRun, dot_error
from osdn_theory.recurrence.calibrate import features
from osdn_theory.recurrence.trajectory import Trajectory

_MARGIN = 4.0
# Both the solver's step and the one it is compared with round, in any order of operations.

SUBNORMAL = 2.0**-1074


def solver_checks(problem: CalibrationProblem) -> list[BoundCheck]:
    """The calibrate step, the alignment, and (where states were kept) write, residual and read."""
    # What overflows here is not known, and said to be vacuous.
    with np.errstate(over="ignore", invalid="ignore"):
        checks = [_calibrate(problem), _alignment(problem)]
        if problem.trajectory.states is not None:
            checks.extend(_state_checks(problem))
        return checks


def _calibrate(problem: CalibrationProblem) -> BoundCheck:
    run = FloatRun(problem)
    defect, rounding = run.step_defect
    rounding = rounding + _block_rounding(problem)
    start = np.abs(run.path[:1] - problem.initial)
    return _check(
        problem,
        "Calibrate step of the solver",
        r"|\hat d_{t+1} - \Pi[c+\gamma_t(\hat d_t-c)+\eta w_t(1-\langle\hat d_t,x_t\rangle)x_t]| \le \epsilon_t",
        np.concatenate([start, defect]),
        np.concatenate([np.full_like(start, TINY), rounding]),
    )


def _block_rounding(problem: CalibrationProblem) -> Array:
    """What the scan's gains round beyond single steps (T, K): they read |d - c| and the steps of a block."""
    from osdn_theory.recurrence.scan_loops import TILE  # imports numba

    d, (x, weight) = problem.preconditioner, features(problem.stream, problem.head_rule())
    rate = (problem.eta * weight)[:, None] * np.abs(x)
    moved = rate * np.abs(1 - np.einsum("tk,tk->t", d, x))[:, None]
    sizes = np.abs(problem.anchor) + np.abs(d - problem.anchor) + moved
    before = np.concatenate([np.zeros((TILE - 1, problem.key_dim)), sizes])
    added = np.sum([before[j : j + len(sizes)] for j in range(TILE)], axis=0)
    read = np.einsum("tk,tk->t", added, np.abs(x))[:, None]
    rounding: Array = dot_error(problem.key_dim + 2 * TILE) * read * rate
    return rounding


def _alignment(problem: CalibrationProblem) -> BoundCheck:
    d, s = problem.preconditioner, problem.stream.squared_keys
    found = problem.trajectory.alignment[problem.index]
    size = np.einsum("tk,tk->t", np.abs(d), s)
    # Products that underflow, k * k here or d * k there, miss that much before the other factor.
    underflow = SUBNORMAL * np.sum(np.abs(d) + np.abs(problem.stream.keys), axis=-1)
    return _check(
        problem,
        "Alignment of the solver",
        r"|\hat a_t - \langle\hat d_t,k_t^2\rangle| \le \epsilon_t",
        np.abs(found - np.einsum("tk,tk->t", d, s)),
        dot_error(problem.key_dim + 2) * size + underflow,
    )


def _state_checks(problem: CalibrationProblem) -> list[BoundCheck]:
    before, after = _states(problem.trajectory, problem.index)
    stream, keys = problem.stream, problem.stream.keys
    decayed = before if problem.state_gate is None else _decay(before, problem.state_gate)
    width = problem.key_dim + 4
    read = np.einsum("tvk,tk->tv", decayed, keys)
    read_size = np.einsum("tvk,tk->tv", np.abs(decayed), np.abs(keys))
    residual = problem.trajectory.residuals[problem.index]
    residual_size = np.abs(stream.values) + read_size
    write_key = problem.preconditioner * keys
    gain = problem.beta[:, None] * (stream.values - read)
    written = decayed + gain[:, :, None] * write_key[:, None, :]
    gain_size = np.abs(problem.beta)[:, None] * residual_size
    written_size = np.abs(decayed) + gain_size[:, :, None] * np.abs(write_key)[:, None, :]
    output = problem.trajectory.outputs[problem.index]
    queries = np.asarray(stream.queries)
    scale = problem.trajectory.scale
    seen = scale * np.einsum("tvk,tk->tv", after, queries)
    seen_size = abs(scale) * np.einsum("tvk,tk->tv", np.abs(after), np.abs(queries))
    triples = [
        ("Residual of the solver", r"|\hat r_t - (v_t - \alpha_t\hat S_{t-1}k_t)| \le \epsilon_t"),
        (
            "Write of the solver",
            r"|\hat S_t - \alpha_t\hat S_{t-1} - \beta_t\hat r_t(\hat d_t\odot k_t)^T| \le \epsilon_t",
        ),
        ("Read of the solver", r"|\hat o_t - \mathrm{scale}\,\hat S_t q_t| \le \epsilon_t"),
    ]
    defects = [np.abs(residual - (stream.values - read)), np.abs(after - written), np.abs(output - seen)]
    sizes = [residual_size, written_size, seen_size]
    return [
        _check(problem, title, statement, defect, dot_error(width) * size)
        for (title, statement), defect, size in zip(triples, defects, sizes, strict=True)
    ]


def _states(trajectory: Trajectory, index: tuple[int, ...]) -> tuple[Array, Array]:
    assert trajectory.states is not None
    after = trajectory.states[index]
    before = np.concatenate([trajectory.initial_state[index][None], after[:-1]])[: len(after)]
    return before, after


def _decay(state: Array, gate: Array) -> Array:
    spread = gate[:, None, :] if gate.ndim == 2 else gate[:, None, None]
    return state * spread


def _check(
    problem: CalibrationProblem, title: str, statement: str, defect: Array, rounding: Array
) -> BoundCheck:
    allowed = _MARGIN * rounding + TINY
    known = np.isfinite(allowed)
    holds = bool(np.all((defect <= allowed) | ~known))
    worst = int(np.argmax(np.where(known, defect / allowed, 0))) if defect.size else 0
    lhs = float(defect.flat[worst]) if defect.size else 0.0
    rhs = float(allowed.flat[worst]) if defect.size else 0.0
    token = worst // max(1, defect[0].size) if defect.size else 0
    outcome: Outcome = "holds" if holds else "violated"
    reason = "" if holds else f"first seen around token {token + 1}"
    if holds and not (defect.size and known.all()):
        outcome, reason = "holds, vacuously", "nothing was computed, or nothing is known of its rounding"
    return BoundCheck(
        theorem="float64",
        title=title,
        statement=statement,
        stream=problem.trajectory.stream.name,
        rule=problem.rule_label,
        index=problem.index,
        outcome=outcome,
        lhs=lhs,
        rhs=rhs,
        log10_slack=float(np.log10(rhs / lhs)) if lhs > 0 else None,
        method=f"standard model, u = {UNIT:.2g}",
        reason=reason,
    )
