"""Kernels with one fault each in plain PyTorch, written apart from the engine that must name them.

All have flash-linear-attention's signature with OSDN's arguments: token tensors [B, T, H, ...], states [B, H, K, V]. A
kernel steps token by token, or goes by chunks with their triangular systems where the fault is one of those. `kernel`
makes one by the key of the row of the table; without a key it is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

C = 16
"""The chunk of faults that speak of one."""


class State(NamedTuple):
    state: Tensor
    preconditioner: Tensor


class Trajectory(NamedTuple):
    preconditioner: Tensor
    alignment: Tensor


@dataclass
class Call:
    """The arguments of one call, float32; `forget` and `decay` are log gates [B, T, H] or [B, T, H, K]."""

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    forget: Tensor | None
    decay: Tensor | None
    scale: float
    eta: float
    low: float
    high: float
    anchor: Tensor
    normalize: bool
    h: Tensor
    d: Tensor
    g_atk: Tensor | None = None
    beta_atk: Tensor | None = None
    aware: bool = False


GATED_OSDN = ("osgdn", "oskda")


def _unaware(normalize: bool) -> set[str]:
    """Faults that leave beta_aware at its default."""
    return {"beta_aware ignored", *(["beta_aware ignored beside normalize_feedback"] if normalize else [])}


def kernel(recurrence: str, fault: str = "") -> Callable[..., Any]:
    """A kernel of the recurrence with the fault of that row."""

    def osdn(
        q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None = None, scale: float | None = None,
        eta: float = 0.003, d_min: float = 2 / 3, d_max: float = 1.5, anchor: Tensor | None = None,
        normalize_feedback: bool = False, initial_state: Tensor | None = None,
        initial_preconditioner: Tensor | None = None, output_final_state: bool = False,
        cu_seqlens: Tensor | None = None, return_trajectory: bool = False, g_atk: Tensor | None = None,
        beta_atk: Tensor | None = None, beta_aware: bool = False, **gated: Tensor | None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """OSDN; g forgets d."""
        bounds = [0, k.shape[1]] if cu_seqlens is None else cu_seqlens.tolist()
        count = len(bounds) - 1
        lead = (count if cu_seqlens is not None else k.shape[0], k.shape[2])
        h = k.new_zeros(*lead, k.shape[3], v.shape[3]) if initial_state is None else initial_state
        ones = torch.ones(*lead, k.shape[3])
        d = ones if initial_preconditioner is None else initial_preconditioner
        c = torch.zeros_like(ones) if anchor is None else anchor
        q, k, v, beta = (x.float() for x in (q, k, v, beta))
        fades = recurrence in GATED_OSDN
        learns = fades or recurrence == "osdn"
        # g is the memory's gate, unless d is calibrated and has no other.
        forget, decay = (g, None) if learns and not fades and g_atk is None else (gated.get("g_d"), g)
        call = Call(
            q=q,
            k=k,
            v=v,
            beta=beta,
            forget=forget,
            decay=decay,
            scale=k.shape[3] ** -0.5 if scale is None else scale,
            eta=eta if learns else 0.0,
            low=d_min,
            high=d_max,
            anchor=c,
            normalize=normalize_feedback,
            h=h.float(),
            d=d.float(),
            g_atk=g_atk,
            beta_atk=None if beta_atk is None else beta_atk.float(),
            aware=fades if fault in _unaware(normalize_feedback) else beta_aware,
        )
        call = edited(call, fault)
        o, h, d, path = _sequences(call, bounds, fault, packed=cu_seqlens is not None)
        alignment = (path * k.square()).sum(-1)
        final = State(h, d) if learns else h
        dtype = torch.bfloat16 if fault == "o in bfloat16" else torch.float32
        o = o.to(dtype).float()
        results = (o, final if output_final_state else None, Trajectory(path, alignment))
        return results[: 3 if return_trajectory else 2]

    if recurrence == "osdn":
        return osdn

    def gated_osdn(
        q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float | None = None,
        g_d: Tensor | None = None, eta: float = 0.003, d_min: float = 2 / 3, d_max: float = 1.5,
        anchor: Tensor | None = None, normalize_feedback: bool = False, beta_aware: bool = True,
        initial_state: Tensor | None = None, initial_preconditioner: Tensor | None = None,
        output_final_state: bool = False, cu_seqlens: Tensor | None = None, return_trajectory: bool = False,
    ) -> tuple[Any, ...]:  # fmt: skip
        return osdn(
            q, k, v, beta, g, scale, eta, d_min, d_max, anchor, normalize_feedback, initial_state,
            initial_preconditioner, output_final_state, cu_seqlens, return_trajectory, beta_aware=beta_aware, g_d=g_d,
        )  # fmt: skip

    if recurrence in GATED_OSDN:
        return gated_osdn

    def delta_net(
        q: Tensor, k: Tensor, v: Tensor, beta: Tensor, scale: float | None = None,
        initial_state: Tensor | None = None, output_final_state: bool = False, cu_seqlens: Tensor | None = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        return osdn(
            q, k, v, beta, None, scale, initial_state=initial_state, output_final_state=output_final_state,
            cu_seqlens=cu_seqlens,
        )  # fmt: skip

    def gated(
        q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float | None = None,
        initial_state: Tensor | None = None, output_final_state: bool = False, cu_seqlens: Tensor | None = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        return osdn(
            q, k, v, beta, g, scale, initial_state=initial_state, output_final_state=output_final_state,
            cu_seqlens=cu_seqlens,
        )  # fmt: skip

    return delta_net if recurrence == "delta_net" else gated


def preconditioned(fault: str = "") -> Callable[..., Any]:
    """A kernel of Preconditioned DeltaNet; it hands on the memory, not the Gram diagonal."""
    whole = kernel("osdn", fault)

    def preconditioned_delta_net(
        q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, g_atk: Tensor, beta_atk: Tensor,
        scale: float | None = None, initial_state: Tensor | None = None, initial_A_state: Tensor | None = None,
        output_final_state: bool = False, cu_seqlens: Tensor | None = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        lead = (k.shape[0] if cu_seqlens is None else len(cu_seqlens) - 1, k.shape[2], k.shape[3])
        start = torch.zeros(lead) if initial_A_state is None else initial_A_state
        o, final = whole(
            q, k, v, beta, g, scale, initial_state=initial_state, initial_preconditioner=start,
            output_final_state=output_final_state, cu_seqlens=cu_seqlens, g_atk=g_atk, beta_atk=beta_atk,
        )  # fmt: skip
        return o, final if final is None else final.state

    return preconditioned_delta_net


def preconditioner(fault: str = "") -> Callable[..., Any]:
    """A kernel of the preconditioner alone."""
    whole = kernel("osdn", fault)

    def scan(
        k: Tensor, g: Tensor | None = None, eta: float = 0.003, d_min: float = 2 / 3, d_max: float = 1.5,
        anchor: Tensor | None = None, normalize_feedback: bool = False,
        initial_preconditioner: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        _, final, path = whole(
            k, k, k, torch.ones(k.shape[:-1]), g, 1.0, eta, d_min, d_max, anchor, normalize_feedback, None,
            initial_preconditioner, True, None, True,
        )  # fmt: skip
        return path.preconditioner, final.preconditioner

    return scan


def edited(x: Call, fault: str) -> Call:
    """The call with a fault of its inputs."""
    for edit in (_ignored, _moved, _changed, _coarse):
        edit(x, fault)
    return x


def _ignored(x: Call, fault: str) -> None:
    match fault:
        case "beta ignored":
            x.beta = torch.ones_like(x.beta)
        case "g ignored" if x.decay is not None:
            x.decay = None
        case "g ignored" | "g_d ignored":
            x.forget = None
        case "g_d ignored without g" if x.decay is None:
            x.forget = None
        case "initial_state ignored":
            x.h = torch.zeros_like(x.h)
        case "d_1 is 0 by default" if bool((x.d == 1).all()):
            x.d = torch.zeros_like(x.d)
        case "initial_state ignored without d_1" if bool((x.d == 1).all()):
            x.h = torch.zeros_like(x.h)
        case "d_1 ignored without S_0" if not x.h.any():
            x.d = torch.ones_like(x.d)
        case "d_1 ignored":
            x.d = torch.ones_like(x.d)
        case "g_atk ignored":
            x.g_atk = torch.zeros_like(x.k[..., 0])
        case "beta_atk ignored":
            x.beta_atk = torch.ones_like(x.k[..., 0])
        case "initial_A_state ignored":
            x.d = torch.zeros_like(x.d)
        case "anchor ignored":
            x.anchor = torch.zeros_like(x.anchor)
        case "anchor is 1":
            x.anchor = torch.ones_like(x.anchor)
        case "anchor is d_1":
            x.anchor = x.d
        case "eta ignored":
            x.eta = 0.003
        case "eta of 0 is the default":
            x.eta = x.eta or 0.003
        case "d_min of 0 is the default":
            x.low = x.low or 2 / 3
        case "box ignored":
            x.low, x.high = 2 / 3, 1.5
        case "normalize_feedback ignored":
            x.normalize = False
        case "normalize_feedback ignored beside beta_aware" if x.aware:
            x.normalize = False
        case "scale ignored":
            x.scale = x.k.shape[-1] ** -0.5
        case "scale is 1":
            x.scale = 1.0
        case "scale squared":
            x.scale = x.scale * x.scale
        case "scale inverted":
            x.scale = 1 / x.scale
        case "sqrt(K) for scale":
            x.scale = x.k.shape[-1] ** 0.5
        case "scale and default scale":
            x.scale = x.scale * x.k.shape[-1] ** -0.5
        case "scale on k":
            x.k = x.k * x.scale
        case "eta squared":
            x.eta = x.eta * x.eta


TOKENS = {
    "q": ("q",),
    "k": ("k",),
    "v": ("v",),
    "beta": ("beta",),
    "g": ("decay", "forget"),
    "g_d": ("forget",),
    "g_atk": ("g_atk",),
    "beta_atk": ("beta_atk",),
}
STATES = {
    "initial_state": ("h",),
    "initial_preconditioner": ("d",),
    "anchor": ("anchor",),
    "initial_A_state": ("d",),
}


def _moved(x: Call, fault: str) -> None:
    what, _, where = fault.partition(" of ")
    everything = what == "everything"
    for name in (
        sorted({x for names in TOKENS.values() for x in names}) if everything else TOKENS.get(what, ())
    ):
        tensor = getattr(x, name)
        if tensor is None:
            continue
        empty = torch.zeros_like(tensor[:, :1])
        heads = torch.arange(tensor.shape[2])
        if where == "the token before":
            tensor = torch.cat([empty, tensor[:, :-1]], 1)
        elif where == "the token after":
            tensor = torch.cat([tensor[:, 1:], empty], 1)
        elif where == "head 0":
            tensor = tensor[:, :, 0 * heads]
        elif where == "the next head":
            tensor = tensor[:, :, (heads + 1) % len(heads)]
        elif where == "batch row 0":
            tensor = torch.stack([tensor[0]] * tensor.shape[0])
        setattr(x, name, tensor)
    for name in (
        sorted({x for names in STATES.values() for x in names}) if everything else STATES.get(what, ())
    ):
        tensor = getattr(x, name)
        heads = torch.arange(tensor.shape[1])
        if where == "head 0":
            tensor = tensor[:, 0 * heads]
        elif where == "the next head":
            tensor = tensor[:, (heads + 1) % len(heads)]
        elif where == "batch row 0":
            tensor = torch.stack([tensor[0]] * tensor.shape[0])
        setattr(x, name, tensor)


def _changed(x: Call, fault: str) -> None:
    match fault:
        case "q normalised":
            x.q = F.normalize(x.q, dim=-1)
        case "k normalised":
            x.k = F.normalize(x.k, dim=-1)
        case "q and k normalised":
            x.q, x.k = F.normalize(x.q, dim=-1), F.normalize(x.k, dim=-1)
        case "beta squared":
            x.beta = x.beta**2
        case "beta doubled":
            x.beta = 2 * x.beta
        case "sigmoid of beta":
            x.beta = x.beta.sigmoid()
        case "beta clipped at 1":
            x.beta = x.beta.clamp(max=1)
        case "k for q":
            x.q = x.k
        case "q and k swapped":
            x.q, x.k = x.k, x.q
        case "k for v" if x.k.shape == x.v.shape:
            x.v = x.k
        case "initial_state transposed" if x.k.shape == x.v.shape:
            x.h = x.h.mT
        case "last value row not written":
            x.v = torch.cat([x.v[..., :-1], 0 * x.v[..., -1:]], -1)
        case "one gate per head" if x.decay is not None:
            x.decay = x.decay[..., :1].expand_as(x.decay)
        case "g for g_d" | "g forgets d" | "g forgets d too" if x.decay is not None:
            per_head = x.decay if x.decay.ndim == 3 else x.decay.mean(-1)
            x.forget = per_head if fault != "g forgets d too" or x.forget is None else x.forget + per_head
            x.decay = None if fault == "g forgets d" else x.decay
        case "g_d squared" if x.forget is not None:
            x.forget = 2 * x.forget
        case "g held above -5" if x.decay is not None:
            x.decay = x.decay.clamp(min=-5)
        case "g held above -5" | "g_d held above -5" if x.forget is not None:
            x.forget = x.forget.clamp(min=-5)
        case "g decays the memory":
            x.forget, x.decay = None, x.forget
        case "g decays the memory too":
            x.decay = x.forget


def _coarse(x: Call, fault: str) -> None:
    what, _, kind = fault.partition(" in ")
    if kind == "bfloat16":
        for name in {**TOKENS, **STATES}.get(what, ()):
            if getattr(x, name) is not None:
                setattr(x, name, getattr(x, name).bfloat16().float())


def gate_of(g: Tensor, fault: str) -> Tensor:
    """The factor that a log gate stands for."""
    match fault:
        case "exp of g missing":
            return g
        case "exp of g twice":
            return g.exp().exp()
        case "2 to the g":
            return torch.exp2(g)
        case "gate squared":
            return (2 * g).exp()
    return g.exp()


def _sequences(x: Call, bounds: list[int], fault: str, *, packed: bool) -> tuple[Tensor, ...]:
    """All sequences of a call: o, final states, the d handed on, d of every token."""
    if fault == "last boundary late" and packed and bounds[-1] > bounds[-2]:
        bounds = [*bounds[:-2], bounds[-2] + 1, bounds[-1]]
    count = len(bounds) - 1
    found: list[tuple[Tensor, ...]] = []
    for n in range(count):
        source = n
        if packed and fault == "states of sequence 0":
            source = 0
        if packed and fault == "states of the next sequence":
            source = (n + 1) % count
        h, d = (y[source : source + 1] if packed else y for y in (x.h, x.d))
        anchor = x.anchor[n : n + 1] if packed else x.anchor
        if found and fault in ("cu_seqlens ignored for the memory", "cu_seqlens ignored"):
            h = found[-1][1]
        if found and fault in ("cu_seqlens ignored for d", "cu_seqlens ignored"):
            d = found[-1][2]
        if found and fault in ("cu_seqlens ignored without S_0", "cu_seqlens ignored without states"):
            h = h if x.h.any() else found[-1][1]
        if found and fault in ("cu_seqlens ignored without d_1", "cu_seqlens ignored without states"):
            d = d if bool((x.d != 1).any()) else found[-1][2]
        one = replace(tokens_of(x, bounds[n], bounds[n + 1]), anchor=anchor, h=h, d=d)
        found.append(sequence(one, fault))
    outputs, states, handed, paths = (list(each) for each in zip(*found, strict=True))
    return torch.cat(outputs, 1), torch.cat(states), torch.cat(handed), torch.cat(paths, 1)


def tokens_of(x: Call, start: int, stop: int) -> Call:
    """The call on some of its tokens."""
    names = ("q", "k", "v", "beta", "forget", "decay", "g_atk", "beta_atk")
    cut: dict[str, Any] = {}
    for name in names:
        tensor = getattr(x, name)
        cut[name] = tensor if tensor is None else tensor[:, start:stop]
    return replace(x, **cut)


def sequence(x: Call, fault: str) -> tuple[Tensor, ...]:
    """One sequence: o, final state, the d handed on, d of every token."""
    if fault == "first token skipped":
        x.k = torch.cat([0 * x.k[:, :1], x.k[:, 1:]], 1)
    if fault == "S_0 does not decay" and x.decay is not None:
        x.decay = torch.cat([0 * x.decay[:, :1], x.decay[:, 1:]], 1)
    path, handed = calibrated(x, fault)
    o, h = (chunked if fault in CHUNKED else stepped)(x, path, fault)
    return returned(x, fault, x.scale * o, h, path, handed)


def returned(x: Call, fault: str, o: Tensor, h: Tensor, path: Tensor, handed: Tensor) -> tuple[Tensor, ...]:
    length = x.k.shape[1]
    whole = length // C * C
    match fault:
        case "last token without output":
            o = torch.cat([o[:, :-1], 0 * o[:, -1:]], 1)
        case "last value row without output":
            o = torch.cat([o[..., :-1], 0 * o[..., -1:]], -1)
        case "last partial chunk without output":
            o = torch.cat([o[:, :whole], 0 * o[:, whole:]], 1)
        case "drops the last partial chunk":
            o = torch.cat([o[:, :whole], 0 * o[:, whole:]], 1)
            h = _until(x, whole)
        case "final state before the last token":
            h = _until(x, max(length - 1, 0))
        case "final state without the last partial chunk":
            h = _until(x, whole)
        case "final state transposed" if h.shape[-1] == h.shape[-2]:
            h = h.mT
        case "final state is S_0":
            h = x.h
        case "final state in bfloat16":
            h = h.bfloat16().float()
        case "padding decays the state" if length and x.decay is not None:
            for _ in range(-length % C):
                h = _per_feature(x.decay[:, -1].exp(), x.k)[..., None] * h
        case "d handed on in bfloat16":
            handed = handed.bfloat16().float()
        case "hands on d_T" if length:
            handed = path[:, -1]
        case "hands on d_1":
            handed = x.d
    return o, h, handed, path


def _until(x: Call, length: int) -> Tensor:
    """The right state after the first tokens."""
    return sequence(tokens_of(x, 0, length), "")[1]


def calibrated(x: Call, fault: str) -> tuple[Tensor, Tensor]:
    """d of every token [B, T, H, K], and the one handed on."""
    if x.g_atk is not None and x.beta_atk is not None:
        return squashed(x, x.g_atk, x.beta_atk, fault)
    d, path, length = x.d, [], x.k.shape[1]
    start = carried = d
    late = fault == "clips what chunks hand on once"
    for t in range(length):
        if late and t % C == 0:
            d = carried
        if fault == "resets d between chunks" and t and t % C == 0:
            d = x.d
        if t % C == 0:
            start = d
        used = start if fault in ("d of the chunk's start in its writes", "d moves once per chunk") else d
        d = _next(x, d, start, t, fault)
        carried = _next(x, carried, start, t, "clips once per chunk") if late else d
        path.append(d if fault == "calibrates too early" else used)
    return (torch.stack(path, 1) if path else x.k.new_zeros(x.k.shape)), carried


def squashed(x: Call, g_atk: Tensor, beta_atk: Tensor, fault: str) -> tuple[Tensor, Tensor]:
    """d of Preconditioned DeltaNet for every token, and the Gram diagonal handed on."""
    a, path = x.d, []
    for t in range(x.k.shape[1]):
        before = a
        a = g_atk[:, t].exp()[..., None] * a + beta_atk[:, t, :, None] * x.k[:, t].square()
        r = ((before if fault == "own key left out of A" else a) + 1e-6).log()
        r = r if fault == "squash without its centre" else r + 0.2
        path.append(1.5 ** (-r / (1 + r.abs())))
    return (torch.stack(path, 1) if path else x.k.new_zeros(x.k.shape)), a


def _next(x: Call, d: Tensor, start: Tensor, t: int, fault: str) -> Tensor:
    k, beta = x.k[:, t], x.beta[:, t, :, None]
    gate = None if x.forget is None else gate_of(x.forget[:, t], fault)[..., None]
    c = x.anchor

    def forgotten(y: Tensor) -> Tensor:
        return y if gate is None else c + gate * (y - c)

    s = k * k
    looked = start if fault == "d moves once per chunk" else d
    looked = forgotten(d) if fault == "forgets before the step" else looked
    aware = (x.aware or fault == "beta-aware feedback") and fault not in ("plain feedback", "step times beta")
    seen = beta * s if aware or fault == "alignment times beta" else s
    products = looked * seen
    a = (products[..., :-1] if fault == "a loses a feature" else products).sum(-1, keepdim=True)
    along = {"step along k": k, "step along |k|": k.abs()}.get(fault, s)
    if (aware and fault != "alignment times beta") or fault == "step times beta":
        along = beta * along
    weight = torch.ones_like(a)
    size = s.sum(-1, keepdim=True)
    if x.normalize or fault == "always normalised":
        power = {"normalised by the norm": 0.5, "normalised by the fourth power": 2.0}.get(fault, 1.0)
        weight = 1 / (size**power + 1e-5)
    factor = {"step reversed": -1.0, "step doubled": 2.0, "d stays at d_1": 0.0}.get(fault, 1.0)
    step = factor * x.eta * weight * (1 - a) * along

    def clipped(y: Tensor) -> Tensor:
        last = t + 1 == x.k.shape[1]
        if fault == "never clips":
            return y
        if fault == "clips from above only":
            return y.clamp(max=x.high)
        if fault == "clips from below only":
            return y.clamp(min=x.low)
        if fault == "clips once per chunk" and (t + 1) % C and not last:
            return y
        if fault == "clips at the end only" and not last:
            return y
        return y.clamp(x.low, x.high)

    if fault == "forgets the step too":
        moved = clipped(forgotten(d + step))
    elif fault == "forgets after the clip":
        moved = forgotten(clipped(d + step))
    else:
        moved = clipped(forgotten(d) + step)
    stored = {"stores d in bfloat16": torch.bfloat16, "stores d in float16": torch.float16}
    return moved.to(stored.get(fault, torch.float32)).float()


def _per_feature(gate: Tensor, k: Tensor) -> Tensor:
    """A gate [B, H] or [B, H, K] as [B, H, K]."""
    return gate if gate.ndim == 3 else gate[..., None].expand(*gate.shape, k.shape[-1])


def erased_and_written(k: Tensor, d: Tensor, fault: str) -> tuple[Tensor, Tensor]:
    """The keys that a token erases with and writes with."""
    match fault:
        case "erases with the write key as well":
            return d * k, d * k
        case "writes with the key instead of the write key":
            return k, k
        case "erases with the write key and writes with the key":
            return d * k, k
        case "root of d on both":
            return d.sqrt() * k, d.sqrt() * k
        case "d squared":
            return k, d * d * k
        case "write keys in bfloat16":
            return k, (d * k).bfloat16().float()
        case "rounds d to bfloat16 for the write":
            return k, d.bfloat16().float() * k
    return k, d * k


def value_written(v: Tensor, seen: Tensor, beta: Tensor, fault: str) -> Tensor:
    """What a token writes, where the memory has `seen` for its key."""
    match fault:
        case "beta on the erase only":
            return v - beta * seen
        case "beta on the value only":
            return beta * v - seen
        case "beta twice on the value":
            return beta**2 * v - beta * seen
    return beta * (v - seen)


def stepped(x: Call, path: Tensor, fault: str) -> tuple[Tensor, Tensor]:
    """The memory token by token."""
    h, outputs = x.h, []
    for t in range(x.k.shape[1]):
        if fault == "loses the memory between chunks" and t and t % C == 0:
            h = torch.zeros_like(h)
        k, q, d, v, beta = x.k[:, t], x.q[:, t], path[:, t], x.v[:, t], x.beta[:, t, :, None]
        erase, write = erased_and_written(k, d, fault)
        if fault == "d on q":
            q = d * q
        if fault == "residual loses a feature":
            erase = torch.cat([erase[..., :-1], 0 * erase[..., -1:]], -1)
        if fault == "output loses a feature":
            q = torch.cat([q[..., :-1], 0 * q[..., -1:]], -1)
        before = decayed = h
        if x.decay is not None:
            alpha = _per_feature(gate_of(x.decay[:, t], fault), x.k)
            decayed = alpha[..., None] * h
        read = before if fault in ("decays after the residual", "decays after the write") else decayed
        seen = torch.einsum("bhkv,bhk->bhv", read, erase)
        x_t = value_written(v, seen, beta, fault)
        kept = before if fault in ("decays after the write", "decays in the residual only") else decayed
        h = kept + write[..., :, None] * x_t[..., None, :]
        if fault == "decays after the write" and x.decay is not None:
            h = alpha[..., None] * h
        stored = {"stores S in bfloat16": torch.bfloat16, "stores S in float16": torch.float16}
        h = h.to(stored.get(fault, torch.float32)).float()
        looked = {"reads before the write": decayed, "reads before the decay": before}.get(fault, h)
        outputs.append(torch.einsum("bhkv,bhk->bhv", looked, q))
    return (torch.stack(outputs, 1) if outputs else x.v.new_zeros(x.v.shape)), h


CHUNKED = frozenset(
    {
        "diagonal in the mask", "no solve", "inverse to first order", "sign in the solve", "mask one token short",
        "output without its chunk", "output of its chunk alone", "output not causal", "carry without decay",
    }
)  # fmt: skip
"""Faults of the chunk form, which are made there."""


def chunked(x: Call, path: Tensor, fault: str) -> tuple[Tensor, Tensor]:
    """The memory by chunks of C: matrices over the tokens of a chunk, with the decay between every two of them."""
    q, k, v, d, beta = (y.transpose(1, 2) for y in (x.q, x.k, x.v, path, x.beta[..., None]))
    log = torch.zeros_like(k)
    if x.decay is not None:
        log = (x.decay if x.decay.ndim == 4 else x.decay[..., None].expand_as(x.k)).transpose(1, 2)
    h, outputs = x.h, []
    for start in range(0, k.shape[2], C):
        rows = slice(start, start + C)
        qc, kc, vc, bc, w = q[:, :, rows], k[:, :, rows], v[:, :, rows], beta[:, :, rows], (d * k)[:, :, rows]
        total = log[:, :, rows].cumsum(2)
        # From a token's write to another's read, feature by feature.
        between = (total[:, :, :, None] - total[:, :, None, :]).exp()
        near = torch.einsum("bhik,bhijk,bhjk->bhij", kc, between, w)
        a = bc * near
        eye = torch.eye(a.shape[-1])
        match fault:
            case "no solve":
                inverse = eye.expand_as(a)
            case "inverse to first order":
                inverse = eye - a.tril(-1)
            case "sign in the solve":
                inverse = torch.linalg.inv(eye - a.tril(-1))
            case "mask one token short":
                inverse = torch.linalg.inv(eye + a.tril(-2))
            case "diagonal in the mask":
                inverse = torch.linalg.inv(eye + a.tril(0))
            case _:
                inverse = torch.linalg.inv(eye + a.tril(-1))
        written = inverse @ (bc * (vc - (total.exp() * kc) @ h))
        far = (total.exp() * qc) @ h
        own = torch.einsum("bhik,bhijk,bhjk->bhij", qc, between, w)
        own = (own if fault == "output not causal" else own.tril(0)) @ written
        if fault == "output without its chunk":
            own = 0 * own
        if fault == "output of its chunk alone":
            far = 0 * far
        outputs.append(far + own)
        last = total[:, :, -1:]
        carried = w if fault == "carry without decay" else (last - total).exp() * w
        h = last.mT.exp() * h + carried.mT @ written
    return (torch.cat(outputs, 2).transpose(1, 2) if outputs else x.v.new_zeros(x.v.shape)), h
