"""Naming what is wrong: rules that look at the evidence once something is outside its bound."""

from collections.abc import Callable, Iterator

import numpy as np

from osdn_theory.base.brief import describe_index
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.alternatives.fault import CHUNKS
from osdn_theory.crosscheck.alternatives.naming import Explanation, explain
from osdn_theory.crosscheck.cases.case import following
from osdn_theory.crosscheck.evidence.coarse_products import tf32_outputs
from osdn_theory.crosscheck.evidence.comparison import per_token
from osdn_theory.crosscheck.examination.exercises.question import Answer, Question
from osdn_theory.crosscheck.kernel.calling import Returned
from osdn_theory.crosscheck.results import Symptom
from osdn_theory.crosscheck.verdicts.theorems import Evidence
from osdn_theory.rounding import BFLOAT16, FLOAT16, FLOAT32, Format, round_to, spacing

EXPLAINED = 0.1
"""A factor explains what is off if it leaves at most this part of the error."""

MOST = 0.9
"""At this part of the tokens."""

CHANCE = 10
"""Float32 values that must all be 16-bit numbers by accident before a 16-bit format is suspected; for one of them
the odds are 2^-16."""

CORRELATED = 0.3
"""Least correlation of the error with that of an emulated precision: unrelated errors of n entries have 1/sqrt(n)."""


def symptoms(evidence: Evidence) -> tuple[Symptom, ...]:
    """Faults that explain what is outside its bound; none if nothing is."""
    if all(found.within for found in evidence.comparisons):
        return ()
    # A faulty memory may blow up in float64 as well.
    with np.errstate(over="ignore", invalid="ignore"):
        named = [symptom for rule in RULES for symptom in rule(evidence)]
        if named:
            return tuple(named)
        found = _explained(evidence)
        named = [_named(each) for each in found if each.agrees] or [*_coarse_products(evidence)]
    return tuple(named) or (_unexplained(evidence, found),)


def _not_finite(e: Evidence) -> Iterator[Symptom]:
    for found in e.comparisons:
        count = found.ulps["not finite"]
        if count:
            first = found.tokens[np.isinf(found.error).reshape(-1, found.error.shape[-1]).any(axis=0)]
            where = f", from token {first[0]} on" if first.size and not found.name.startswith("grad") else ""
            evidence = f"{count} entries of {found.name} are NaN or infinite{where}{_overflow(e)}"
            yield Symptom("not finite", "NaN or infinity where the exact value is finite", evidence)
            return


def _overflow(e: Evidence) -> str:
    """Whether float32 could hold the exact memory at all."""
    if e.exact.states is None:
        return ""
    largest = float(np.max(np.abs(e.exact.states), initial=0.0))
    return f"; the exact memory reaches {largest:.1e}, which overflows" if largest > FLOAT32.largest else ""


def _partial_chunk(e: Evidence) -> Iterator[Symptom]:
    """Everything right up to the last multiple of a chunk size, and wrong after it."""
    found = e.get("o")
    if found is None or found.within or found.excess is None:
        return
    length, outside = int(found.tokens[-1]), found.outside
    for size in CHUNKS:
        cut = length // size * size
        if not 0 < cut < length or outside.min() <= cut or 2 * outside.size < length - cut:
            continue
        evidence = _prefix_evidence(e, size)
        if evidence is None:
            continue
        where = f"outside it at {outside.size} of the {length - cut} after"
        yield Symptom(
            "drops the last partial chunk",
            f"the error appears only at tokens beyond floor(T/C) C = {cut}, C = {size}: last partial chunk dropped?",
            f"o is inside its bound at tokens 1 to {cut} and {where}; {evidence}",
        )
        return


def _prefix_evidence(e: Evidence, size: int) -> str | None:
    """What states after prefixes say of it; None if they speak against it."""
    if e.seen.states is None or e.exact.states is None:
        return "no states were seen"
    if _right(e, "S"):
        return "states are right, so it is the output that leaves the chunk out"
    matches = 0
    for at, token in enumerate(e.seen.tokens):
        cut = int(token) // size * size
        whole = e.exact.states[:, :, cut - 1] if cut else e.case.initial_state
        off = np.linalg.norm(e.seen.states[:, :, at] - whole, axis=(-2, -1))
        allowed = e.limits.states.norm[:, :, max(cut - 1, 0)] if cut else np.zeros_like(off)
        matches += bool(np.all(off <= 2 * allowed))
    count = len(e.seen.tokens)
    if matches < count:
        return None
    return f"{matches} of {count} states after a prefix are those of its whole chunks of {size}"


def _coarse_preconditioner(e: Evidence) -> Iterator[Symptom]:
    found, exact = _shown_preconditioner(e)
    if found is None or exact is None or _right(e, "d", "d handed on"):
        return
    grid = _grid(found, exact)
    if grid is None:
        return
    off = np.abs(found - exact)
    steps = float(np.max(off / spacing(exact, grid)))
    step = f"2^{int(np.log2(spacing(np.array(0.75), grid)))}"
    evidence = (
        f"all {found.size} entries of d are {grid.name} numbers, of the exact ones {_off_grid(exact, grid)} are not; "
        f"the largest error is {off.max():.2g}, {steps:.2g} spacings"
    )
    sentence = f"d is off by multiples of {step}: stored in {grid.name}?"
    yield Symptom(f"stores d in {grid.name}", sentence, evidence)


def _scaled(e: Evidence) -> Iterator[Symptom]:
    """Outputs that are a multiple of what they should be."""
    if e.seen.outputs is None or _right(e, "o") or not _right(e, "S"):
        return
    factor = float(np.sum(e.seen.outputs * e.exact.outputs) / np.sum(e.exact.outputs**2))
    left = _left(e.seen.outputs, e.exact.outputs, factor * e.exact.outputs)
    if left <= EXPLAINED:
        key_dim = e.case.stream.key_dim
        known = ", K^(-1/2)" if np.isclose(factor, key_dim**-0.5, rtol=1e-3) else ""
        evidence = f"o is {factor:.6g} times the exact output{known}; that leaves {left:.1%} of the error"
        yield Symptom("another scale", "o is right up to a factor: another scale?", evidence)


def _explained(e: Evidence) -> tuple[Explanation, ...]:
    """The alternatives that agree with all that the kernel returned on this stream; otherwise the nearest."""
    if e.seen.outputs is None and e.seen.preconditioner is None:
        return ()
    question = Question("the stream", "", frozenset(), (e.case,))
    at_end = bool(e.seen.tokens.size) and int(e.seen.tokens[-1]) == e.case.stream.length
    returned = Returned(
        outputs=e.seen.outputs,
        state=e.seen.states[:, :, -1] if at_end and e.seen.states is not None else None,
        handed_on=e.seen.handed_on[:, :, -1] if at_end and e.seen.handed_on is not None else None,
        preconditioner=e.seen.preconditioner,
    )
    return explain(e.adapter, [question], [[Answer(e.case, returned)]], [[(e.exact, e.limits)]])


def _named(found: Explanation) -> Symptom:
    sentence = " and ".join(each.sentence for each in found.faults)
    evidence = f"computed in float64, {found.formula} leaves {found.left:.2g} of the error"
    return Symptom(found.name, f"{sentence}?", evidence)


def _coarse_products(e: Evidence) -> Iterator[Symptom]:
    """Errors of the size and the signs that products in TF32 make."""
    if e.case.dtype != "float32" or e.seen.outputs is None or _right(e, "o") or not _right(e, "d"):
        return
    error = e.seen.outputs - e.exact.outputs
    relative = float(np.linalg.norm(error) / np.linalg.norm(e.exact.outputs))
    tried = [
        (size, found - e.exact.outputs)
        for size in CHUNKS
        for found in tf32_outputs(e.case, e.exact.preconditioner, size)
    ]
    scored = [(_correlation(error, likely), size, _size_ratio(error, likely)) for size, likely in tried]
    correlation, size, ratio = max(scored)
    if correlation >= CORRELATED and 0.1 < ratio < 10:
        evidence = (
            f"the error of o correlates by {correlation:.2f} with that of an emulation of chunks of {size} with TF32 "
            f"products and is {ratio:.2g} times as large; relative to o {relative:.1e}, TF32 having u = {2.0**-11:.1e}"
        )
        yield Symptom("TF32 products", "o is as far off as products in TF32 leave it: TF32 dots?", evidence)


def _correlation(error: Array, likely: Array) -> float:
    scale = float(np.linalg.norm(error) * np.linalg.norm(likely))
    return float(np.sum(error * likely)) / scale if np.isfinite(scale) and scale > 0 else 0.0


def _size_ratio(error: Array, likely: Array) -> float:
    size = float(np.linalg.norm(likely))
    return float(np.linalg.norm(error)) / size if size > 0 else np.inf


def _backward_only(e: Evidence) -> Iterator[Symptom]:
    wrong = _wrong(e)
    gradients = [name for name in wrong if name.startswith("grad ")]
    if gradients and len(gradients) == len(wrong):
        right = [c.name for c in e.comparisons if c.name.startswith("grad ") and c.within]
        beside = f"; right are {', '.join(right)}" if right else ""
        evidence = f"outputs and states are inside their bounds; wrong are {', '.join(gradients)}{beside}"
        yield Symptom(
            "backward only",
            "the forward results given here are inside their bounds, gradients are not",
            evidence,
        )


RULES: tuple[Callable[[Evidence], Iterator[Symptom]], ...] = (
    _not_finite,
    _partial_chunk,
    _coarse_preconditioner,
    _scaled,
    _backward_only,
)


def _unexplained(e: Evidence, nearest: tuple[Explanation, ...]) -> Symptom:
    parts = [
        f"{c.name} from token {c.first_outside} on (worst in {describe_index(c.worst_head)}, relative error "
        f"{c.worst_error:.1e})"
        for c in e.comparisons
        if not c.within
    ]
    parts += [each.sentence for each in nearest[:1]]
    return Symptom("unexplained", "outside its bound, and no known fault explains it", "; ".join(parts))


def _wrong(e: Evidence) -> list[str]:
    return [found.name for found in e.comparisons if not found.within]


def _right(e: Evidence, *names: str) -> bool:
    """Whether these quantities are inside their bounds, as far as the kernel shows them."""
    return all(found.within for name in names if (found := e.get(name)) is not None)


def _shown_preconditioner(e: Evidence) -> tuple[Array | None, Array | None]:
    if e.seen.preconditioner is not None:
        return e.seen.preconditioner, e.exact.preconditioner
    if e.seen.handed_on is None:
        return None, None
    return e.seen.handed_on, following(e.exact)[:, :, e.seen.tokens - 1]


def _grid(found: Array, exact: Array) -> Format | None:
    """The 16-bit format that holds everything found, but not everything exact."""
    for grid in (BFLOAT16, FLOAT16):
        if _off_grid(found, grid) == 0 and _off_grid(exact, grid) >= CHANCE:
            return grid
    return None


def _off_grid(values: Array, grid: Format) -> int:
    """How many of the values, in float32, the format does not hold; infinite ones count."""
    stored = round_to(values, FLOAT32)
    return int(np.sum((round_to(stored, grid) != stored) | ~np.isfinite(stored)))


def _left(found: Array, exact: Array, explained: Array) -> float:
    """||found - explained|| / ||found - exact|| at the worst of most tokens."""
    error, left = per_token(found - exact), per_token(found - explained)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(left == 0, 0.0, left / error)
    return float(np.quantile(np.where(np.isfinite(part), part, np.inf), MOST)) if part.size else np.inf
