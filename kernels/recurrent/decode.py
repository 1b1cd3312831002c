"""One token per sequence with the state updated in place: the step of autoregressive decoding."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ..boundary.results import State
from ..launch.runtime import on_device_of, tile
from .forward import calibrate, feedback

HELD = 2048
"""Numbers of the state that a warp holds: 64 registers of each thread, all asked for at once."""

FEW = 512
"""Heads up to which programs of one warp are better: more of them ask at once. Log in `benchmarks/measured`."""

NARROW, WIDE = 16, 32
"""Columns of the state that a program takes at least, for few heads and for many: rows of 64 and of 128 bytes."""

_arrivals = WeakTensorKeyDictionary()


@triton.jit
def unit(x, dtype):
    """x / sqrt(|x|^2 + 1e-6), rounded to the inputs' dtype."""
    return (x * tl.rsqrt(tl.sum(x * x, 0) + 1e-6)).to(dtype).to(tl.float32)


@triton.jit
def count_in(arrivals, row, seen, one):
    """Say that this program has read what it has `seen`: how many programs of the head had before, in element 0.

    No fence: the addend depends on what was read, and what the caller writes depends on the count. `one` is 1, which
    the compiler is not told. A vector, because all of a program waits at once for an atomic operation on a scalar.
    """
    lane = tl.arange(0, 32)
    return tl.atomic_add(
        arrivals + row + 0 * lane, tl.where(seen > 0.0, one, 1), mask=lane == 0, sem="relaxed"
    )


@triton.jit
def is_last(arrivals, row, before, PARTS: tl.constexpr):
    """Whether the other programs of a head have read d; the last of them resets the count."""
    last = tl.sum(tl.where(tl.arange(0, 32) == 0, before, 0), 0) == PARTS - 1
    tl.store(arrivals + row, 0, mask=last)
    return last


# Columns of the state have nothing to do with each other, but all of them are written with d, which is overwritten in
# place: by whichever program of a head comes last, when all have read it.
@triton.jit(do_not_specialize=["one"])
def decode_kernel(
    q, k, v, beta, g, anchor, state, preconditioner, arrivals, o, anchor_value, scale, eta, d_min, d_max, one,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, PARTS: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, NORMALIZE: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) // PARTS).to(tl.int64)
    value = tl.program_id(0) % PARTS * BV + tl.arange(0, BV)
    key = tl.arange(0, BK)
    known, in_value = key < K, value < V
    own = row * K + key
    cell = own[:, None] * V + value[None, :]
    in_cell = known[:, None] & in_value[None, :]
    # Everything that is read is on its way before anything waits.
    memory = tl.load(state + cell, mask=in_cell, other=0.0)
    d = tl.load(preconditioner + own, mask=known, other=0.0)
    k_t = tl.load(k + own, mask=known, other=0.0).to(tl.float32)
    q_t = tl.load(q + own, mask=known, other=0.0).to(tl.float32)
    v_t = tl.load(v + row * V + value, mask=in_value, other=0.0).to(tl.float32)
    beta_t = tl.load(beta + row).to(tl.float32)
    gate = tl.full([], 0.0, tl.float32)
    if HAS_GATE:
        gate = tl.load(g + row).to(tl.float32)
    c = tl.full([BK], 0.0, tl.float32) + anchor_value
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0)
    if UNIT:
        q_t = unit(q_t, q.dtype.element_ty)
        k_t = unit(k_t, k.dtype.element_ty)
    write_key = d * k_t
    along = tl.sum(write_key * q_t, 0)
    if PARTS > 1:
        before = count_in(arrivals, row, along, one)
    x = beta_t * (v_t - tl.sum(memory * k_t[:, None], 0))
    read = scale * (tl.sum(memory * q_t[:, None], 0) + along * x)
    tl.store(state + cell, memory + write_key[:, None] * x[None, :], mask=in_cell)
    tl.store(o + row * V + value, read.to(o.dtype.element_ty), mask=in_value)
    # What is handed on can wait, as it has to for the other programs.
    s = k_t * k_t
    gain = feedback(d, s, eta, NORMALIZE)
    d, _ = calibrate(d, tl.zeros([BK], tl.float32), c, s, gain, gate, d_min, d_max, HAS_GATE)
    if PARTS > 1:
        known = known & is_last(arrivals, row, before, PARTS)
    tl.store(preconditioner + own, d, mask=known)


def decode_step_(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    state: State,
    *,
    g: Tensor | None = None,
    scale: float | None = None,
    eta: float = 0.003,
    d_min: float = 2 / 3,
    d_max: float = 3 / 2,
    anchor: Tensor | float | None = None,
    normalize_feedback: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Write one token, read, calibrate; `state` is updated in place. For inference: no gradient.

    The same as `fused_recurrent_osdn` on T = 1 with `state` as initial state. With `out` and contiguous inputs nothing
    is allocated after the first step on a `state.preconditioner`, and no value is read on the host, so that a CUDA
    graph can capture the step.

    Parameters
    ----------
    q, k : [B, 1, H, K]
    v : [B, 1, H, V]
    beta, g : [B, 1, H]
    state : State
        state [B, H, K, V] and preconditioner [B, H, K], float32 and contiguous.
    anchor : [B, H, K] float32, float or None
        c of the forgetting; None is 0.
    out : [B, 1, H, V], v's dtype, contiguous
        Where to put the output.

    Returns
    -------
    [B, 1, H, V] in v's dtype; `out` if given.

    Raises
    ------
    ValueError
        A shape, dtype or layout is wrong, or an argument requires a gradient while gradients are enabled. Values are
        not read: g > 0 or a d outside its box go unseen.
    """
    _check(q, k, v, beta, g, state, anchor, out)
    batch, _, heads, key_dim = q.shape
    value_dim = v.shape[3]
    if out is None:
        out = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    tensor_anchor = isinstance(anchor, Tensor)
    rows = tile(key_dim)
    least = NARROW if batch * heads <= FEW else WIDE
    columns = min(tile(value_dim), max(least, HELD // rows))
    parts = triton.cdiv(value_dim, columns)
    with on_device_of(q):
        decode_kernel[(batch * heads * parts,)](
            q.contiguous(), k.contiguous(), v.contiguous(), beta.contiguous(), None if g is None else g.contiguous(),
            anchor if tensor_anchor else None, state.state, state.preconditioner,
            arrivals_of(state.preconditioner) if parts > 1 else None, out,
            0.0 if tensor_anchor or anchor is None else float(anchor),
            key_dim**-0.5 if scale is None else float(scale), float(eta), float(d_min), float(d_max), 1,
            K=key_dim, V=value_dim, BK=rows, BV=columns, PARTS=parts, HAS_GATE=g is not None,
            HAS_ANCHOR=tensor_anchor, NORMALIZE=normalize_feedback, UNIT=use_qk_l2norm_in_kernel,
            num_warps=max(1, rows * columns // HELD),
        )  # fmt: skip
    return out


def arrivals_of(preconditioner: Tensor) -> Tensor:
    """A count for each head, zero between steps. It lives as long as the tensor, so that graphs may replay on it."""
    if preconditioner not in _arrivals:
        _arrivals[preconditioner] = torch.zeros(
            preconditioner.shape[:2], dtype=torch.int32, device=preconditioner.device
        )
    found: Tensor = _arrivals[preconditioner]
    return found


def _check(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, state: State, anchor: Tensor | float | None,
    out: Tensor | None,
) -> None:  # fmt: skip
    """What a wrong address would follow from, at the price of a few comparisons."""
    batch, _, heads, key_dim = q.shape
    value_dim = v.shape[3]
    expected = [
        ("q", q, (batch, 1, heads, key_dim), q.dtype),
        ("k", k, (batch, 1, heads, key_dim), q.dtype),
        ("v", v, (batch, 1, heads, value_dim), q.dtype),
        ("beta", beta, (batch, 1, heads), beta.dtype),
        ("state.state", state.state, (batch, heads, key_dim, value_dim), torch.float32),
        ("state.preconditioner", state.preconditioner, (batch, heads, key_dim), torch.float32),
    ]
    if g is not None:
        expected.append(("g", g, (batch, 1, heads), g.dtype))
    if isinstance(anchor, Tensor):
        expected.append(("anchor", anchor, (batch, heads, key_dim), torch.float32))
    if out is not None:
        expected.append(("out", out, (batch, 1, heads, value_dim), v.dtype))
    graded = torch.is_grad_enabled()
    for name, tensor, shape, dtype in expected:
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ValueError(
                f"{name}: expected {list(shape)} of {dtype}, got {list(tensor.shape)} of {tensor.dtype}"
            )
        if graded and tensor.requires_grad:
            raise ValueError(f"{name}: decode_step_ has no gradient, got a tensor that requires one")
        if tensor.device != q.device:
            raise ValueError(f"{name}: expected {q.device}, got {tensor.device}")
    for name, tensor, *_ in expected[4:]:
        if name != "g" and not tensor.is_contiguous():
            raise ValueError(f"{name}: expected a contiguous tensor, got strides {tensor.stride()}")
