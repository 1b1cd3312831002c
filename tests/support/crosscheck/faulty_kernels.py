"""Kernels with one fault each, in plain float32 PyTorch: token by token, or in the chunk form where the fault needs it.

All have flash-linear-attention's signature with OSDN's arguments. `FAULTS` maps each to the symptom that a cross-check
must name; `correct` is what they are without their fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class State(NamedTuple):
    state: Tensor
    preconditioner: Tensor


class Trajectory(NamedTuple):
    preconditioner: Tensor
    alignment: Tensor


@dataclass(frozen=True)
class Fault:
    """What a kernel does differently."""

    store_d: torch.dtype = torch.float32
    write_d: torch.dtype = torch.float32
    store_state: torch.dtype = torch.float32
    store_erased: torch.dtype = torch.float32
    drop_bits: bool = False
    clip_every: int = 1
    clips: bool = True
    erase_with_write_key: bool = False
    write_with_key: bool = False
    read_first: bool = False
    calibrate_first: bool = False
    drop_partial: int | None = None
    reset_every: int | None = None
    ignore_gate: bool = False
    scale: float = 1.0
    poison: int | None = None


def recurrent(fault: Fault, name: str) -> Callable[..., Any]:
    """A kernel that steps through tokens [B, T, H, ...] with a fault."""

    def kernel(
        q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None = None, scale: float | None = None,
        eta: float = 0.003, d_min: float = 2 / 3, d_max: float = 1.5, anchor: Tensor | None = None,
        initial_state: Tensor | None = None, initial_preconditioner: Tensor | None = None,
        output_final_state: bool = False, return_trajectory: bool = False,
    ) -> tuple[Any, ...]:  # fmt: skip
        dtype, (batch, length, heads, features) = v.dtype, k.shape
        scale = features**-0.5 if scale is None else scale
        gate = None if g is None or fault.ignore_gate else g.exp()
        q, k, v, beta = (x.float() for x in (q, k, v, beta))
        h = k.new_zeros(batch, heads, features, v.shape[-1]) if initial_state is None else initial_state
        d = k.new_ones(batch, heads, features) if initial_preconditioner is None else initial_preconditioner
        c = torch.zeros_like(d) if anchor is None else anchor
        whole = length if fault.drop_partial is None else length // fault.drop_partial * fault.drop_partial
        outputs, path = [], []
        for t in range(length):
            following = _calibrated(d, c, k[:, t], None if gate is None else gate[:, t], eta)
            if fault.clips and ((t + 1) % fault.clip_every == 0 or t + 1 == length):
                following = following.clamp(d_min, d_max)
            following = following.to(fault.store_d).float()
            if fault.reset_every is not None and t % fault.reset_every == 0:
                h = torch.zeros_like(h)
            used = following if fault.calibrate_first else d
            written = _written(h, k[:, t], used, v[:, t], beta[:, t], fault) if t < whole else h
            path.append(used)
            outputs.append(torch.einsum("bhkv,bhk->bhv", h if fault.read_first else written, q[:, t]))
            d, h = following, _kept(written, fault.store_state, fault)
        o = scale * fault.scale * torch.stack(outputs, 1)
        if fault.poison is not None:
            o = torch.where(torch.arange(length)[None, :, None, None] == fault.poison, torch.nan, o)
        preconditioner = torch.stack(path, 1)
        alignment = (preconditioner * k.square()).sum(-1)
        final = State(h, d) if output_final_state else None
        return (o.to(dtype), final, Trajectory(preconditioner, alignment))[: 3 if return_trajectory else 2]

    kernel.__name__ = name
    return kernel


def _calibrated(d: Tensor, c: Tensor, k: Tensor, gate: Tensor | None, eta: float) -> Tensor:
    s = k.square()
    kept = d if gate is None else c + gate[..., None] * (d - c)
    return kept + eta * (1.0 - (d * s).sum(-1, keepdim=True)) * s


def _written(h: Tensor, k: Tensor, d: Tensor, v: Tensor, beta: Tensor, fault: Fault) -> Tensor:
    write_key = d.to(fault.write_d).float() * k
    erase = write_key if fault.erase_with_write_key else k
    write = k if fault.write_with_key else write_key
    if fault.store_erased != torch.float32:
        gone = torch.einsum("bhkv,bhk->bhv", h, erase)
        h, erase = h - torch.einsum("bhk,bhv->bhkv", write, beta[..., None] * gone), torch.zeros_like(erase)
        h = _kept(h, fault.store_erased, fault)
    residual = v - torch.einsum("bhkv,bhk->bhv", h, erase)
    return h + torch.einsum("bhk,bhv->bhkv", write, beta[..., None] * residual)


def _kept(h: Tensor, dtype: torch.dtype, fault: Fault) -> Tensor:
    if fault.drop_bits:
        return (h.view(torch.int32) & -65536).view(torch.float32)
    return h.to(dtype).float()


def _tf32(x: Tensor) -> Tensor:
    """Round a float32 tensor to the 11 bits that TF32 keeps, by integer arithmetic on its bits."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def chunk_with_tf32_dots(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, scale: float | None = None, eta: float = 0.003,
    d_min: float = 2 / 3, d_max: float = 1.5, output_final_state: bool = False, chunk_size: int = 16,
) -> tuple[Any, ...]:  # fmt: skip
    """The chunk form whose memory products take TF32 operands; d is right."""
    scale = k.shape[-1] ** -0.5 if scale is None else scale
    q, k, v, beta = (x.transpose(1, 2) for x in (q, k, v, beta))
    d, path = torch.ones_like(k[:, :, 0]), []
    for t in range(k.shape[2]):
        path.append(d)
        d = _calibrated(d, torch.zeros_like(d), k[:, :, t], None, eta).clamp(d_min, d_max)
    written, beta = torch.stack(path, 2) * k, beta[..., None]

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return _tf32(a) @ _tf32(b)

    h, outputs = k.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]), []
    for start in range(0, k.shape[2], chunk_size):
        rows = slice(start, start + chunk_size)
        qc, kc, wc, vc, bc = (x[:, :, rows] for x in (q, k, written, v, beta))
        a = (bc * dot(kc, wc.mT)).tril(-1)
        eye = torch.eye(a.shape[-1])
        inverse = torch.linalg.solve_triangular(a + eye, eye, upper=False, unitriangular=True)
        x = dot(inverse, bc * (vc - dot(kc, h)))
        outputs.append(scale * (dot(qc, h) + dot(dot(qc, wc.mT).tril(), x)))
        h = h + dot(wc.mT, x)
    final = State(h, d) if output_final_state else None
    return torch.cat(outputs, 2).transpose(1, 2), final


class _LostKeyGradient(torch.autograd.Function):
    """The identity, whose backward halves the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 0.5 * grad


correct = recurrent(Fault(), "correct_recurrent")


def wrong_backward(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, scale: float | None = None, eta: float = 0.003,
    d_min: float = 2 / 3, d_max: float = 1.5, output_final_state: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """Right forward; the gradient in k is half of what it should be."""
    return correct(
        q, _LostKeyGradient.apply(k), v, beta, scale=scale, eta=eta, d_min=d_min, d_max=d_max,
        output_final_state=output_final_state,
    )  # fmt: skip


HALF = torch.bfloat16

FAULTS: dict[str, Fault] = {
    "stores d in bfloat16": Fault(store_d=HALF),
    "rounds d to bfloat16 for the write": Fault(write_d=HALF),
    "stores S in bfloat16": Fault(store_state=HALF),
    "clips once per chunk (C = 16)": Fault(clip_every=16),
    "never clips": Fault(clips=False),
    "erases with the write key and writes with the key": Fault(
        erase_with_write_key=True, write_with_key=True
    ),
    "erases with the write key as well": Fault(erase_with_write_key=True),
    "writes with the key instead of the write key": Fault(write_with_key=True),
    "reads before the write": Fault(read_first=True),
    "calibrates too early": Fault(calibrate_first=True),
    "drops the last partial chunk": Fault(drop_partial=16),
    "loses the memory between chunks (C = 16)": Fault(reset_every=16),
    "g ignored": Fault(ignore_gate=True),
    "another scale": Fault(scale=0.25),
    "not finite": Fault(poison=30),
}
"""Name of the symptom -> the fault that shows it."""


def faulty(symptom: str, **changes: Any) -> Callable[..., Any]:
    """A kernel with the fault that shows a symptom."""
    return recurrent(replace(FAULTS[symptom], **changes), "faulty_recurrent")


def gated_delta_net(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float | None = None,
    output_final_state: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Gated DeltaNet as flash-linear-attention has it: the memory decays before the residual is formed."""
    return _gated(q, k, v, g, beta, scale, output_final_state, late=False)


def late_gated_delta_net(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float | None = None,
    output_final_state: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """The same, decaying after the residual is formed."""
    return _gated(q, k, v, g, beta, scale, output_final_state, late=True)


def _gated(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float | None, final: bool, *, late: bool
) -> tuple[Tensor, Tensor | None]:
    scale = k.shape[-1] ** -0.5 if scale is None else scale
    h, outputs = k.new_zeros(*k[:, 0].shape, v.shape[-1]), []
    for t in range(k.shape[1]):
        decayed = g[:, t].exp()[..., None, None] * h
        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", h if late else decayed, k[:, t])
        h = decayed + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * residual)
        outputs.append(scale * torch.einsum("bhkv,bhk->bhv", h, q[:, t]))
    return torch.stack(outputs, 1), h if final else None


def delta_net(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    output_final_state: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """DeltaNet with flash-linear-attention's arguments; returns no trajectory."""
    o, final = correct(q, k, v, beta, scale=scale, eta=0.0, output_final_state=output_final_state)
    return o, final.state if final is not None else None


def silent(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, scale: float | None = None, eta: float = 0.003,
    d_min: float = 2 / 3, d_max: float = 1.5,
) -> Tensor:  # fmt: skip
    """OSDN that returns its output and nothing else."""
    return correct(q, k, v, beta, scale=scale, eta=eta, d_min=d_min, d_max=d_max)[0]


late_reader = faulty("reads before the write")
"""By name, for the command."""
