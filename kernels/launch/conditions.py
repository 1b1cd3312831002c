"""Launches that do something or nothing by what others before them found, on the device."""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor


class Condition(NamedTuple):
    """When a launch has something to do: always (0), or where `flag` [1] int32 is 0 as it begins (1), or is not (2)."""

    when: int = 0
    flag: Tensor | None = None


ALWAYS = Condition()


def unless(flag: Tensor | None) -> Condition:
    """Where `flag` is 0; always without one."""
    return ALWAYS if flag is None else Condition(1, flag)


def where(flag: Tensor) -> Condition:
    """Where `flag` is not 0."""
    return Condition(2, flag)


@triton.jit
def is_idle(flag, WHEN: tl.constexpr):
    """Whether a launch under a condition has nothing to do."""
    return (tl.load(flag) != 0) == (WHEN == 1)
