"""A kernel under watch: whether it leaves alone what it is given, and what it has returned before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from osdn_theory.crosscheck.invariance.result import Invariance

if TYPE_CHECKING:
    from torch import Tensor


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
