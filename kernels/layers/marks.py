"""Parameters that weight decay and generic initialisers leave alone, however the model is built, copied or sharded."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from torch import nn

MARKS = ("_no_weight_decay", "_no_reinit", "_is_hf_initialized")
"""Attributes that libraries look for."""


class MarkedModule(nn.Module):
    """A module whose parameters named in `marked` have the marks.

    A parameter's attributes are lost where another takes its place: in `deepcopy`, `to_empty`,
    ``load_state_dict(assign=True)`` and `fully_shard`. All of them go through one of these methods.
    """

    marked: ClassVar[tuple[str, ...]] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self.marked:
            self._mark()

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(dict(state))
        self._mark()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._mark()
        return self

    def _mark(self) -> None:
        for name in self.marked:
            if self._parameters.get(name) is not None:
                vars(self._parameters[name]).update(dict.fromkeys(MARKS, True))
