"""Parts of a case, and one answer made of answers to parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.kernel.calling import Returned

EVERY = slice(None)
FIELDS = ("outputs", "state", "handed_on", "preconditioner", "alignment")
PER_TOKEN = ("outputs", "preconditioner", "alignment")


def part(case: Case, rows: slice = EVERY, heads: slice = EVERY) -> Case:
    """Some batch rows and heads of a case, perhaps in another order."""
    return case.map(lambda array: array[rows, heads])


def in_reverse(answer: Returned) -> Returned:
    """The batch rows the other way round."""
    return _made([answer], FIELDS, lambda arrays: arrays[0][::-1])


def side_by_side(answers: Sequence[Returned], axis: int) -> Returned:
    """Answers to all batch rows (axis 0) or heads (axis 1), one after the other."""
    return _made(answers, FIELDS, lambda arrays: np.concatenate(arrays, axis))


def join(pieces: Sequence[Returned]) -> Returned:
    """Answers to consecutive tokens; what is handed on is the last one's."""
    tokens = _made(pieces, PER_TOKEN, lambda arrays: np.concatenate(arrays, axis=2))
    return replace(tokens, state=pieces[-1].state, handed_on=pieces[-1].handed_on)


def copy(answer: Returned) -> Returned:
    """The same numbers in memory that no kernel writes to."""
    return _made([answer], FIELDS, lambda arrays: arrays[0].copy())


def _made(
    answers: Sequence[Returned], names: Sequence[str], make: Callable[[list[Array]], Array]
) -> Returned:
    """Field by field; None where one of them does not say."""
    given = {name: [getattr(answer, name) for answer in answers] for name in names}
    said: dict[str, Any] = {
        name: make(arrays) for name, arrays in given.items() if all(array is not None for array in arrays)
    }
    return Returned(**said)
