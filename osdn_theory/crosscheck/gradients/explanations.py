"""The known faults of backward passes: which explains gradients that are off, and which these can show at all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory.base.documents import Number
from osdn_theory.base.layouts import transpose
from osdn_theory.base.tables import read_table
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.comparison import per_token
from osdn_theory.crosscheck.evidence.limits import chunk_size_of
from osdn_theory.crosscheck.gradients.check import PER_TOKEN, GradedGradients, altered_gradients
from osdn_theory.crosscheck.gradients.reference import Backward
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.recurrences import CALIBRATING
from osdn_theory.rounding import BFLOAT16, round_to

_FAULTS = read_table(Path(__file__).with_name("faults.toml"))

CHUNKS = (16, 32, 64)
"""Chunk sizes that are tried beside the kernel's own."""


@dataclass(frozen=True, eq=False)
class GradientAlternative:
    """One fault: a name, a sentence, and the gradients that a kernel with it has, by argument."""

    name: str
    sentence: str
    gradients: Mapping[str, Array]


def gradient_alternatives(adapter: Adapter, graded: GradedGradients) -> list[GradientAlternative]:
    """The faults that these gradients may show: of the backward pass as a whole, then of one input each.

    Calls no kernel: that of `graded` says only which gradients there are.
    """
    return list(_alternatives(graded, _chunks(adapter, graded.case)))


def _alternatives(graded: GradedGradients, chunks: Sequence[int]) -> Iterator[GradientAlternative]:
    case, exact = graded.case, graded.exact
    for name, sentence, backward in _of_the_pass(case, chunks):
        yield GradientAlternative(name, sentence, altered_gradients(graded, backward))
    if {"q", "k"} <= exact.keys():
        exchanged = {**exact, "q": exact["k"], "k": exact["q"]}
        yield GradientAlternative(
            "q and k exchanged", "the gradients in q and k are in each other's place", exchanged
        )
    for which, right in exact.items():
        for fault, what, change in _of_an_input(which, case, chunks):
            altered = {**exact, which: change(right)}
            yield GradientAlternative(f"{which}: {fault}", f"the gradient in {which} {what}", altered)


def _chunks(adapter: Adapter, case: Case) -> tuple[int, ...]:
    sizes = sorted({*CHUNKS, chunk_size_of(adapter)})
    return tuple(size for size in sizes if size < case.stream.length)


def _of_the_pass(case: Case, chunks: Sequence[int]) -> Iterator[tuple[str, str, Backward]]:
    scale, calibrates = case.scale, case.recurrence in CALIBRATING
    if case.recurrence != "preconditioner":
        yield from _cut("memory")
        if scale not in (0.0, 1.0):
            of_o = f"what follows from the gradient of o {{}} the scale {scale:.6g}"
            yield "scale missing", of_o.format("lacks"), Backward({"o": 1 / scale})
            yield "scale twice", of_o.format("has") + " twice", Backward({"o": scale})
        yield from _cut("write")
        if case.state_gate is not None:
            yield from _cut("decay")
        yield from _between("memory", "the memory", chunks)
    if calibrates and case.recurrence != "preconditioner":
        yield from _cut("osdn")
    if calibrates:
        yield from _cut("calibration")
        if case.rule.normalize_feedback:
            yield from _cut("normalized")
        if case.rule.beta_aware:
            yield from _cut("beta-aware")
        for clip, sentence in _FAULTS["clip"].items():
            yield f"clip {clip}", sentence, Backward(clip=clip)
        yield from _between("d", "d", chunks)


def _cut(kind: str) -> Iterator[tuple[str, str, Backward]]:
    """No gradient through some places."""
    for name, (sentence, *places) in _FAULTS[kind].items():
        yield name, sentence, Backward(dict.fromkeys(places, 0.0))


def _between(what: str, named: str, chunks: Sequence[int]) -> Iterator[tuple[str, str, Backward]]:
    """No gradient from chunk to chunk."""
    for size in (1, *chunks):
        piece = "a token" if size == 1 else f"a chunk of {size}"
        sentence = f"no gradient passes through {named} from {piece} to the one before"
        yield f"{what} cut every {size}", sentence, Backward({f"{what} between chunks": 0.0}, chunk=size)


def _of_an_input(
    name: str, case: Case, chunks: Sequence[int]
) -> Iterator[tuple[str, str, Callable[[Array], Array]]]:
    yield "zero", "is zero: detached, or never computed", np.zeros_like
    yield "half", "is half of what it should be", lambda x: 0.5 * x
    yield "double", "is twice what it should be", lambda x: 2.0 * x
    yield "negated", "has the wrong sign", np.negative
    yield "bfloat16", "is rounded to bfloat16", lambda x: round_to(x, BFLOAT16)
    if case.scale not in (0.0, 1.0, 0.5, 2.0):
        yield "scale missing", f"lacks the scale {case.scale:.6g}", lambda x: x / case.scale
        yield "scale twice", f"has the scale {case.scale:.6g} twice", lambda x: x * case.scale
    batch, heads = case.stream.lead
    if heads > 1:
        yield "another head", "is that of the next head", lambda x: np.roll(x, -1, axis=1)
        first = "is that of the first head everywhere"
        yield "first head", first, lambda x: np.repeat(x[:, :1], heads, axis=1)
    if batch > 1:
        first = "is that of the first batch row everywhere"
        yield "first row", first, lambda x: np.repeat(x[:1], batch, axis=0)
    if name == "initial_state" and case.stream.key_dim == case.stream.value_dim:
        yield "transposed", "is transposed", lambda x: transpose(x)
    if name in PER_TOKEN:
        yield from _along_tokens(case.stream.length, chunks)
    decays = name == "g" and case.state_gate is not None
    log_gate = case.log_state_gate if decays else case.log_gate
    if name in ("g", "g_d") and log_gate is not None:
        gate = np.exp(log_gate)
        yield "of the gate", "is that in e^g", lambda x: x / gate
        yield "gate twice", "has the factor e^g twice", lambda x: x * gate


def _along_tokens(length: int, chunks: Sequence[int]) -> Iterator[tuple[str, str, Any]]:
    def shifted(x: Array, by: int) -> Array:
        moved = np.zeros_like(x)
        kept = slice(max(by, 0), length + min(by, 0))
        moved[:, :, kept] = x[:, :, slice(max(-by, 0), length + min(-by, 0))]
        return moved

    def without(x: Array, tokens: slice) -> Array:
        rest = x.copy()
        rest[:, :, tokens] = 0.0
        return rest

    yield "a token late", "is a token late", lambda x: shifted(x, 1)
    yield "a token early", "is a token early", lambda x: shifted(x, -1)
    yield "last token missing", "is zero at the last token", lambda x: without(x, slice(-1, None))
    yield "first token missing", "is zero at the first token", lambda x: without(x, slice(0, 1))
    for size in chunks:
        if length % size > 1:
            whole = length // size * size
            about = f"is zero beyond the last whole chunk of {size}"
            yield f"last part of {size} missing", about, lambda x, w=whole: without(x, slice(w, None))


CLOSE = 0.5
"""Part of the error that the nearest alternative may leave to be worth a word."""


@dataclass(frozen=True, eq=False)
class GradientExplanation:
    """An alternative beside what a kernel gave.

    - `inputs`: Those with a wrong gradient that it speaks of.
    - `left`: Largest error of these against the alternative, as a part of the largest one against the right gradient.
    - `explains`: Whether nothing but rounding is left, and every gradient that it would change is changed.
    """

    name: str
    sentence: str
    inputs: tuple[str, ...]
    left: Number
    explains: bool


def gradient_power(graded: GradedGradients, alternatives: Sequence[GradientAlternative]) -> dict[str, float]:
    """How far every alternative is from the right gradients, in units of what is allowed; above 1 it is seen."""
    power = {}
    for alternative in alternatives:
        moved = [_excess(graded, name, alternative.gradients[name]) for name in graded.found]
        power[alternative.name] = max(moved, default=0.0)
    return power


def explain_gradients(
    graded: GradedGradients, alternatives: Sequence[GradientAlternative]
) -> list[GradientExplanation]:
    """What explains the gradients that are off, widest first; the nearest alternative where nothing does."""
    wrong = [name for name, found in graded.found.items() if _excess(graded, name, found) > 1]
    tried = [_held(graded, alternative, wrong) for alternative in alternatives] if wrong else []
    known = sorted((e for e in tried if e is not None), key=lambda e: (-len(e.inputs), e.left))
    told = _without_repetition([e for e in known if e.explains])
    for name in wrong:
        if not any(name in e.inputs for e in told):
            told += _nearest(graded, name, known)
    return told


def _without_repetition(explanations: Sequence[GradientExplanation]) -> list[GradientExplanation]:
    """Those that speak of no part only of what another explains."""
    kept: list[GradientExplanation] = []
    for one in explanations:
        if not any(set(one.inputs) < set(other.inputs) for other in kept):
            kept.append(one)
    return kept


def _nearest(
    graded: GradedGradients, name: str, known: Sequence[GradientExplanation]
) -> list[GradientExplanation]:
    """For an input that nothing explains: a factor that does, else the closest alternative that speaks of it."""
    multiple = _multiple(graded, name)
    if multiple is not None:
        return [multiple]
    near = sorted((e for e in known if name in e.inputs and e.left < CLOSE), key=lambda e: e.left)
    return near[:1]


def _multiple(graded: GradedGradients, name: str) -> GradientExplanation | None:
    found, exact = graded.found[name], graded.exact[name]
    size = float(np.sum(exact * exact))
    factor = float(np.sum(found * exact)) / size if size > 0 and np.isfinite(found).all() else 1.0
    left = _excess(graded, name, found, factor * exact)
    if left > 1:
        return None
    sentence = f"the gradient in {name} is {factor:.6g} times what it should be"
    return GradientExplanation(
        f"{name}: a multiple", sentence, (name,), left / _excess(graded, name, found), True
    )


def _held(
    graded: GradedGradients, alternative: GradientAlternative, wrong: Sequence[str]
) -> GradientExplanation | None:
    """The alternative beside the gradients found; None if it changes a right one, or no wrong one."""
    altered = alternative.gradients
    about = tuple(name for name in wrong if _excess(graded, name, altered[name]) > 1)
    if not about or _spoils(graded, altered, wrong):
        return None
    rest = max(_excess(graded, name, graded.found[name], altered[name]) for name in about)
    before = max(_excess(graded, name, graded.found[name]) for name in about)
    left = rest / before if np.isfinite(before) else np.inf
    return GradientExplanation(alternative.name, alternative.sentence, about, left, rest <= 1)


def _spoils(graded: GradedGradients, altered: Mapping[str, Array], wrong: Sequence[str]) -> bool:
    """Whether an alternative would change a gradient that is right, and has not."""
    return any(
        _excess(graded, name, altered[name]) > 1 and _excess(graded, name, found, altered[name]) > 1
        for name, found in graded.found.items()
        if name not in wrong
    )


def _excess(graded: GradedGradients, name: str, values: Array, beside: Array | None = None) -> float:
    """Largest distance of a token from the right gradient, or from another, in units of what is allowed."""
    other = graded.exact[name] if beside is None else beside
    if values is other:
        return 0.0
    apart = np.abs(values - other)
    distance = per_token(np.where(np.isnan(apart), np.inf, apart))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(distance == 0, 0.0, distance / graded.limits[name].norm)
    return float(ratio.max(initial=0.0))
