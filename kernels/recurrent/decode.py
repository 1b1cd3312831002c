"""One token per sequence with the state updated in place: the step of autoregressive decoding."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..boundary.results import State
from ..launch.runtime import on_device_of, tile
from .forward import calibrate, feedback

FEW = 128
"""Programs up to which each is likely to have a GPU's multiprocessor to itself."""

WHOLE, HALF = 128 * 128, 64 * 128
"""Numbers of the state that a program holds at a time: 32 registers of each thread.

The larger tile asks for all of a usual head at once, which is fastest alone; of the smaller, two programs fit on a
multiprocessor, and one reads while the other writes.
"""


@triton.jit
def unit(x, dtype):
    """x / sqrt(|x|^2 + 1e-6), rounded to the inputs' dtype."""
    return (x * tl.rsqrt(tl.sum(x * x, 0) + 1e-6)).to(dtype).to(tl.float32)


# One program per head, which takes the blocks of V in turn: d is read by all of them and written in place, so that
# programs sharing a head would have to wait for each other. Few heads still read at the speed of their SMs, for a
# program asks for a whole tile at once; with many heads the GPU is full anyway.
@triton.jit
def decode_kernel(
    q, k, v, beta, g, anchor, state, preconditioner, o, anchor_value, scale, eta, d_min, d_max,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, NORMALIZE: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    key = tl.arange(0, BK)
    known = key < K
    own = row * K + key
    d = tl.load(preconditioner + own, mask=known, other=0.0)
    q_t = tl.load(q + own, mask=known, other=0.0).to(tl.float32)
    k_t = tl.load(k + own, mask=known, other=0.0).to(tl.float32)
    beta_t = tl.load(beta + row).to(tl.float32)
    if UNIT:
        q_t = unit(q_t, q.dtype.element_ty)
        k_t = unit(k_t, k.dtype.element_ty)
    write_key = d * k_t
    along = tl.sum(write_key * q_t, 0)
    for block in tl.static_range(0, (V + BV - 1) // BV):
        value = block * BV + tl.arange(0, BV)
        in_value = value < V
        cell = own[:, None] * V + value[None, :]
        in_cell = known[:, None] & in_value[None, :]
        memory = tl.load(state + cell, mask=in_cell, other=0.0)
        v_t = tl.load(v + row * V + value, mask=in_value, other=0.0).to(tl.float32)
        x = beta_t * (v_t - tl.sum(memory * k_t[:, None], 0))
        read = scale * (tl.sum(memory * q_t[:, None], 0) + along * x)
        tl.store(o + row * V + value, read.to(o.dtype.element_ty), mask=in_value)
        tl.store(state + cell, memory + write_key[:, None] * x[None, :], mask=in_cell)
    c = tl.full([BK], 0.0, tl.float32) + anchor_value
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0)
    gate = tl.full([], 0.0, tl.float32)
    if HAS_GATE:
        gate = tl.load(g + row).to(tl.float32)
    s = k_t * k_t
    gain = feedback(d, s, eta, NORMALIZE)
    d, _ = calibrate(d, tl.zeros([BK], tl.float32), c, s, gain, gate, d_min, d_max, HAS_GATE)
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
    is allocated, and no value is read on the host, so that a CUDA graph can capture the step.

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
    held = WHOLE if batch * heads <= FEW else HALF
    columns = min(tile(value_dim), max(16, held // rows))
    with on_device_of(q):
        decode_kernel[(batch * heads,)](
            q.contiguous(), k.contiguous(), v.contiguous(), beta.contiguous(), None if g is None else g.contiguous(),
            anchor if tensor_anchor else None, state.state, state.preconditioner, out,
            0.0 if tensor_anchor or anchor is None else float(anchor),
            key_dim**-0.5 if scale is None else float(scale), float(eta), float(d_min), float(d_max),
            K=key_dim, V=value_dim, BK=rows, BV=columns, HAS_GATE=g is not None, HAS_ANCHOR=tensor_anchor,
            NORMALIZE=normalize_feedback, UNIT=use_qk_l2norm_in_kernel,
            num_warps=max(1, rows * columns // 1024),
        )  # fmt: skip
    return out


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
