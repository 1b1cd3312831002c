"""Parameters that weight decay and generic initialisers leave alone, however the model is built, copied or sharded."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from torch import nn

MARKS = ("_no_weight_decay", "_no_reinit", "_is_hf_initialized")
"""Attributes that libraries look for; the last says that there are values already."""


class MarkedModule(nn.Module):
    """A module whose parameters named in `marked` have the marks.

    A parameter's attributes are lost where another takes its place: in `deepcopy`, `to_empty`,
    ``load_state_dict(assign=True)`` and `fully_shard`. All of them go through one of these methods.
    """

    marked: ClassVar[tuple[str, ...]] = ()
    _filled = True

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self.marked:
            if value is not None and value.is_meta:
                # transformers gives such a parameter memory when it was not loaded, and then must initialise it.
                self._filled = False
            self._mark()

    def mark_filled(self) -> None:
        """Say that the parameters have values, after a start without storage."""
        self._filled = True
        self._mark()

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(dict(state))
        self._mark()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._mark()
        return self

    def _mark(self) -> None:
        marks = dict.fromkeys(MARKS if self._filled else MARKS[:2], True)
        for name in self.marked:
            if self._parameters.get(name) is not None:
                vars(self._parameters[name]).update(marks)
