"""Checks of single arguments; each raises an error that names the argument, what was expected and what came."""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from .rule import Rule

LARGEST = torch.finfo(torch.float32).max


def refuse(name: str, expected: str, got: Any) -> NoReturn:
    """Raise the ValueError that says so."""
    raise ValueError(f"{name}: expected {expected}, got {got}")


def require_tensor(name: str, value: Any, layout: str = "") -> None:
    """Raise the TypeError for what is none."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor{layout and ' '}{layout}, got {type(value).__name__}")


def check_tensor(
    name: str,
    value: Any,
    layout: str,
    dtypes: Sequence[torch.dtype],
    shape: Sequence[int | None] | None = None,
    device: torch.device | None = None,
) -> None:
    """Rank or shape (None: any size), dtype and device of a tensor."""
    require_tensor(name, value, layout)
    if value.dim() != layout.count(",") + 1:
        refuse(name, layout, list(value.shape))
    if shape is not None and any(
        want is not None and want != have for want, have in zip(shape, value.shape, strict=True)
    ):
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        refuse(name, f"{layout} = [{sizes}]", list(value.shape))
    if value.dtype not in dtypes:
        refuse(name, " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes), value.dtype)
    if device is not None and value.device != device:
        refuse(name, f"device {device}", value.device)


def read_finite(name: str, value: Any) -> float:
    """`value` as a number that is finite in float32."""
    number = _read_number(name, value)
    if not -LARGEST <= number <= LARGEST:
        refuse(name, "a number that is finite in float32", value)
    return number


def read_count(name: str, value: Any, least: int = 1, most: float = math.inf) -> int:
    """`value` as an integer in a range."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if not least <= value <= most:
        refuse(name, f"{least} to {most}" if most < math.inf else f"at least {least}", value)
    return value


def read_rule(eta: Any, d_min: Any, d_max: Any, normalize_feedback: Any, beta_aware: Any = False) -> Rule:
    """The calibrate rule of these constants, whose box may be unbounded."""
    box = _read_number("d_min", d_min), _read_number("d_max", d_max)
    rule = Rule(read_finite("eta", eta), *box, bool(normalize_feedback), bool(beta_aware))
    if rule.eta < 0.0:
        refuse("eta", "a step >= 0", eta)
    if rule.d_min > rule.d_max:
        refuse("d_min", f"a bound <= d_max = {d_max}", d_min)
    return rule


def count_sequences(cu_seqlens: Any, tokens: Tensor) -> int:
    """N of tokens [B, T, ...], after what the bounds of packed sequences show without being read."""
    if cu_seqlens is None:
        return tokens.shape[0]
    check_tensor("cu_seqlens", cu_seqlens, "[N + 1]", (torch.int32, torch.int64), (None,), tokens.device)
    if cu_seqlens.shape[0] < 2:
        refuse("cu_seqlens", "[N + 1] with N >= 1 sequences", list(cu_seqlens.shape))
    if tokens.shape[0] != 1:
        refuse("cu_seqlens", "B = 1, all sequences in one row", f"B = {tokens.shape[0]}")
    sequences: int = cu_seqlens.shape[0] - 1
    return sequences


def _read_number(name: str, value: Any) -> float:
    if isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a number, which has no gradient, got a tensor")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        refuse(name, "a number", value)
    if not -math.inf <= number <= math.inf:  # math.isnan does not trace
        refuse(name, "a number", value)
    return number
