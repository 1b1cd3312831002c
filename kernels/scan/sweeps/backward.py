"""The chain of adjoints by sweeps, for sequences in which some chunk clipped (T29, differentiated).

With the clip's pattern fixed the adjoints are linear, lambda_t = p_t + gamma_t mu_t - rho_t m_t s_t (see `adjoint`). A
sweep walks every block exactly from the adjoint thought to come in at its end; at fixed rho the block passes a change
of it on times slope = the product of its gates, or not at all where a feature clipped. Joining, settling and
certificate are those of `sweeps`, relative to the adjoint's norm: the transpose of a step that stretches nothing
does not either.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...launch.runtime import tile
from ...launch.sequences import Chunks, chunk_of, sequence_of
from ...launch.tuning import autotune, configurations
from ..operator import feedback_weight
from .blocks import (
    AHEAD,
    BLOCK as CHUNKS,
    ENDED,
    GOES_ON,
    UNSPECIALIZED,
    WALKS,
    allowed_sweeps,
    answer,
    apart,
    arrive,
    blocks_of,
    enter_sweep,
    goes_on_after,
    leave,
    lengthen,
    load_pair,
    most_sweeps,
    norm_of,
    progress_of,
    spread_of,
)
from .pattern import ROWS, WHOLE, Swept
from .walk import load_numbers, load_tokens

TOLERANCE: tl.constexpr = tl.constexpr(2.0**-21)
"""Relative: float32 sums of a block's gradients are not known better."""

PLANES = 9
WALKED, WANTED, EXIT, SLOPE, COMMON, OWN = (tl.constexpr(plane) for plane in (0, 2, 4, 6, 7, 8))
"""Rows [K] of a block, by plane: two for numbers carried with their rest."""


@triton.jit
def walk_back(
    adjoint, rest, slope, mass, strength, total, word, k, shrinks, feedback, grad, rho, place, eta,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, ROWS: tl.constexpr, HAS_GATE: tl.constexpr,
    BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr,
):  # fmt: skip
    """Carry the adjoint [BK] and its rest back over ROWS tokens; bit j of `word` says where token j let it pass."""
    row = tl.arange(0, ROWS)
    keys = load_tokens(k, place, H, K, BK, ROWS)
    directs = load_tokens(grad, place, H, K, BK, ROWS)
    shrunk = load_numbers(shrinks, place, H, ROWS, HAS_GATE)
    slopes = load_numbers(feedback, 2 * place + 1, 2 * H, ROWS, BETA_AWARE)
    shares = tl.zeros([ROWS], tl.float32)
    for j in tl.static_range(ROWS - 1, -1, -1):
        key = keys[j].to(tl.float32)
        direct = directs[j].to(tl.float32)
        s = key * key
        passes = (word & (1 << j)) != 0
        mu = tl.where(passes, adjoint, 0.0)
        rest = tl.where(passes, rest, 0.0)
        weight = 1.0
        weighted = s
        if NORMALIZE:
            weight = feedback_weight(tl.sum(s, 0), NORMALIZE)
            weighted = weight * s
        share = eta * weight * tl.sum(mu * s, 0)
        shares = tl.where(row == j, share, shares)
        if BETA_AWARE:
            share *= slopes[j]
            weight *= slopes[j]
            weighted *= slopes[j]
        if SCALE_KEY:
            direct *= key
        change = (direct - share * s) + rest
        if HAS_GATE:
            shrink = shrunk[j]
            change += shrink * mu
            slope += slope * shrink
        adjoint = mu + change
        rest = change - (adjoint - mu)
        mass += weighted
        strength += weighted * s
        total += weight
    tl.store(rho + place + row * H, shares)
    return adjoint, rest, slope, mass, strength, total


@triton.jit
def walk_back_chunk(
    adjoint, rest, slope, mass, strength, total, opens, k, shrinks, feedback, grad, rho, exits, pattern, place, item,
    left, eta,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, ROWS: tl.constexpr, HAS_GATE: tl.constexpr,
    BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr,
):  # fmt: skip
    """`walk_back` over a chunk that begins at row `place`, from its last token to its first.

    `opens` keeps, in its lowest ROWS bits, where nothing has clipped yet.
    """
    feature = tl.arange(0, BK)
    known = feature < K
    count = tl.minimum(left, C).to(tl.int32)
    whole = count // ROWS
    groups = item * (C // ROWS * K) + feature
    odd = count % ROWS
    word = tl.load(pattern + groups + whole * K, mask=known & (odd > 0), other=WHOLE)
    tl.store(exits + groups + whole * K, adjoint, mask=known & (odd > 0))
    opens &= word
    for passed in range(odd):
        token = odd - 1 - passed
        adjoint, rest, slope, mass, strength, total = walk_back(
            adjoint, rest, slope, mass, strength, total, word >> token, k, shrinks, feedback, grad, rho,
            place + (whole * ROWS + token) * H, eta, H, K, BK, 1, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY,
        )  # fmt: skip
    for passed in range(whole):
        group = whole - 1 - passed
        word = tl.load(pattern + groups + group * K, mask=known, other=WHOLE)
        tl.store(exits + groups + group * K, adjoint, mask=known)
        opens &= word
        adjoint, rest, slope, mass, strength, total = walk_back(
            adjoint, rest, slope, mass, strength, total, word, k, shrinks, feedback, grad, rho,
            place + group * (ROWS * H), eta, H, K, BK, ROWS, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY,
        )  # fmt: skip
    return adjoint, rest, slope, mass, strength, total, opens


@triton.jit
def walk_back_block(
    adjoint, rest, k, shrinks, feedback, grad, rho, exits, pattern, grad_initial, planes, factors, row, item, place,
    left, chain, block, size, rows, eta,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, CHUNKS: tl.constexpr, ROWS: tl.constexpr,
    HAS_GATE: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr,
):  # fmt: skip
    """Walk one block from adjoint + rest [BK] at its end, and leave how it passes a change of that on in its `row`."""
    feature = tl.arange(0, BK)
    known = feature < K
    own = row.to(tl.int64) * K + feature
    tl.store(planes + WALKED * size + own, adjoint, mask=known)
    tl.store(planes + (WALKED + 1) * size + own, rest, mask=known)
    mass, strength = tl.zeros([BK], tl.float32), tl.zeros([BK], tl.float32)
    opens = tl.full([BK], WHOLE, tl.int32)
    slope, total = 1.0, 0.0
    count = tl.minimum(tl.cdiv(left, C), CHUNKS)
    for passed in range(count):
        chunk = count - 1 - passed
        adjoint, rest, slope, mass, strength, total, opens = walk_back_chunk(
            adjoint, rest, slope, mass, strength, total, opens, k, shrinks, feedback, grad, rho, exits, pattern,
            place + chunk * (C * H), item + chunk * H, left - chunk * C, eta,
            H, K, C, BK, ROWS, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY,
        )  # fmt: skip
    tl.store(planes + EXIT * size + own, adjoint, mask=known)
    tl.store(planes + (EXIT + 1) * size + own, rest, mask=known)
    common, own_part = spread_of(mass, strength, total)
    tl.store(planes + SLOPE * size + own, tl.where(opens == WHOLE, slope, 0.0), mask=known)
    tl.store(planes + COMMON * size + own, tl.where(opens == WHOLE, common, 0.0), mask=known)
    tl.store(planes + OWN * size + own, own_part, mask=known)
    tl.store(factors + row, slope)
    tl.store(factors + rows + row, eta * tl.sum(tl.where(known, strength, 0.0), 0))
    if block == 0:
        tl.store(grad_initial + chain * K + feature, adjoint, mask=known)


@autotune(WALKS, ["K", "C", "HAS_GATE"])
@triton.jit(do_not_specialize=UNSPECIALIZED)
def sweep_back_kernel(
    k, shrinks, feedback, grad, grad_final, grad_initial, swept, pattern, rho, exits, planes, factors, tolerance,
    opened, progress, busy, bounds, first, owner, first_chunk, length, per_sequence, chunks_per_sequence, rows, chains,
    sweeps, eta,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, CHUNKS: tl.constexpr, ROWS: tl.constexpr,
    AHEAD: tl.constexpr, HAS_GATE: tl.constexpr, HAS_GRAD_FINAL: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Items in order, one block in one sweep each; see `forward.sweep_kernel`."""
    if busy is not None:  # noqa: SIM102
        if tl.load(busy) == 0:
            return
    ticket = tl.atomic_add(progress, 1)
    while ticket < sweeps * rows:
        sweep, program = ticket // rows, ticket % rows
        head = program % H
        sequence, block, start, tokens = chunk_of(
            program // H, bounds, first, owner, length, per_sequence, CHUNKS * C, PACKED
        )
        slot = sequence * chunks_per_sequence
        if PACKED:
            slot = tl.load(first_chunk + tl.maximum(sequence, 0))
        item = (slot + block * CHUNKS).to(tl.int64) * H + head
        there = tokens > block * (CHUNKS * C)
        if there & (tl.load(swept + item, mask=there, other=0) != 0):
            sweep_item_back(
                k, shrinks, feedback, grad, grad_final, grad_initial, pattern, rho, exits, planes, factors,
                tolerance, opened, progress, rows, chains, sweeps, sweep, program, head, sequence, block, start, tokens,
                item, eta, H, K, C, BK, CHUNKS, ROWS, AHEAD, HAS_GATE, HAS_GRAD_FINAL, BETA_AWARE, NORMALIZE, SCALE_KEY,
            )  # fmt: skip
        ticket = tl.atomic_add(progress, 1)


@triton.jit
def sweep_item_back(
    k, shrinks, feedback, grad, grad_final, grad_initial, pattern, rho, exits, planes, factors,
    tolerance, opened, progress, rows, chains, sweeps, sweep, program, head, sequence, block, start, tokens, item, eta,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, CHUNKS: tl.constexpr, ROWS: tl.constexpr,
    AHEAD: tl.constexpr, HAS_GATE: tl.constexpr, HAS_GRAD_FINAL: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr,
):  # fmt: skip
    """One block in one sweep; see `forward.sweep_item`."""
    chain = sequence * H + head
    left = tokens - block * (CHUNKS * C)
    arrived, ready, before = enter_sweep(progress, sweep, chain, sweeps, chains)
    if before == ENDED:
        leave(ready, ENDED)
    else:
        feature = tl.arange(0, BK)
        known = feature < K
        own = program.to(tl.int64) * K + feature
        size = rows.to(tl.int64) * K
        adjoint, rest = load_pair(planes, WANTED, own, size, known & (sweep > 0))
        moved = norm_of(apart(planes, WANTED, own, WALKED, own, size, known & (sweep > 0)))
        follows = known & (sweep > 0) & (left > CHUNKS * C)
        gap = norm_of(apart(planes, EXIT, own + H * K, WALKED, own, size, follows))
        allowed = tl.load(tolerance + chain, mask=sweep > 0, other=0.0) * norm_of(adjoint)
        settled = (sweep > 0) & (moved <= allowed)
        blocks = tl.cdiv(tokens, CHUNKS * C)
        last = sweep + 1 >= tl.minimum(allowed_sweeps(blocks), sweeps)
        if (settled == 0) | ((gap <= 4.0 * allowed) == 0):
            tl.store(opened + sweep * chains + chain, 1)
        if HAS_GRAD_FINAL:
            at_end = known & (sweep == 0) & (left <= CHUNKS * C)
            adjoint += tl.load(grad_final + chain * K + feature, mask=at_end, other=0.0).to(tl.float32)
        if (sweep == 0) | ((settled == 0) & (last == 0)):
            walk_back_block(
                adjoint, rest, k, shrinks, feedback, grad, rho, exits, pattern, grad_initial, planes, factors, program,
                item, (start + block * (CHUNKS * C)).to(tl.int64) * H + head, left, chain, block, size, rows, eta,
                H, K, C, BK, CHUNKS, ROWS, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY,
            )  # fmt: skip
        if arrive(arrived) + 1 == blocks:
            goes_on = goes_on_after(opened, sweep, chain, sweeps, chains, blocks, last)
            if goes_on:
                join_blocks_back(
                    planes, factors, tolerance + chain, program - block * H, blocks, size, rows, eta, H, K, BK, AHEAD,
                )  # fmt: skip
            leave(ready, tl.where(goes_on, GOES_ON, ENDED))


@triton.jit
def load_map(planes, factors, row, size, rows, follows, H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr):
    """As `forward.load_map`, backwards."""
    feature = tl.arange(0, BK)
    known = feature < K
    cells = row.to(tl.int64) * K + feature
    walked, rest = load_pair(planes, WALKED, cells, size, known)
    gap = apart(planes, EXIT, cells, WALKED, cells - H * K, size, known & follows)
    slopes = tl.load(planes + SLOPE * size + cells, mask=known, other=0.0)
    common = tl.load(planes + COMMON * size + cells, mask=known, other=0.0)
    own = tl.load(planes + OWN * size + cells, mask=known, other=0.0)
    slope = tl.load(factors + row)
    kappa = tl.load(factors + rows + row)
    return walked, rest, gap, slopes, common, own, slope, kappa


@triton.jit
def join_blocks_back(
    planes, factors, tolerance, row, blocks, size, rows, eta,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    """The adjoint at every block's end from those after it, as deviations from what was walked."""
    feature = tl.arange(0, BK)
    y = tl.zeros([BK], tl.float32)
    reach, farthest, strongest = 0.0, 0.0, 0.0
    # The last block keeps what it was walked from.
    for passed in tl.range(0, blocks, num_stages=AHEAD):
        block = blocks - 1 - passed
        walked, rest, gap, slopes, common, own, slope, kappa = load_map(
            planes, factors, row + block * H, size, rows, block > 0, H, K, BK
        )
        wanted = walked + y
        rest += y - (wanted - walked)
        cells = (row + block * H).to(tl.int64) * K + feature
        tl.store(planes + WANTED * size + cells, wanted, mask=feature < K)
        tl.store(planes + (WANTED + 1) * size + cells, rest, mask=feature < K)
        reach = lengthen(reach, slope, kappa)
        farthest = tl.maximum(farthest, reach)
        strongest = tl.maximum(strongest, kappa)
        y = slopes * (y + answer(y, common, own, eta)) + gap
    tl.store(tolerance, tl.where(strongest <= 1.0, TOLERANCE / (1.0 + farthest), -1.0))


@autotune(configurations(warps=(1,)), ["K", "C", "HAS_GATE"])
@triton.jit(do_not_specialize=UNSPECIALIZED)
def unsettled_back_kernel(
    k, shrinks, feedback, grad, grad_final, grad_initial, swept, pattern, rho, exits, opened, bounds, first, length,
    chains,
    sweeps, eta,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, ROWS: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_GRAD_FINAL: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    """Sequences that sweeps left open, from their end to their start; those without tokens hand back their end's."""
    chain = tl.program_id(0)
    head = chain % H
    start, tokens, slot, chunks = sequence_of(chain // H, bounds, first, length, C, PACKED)
    settled = tl.load(opened + (sweeps - 1) * chains + chain, mask=sweeps > 1, other=0) == 0
    if settled & (tokens > 0):
        return
    feature = tl.arange(0, BK)
    known = feature < K
    own = chain.to(tl.int64) * K + feature
    adjoint = tl.zeros([BK], tl.float32)
    if HAS_GRAD_FINAL:
        adjoint = tl.load(grad_final + own, mask=known, other=0.0).to(tl.float32)
    rest = tl.zeros([BK], tl.float32)
    mass, strength = tl.zeros([BK], tl.float32), tl.zeros([BK], tl.float32)
    opens = tl.full([BK], WHOLE, tl.int32)
    slope, total = 1.0, 0.0
    for passed in range(chunks):
        chunk = chunks - 1 - passed
        item = (slot + chunk).to(tl.int64) * H + head
        place = (start + chunk * C).to(tl.int64) * H + head
        adjoint, rest, slope, mass, strength, total, opens = walk_back_chunk(
            adjoint, rest, slope, mass, strength, total, opens, k, shrinks, feedback, grad, rho, exits, pattern, place,
            item, tokens - chunk * C, eta, H, K, C, BK, ROWS, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY,
        )  # fmt: skip
    tl.store(grad_initial + own, adjoint, mask=known)


def sweep_back(
    k: Tensor, shrinks: Tensor | None, feedback: Tensor | None, swept: Tensor, busy: Tensor | None, met: Swept,
    grad: Tensor,
    grad_final: Tensor | None, grad_initial: Tensor, chunks: Chunks, eta: float, rho: Tensor, *,
    normalize: bool, scale_key: bool,
) -> Tensor:  # fmt: skip
    """Fill `rho` [B, T, H], `grad_initial` [N, H, K] and `met.exits` for sequences marked in `swept`.

    busy [1] int32: 0 where none is marked; None where that is not known. Returns `Sweeps.opened`.
    """
    heads, dim = k.shape[2:]
    blocks = blocks_of(chunks)
    rows, chains = blocks.slots * heads, chunks.sequences * heads
    most = most_sweeps(chunks.length, chunks.size)
    make: dict[str, Any] = {"dtype": torch.float32, "device": k.device}
    opened = torch.zeros(most, chains, dtype=torch.int32, device=k.device)
    state = (
        torch.empty(PLANES, rows, dim, **make),
        torch.empty(2, rows, **make),
        torch.empty(chains, **make),
        opened,
        progress_of(most, chains, k),
    )
    given = (k, shrinks, feedback, grad, grad_final, grad_initial, swept, met.pattern, rho, met.exits)
    options = {
        "H": heads, "K": dim, "C": chunks.size, "BK": tile(dim), "ROWS": ROWS, "HAS_GATE": shrinks is not None,
        "HAS_GRAD_FINAL": grad_final is not None, "BETA_AWARE": feedback is not None, "NORMALIZE": normalize,
        "SCALE_KEY": scale_key,
        "PACKED": chunks.packed,
    }  # fmt: skip

    if rows:
        sweep_back_kernel[(rows,)](
            *given, *state, busy, *blocks.pointers, chunks.first, blocks.length, blocks.per_sequence,
            chunks.per_sequence, rows, chains, most, eta, **options, CHUNKS=CHUNKS, AHEAD=AHEAD,
        )  # fmt: skip
    unsettled_back_kernel[(chains,)](
        *given, opened, chunks.bounds, chunks.first, chunks.length, chains, most, eta, **options
    )
    return opened.view(most, chunks.sequences, heads)
