"""The calibrate scan: gains and chunk entries of d_{t+1} = clip[c + gamma_t (d_t - c) + u_t s_t] (T4, T11).

Each sequence and head is a chain of chunks. A chunk's gains come from its triangular operator and the d it enters with;
a certificate that no iterate leaves the box, decided on the device, accepts them, and a chunk without one is stepped
token by token. The result is that of the clipped recurrence in both cases.
"""

from collections.abc import Callable
from ctypes import c_float
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..boundary.rule import Rule
from ..launch.following import begin_followers, following, report
from ..launch.runtime import INTERPRETED, cdiv, exact_precision, tile
from ..launch.sequences import Chunks, chunk_of, sequence_of
from ..launch.sums import WARPS, sum_rows
from ..launch.tuning import autotune, configurations
from .iterates import gate_sums, iterate_tile, next_entry
from .operator import feedback_weight, load_pairs, squares
from .series import inverse_operator
from .sweeps.blocks import BLOCK
from .sweeps.forward import sweep, sweeps_pay
from .tokens import step_tokens

SEGMENT: tl.constexpr = tl.constexpr(32)
"""Chunks after which a chain asks whether any of them may have clipped, and whether it was stopped."""

Launch = Callable[..., object]

SWEPT = ("HAS_GATE", "HAS_ANCHOR", "HAS_INITIAL", "BETA_AWARE", "NORMALIZE", "SCALE_KEY", "KEEP", "PACKED")
"""Constants that the kernels of sweeps take as well."""


class Gains(NamedTuple):
    """What the scan leaves, from which every d_t follows.

    - `gain`, [B, T, H] float32: u_t = eta w_t (f_t - m_t a_t), also right inside chunks that clipped.
    - `entries`, [2, slots, H, K] float32: d at the first token of each chunk, and the rest of it that float32 does
      not hold.
    - `clipped`, [slots, H] int8: 1 where the chunk was stepped token by token.
    - `final`, [N, H, K] float32: d handed on by each sequence.
    - `rest`, [N, H, K] float32 or None: What float32 leaves of it, where chunks are gone through in order.
    - `written`: Whether all rows of `out` were written, and not only those of chunks that clipped.
    - `opened`, [sweeps, N, H] int32 or None: 1 where a sweep walked something, or, the last, found something left to
      walk; None where none is tried.
    """

    gain: Tensor
    entries: Tensor
    clipped: Tensor
    final: Tensor
    rest: Tensor | None = None
    written: bool = False
    opened: Tensor | None = None

    @property
    def entry(self) -> Tensor:
        """[slots, H, K]: d at the first token of each chunk."""
        return self.entries[0]


@triton.jit
def advance(s, u, gate, d, rest, c, HAS_GATE: tl.constexpr):
    """Where nothing clips: the d handed on and its rest, the least and greatest value any iterate can have, [BK] each.

    Where nothing is forgotten every rounding of d would stay, so d + rest is carried, `rest` what float32 lost of d.
    With u = rise - fall split by sign, and every product of gates in (0, 1], each iterate lies between
    c + min(e, G e) - S^T fall and c + max(e, G e) + S^T rise, for e = d - c and G the product of all the gates.
    """
    rise = tl.maximum(u, 0.0)[:, None] * s
    fall = tl.maximum(-u, 0.0)[:, None] * s
    up, down = sum_rows(rise, WARPS), sum_rows(fall, WARPS)
    if HAS_GATE:
        _, after, total = gate_sums(gate)
        weighted = (u * tl.exp((total - after).to(tl.float32)))[:, None] * s
        moved = sum_rows(weighted, WARPS)
        kept = tl.exp(total.to(tl.float32)) * (d - c)
        low = c + tl.minimum(d - c, kept) - down
        high = c + tl.maximum(d - c, kept) + up
        handed_on = c + kept + moved
        rest = tl.zeros_like(d)
    else:
        low = d - down
        high = d + up
        moved = (up - down) + rest
        handed_on = d + moved
        rest = moved - (handed_on - d)
    return handed_on, rest, low, high


@triton.jit
def leaves(low, high, known, d_min, d_max):
    """Which features' ranges leave the box, [BK]; NaN does. A box of one point always clips."""
    return known & (((low >= d_min) & (high <= d_max) == 0) | (d_min == d_max))


@triton.jit
def clips(
    k, g, gain, place, left, d, c, known, d_min, d_max, H: tl.constexpr, K: tl.constexpr, C: tl.constexpr,
    HAS_GATE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Whether any of a chunk's iterates, or what it hands on, would leave the box.

    In blocks of 16 tokens whose keys are loaded again, up to the first block in which one does: seldom needed, it
    should not cost the chain registers.
    """
    row = tl.arange(0, 16)
    feature = tl.arange(0, d.shape[0])
    gains = tl.reshape(gain, [C // 16, 16])
    block = tl.arange(0, C // 16)
    found = place < 0
    i = 0
    while (i < C // 16) & (found == 0):
        inside = row < left - 16 * i
        s = squares(k + place * K, row, inside, H * K, feature, known)
        u = tl.sum(tl.where(block[:, None] == i, gains, 0.0), 0)
        gate = tl.zeros([16], tl.float32)
        if HAS_GATE:
            gate = tl.load(g + place + row * H, mask=inside, other=0.0).to(tl.float32)
        met = iterate_tile(s, u, gate, d, c, 16, HAS_GATE, PRECISION)
        d = next_entry(s, u, gate, d, c, HAS_GATE)
        least, greatest = tl.minimum(tl.min(met, 0), d), tl.maximum(tl.max(met, 0), d) + (d - d)
        found = tl.max(leaves(least, greatest, known, d_min, d_max).to(tl.int32), 0) != 0
        place += 16 * H
        i += 1
    return found


@triton.jit
def free_chunk(
    d, rest, c, k, g, feedback, inverse, place, item, left, rows, square, lower, known, eta,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, HAS_GATE: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr,
):  # fmt: skip
    """The gains [C] of a chunk of `left` tokens that is entered with d + rest, and `advance`, as if nothing clipped."""
    row = tl.arange(0, C)
    inside = row < left
    key = tl.load(k + place * K + rows, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
    solve = tl.load(inverse + item * (C * C) + square, mask=lower, other=0.0)
    gate = tl.zeros([C], tl.float32)
    if HAS_GATE:
        gate = tl.load(g + place + row * H, mask=inside, other=0.0).to(tl.float32)
    s = key * key
    step = tl.where(inside, eta, 0.0)
    if NORMALIZE:
        step *= feedback_weight(tl.sum(s, 1), NORMALIZE)
    if HAS_GATE:
        before, _, _ = gate_sums(gate)
        kept = c[None, :] + tl.exp(before.to(tl.float32))[:, None] * (d - c)[None, :]
        alignment = tl.sum(s * kept, 1)
    else:
        alignment = tl.sum(s * d[None, :], 1)
    if BETA_AWARE:
        fixed, slope = load_pairs(feedback + 2 * place, inside, 2 * H, 1)
        r = step * (fixed - slope * alignment)
    else:
        r = step * (1.0 - alignment)
    u = tl.sum(solve * r[None, :], 1)
    handed_on, lost, low, high = advance(s, u, gate, d, rest, c, HAS_GATE)
    return u, handed_on, lost, low, high


@triton.jit
def store_chunk(
    gain, entry, entry_rest, u, d, rest, place, item, left, keeps, known, H: tl.constexpr, K: tl.constexpr
):
    """What a chunk is entered with, and its gains where it `keeps` them."""
    feature = tl.arange(0, d.shape[0])
    row = tl.arange(0, u.shape[0])
    tl.store(entry + item * K + feature, d, mask=known)
    tl.store(entry_rest + item * K + feature, rest, mask=known)
    tl.store(gain + place + row * H, u, mask=(row < left) & keeps)


# A chain is latency, most of it exchanges between warps: eight take twice as long. The tiles of the next chunks are on
# their way while one is worked on; deeper pipelines need more shared memory than long rows leave. A barrier in the
# loop, even in a branch, would keep Triton from pipelining it.
@autotune(configurations([{"STAGES": 3}, {"STAGES": 2}], warps=(WARPS.value,)), ["K", "C", "HAS_GATE"])
@triton.jit
def chain_kernel(
    k, g, feedback, anchor, initial, initial_rest, inverse, gain, entry, entry_rest, clipped, final, final_rest,
    out, path, origin, busy, progress, bounds, first, length, eta, eta_rest, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BLOCK: tl.constexpr,
    HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, HAS_INITIAL: tl.constexpr, HAS_INITIAL_REST: tl.constexpr,
    HAS_FINAL_REST: tl.constexpr, HAS_ORIGIN: tl.constexpr, LED: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, KEEP: tl.constexpr, PACKED: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Gains of a sequence's chunks, one after the other.

    A segment of chunks is first gone through as if nothing clipped: whether d may leave the box is noted by feature,
    and asked once, at its end, as whoever asks has all threads wait. Where it may, the segment is gone through again,
    and every chunk asked; so is the next one, until one is found in which no d may.

    With `origin` [N, H] the first chunk that clips ends it, and its block is left there for sweeps to begin with (one
    past the last where none clips), with a 1 in `busy`; without, such chunks are stepped. Others are launched beside it
    (LED of 1) or behind it (2): these see in `progress` [N, H] how many chunks are done.
    """
    if LED > 0:
        begin_followers()
    program = tl.program_id(0)
    head = program % H
    start, tokens, slot, chunks = sequence_of(program // H, bounds, first, length, C, PACKED)
    row = tl.arange(0, C)
    feature = tl.arange(0, BK)
    known = feature < K
    own = program.to(tl.int64) * K + feature
    d = tl.full([BK], 1.0, tl.float32)
    if HAS_INITIAL:
        d = tl.load(initial + own, mask=known, other=0.0)
    rest = tl.zeros([BK], tl.float32)
    if HAS_INITIAL_REST:
        rest = tl.load(initial_rest + own, mask=known, other=0.0)
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0)
    rows = row[:, None] * (H * K) + feature[None, :]
    square = row[:, None] * C + row[None, :]
    lower = row[:, None] // 16 >= row[None, :] // 16
    place = start.to(tl.int64) * H + head
    item = slot.to(tl.int64) * H + head
    left = tokens
    reached = tl.cdiv(chunks, BLOCK).to(tl.int32)
    alive = chunks > 0
    asks = chunks < 0
    for part in range(tl.cdiv(chunks, SEGMENT)):
        count = tl.where(alive, tl.minimum(chunks - part * SEGMENT, SEGMENT), 0)
        first_d, first_rest = d, rest
        outside = tl.zeros([BK], tl.int32)
        at, here, tail = place, item, left
        for _ in tl.range(0, tl.where(asks, 0, count), num_stages=STAGES):
            u, handed_on, lost, low, high = free_chunk(
                d, rest, c, k, g, feedback, inverse, at, here, tail, rows, square, lower, known, eta,
                H, K, C, HAS_GATE, BETA_AWARE, NORMALIZE,
            )  # fmt: skip
            store_chunk(gain, entry, entry_rest, u, d, rest, at, here, tail, True, known, H, K)
            tl.store(clipped + here, 0)
            outside |= leaves(low, high, known, d_min, d_max).to(tl.int32)
            d, rest = handed_on, lost
            at += C * H
            here += H
            tail -= C
        asks = asks | (tl.max(outside, 0) != 0)
        d, rest = tl.where(asks, first_d, d), tl.where(asks, first_rest, rest)
        doubtful = asks & (chunks < 0)
        at, here, tail = place, item, left
        passed = part * SEGMENT
        # What is stopped idles to the end of its segment: loops whose loads run ahead have no way out.
        for _ in tl.range(0, tl.where(asks, count, 0), num_stages=STAGES):
            u, handed_on, lost, low, high = free_chunk(
                d, rest, c, k, g, feedback, inverse, at, here, tail, rows, square, lower, known, eta,
                H, K, C, HAS_GATE, BETA_AWARE, NORMALIZE,
            )  # fmt: skip
            may = tl.max(leaves(low, high, known, d_min, d_max).to(tl.int32), 0) != 0
            doubtful = doubtful | may
            stepped = may & alive
            if stepped:
                stepped = clips(k, g, u, at, tail, d, c, known, d_min, d_max, H, K, C, HAS_GATE, PRECISION)
            store_chunk(
                gain, entry, entry_rest, u, d, rest, at, here, tail, alive & (stepped == 0), known & alive, H, K,
            )  # fmt: skip
            tl.store(clipped + here, stepped.to(tl.int8), mask=alive)
            if HAS_ORIGIN:
                reached = tl.where(stepped, (passed // BLOCK).to(tl.int32), reached)
                alive = alive & (stepped == 0)
                d, rest = handed_on, lost
            elif stepped:
                wide = step_tokens(
                    d.to(tl.float64) + rest.to(tl.float64), c.to(tl.float64), k, g, feedback, gain, out, path, at,
                    tl.minimum(tail, C).to(tl.int32), eta, eta_rest, d_min, d_max,
                    H, K, BK, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY, KEEP, WARPS,
                )  # fmt: skip
                d = wide.to(tl.float32)
                rest = (wide - d.to(tl.float64)).to(tl.float32)
            else:
                d, rest = handed_on, lost
            at += C * H
            here += H
            tail -= C
            passed += 1
        asks = doubtful
        if LED == 2:
            tl.store(busy, 1, mask=alive == 0)
            done = tl.where(alive, tl.minimum((part + 1) * SEGMENT, chunks), chunks)
            report(progress + program, done.to(tl.int32))
        place += SEGMENT * (C * H)
        item += SEGMENT * H
        left -= SEGMENT * C
    if HAS_ORIGIN:
        tl.store(origin + program, reached)
        tl.store(busy, 1, mask=reached < tl.cdiv(chunks, BLOCK))
    tl.store(final + own, d, mask=known)
    if HAS_FINAL_REST:
        tl.store(final_rest + own, rest, mask=known)


# One warp holds the row: sums over features then need no exchange between warps.
@autotune(configurations(warps=(1,)), ["K", "HAS_GATE"])
@triton.jit
def sequential_kernel(
    k, g, feedback, anchor, initial, gain, entry, clipped, final, out, path, bounds, first, length,
    eta, eta_rest, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, HAS_INITIAL: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr,
    SCALE_KEY: tl.constexpr, KEEP: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    head = program % H
    start, tokens, slot, chunks = sequence_of(program // H, bounds, first, length, C, PACKED)
    feature = tl.arange(0, BK)
    known = feature < K
    own = program.to(tl.int64) * K + feature
    d = tl.full([BK], 1.0, tl.float64)
    if HAS_INITIAL:
        d = tl.load(initial + own, mask=known, other=0.0).to(tl.float64)
    c = tl.zeros([BK], tl.float64)
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0).to(tl.float64)
    place = start.to(tl.int64) * H + head
    item = slot.to(tl.int64) * H + head
    left = tokens
    for _ in range(chunks):
        tl.store(entry + item * K + feature, d.to(tl.float32), mask=known)
        tl.store(clipped + item, 1)
        count = tl.minimum(left, C).to(tl.int32)
        d = step_tokens(
            d, c, k, g, feedback, gain, out, path, place, count, eta, eta_rest, d_min, d_max,
            H, K, BK, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY, KEEP, 1,
        )  # fmt: skip
        place += C * H
        item += H
        left -= C
    tl.store(final + own, d.to(tl.float32), mask=known)


# Tiles of [C, BK] with one product each; more warps where the tile is wide.
@autotune(configurations([{"BK": 64}, {"BK": 128}], warps=(4, 8)), ["K", "C", "HAS_GATE"])
@triton.jit
def expand_kernel(
    k, g, anchor, gain, entry, clipped, out, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
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
    u = tl.load(gain + place + row * H, mask=inside, other=0.0)
    gate = tl.zeros([C], tl.float32)
    if HAS_GATE:
        gate = tl.load(g + place + row * H, mask=inside, other=0.0).to(tl.float32)
    feature = tl.program_id(1) * BK + tl.arange(0, BK)
    known = feature < K
    d = tl.load(entry + program.to(tl.int64) * K + feature, mask=known, other=0.0)
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + (sequence * H + head) * K + feature, mask=known, other=0.0)
    rows = place * K + row[:, None] * (H * K) + feature[None, :]
    mask = inside[:, None] & known[None, :]
    key = tl.load(k + rows, mask=mask, other=0.0).to(tl.float32)
    met = iterate_tile(key * key, u, gate, d, c, C, HAS_GATE, PRECISION)
    tl.store(out + rows, met.to(out.dtype.element_ty), mask=mask)


def rule_numbers(rule: Rule) -> tuple[float, float, float, float]:
    """eta, what float32 leaves of it, d_min and d_max, as the float32 numbers that kernels take.

    Rounded here, so that the interpreter, which would keep them in float64, sees a clipped d that is stored in float32
    lie on the bound and not beside it.
    """
    eta, d_min, d_max = (c_float(x).value for x in (rule.eta, rule.d_min, rule.d_max))
    return eta, rule.eta - eta, d_min, d_max


class ScanCall(NamedTuple):
    """What a scan reads, and where it writes.

    k [B, T, H, K]; g [B, T, H] or None; anchor [N, H, K] float32 or None (0); feedback [B, T, H, 2] float32 or None. Of
    out [B, T, H, K], the rows of chunks that were stepped token by token (all, if sequential) are written: d_t, or
    d_t * k_t with `scale_key`. The same rows of `path` [B, T, H, K] float32, if given, get d_t.
    """

    k: Tensor
    g: Tensor | None
    anchor: Tensor | None
    feedback: Tensor | None
    rule: Rule
    out: Tensor
    path: Tensor | None
    scale_key: bool

    def constants(self, chunks: Chunks, initial: Tensor | None) -> dict[str, Any]:
        """Of the kernels."""
        heads, dim = self.k.shape[2:]
        return {
            "H": heads, "K": dim, "C": chunks.size, "BK": tile(dim), "HAS_GATE": self.g is not None,
            "HAS_ANCHOR": self.anchor is not None, "HAS_INITIAL": initial is not None,
            "BETA_AWARE": self.feedback is not None, "NORMALIZE": self.rule.normalize_feedback,
            "SCALE_KEY": self.scale_key, "KEEP": self.path is not None, "PACKED": chunks.packed,
        }  # fmt: skip


class Flags(NamedTuple):
    """What chains leave for launches after them and beside them; None where nobody asks.

    - `origin`, [N, H] int32: The block of the first chunk that clips, at which a chain ends; without, chunks are
      stepped.
    - `busy`, [1] int32: Not 0 where one has ended so.
    - `progress`, [N, H] int32: Chunks that each is done with, while it is at work.
    """

    origin: Tensor | None = None
    busy: Tensor | None = None
    progress: Tensor | None = None


def new_origin(k: Tensor, chunks: Chunks) -> Tensor:
    return torch.empty(chunks.sequences * k.shape[2], dtype=torch.int32, device=k.device)


def new_gains(k: Tensor, chunks: Chunks, *, in_order: bool = False, sequential: bool = False) -> Gains:
    heads, dim = k.shape[2:]
    make: dict[str, Any] = {"dtype": torch.float32, "device": k.device}
    # Slots left over by packed sequences are part of what a registered operator returns, and stepping leaves no rest.
    per_slot = torch.zeros if chunks.packed else torch.empty
    per_entry = torch.zeros if chunks.packed or sequential else torch.empty
    return Gains(
        torch.empty(k.shape[:3], **make),
        per_entry(2, chunks.slots, heads, dim, **make),
        per_slot(chunks.slots, heads, dtype=torch.int8, device=k.device),
        torch.empty(chunks.sequences, heads, dim, **make),
        torch.zeros(chunks.sequences, heads, dim, **make) if in_order else None,
    )


def run_chain(
    scan: ScanCall, inverse: Tensor, gains: Gains, initial: Tensor | None, initial_rest: Tensor | None, flags: Flags,
    chunks: Chunks, beside: Launch | None = None,
) -> None:  # fmt: skip
    """Go through the chunks, of which `inverse` are the operators, one after the other, from the d that they are
    entered with, ones where None. A launch that needs none of it goes `beside`."""
    follows = beside is not None and (INTERPRETED or bool(following(scan.k.device)))
    chain_kernel[(chunks.sequences * scan.k.shape[2],)](
        scan.k, scan.g, scan.feedback, scan.anchor, initial, initial_rest, inverse, gains.gain, *gains.entries,
        gains.clipped, gains.final, gains.rest, scan.out, scan.path, *flags, chunks.bounds, chunks.first, chunks.length,
        *rule_numbers(scan.rule), **scan.constants(chunks, initial), BLOCK=BLOCK,
        HAS_INITIAL_REST=initial_rest is not None, HAS_FINAL_REST=gains.rest is not None,
        HAS_ORIGIN=flags.origin is not None, LED=2 if flags.progress is not None else int(follows),
        PRECISION=exact_precision(scan.k.dtype),
    )  # fmt: skip
    if beside is not None:
        beside(follows=follows)


def has_chain(g: Tensor | None, rule: Rule) -> bool:
    """Whether calibrations go through chunks one after the other, rather than by sweeps from the first on.

    Forgetting forgets wrong entries too: sweeps then settle at once, and need no operator.
    """
    return g is None or not sweeps_pay(rule)


def operator_of(scan: ScanCall, chunks: Chunks) -> Tensor:
    return inverse_operator(scan.k, scan.g, scan.feedback, scan.rule, chunks)


def sweep_on(scan: ScanCall, gains: Gains, initial: Tensor | None, flags: Flags, chunks: Chunks) -> Gains:
    """Walk by sweeps what chains left, or all of it where there were none."""
    shrinks = None if scan.g is None else torch.expm1(scan.g.float())
    eta, _, d_min, d_max = rule_numbers(scan.rule)
    constants = scan.constants(chunks, initial)
    opened = sweep(
        scan.k, shrinks, scan.feedback, scan.anchor, initial, chunks, flags.origin, flags.busy,
        (gains.gain, *gains.entries, gains.clipped, gains.final, scan.out, scan.path), (eta, d_min, d_max),
        {name: constants[name] for name in SWEPT},
    )  # fmt: skip
    return gains._replace(opened=opened, written=flags.origin is None)


def scan_forward(
    scan: ScanCall, initial: Tensor | None, chunks: Chunks, *, sequential: bool, in_order: bool = False,
    initial_rest: Tensor | None = None, beside: Launch | None = None,
) -> Gains:  # fmt: skip
    """Gains, chunk entries and the d handed on, from initial [N, H, K] float32 or None (ones).

    `in_order` goes through the chunks one after the other, clipped or forgetting ones too, so that what follows an
    entry depends on it and its rest alone: a sequence cut between chunks has the same bits. `beside` is launched as
    well, beside a chain where there is one.
    """
    k = scan.k
    gains = new_gains(k, chunks, in_order=in_order, sequential=sequential)
    programs = chunks.sequences * k.shape[2]
    stops = not in_order and sweeps_pay(scan.rule)
    chained = programs > 0 and not sequential and not (stops and not has_chain(scan.g, scan.rule))
    if beside is not None and not chained:
        beside()
    if programs == 0:
        return gains
    if sequential:
        sequential_kernel[(programs,)](
            k, scan.g, scan.feedback, scan.anchor, initial, *gains[:4], scan.out, scan.path, chunks.bounds,
            chunks.first, chunks.length, *rule_numbers(scan.rule), **scan.constants(chunks, initial),
        )  # fmt: skip
        return gains._replace(written=True)
    flags = Flags()
    if chained and stops:
        flags = Flags(new_origin(k, chunks), torch.zeros(1, dtype=torch.int32, device=k.device))
    if chained:
        run_chain(scan, operator_of(scan, chunks), gains, initial, initial_rest, flags, chunks, beside)
    return sweep_on(scan, gains, initial, flags, chunks) if stops else gains


def expand(
    k: Tensor, g: Tensor | None, anchor: Tensor | None, chunks: Chunks, gains: Gains, out: Tensor
) -> None:
    """Write the d_t that `scan_forward` did not into out [B, T, H, K]."""
    heads, dim = k.shape[2:]
    if gains.written or chunks.slots * heads == 0:
        return

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return chunks.slots * heads, cdiv(dim, meta["BK"])

    expand_kernel[grid](
        k, g, anchor, gains.gain, gains.entries, gains.clipped, out, *chunks.pointers, chunks.length,
        chunks.per_sequence,
        H=heads, K=dim, C=chunks.size, HAS_GATE=g is not None, HAS_ANCHOR=anchor is not None, PACKED=chunks.packed,
        PRECISION=exact_precision(k.dtype),
    )  # fmt: skip
