"""What a kernel's own numbers say of each theorem: confirmed, contradicted, or hidden by rounding."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from osdn_theory.base.brief import describe_index
from osdn_theory.base.validation import Array
from osdn_theory.bounds import BoundCheck, check_bounds
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.limits import RoundingLimits
from osdn_theory.crosscheck.evidence.observation import Observation
from osdn_theory.crosscheck.evidence.residuals import Residuals
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.results import Comparison, Outcome, Verdict
from osdn_theory.recurrence.calibrate import calibrate_step, features
from osdn_theory.recurrence.trajectory import Trajectory

GRAVITY: tuple[Outcome, ...] = ("contradicted", "not observable", "confirmed", "not applicable")

BOUNDS = ("T5", "T6", "T7", "T8", "T14", "T15")
"""Theorems whose hypotheses and right sides come from `osdn_theory.bounds`."""

VISIBLE = 0.5
"""A theorem is observable where rounding may move a side by less than this part of what it is about."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a verdict may look at."""

    adapter: Adapter
    case: Case
    exact: Trajectory
    seen: Observation
    limits: RoundingLimits
    comparisons: tuple[Comparison, ...]
    residuals: Residuals | None
    checks: tuple[BoundCheck, ...]

    def get(self, name: str) -> Comparison | None:
        return next((found for found in self.comparisons if found.name == name), None)


def theorem_checks(exact: Trajectory) -> tuple[BoundCheck, ...]:
    """Hypotheses and right sides of the bounds on the exact trajectory, every head; none where no step calibrates."""
    return () if exact.rule is None else tuple(check_bounds(exact, BOUNDS))


def constants(checks: Sequence[BoundCheck], lead: tuple[int, ...]) -> Array | None:
    """C of T5 per head (B, H), NaN where T6 does not apply; None where it applies to no head."""
    found = np.full(lead, np.nan)
    applies = {check.index for check in checks if check.key == "super_geometric" and check.rhs is not None}
    for check in checks:
        if check.key == "interpolating_regret" and check.rhs is not None and check.index in applies:
            found[check.index] = check.rhs
    return None if np.isnan(found).all() else found


def verdicts(evidence: Evidence) -> tuple[Verdict, ...]:
    """One verdict per statement that concerns the kernel; over heads, the gravest."""
    found = [
        *_identity(evidence),
        *_calibrate(evidence),
        *_bounded(evidence),
        *_equivalences(evidence),
        *([_rounding(evidence)] if evidence.comparisons else []),
    ]
    return tuple(sorted(found, key=lambda verdict: int(verdict.theorem[1:])))


def _identity(e: Evidence) -> Iterator[Verdict]:
    """T3 (T17 where the memory decays): after = (1 - beta a) before, all three the kernel's own."""
    if e.residuals is None:
        return
    theorem, title = ("T17", "Residual identity, gated state") if e.case.state_gate is not None else (
        "T3", "Residual identity"
    )  # fmt: skip
    r, beta = e.residuals, np.asarray(e.case.stream.beta)
    own = e.seen.alignment is not None
    alignment = e.seen.alignment if own else e.exact.alignment
    assert alignment is not None
    gap = 1.0 - beta * alignment
    size = np.linalg.norm(r.before, axis=-1)
    with np.errstate(invalid="ignore"):
        off = np.linalg.norm(r.after - gap[..., None] * r.before, axis=-1)
    exact_gap = np.abs(1.0 - beta * e.exact.alignment)
    allowed = r.after_error + exact_gap * r.before_error
    if own:
        allowed = allowed + np.abs(beta) * e.limits.alignment.norm * size
    visible = allowed < VISIBLE * size
    source = "a_t as returned" if own else "the exact a_t, for the kernel returns none"
    excess = _excess(off, allowed)
    at = _worst(excess)
    where = f"{_where(at)}, with {source}"
    share = f"{np.mean(visible):.0%} of the tokens stand out of rounding"
    outcome: Outcome = "confirmed"
    reason = f"every token, with {source}; {share}"
    if excess[at] > 1:
        outcome, reason = "contradicted", f"off at {where}"
    elif np.mean(visible) < VISIBLE:
        outcome, reason = "not observable", f"only {share}"
    yield Verdict(theorem, title, outcome, reason, off[at], 0.0, allowed[at])


def _calibrate(e: Evidence) -> Iterator[Verdict]:
    """T4: every d of the kernel is one calibrate step from the one before."""
    d = e.seen.preconditioner
    if d is None or not e.adapter.calibrates or d.shape[-2] < 2:
        return
    feature, weight = features(e.case.read_stream(), e.case.rule)
    gate = None if e.case.log_gate is None else np.exp(e.case.log_gate[..., :-1])
    before = (d[..., :-1, :], feature[..., :-1, :], weight[..., :-1])
    with np.errstate(over="ignore", invalid="ignore"):
        stepped = calibrate_step(*before, gate, e.case.anchor[..., None, :], e.case.rule)
        off = np.linalg.norm(d[..., 1:, :] - stepped, axis=-1)
    # The step is not expansive below 2/M, and at most this much above it.
    expands = np.maximum(1.0, np.abs(1.0 - e.case.rule.eta * np.sum(weight[..., None] * feature**2, axis=-1)))
    known = e.limits.preconditioner.norm
    allowed = known[..., 1:] + expands[..., :-1] * known[..., :-1]
    moved = np.linalg.norm(np.diff(e.exact.preconditioner, axis=-2), axis=-1)
    excess = _excess(off, allowed)
    at = _worst(excess)
    sides = (float(off[at]), 0.0, float(allowed[at]))
    if excess[at] > 1:
        yield Verdict("T4", "Calibrate step", "contradicted", f"off at {_where(at)}", *sides)
        return
    visible = float(np.mean(allowed < moved))
    share = f"{visible:.0%} of the steps are larger than what rounding may add"
    held: Outcome = "confirmed" if visible >= VISIBLE else "not observable"
    if not np.any(moved > 0):
        yield Verdict("T4", "Calibrate step", "not applicable", "in exact arithmetic d never moves here")
    else:
        yield Verdict("T4", "Calibrate step", held, share, *sides)


LeftSides = tuple[float, float, float]
"""Smallest and largest left side that the kernel's numbers leave possible, and the one they show."""


def _bounded(e: Evidence) -> Iterator[Verdict]:
    """T5 to T8, T14, T15: left sides from the kernel, hypotheses and right sides from the theory."""
    measures: dict[str, Callable[[Evidence, tuple[int, ...]], LeftSides | None]] = {
        "interpolating_regret": lambda e, i: _regret(e, i, 1.0),
        "mean_contraction": _mean_contraction,
        "agnostic_regret": lambda e, i: _regret(e, i, 0.5),
        "tracking": lambda e, i: _regret(e, i, 0.5),
    }
    for key, measure in measures.items():
        heads = [_held_against(e, check, measure) for check in e.checks if check.key == key]
        told = [verdict for verdict in heads if verdict is not None]
        if told:
            yield gravest(told)
    yield from _super_geometric(e)
    yield from _fixed_point(e)


def _held_against(
    e: Evidence, check: BoundCheck, measure: Callable[[Evidence, tuple[int, ...]], LeftSides | None]
) -> Verdict | None:
    if check.outcome == "not applicable" or check.rhs is None:
        return Verdict(check.theorem, check.title, "not applicable", check.reason)
    sides = measure(e, check.index)
    if sides is None:
        return None
    least, most, shown = sides
    rhs = check.rhs / np.log(10) if check.is_log else check.rhs
    unit = "log10, " if check.is_log else ""
    where = describe_index(check.index)
    result = Verdict(check.theorem, check.title, "confirmed", f"{unit}{where}", shown, rhs, most - shown)
    if most <= rhs:
        return result
    if least > rhs:
        return replace(result, outcome="contradicted", reason=f"{unit}{where}: at least {least:.4g}")
    reason = f"{unit}{where}: rounding leaves anything from {least:.4g} to {most:.4g} possible"
    return replace(result, outcome="not observable", reason=reason)


def _regret(e: Evidence, index: tuple[int, ...], factor: float) -> LeftSides | None:
    known = _alignment(e)
    if known is None:
        return None
    alignment, error = known
    gap = np.abs(1.0 - alignment[index])
    low = np.maximum(gap - error[index], 0.0)
    sums = (low**2, (gap + error[index]) ** 2, gap**2)
    least, most, shown = (factor * float(np.sum(values)) for values in sums)
    return least, most, shown


def _alignment(e: Evidence) -> tuple[Array, Array] | None:
    """a_t of the kernel and the bound on its error: as returned, else that of its d, else what its reads imply."""
    if e.seen.alignment is not None:
        return e.seen.alignment, e.limits.alignment.norm
    if e.seen.preconditioner is not None:
        squared = e.case.stream.squared_keys
        error = e.limits.preconditioner.norm * np.linalg.norm(squared, axis=-1)
        return np.vecdot(e.seen.preconditioner, squared), error
    if e.residuals is None:
        return None
    beta = np.asarray(e.case.stream.beta)
    error = e.residuals.alignment_error(1.0 - beta * e.exact.alignment)
    writes = beta != 0
    safe = np.where(writes, beta, 1.0)
    return e.residuals.alignment / safe, np.where(writes, error / np.abs(safe), np.inf)


def _super_geometric(e: Evidence) -> Iterator[Verdict]:
    """T6, which holds for every prefix: the longest one on which the kernel's reads prove it."""
    checks = [check for check in e.checks if check.key == "super_geometric"]
    if not checks or e.residuals is None:
        return
    heads = []
    for check in checks:
        if check.rhs is None:
            heads.append(Verdict("T6", check.title, "not applicable", check.reason))
        else:
            heads.append(_prefixes(e.residuals, check))
    yield gravest(heads)


def _prefixes(found: Residuals, check: BoundCheck) -> Verdict:
    assert check.rhs is not None
    length = found.ratio.shape[-1]
    tokens = np.arange(1, length + 1)
    # The right side at the end of the stream is T log(C/T): C follows.
    log_constant = check.rhs / length + np.log(length)
    bound = tokens * (log_constant - np.log(tokens)) / np.log(10)
    with np.errstate(divide="ignore"):
        least = np.cumsum(np.log10(found.least_ratio[check.index]))
        most = np.cumsum(np.log10(found.largest_ratio[check.index]))
        shown = np.cumsum(np.log10(np.nan_to_num(found.ratio[check.index], nan=1.0)))
    where = f"log10, {describe_index(check.index)}"

    def told(outcome: Outcome, at: int, reason: str) -> Verdict:
        sides = (float(shown[at]), float(bound[at]), float(most[at] - shown[at]))
        return Verdict("T6", check.title, outcome, f"{where}: {reason}", *sides)

    broken = np.flatnonzero(least > bound)
    if broken.size:
        return told("contradicted", int(broken[0]), f"first {broken[0] + 1} tokens")
    proved = np.flatnonzero((most <= bound) & (bound < 0))
    if proved.size == 0:
        reason = "the bound is not below 1, or rounding hides on which side of it the product is"
        return told("not observable", -1, reason)
    return told("confirmed", int(proved[-1]), f"first {proved[-1] + 1} of {length} tokens")


def _mean_contraction(e: Evidence, index: tuple[int, ...]) -> LeftSides | None:
    if e.residuals is None:
        return None
    r = e.residuals
    least, most = np.sqrt(r.least_ratio[index]), np.sqrt(r.largest_ratio[index])
    shown = np.sqrt(np.nan_to_num(r.ratio[index], nan=1.0))
    known = _alignment(e)
    if known is not None:
        # Its own d says as much of the exact ratio as its reads do: both leave an interval, and it lies in both.
        beta = np.abs(np.asarray(e.case.stream.beta)[index])
        gap, error = np.abs(1.0 - beta * known[0][index]), beta * known[1][index]
        least, most = np.maximum(least, gap - error), np.minimum(most, gap + error)
    return float(np.mean(least)), float(np.mean(most)), float(np.mean(shown))


def _fixed_point(e: Evidence) -> Iterator[Verdict]:
    """T15: the kernel's d stays at 1, up to rounding."""
    checks = [check for check in e.checks if check.key == "identity_fixed_point"]
    d = e.seen.preconditioner
    if d is None or not checks:
        return
    heads = []
    for check in checks:
        if check.outcome == "not applicable":
            heads.append(Verdict("T15", "Identity fixed point", "not applicable", check.reason))
            continue
        drift = np.linalg.norm(d[check.index] - 1.0, axis=-1)
        allowed = e.limits.preconditioner.norm[check.index]
        at = int(np.argmax(_excess(drift, allowed)))
        outcome: Outcome = "confirmed" if drift[at] <= allowed[at] else "contradicted"
        reason = f"{describe_index(check.index)}, token {at + 1}"
        sides = (float(drift[at]), 0.0, float(allowed[at]))
        heads.append(Verdict("T15", "Identity fixed point", outcome, reason, *sides))
    yield gravest(heads)


def _equivalences(e: Evidence) -> Iterator[Verdict]:
    """T11 and T12: the chunk forms give what the recurrence gives."""
    if e.adapter.order != "chunk":
        return
    path = e.get("d")
    if path is not None and e.adapter.calibrates:
        yield _agrees("T11", "The scan as a delta rule", [path])
    memory = [found for found in (e.get("o"), e.get("S")) if found is not None]
    if memory:
        yield _agrees("T12", "Chunkwise equivalence", memory)


def _rounding(e: Evidence) -> Verdict:
    """T18, for what a kernel returns; ratios follow from that."""
    names, title = ("o", "S", "d", "d handed on", "a"), "Errors within rounding"
    told = _agrees("T18", title, [c for c in e.comparisons if c.name in names])
    if e.limits.overflow is None or told.outcome == "contradicted":
        return told
    return Verdict("T18", title, "not applicable", f"overflow: {e.limits.overflow}")


def _agrees(theorem: str, title: str, compared: Sequence[Comparison]) -> Verdict:
    outside = [found for found in compared if not found.within]
    if outside:
        first = min(outside, key=lambda found: found.first_outside or 0)
        names = ", ".join(found.name for found in outside)
        reason = f"{names} outside the bound, {first.name} from token {first.first_outside} on"
        return Verdict(theorem, title, "contradicted", reason, first.worst_error, None, _median(first.bound))
    hidden = [found for found in compared if _median(found.bound) > VISIBLE]
    if hidden:
        reason = f"{hidden[0].name}: rounding may be {_median(hidden[0].bound):.2g} of the value itself"
        return Verdict(theorem, title, "not observable", reason)
    worst = max(compared, key=lambda found: found.worst_error)
    names = ", ".join(found.name for found in compared)
    return Verdict(theorem, title, "confirmed", names, worst.worst_error, None, _median(worst.bound))


def gravest(heads: Sequence[Verdict]) -> Verdict:
    """The verdict of all heads together: the gravest, and of those the one with the least room."""
    worst = min(GRAVITY.index(verdict.outcome) for verdict in heads)
    same = [verdict for verdict in heads if verdict.outcome == GRAVITY[worst]]
    return min(same, key=lambda v: np.inf if v.lhs is None or v.rhs is None else v.rhs - v.lhs)


def _excess(off: Array, allowed: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(off == 0, 0.0, off / allowed)
    return np.where(np.isnan(off), np.inf, np.where(np.isinf(allowed), 0.0, ratio))


def _worst(excess: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), excess.shape))


def _where(at: tuple[int, ...]) -> str:
    return f"token {at[-1] + 1} of {describe_index(at[:-1])}"


def _median(bound: Array | None) -> float:
    return float(np.median(bound)) if bound is not None else 0.0
