"""Checks that must read tensors: one transfer to the host per call, none where values cannot be read."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
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
    gates: Mapping[str, Tensor | None],
    initial_preconditioner: Tensor | None,
    anchor: Tensor | None,
    cu_seqlens: Tensor | None,
    rule: Rule,
    length: int,
) -> None:
    """Raise a ValueError where a value is out of range; shapes and dtypes are right, the rule is too.

    `gates` are log gates by their names. Does nothing where values cannot be read.
    """
    tensors = (*gates.values(), initial_preconditioner, anchor, cu_seqlens)
    given = [tensor for tensor in tensors if tensor is not None]
    if not given or not all(map(readable, given)):
        return
    with torch.no_grad():
        conditions = [
            _Condition(name, "log gates <= 0", g, g <= 0) for name, g in gates.items() if g is not None
        ]
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


def check_fits(name: str, value: Tensor, dtype: torch.dtype) -> None:
    """Raise a ValueError where `value` overflows in `dtype`: float16 alone is narrower than float32."""
    if dtype == torch.float16 and readable(value):
        most = torch.finfo(dtype).max
        _require_all(
            [_Condition(name, f"magnitudes up to {most:g} beside float16", value, value.abs() <= most)]
        )


def check_rows(name: str, rows: Tensor, count: int) -> None:
    """Raise a ValueError where a row of a pool of so many is named twice; does nothing where values cannot be read."""
    if readable(rows):
        there = rows[(rows >= 0) & (rows < count)].tolist()
        twice = sorted({row for row in there if there.count(row) > 1})
        if twice:
            raise ValueError(f"{name}: expected no row of the pool twice, got {twice}")


def has_values(tensor: Tensor) -> bool:
    """Whether it is not on the meta device and not a fake tensor, which have shapes alone."""
    return not (tensor.is_meta or isinstance(tensor, FakeTensor))


def is_batched(tensor: Tensor) -> bool:
    """Whether it stands for several under `torch.func.vmap`, at any level, so that no choice can be made by it."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return True
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return False


def in_transform() -> bool:
    """Whether a transform of `torch.func` is under way."""
    return torch._C._functorch.maybe_current_level() is not None


def readable(tensor: Tensor) -> bool:
    """Whether its values can be read: not under `torch.compile` or `torch.func` nor in CUDA graph capture."""
    if torch.compiler.is_compiling() or in_transform():
        return False
    return has_values(tensor) and not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())


def settle(cu_seqlens: Tensor, length: int) -> Tensor:
    """Bounds that lie in order and in 0 to T whatever they say: unchecked ones must not lead out of any tensor.

    Those found right before too: NumPy and kernels change values without PyTorch's hearing of it, and a captured graph
    meets later ones.
    """
    return cu_seqlens.clamp(0, length).cummax(0).values


def own_rows(x: Tensor, cu_seqlens: Tensor | None, *, read: bool) -> Tensor:
    """x [1, T, ...] with zeros where a token is of no packed sequence, unless bounds were `read` and leave none out.

    For what is formed of inputs before a kernel leaves such tokens out: 0 times what they hold may be NaN.
    """
    if cu_seqlens is None or (read and readable(cu_seqlens)):
        return x
    token = torch.arange(x.shape[1], device=x.device)
    owned = (token >= cu_seqlens[0]) & (token < cu_seqlens[-1])
    return torch.where(owned.view(1, -1, *[1] * (x.dim() - 2)), x, 0)


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
