"""Gradients of the calibrate scan: what precedes and what follows its chain of adjoints, and the three together."""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..boundary.rule import Rule
from ..launch.dots import choose, dot
from ..launch.runtime import cdiv, operand_precision, tile
from ..launch.sequences import Chunks, chunk_of, sum_by_sequence
from ..launch.tuning import autotune, configurations, unrolled
from .adjoint import adjoint_kernel, sequential_adjoint_kernel
from .calls import Gains, rule_numbers
from .iterates import decays, gate_sums, iterate_tile
from .operator import load_feedback, store_feedback_gradient
from .series import LARGEST_STEP, Forced, find_operators, new_operators
from .sweeps.backward import sweep_back
from .sweeps.forward import sweeps_pay
from .sweeps.pattern import ROWS, find_pattern, mark_swept
from .sweeps.spread import spread_clipped


class ScanGradients(NamedTuple):
    """Gradients of the calibrate scan's inputs."""

    k: Tensor
    g: Tensor | None
    initial: Tensor
    anchor: Tensor | None
    feedback: Tensor | None


# Two [C, BK] tiles and a [C, C] product: narrow key blocks and few warps leave room for more programs.
@autotune(configurations([{"BK": 32}], warps=(2, 4)), ["K", "C", "HAS_GATE"])
@triton.jit
def forcing_kernel(
    k, g, clipped, grad, inner, forcing, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    SCALE_KEY: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What the gradients p_j inside a chunk do to its adjoints, before any rho.

    inner_t = sum_{j>t} (G_j / G_{t+1}) <s_t, p_j>, and forcing = sum_j G_j p_j at the chunk's first token.
    """
    program = tl.program_id(0)
    slot = program // H
    head = program % H
    _, chunk, start, tokens = chunk_of(slot, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tokens - chunk * C
    if left <= 0:
        return
    if tl.load(clipped + program) != 0:
        return
    row = tl.arange(0, C)
    inside = row < left
    place = (start + chunk * C).to(tl.int64) * H + head
    forcing += program.to(tl.int64) * K
    weights = (row[:, None] < row[None, :]).to(tl.float32)
    entering = tl.full([C], 1.0, tl.float32)
    if HAS_GATE:
        before, after, _ = gate_sums(tl.load(g + place + row * H, mask=inside, other=0.0))
        weights *= decays(-after, -before)
        entering = tl.exp(before.to(tl.float32))
    products = tl.zeros([C, C], tl.float32)
    # Where p needs no key, a product left running into the next round would read registers that this one loads into.
    for i in tl.range(tl.cdiv(K, BK), num_stages=2 if SCALE_KEY else 1):
        feature = i * BK + tl.arange(0, BK)
        known = feature < K
        rows = place * K + row[:, None] * (H * K) + feature[None, :]
        mask = inside[:, None] & known[None, :]
        key = tl.load(k + rows, mask=mask, other=0.0).to(tl.float32)
        p = tl.load(grad + rows, mask=mask, other=0.0).to(tl.float32)
        if SCALE_KEY:
            p *= key
        products += dot(key * key, tl.trans(p), PRECISION)
        tl.store(forcing + feature, tl.sum(entering[:, None] * p, 0), mask=known)
    tl.store(inner + place + row * H, tl.sum(weights * products, 1), mask=inside)


NARROW, UNROLLED = 32, 16
"""Key features of a program of `spread_kernel`, at least, on tensor cores and in full float32."""


# Several [C, BK] tiles live at once: narrow ones leave room for more programs, and what they wait for is memory. Eight
# warps take twice as long. Full float32 products run outside the tensor cores and would spill on wider blocks.
@autotune(
    configurations([{"BK": 64}], warps=(4,))
    + configurations([{"BK": NARROW}], warps=(4,), registers=128)
    + unrolled(BK=UNROLLED),
    ["K", "C", "HAS_GATE", "BETA_AWARE"],
    restored=["grad_g", "grad_feedback"],
)
@triton.jit
def spread_kernel(
    k, g, feedback, anchor, gain, entry, clipped, grad, grad_key, grad_k, grad_g, grad_feedback, pulls, rho, exits,
    bounds, first, owner, length, per_sequence, tokens_in_all, inverse_eta,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, HAS_GRAD_KEY: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr,
    SCALE_KEY: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of keys and gates in chunks that did not clip, from rho and the adjoint at the chunk's end."""
    program = tl.program_id(0)
    slot = program // H
    head = program % H
    sequence, chunk, start, tokens = chunk_of(slot, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tokens - chunk * C
    if left <= 0:
        return
    if tl.load(clipped + program) != 0:
        return
    row = tl.arange(0, C)
    inside = row < left
    place = (start + chunk * C).to(tl.int64) * H + head
    feature = tl.program_id(1) * BK + tl.arange(0, BK)
    known = feature < K
    item = program.to(tl.int64) * K + feature
    u = tl.load(gain + place + row * H, mask=inside, other=0.0)
    share = tl.load(rho + place + row * H, mask=inside, other=0.0)
    d = tl.load(entry + item, mask=known, other=0.0)
    leaving = tl.load(exits + item, mask=known, other=0.0)
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + (sequence * H + head) * K + feature, mask=known, other=0.0)
    rows = place * K + row[:, None] * (H * K) + feature[None, :]
    mask = inside[:, None] & known[None, :]
    key = tl.load(k + rows, mask=mask, other=0.0).to(tl.float32)
    direct = tl.load(grad + rows, mask=mask, other=0.0).to(tl.float32)
    # Asked for with the rest: what is loaded between products is waited for once more.
    if HAS_GRAD_KEY:
        other = tl.load(grad_key + rows, mask=mask, other=0.0)
    s = key * key
    gate = tl.zeros([C], tl.float32)
    weights = (row[:, None] < row[None, :]).to(tl.float32)
    adjoint = leaving[None, :]
    if HAS_GATE:
        gate = tl.load(g + place + row * H, mask=inside, other=0.0).to(tl.float32)
        before, after, total = gate_sums(gate)
        weights *= decays(-after, -before)
        adjoint = tl.exp((total - after).to(tl.float32))[:, None] * adjoint
    lost = share
    if BETA_AWARE:
        lost = share * load_feedback(feedback, place + row * H, inside, BETA_AWARE)[1]
    p = direct
    if SCALE_KEY:
        p = direct * key
    # The deviation first: under strong forgetting d - c is much smaller than d.
    if HAS_GATE:
        adjoint += dot(weights, p - lost[:, None] * s, PRECISION)
        deviation = iterate_tile(s, u, gate, d - c, tl.zeros([BK], tl.float32), C, HAS_GATE, PRECISION)
    else:
        adjoint += choose(weights, p - lost[:, None] * s, PRECISION)
        deviation = (d - c)[None, :] + choose(tl.trans(weights), u[:, None] * s, PRECISION)
    met = c[None, :] + deviation
    result = 2.0 * key * (u[:, None] * adjoint - lost[:, None] * met)
    if SCALE_KEY:
        result += direct * met
    if NORMALIZE:
        result -= (2.0 * inverse_eta * u * share)[:, None] * key
    if HAS_GRAD_KEY:
        result += other.to(tl.float32)
    tl.store(grad_k + rows, result.to(grad_k.dtype.element_ty), mask=mask)
    if BETA_AWARE:
        slice = tl.program_id(1)
        part = 2 * slice.to(tl.int64) * tokens_in_all * H
        part_met = share * tl.sum(met * s, 1)
        store_feedback_gradient(grad_feedback + part, place + row * H, inside, rho, part_met, slice)
    if HAS_GATE:
        gamma = tl.exp(gate)
        passed = tl.sum(tl.where(mask, adjoint * deviation, 0.0), 1)
        partial = tl.program_id(1).to(tl.int64) * tokens_in_all * H
        tl.store(grad_g + partial + place + row * H, gamma * passed, mask=inside)
        if HAS_ANCHOR:
            pull = tl.where(mask, (1.0 - gamma)[:, None] * adjoint, 0.0)
            tl.store(pulls + item, tl.sum(pull, 0), mask=known)


def scan_backward(
    k: Tensor, g: Tensor | None, anchor: Tensor | None, rule: Rule, chunks: Chunks, gains: Gains,
    grad: Tensor, grad_final: Tensor | None, grad_key: Tensor | None, *, scale_key: bool, sequential: bool,
    feedback: Tensor | None = None,
) -> ScanGradients:  # fmt: skip
    """Gradients from `grad` [B, T, H, K] of d_t (of d_t * k_t with `scale_key`).

    grad_final [N, H, K] is the gradient of the d handed on; grad_key [B, T, H, K], one of k from elsewhere, is added.
    Those of g, the anchor and the feedback's terms are None without them, the anchor's also without g.
    """
    heads, dim = k.shape[2:]
    make: dict[str, Any] = {"dtype": torch.float32, "device": k.device}
    precision = operand_precision(k.dtype)
    # Partial sums of as many slices as the narrowest programs have.
    blocks = cdiv(dim, UNROLLED if precision == "ieee" else NARROW)
    gated = g is not None
    anchored = gated and anchor is not None
    grad_k = torch.empty_like(k)
    grad_g = torch.zeros(blocks, *k.shape[:3], **make) if gated else None
    grad_feedback = None if feedback is None else torch.zeros(blocks, *feedback.shape, **make)
    grad_initial = torch.empty(chunks.sequences, heads, dim, **make)
    pulls = torch.zeros(chunks.size // ROWS, chunks.slots, heads, dim, **make) if anchored else None
    programs, items = chunks.sequences * heads, chunks.slots * heads
    shared = {
        "H": heads, "K": dim, "C": chunks.size, "HAS_GATE": gated, "HAS_ANCHOR": anchored,
        "HAS_GRAD_KEY": grad_key is not None, "BETA_AWARE": feedback is not None, "NORMALIZE": rule.normalize_feedback,
        "SCALE_KEY": scale_key,
        "PACKED": chunks.packed,
    }  # fmt: skip
    chain = shared | {"BK": tile(dim), "HAS_GRAD_FINAL": grad_final is not None}
    found = (grad_k, grad_g, grad_feedback, grad_initial, pulls)
    sequences = (chunks.bounds, chunks.first, chunks.length)
    eta, _, d_min, d_max = rule_numbers(rule)
    box = (eta, d_min, d_max)
    known = (k, g, feedback, anchor, gains.gain, gains.entry)
    if sequential and programs:
        sequential_adjoint_kernel[(programs,)](
            *known, grad, grad_final, grad_key, *found, *sequences, *box, **chain
        )
    elif programs:
        slots = (*chunks.pointers, chunks.length, chunks.per_sequence)
        swept = sweeps_pay(rule)
        rho = torch.empty(k.shape[:3], **make)
        # Chunks that the products leave out: those that clipped, or all of a sequence that sweeps take. Where gates
        # forget, sweeps settle soon and cost less than the products.
        apart, busy = gains.clipped, None
        if swept and gated:
            apart = torch.ones_like(gains.clipped)
        elif swept:
            apart, busy = mark_swept(gains.clipped, chunks)
        if not (swept and gated):
            inner = torch.empty(k.shape[:3], **make)
            forcing, exits = torch.empty_like(gains.entry), torch.empty_like(gains.entry)
            # Parts of two bfloat16 numbers will do where products of TF32 would.
            forced = None
            if rule.eta <= LARGEST_STEP and precision == "tf32":
                forced = Forced(grad, inner, forcing, scale_key)
            operators = new_operators(k, chunks, has_terms=gated)
            find_operators(k, g, feedback, rule, chunks, operators, apart, forced)
            if items and forced is None:
                forcing_kernel[(items,)](
                    k, g, apart, grad, inner, forcing, *slots, H=heads, K=dim, C=chunks.size, HAS_GATE=gated,
                    SCALE_KEY=scale_key, PACKED=chunks.packed, PRECISION=precision,
                )  # fmt: skip
            adjoint_kernel[(programs,)](
                *known, apart, grad, grad_final, grad_key, *found, *operators, inner, forcing, rho, exits,
                *sequences, *box, **chain, SWEPT=swept,
            )  # fmt: skip
            del operators, inner, forcing
            if items:
                spread_kernel[lambda meta: (items, cdiv(dim, meta["BK"]))](
                    *known, apart, grad, grad_key, grad_k, grad_g, grad_feedback, pulls, rho, exits, *slots,
                    k.shape[0] * k.shape[1], 1.0 / eta if eta else 0.0, **shared, PRECISION=precision,
                )  # fmt: skip
        if swept:
            shrinks = None if g is None else torch.expm1(g.float())
            options = {"normalize": rule.normalize_feedback, "scale_key": scale_key}
            met = find_pattern(k, shrinks, anchor, gains.gain, gains.entries, apart, chunks, (d_min, d_max))
            sweep_back(
                k, shrinks, feedback, apart, busy, met, grad, grad_final, grad_initial, chunks, eta, rho, **options,
            )  # fmt: skip
            if items:
                spread_clipped(
                    (k, shrinks, feedback, anchor, gains.gain), apart, met, grad, grad_key,
                    (grad_k, grad_g, grad_feedback, pulls), rho, chunks, box, **options,
                )  # fmt: skip
    grad_anchor = None if pulls is None else sum_by_sequence(pulls.sum(0), chunks)
    summed = None if grad_g is None or g is None else grad_g.sum(0).to(g.dtype)
    grad_terms = None if grad_feedback is None else grad_feedback.sum(0)
    return ScanGradients(grad_k, summed, grad_initial, grad_anchor, grad_terms)
