"""Which known fault explains gradients that are off, and which faults these gradients can show at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osdn_theory.base.documents import Number
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.evidence.comparison import per_token
from osdn_theory.crosscheck.gradients.alternatives import GradientAlternative
from osdn_theory.crosscheck.gradients.check import GradedGradients

CLOSE = 0.5
"""Part of the error that the nearest alternative may leave to be worth a word."""


@dataclass(frozen=True, eq=False)
class GradientExplanation:
    """An alternative beside what a kernel gave.

    Attributes
    ----------
    name, sentence : str
    inputs : tuple of str
        Those with a wrong gradient that it speaks of.
    left : float
        Largest error of these against the alternative, as a part of the largest one against the right gradient.
    explains : bool
        Whether nothing but rounding is left, and every gradient that it would change is changed.
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
    changed = [name for name in graded.found if _excess(graded, name, altered[name]) > 1]
    spoiled = [n for n in changed if n not in wrong and _excess(graded, n, graded.found[n], altered[n]) > 1]
    about = tuple(name for name in changed if name in wrong)
    if spoiled or not about:
        return None
    rest = max(_excess(graded, name, graded.found[name], altered[name]) for name in about)
    before = max(_excess(graded, name, graded.found[name]) for name in about)
    left = rest / before if np.isfinite(before) else np.inf
    return GradientExplanation(alternative.name, alternative.sentence, about, left, rest <= 1)


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
