"""Checks that must read tensors: one transfer to the host per call, none where values cannot be read."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from .rule import Rule

_ACCEPTED: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""`cu_seqlens` tensors found right, with the version and the T they were right for: a training loop pays once."""


class _Condition(NamedTuple):
    """What must hold in every entry of `value`, and where it does."""

    name: str
    expected: str
    value: Tensor
    good: Tensor


def check_values(
    g: Tensor | None,
    initial_preconditioner: Tensor | None,
    anchor: Tensor | None,
    cu_seqlens: Tensor | None,
    rule: Rule,
    length: int,
) -> None:
    """Raise a ValueError where a value is out of range; shapes and dtypes are right, the rule is too.

    Does nothing under `torch.compile` and while a CUDA graph is captured.
    """
    if torch.compiler.is_compiling():
        return
    given = [tensor for tensor in (g, initial_preconditioner, anchor, cu_seqlens) if tensor is not None]
    if not given or (given[0].is_cuda and torch.cuda.is_current_stream_capturing()):
        return
    with torch.no_grad():
        conditions = []
        if g is not None:
            conditions.append(_Condition("g", "finite log gates <= 0", g, (g <= 0) & g.isfinite()))
        if initial_preconditioner is not None:
            box = f"finite values in the box [{rule.d_min}, {rule.d_max}]"
            inside = _inside(initial_preconditioner, rule)
            conditions.append(_Condition("initial_preconditioner", box, initial_preconditioner, inside))
        if anchor is not None:
            conditions.append(_Condition("anchor", "finite values", anchor, anchor.isfinite()))
        if cu_seqlens is not None and not _known(cu_seqlens, length):
            rise = f"0 first, then no decrease, up to T = {length}"
            conditions.append(_Condition("cu_seqlens", rise, cu_seqlens, _rising(cu_seqlens, length)))
        _require_all(conditions)
    if cu_seqlens is not None:
        _remember(cu_seqlens, length)


def _require_all(conditions: list[_Condition]) -> None:
    if not conditions:
        return
    verdicts = torch.stack([condition.good.all() for condition in conditions]).tolist()
    for (name, expected, value, good), holds in zip(conditions, verdicts, strict=True):
        if not holds:
            wrong = value.tolist() if name == "cu_seqlens" else _first(value[~good])
            raise ValueError(f"{name}: expected {expected}, got {wrong}")


def _first(wrong: Tensor) -> str:
    return f"{wrong[0].item()} ({wrong.numel()} such values)"


def _inside(preconditioner: Tensor, rule: Rule) -> Tensor:
    return (preconditioner >= rule.d_min) & (preconditioner <= rule.d_max) & preconditioner.isfinite()


def _rising(bounds: Tensor, length: int) -> Tensor:
    return torch.cat([bounds[:1] == 0, bounds.diff() >= 0, bounds[-1:] == length])


def _known(bounds: Tensor, length: int) -> bool:
    return not bounds.is_inference() and _ACCEPTED.get(bounds) == (bounds._version, length)


def _remember(bounds: Tensor, length: int) -> None:
    # Inference tensors count no versions, so that a change of their values would go unseen.
    if not bounds.is_inference():
        _ACCEPTED[bounds] = (bounds._version, length)
