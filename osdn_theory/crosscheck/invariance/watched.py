"""Runs of a kernel to be held against each other: parts of a case, and everything that a run gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.invariance.result import Invariance
from osdn_theory.crosscheck.kernel.calling import Returned

if TYPE_CHECKING:
    from torch import Tensor

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


class Watched:
    """A kernel's call, which it passes on as it is.

    Inputs are looked at after every call; the results of the first call after every later one, since a call with the
    first one's inputs would write the same numbers into a buffer that both return.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self._first: list[tuple[Tensor, Tensor]] | None = None
        self._changed: set[str] = set()
        self._overwritten: set[str] = set()

    def __call__(self, **given: Any) -> Any:
        before = [(name, x, _copy(x)) for name, value in given.items() for x in _tensors(value)]
        returned = self._call(**given)
        self._changed |= {name for name, x, copy in before if not _same_bits(x, copy)}
        if self._first is None:
            self._first = [(x, _copy(x)) for x in _tensors(returned)]
        self._overwritten |= {str(list(x.shape)) for x, copy in self._first if not _same_bits(x, copy)}
        return returned

    def unchanged(self) -> Invariance:
        """Whether the calls so far left their inputs as they were."""
        return _verdict("inputs-unchanged", "a call changes its input", self._changed)

    def kept(self) -> Invariance:
        """Whether the results of the first call are still what they were."""
        return _verdict("results-kept", "a later call changes returned tensors of shape", self._overwritten)


def _verdict(name: str, what: str, which: set[str]) -> Invariance:
    if not which:
        return Invariance(name, "equal bit for bit")
    return Invariance(name, "wrong", reason=f"{what} {', '.join(sorted(which))}")


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _same_bits(tensor: Tensor, copy: Tensor) -> bool:
    import torch

    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return torch.equal(tensor.detach().view(integers), copy.view(integers))


def _tensors(value: Any) -> Iterator[Tensor]:
    """In tuples, mappings and objects as well."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
        return
    parts: Any = ()
    if isinstance(value, tuple | list):
        parts = value
    elif isinstance(value, Mapping):
        parts = value.values()
    elif hasattr(value, "__dict__") and not callable(value):
        parts = vars(value).values()
    for part in parts:
        yield from _tensors(part)
