"""Functions whose calls are gone through by plans."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from .plans import CallPlan, Recorder
from .precompile import launches_are_special
from .runtime import INTERPRETED

MOST = 256
"""Kinds of calls that a function remembers before it begins anew."""

TRIES = 3
"""Calls of a kind that are watched for a plan: one may still compile what later ones have at hand."""

ALIGNED = 16
"""Bytes: kernels are compiled apart for tensors that begin at multiples of these."""

Computation = Callable[[Sequence[Any]], tuple[Tensor, ...]]


class Planned:
    """A function of tensors and numbers, one by one, that returns new tensors: by a plan where it has one.

    - `prepare`: Called before the first call of a kind; before every one where there are no plans.
    - `used`: Whether any has. Where kernels are interpreted, to launch takes longer than to decide.
    - `runs`: How often plans have been gone through.
    """

    used: ClassVar[bool] = not INTERPRETED
    runs: ClassVar[int] = 0

    def __init__(
        self, compute: Computation, prepare: Callable[[Sequence[Any]], None] = lambda given: None
    ) -> None:
        self.compute, self.prepare = compute, prepare
        self.plans: dict[Hashable, CallPlan] = {}
        self.tries: dict[Hashable, int] = {}

    def __call__(self, given: Sequence[Any]) -> tuple[Tensor, ...]:
        # Modes of PyTorch's see every operator that a call computes with, and may change it.
        kind = kind_of(given) if self.used and torch._C._len_torch_dispatch_stack() == 0 else None
        if kind is None:
            self.prepare(given)
            return self.compute(given)
        plan = self.plans.get(kind)
        if plan is not None and plan.holds():
            Planned.runs += 1
            return plan.run(given)
        if self.tries.get(kind) and not launches_are_special():
            return self.watch(kind, given)
        if kind not in self.tries:
            self.remember(kind)
            self.prepare(given)
        return self.compute(given)

    def remember(self, kind: Hashable) -> None:
        """That there is a call of this kind."""
        if len(self.tries) >= MOST:
            self.tries.clear()
            self.plans.clear()
        self.tries[kind] = TRIES

    def watch(self, kind: Hashable, given: Sequence[Any]) -> tuple[Tensor, ...]:
        """Make a plan of a call."""
        with Recorder(given) as recorder:
            found = self.compute(given)
        plan = recorder.plan(found)
        if plan is None:
            self.tries[kind] -= 1
        else:
            self.plans[kind] = plan
        return found


@contextmanager
def planning(used: bool) -> Iterator[None]:
    """Calls inside go by plans, or do not."""
    before, Planned.used = Planned.used, used
    try:
        yield
    finally:
        Planned.used = before


def kind_of(given: Sequence[Any]) -> tuple[Any, ...] | None:
    """All that a computation looks at; None where it is given one tensor twice, which plans take for two."""
    tensors = [x for x in given if isinstance(x, Tensor)]
    if len(set(map(id, tensors))) < len(tensors):
        return None
    looks = [
        (x.shape, x.dtype, x.device, x.data_ptr() % ALIGNED) if isinstance(x, Tensor) else x for x in given
    ]
    where = tensors[0].device.type
    mixed = torch.get_autocast_dtype(where) if torch.is_autocast_enabled(where) else None
    return torch.get_float32_matmul_precision(), mixed, *looks
