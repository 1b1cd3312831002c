"""The boundary of every operator: what a call may pass, and the canonical values behind it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from . import values
from .results import State
from .rule import Rule

MAX_FEATURES = 256
"""Largest K and V that the kernels hold in one tile."""

CHUNK_SIZES = (16, 32, 64)
KERNEL_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
REFERENCE_DTYPES = (*KERNEL_DTYPES, torch.float64)


@dataclass(frozen=True)
class PreconditionerInputs:
    """A call of `osdn_preconditioner` after its checks.

    Attributes
    ----------
    k : [B, T, H, K]
        As given, possibly not contiguous.
    g : [B, T, H] or None
    rule : Rule
    anchor : [N, H, K] or None
        c in float32 (float64 for float64 keys); None is 0, and also what remains without `g`, where c cancels.
    initial_preconditioner : [N, H, K] or None
        d_1 in the same dtype; None is ones.
    cu_seqlens : [N + 1] or None
    chunk_size : int
    sequences : int
        N: B, or the number of packed sequences.
    """

    k: Tensor
    g: Tensor | None
    rule: Rule
    anchor: Tensor | None
    initial_preconditioner: Tensor | None
    cu_seqlens: Tensor | None
    chunk_size: int
    sequences: int


@dataclass(frozen=True)
class Inputs(PreconditionerInputs):
    """A call of `chunk_osdn` after its checks.

    Attributes
    ----------
    q, v, beta : [B, T, H, K], [B, T, H, V], [B, T, H]
        As given, possibly not contiguous.
    scale : float
        Factor of the read; K ** -0.5 unless given.
    initial_state : [N, H, K, V] or None
        H_0 in float32 (float64 for float64 keys); None is zero.
    """

    q: Tensor
    v: Tensor
    beta: Tensor
    scale: float
    initial_state: Tensor | None


def check_preconditioner_inputs(
    k: Tensor,
    *,
    g: Tensor | None,
    eta: float,
    d_min: float,
    d_max: float,
    anchor: Tensor | float | None,
    normalize_feedback: bool,
    initial_preconditioner: Tensor | None,
    cu_seqlens: Tensor | None,
    chunk_size: int,
    check_values: bool,
    for_kernels: bool = True,
) -> PreconditionerInputs:
    """The arguments of `osdn_preconditioner`, checked and made canonical.

    With `for_kernels=False` float64 and any K are accepted. `check_values` also reads g, d_1, c and cu_seqlens, in
    one transfer; it is ignored where values cannot be read, under `torch.compile` and CUDA graph capture.

    Raises
    ------
    TypeError
        An argument that must be a tensor is not one.
    ValueError
        Anything else, naming the argument, what was expected and what came.
    """
    _check_tensor("k", k, "[B, T, H, K]", REFERENCE_DTYPES)
    _check_main("k", k, for_kernels)
    batch, length, heads, key_dim = k.shape
    rule = _rule(eta, d_min, d_max, normalize_feedback)
    if chunk_size not in CHUNK_SIZES:
        _fail("chunk_size", " or ".join(map(str, CHUNK_SIZES)), chunk_size)
    sequences = _sequences(k, cu_seqlens)
    if g is not None:
        _check_tensor("g", g, "[B, T, H]", _dtypes(for_kernels), (batch, length, heads), k.device)
    per_sequence = (sequences, heads, key_dim)
    start = _start(initial_preconditioner, k, per_sequence, rule)
    anchor = _anchor(anchor, k, per_sequence, gated=g is not None)
    if check_values:
        values.check_values(g, start, anchor, cu_seqlens, rule, length)
    return PreconditionerInputs(
        k=k,
        g=g,
        rule=rule,
        anchor=anchor,
        initial_preconditioner=start,
        cu_seqlens=cu_seqlens,
        chunk_size=chunk_size,
        sequences=sequences,
    )


def check_inputs(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    g: Tensor | None,
    scale: float | None,
    eta: float,
    d_min: float,
    d_max: float,
    anchor: Tensor | float | None,
    normalize_feedback: bool,
    initial_state: Tensor | State | None,
    initial_preconditioner: Tensor | None,
    cu_seqlens: Tensor | None,
    chunk_size: int,
    check_values: bool,
    for_kernels: bool = True,
) -> Inputs:
    """The arguments of `chunk_osdn`, checked and made canonical; see `check_preconditioner_inputs`."""
    _check_tensor("q", q, "[B, T, H, K]", REFERENCE_DTYPES)
    _check_main("q", q, for_kernels)
    batch, length, heads, key_dim = q.shape
    _check_tensor("k", k, "[B, T, H, K]", (q.dtype,), q.shape, q.device)
    _check_tensor("v", v, "[B, T, H, V]", (q.dtype,), (batch, length, heads, None), q.device)
    _check_main("v", v, for_kernels)
    _check_tensor("beta", beta, "[B, T, H]", _dtypes(for_kernels), (batch, length, heads), q.device)
    initial_state, initial_preconditioner = _split_state(initial_state, initial_preconditioner)
    scan = check_preconditioner_inputs(
        k,
        g=g,
        eta=eta,
        d_min=d_min,
        d_max=d_max,
        anchor=anchor,
        normalize_feedback=normalize_feedback,
        initial_preconditioner=initial_preconditioner,
        cu_seqlens=cu_seqlens,
        chunk_size=chunk_size,
        check_values=check_values,
        for_kernels=for_kernels,
    )
    if initial_state is not None:
        shape = (scan.sequences, heads, key_dim, v.shape[3])
        _check_tensor("initial_state", initial_state, "[N, H, K, V]", REFERENCE_DTYPES, shape, q.device)
        initial_state = initial_state.to(_state_dtype(k))
    return Inputs(
        q=q,
        k=k,
        v=v,
        beta=beta,
        g=g,
        scale=key_dim**-0.5 if scale is None else _finite("scale", scale),
        rule=scan.rule,
        anchor=scan.anchor,
        initial_state=initial_state,
        initial_preconditioner=scan.initial_preconditioner,
        cu_seqlens=cu_seqlens,
        chunk_size=chunk_size,
        sequences=scan.sequences,
    )


def _rule(eta: float, d_min: float, d_max: float, normalize_feedback: bool) -> Rule:
    eta, d_min, d_max = _finite("eta", eta), _number("d_min", d_min), _number("d_max", d_max)
    if eta < 0.0:
        _fail("eta", "a step >= 0", eta)
    if d_min > d_max:
        _fail("d_min", f"a bound <= d_max = {d_max}", d_min)
    return Rule(eta, d_min, d_max, bool(normalize_feedback))


def _sequences(k: Tensor, cu_seqlens: Tensor | None) -> int:
    """N, after what `cu_seqlens` shows without being read."""
    if cu_seqlens is None:
        return k.shape[0]
    _check_tensor("cu_seqlens", cu_seqlens, "[N + 1]", (torch.int32, torch.int64), (None,), k.device)
    if cu_seqlens.shape[0] < 2:
        _fail("cu_seqlens", "[N + 1] with N >= 1 sequences", list(cu_seqlens.shape))
    if k.shape[0] != 1:
        _fail("cu_seqlens", "B = 1, all sequences in one row", f"B = {k.shape[0]}")
    return cu_seqlens.shape[0] - 1


def _start(start: Tensor | None, k: Tensor, shape: tuple[int, int, int], rule: Rule) -> Tensor | None:
    if start is not None:
        _check_tensor("initial_preconditioner", start, "[N, H, K]", REFERENCE_DTYPES, shape, k.device)
        return start.to(_state_dtype(k))
    if not rule.d_min <= 1.0 <= rule.d_max:
        box = f"[{rule.d_min}, {rule.d_max}]"
        _fail("initial_preconditioner", f"a tensor, as its default of ones lies outside the box {box}", None)
    return None


def _dtypes(for_kernels: bool) -> tuple[torch.dtype, ...]:
    return KERNEL_DTYPES if for_kernels else REFERENCE_DTYPES


def _anchor(
    anchor: Tensor | float | None, k: Tensor, shape: tuple[int, int, int], *, gated: bool
) -> Tensor | None:
    if isinstance(anchor, Tensor):
        _check_tensor("anchor", anchor, "[N, H, K]", REFERENCE_DTYPES, shape, k.device)
        return anchor.to(_state_dtype(k)) if gated else None
    if anchor is None:
        return None
    anchor = _finite("anchor", anchor)
    if not gated or anchor == 0.0:
        return None
    return torch.full(shape, anchor, dtype=_state_dtype(k), device=k.device)


def _split_state(
    state: Tensor | State | None, preconditioner: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    if not isinstance(state, State):
        return state, preconditioner
    if preconditioner is not None:
        _fail(
            "initial_preconditioner", "None beside an initial_state that is a State and has its own", "both"
        )
    return state.state, state.preconditioner


def _state_dtype(k: Tensor) -> torch.dtype:
    return torch.float64 if k.dtype == torch.float64 else torch.float32


def _check_main(name: str, tensor: Tensor, for_kernels: bool) -> None:
    """Of q, k or v: a dtype and a size that the kernels take, and no empty axis but T."""
    batch, _, heads, features = tensor.shape
    if batch == 0 or heads == 0 or features == 0:
        _fail(name, "no empty axis but T", list(tensor.shape))
    if for_kernels and tensor.dtype not in KERNEL_DTYPES:
        _fail(name, _one_of(KERNEL_DTYPES), tensor.dtype)
    if for_kernels and features > MAX_FEATURES:
        _fail(name, f"at most {MAX_FEATURES} features in a head", list(tensor.shape))
    if for_kernels:
        _check_device(name, tensor.device)


def _check_device(name: str, device: torch.device) -> None:
    """One that the kernels run on; the meta device has shapes alone, and runs nothing."""
    from ..launch import runtime

    if device.type == "meta" or runtime.can_launch(device):
        return
    where = "a CPU tensor, for Triton's interpreter is on" if runtime.INTERPRETED else "a CUDA tensor"
    _fail(name, f"{where} (osdn_reference and chunk_osdn_reference run on any device)", f"one on {device}")


def _check_tensor(
    name: str,
    value: Any,
    layout: str,
    dtypes: Sequence[torch.dtype],
    shape: Sequence[int | None] | None = None,
    device: torch.device | None = None,
) -> None:
    """Rank or shape (None: any size), dtype and device of one argument."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor {layout}, got {type(value).__name__}")
    if value.dim() != layout.count(",") + 1:
        _fail(name, layout, list(value.shape))
    if shape is not None and any(
        want is not None and want != have for want, have in zip(shape, value.shape, strict=True)
    ):
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        _fail(name, f"{layout} = [{sizes}]", list(value.shape))
    if value.dtype not in dtypes:
        _fail(name, _one_of(dtypes), value.dtype)
    if device is not None and value.device != device:
        _fail(name, f"device {device}", value.device)


def _one_of(dtypes: Sequence[torch.dtype]) -> str:
    return " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        _fail(name, "a number", value)
    if not -math.inf <= number <= math.inf:  # math.isnan does not trace
        _fail(name, "a number", value)
    return number


def _finite(name: str, value: Any) -> float:
    number = _number(name, value)
    if not -math.inf < number < math.inf:
        _fail(name, "a finite number", value)
    return number


def _fail(name: str, expected: str, got: Any) -> NoReturn:
    raise ValueError(f"{name}: expected {expected}, got {got}")
