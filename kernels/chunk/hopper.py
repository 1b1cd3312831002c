"""The memory from chunk to chunk on Hopper, for few sequences and heads: as `state` has it, its products side by side.

Where programs are few, a forward pass waits for the row of products that a chunk is. Triton begins a product when the
one before has ended. Here, in Gluon, those of the read run while what the memory waits for is rounded and handed over:
Q H beside K H, Q K~^T beside T (V - K H), and what these make of the output beside the memory's own sum; tiles of the
next chunks are copied meanwhile. Where the memory is gated, Q K~^T may come with its decays. Each product has the
operands and the order that it has there: so have the results the same bits.
"""

import triton.language as tl

from ..launch.following import PATIENCE, SHORTEST, begin_followers, end_after_leader
from ..launch.gluon import (
    barrier,
    fence_async_shared,
    gl,
    gluon,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from ..launch.sequences import sequence_of
from ..launch.tuning import autotune, configurations
from ..recurrent.gates import fading_of
from .decays import ENTERED, KEPT, SCALARS, SINCE, exponential

NEAR: tl.constexpr = tl.constexpr(4)
"""Chunks ahead of which the L2 cache is asked for numbers."""

GROUP: tl.constexpr = tl.constexpr(32)
"""Chunks whose systems a memory waits for at once, as many as a warp has threads."""


@gluon.jit
def acquire_all(flags):
    """The least of some numbers that other programs report: from now on this warp sees all that they had written."""
    return gl.min(
        gl.inline_asm_elementwise(
            "ld.acquire.gpu.global.b32 $0, [$1];", "=r,l", [flags], dtype=gl.int32, is_pure=False, pack=1
        ),
        0,
    )


@gluon.jit
def wait_for_all(flags, wanted, stopped):
    """Wait until all of `flags` have come to `wanted`: whether there is nothing to go on for, as all warps then agree.

    As `wait_until` and `agree_whether` of `launch.following`.
    """
    seen = acquire_all(flags)
    waited = gl.where(gl.load(stopped, volatile=True) != 0, PATIENCE, 0)
    while (seen < wanted) & (waited < PATIENCE):
        waited += SHORTEST
        gl.inline_asm_elementwise(
            "nanosleep.u32 2000; // dummy $0 $1", "=r,r", [waited], dtype=gl.int32, is_pure=False, pack=1
        )
        seen = acquire_all(flags)
    gl.store(stopped, 1, mask=seen < wanted)
    barrier()
    over = gl.atomic_add(stopped, 0, sem="relaxed") != 0
    barrier()
    gl.inline_asm_elementwise(
        "fence.proxy.async.global; // dummy $0 $1", "=r,r", [waited], dtype=gl.int32, is_pure=False, pack=1
    )
    return over


@gluon.jit
def copy_tiles(
    i, end, column, keys, writes, queries, values, inverses, overlaps, arrived, sk, sw, sq, sv, st, sp,
    C: gl.constexpr, STAGES: gl.constexpr, BYTES: gl.constexpr, SAME: gl.constexpr, GIVEN: gl.constexpr,
):  # fmt: skip
    """Have the tiles of chunk i copied, BYTES in all, where there is one; with overlaps that are GIVEN."""
    stage, at, there = i % STAGES, i * C, i < end
    bar = arrived.index(stage)
    mbarrier.expect(bar, BYTES, pred=there)
    tma.async_copy_global_to_shared(keys, [at, 0], bar, sk.index(stage), pred=there)
    tma.async_copy_global_to_shared(values, [at, column], bar, sv.index(stage), pred=there)
    tma.async_copy_global_to_shared(inverses, [at, 0], bar, st.index(stage), pred=there)
    tma.async_copy_global_to_shared(queries, [at, 0], bar, sq.index(stage), pred=there)
    if not SAME:
        tma.async_copy_global_to_shared(writes, [at, 0], bar, sw.index(stage), pred=there)
    if GIVEN:
        tma.async_copy_global_to_shared(overlaps, [at, 0], bar, sp.index(stage), pred=there)


@gluon.jit
def load_numbers(beta, scalars, row, token, left, H: gl.constexpr, STATE_GATE: gl.constexpr):
    """What a chunk needs of each token beside its tiles, [C]: beta, and, where the memory is gated by head, decays from
    the chunk's start and to its end, and sums of its gates.

    Asked for a chunk ahead, and of the L2 cache long before (`bring_near`): whatever is on its way keeps a fence
    waiting, and every operand that is made here is followed by one.
    """
    there = row < left
    rate = gl.zeros_like(row).to(gl.float32)
    entered, stays, since = rate, rate, rate
    if STATE_GATE == 1:
        numbers = scalars + (token + row * H) * SCALARS
        rate = gl.load(numbers, mask=there, other=0.0)
        entered = gl.load(numbers + ENTERED, mask=there, other=0.0)
        stays = gl.load(numbers + KEPT, mask=there, other=0.0)
        since = gl.load(numbers + SINCE, mask=there, other=0.0)
    else:
        rate = gl.load(beta + token + row * H, mask=there, other=0.0).to(gl.float32)
    return rate, entered, stays, since


@gluon.jit
def load_total(
    scalars,
    sums,
    feature,
    token,
    left,
    H: gl.constexpr,
    K: gl.constexpr,
    C: gl.constexpr,
    STATE_GATE: gl.constexpr,
):
    """The sum of a chunk's log gates, of each feature where gates are."""
    last = token + (gl.minimum(left, C) - 1) * H
    total = 0.0
    if STATE_GATE == 1:
        total = gl.load(scalars + last * SCALARS + SINCE, mask=left > 0, other=0.0)
    if STATE_GATE == 2:
        total = gl.load(sums + last * K + feature, mask=(feature < K) & (left > 0), other=0.0)
    return total


@gluon.jit
def bring_near(
    beta, scalars, sums, row, feature, token, left, H: gl.constexpr, K: gl.constexpr, C: gl.constexpr,
    STATE_GATE: gl.constexpr,
):  # fmt: skip
    """Have the L2 cache ask for the numbers of a chunk, or of the sequence's last token where there is none."""
    at = token + gl.minimum(row, left - 1) * H
    if STATE_GATE == 1:
        touch(scalars + at * SCALARS)
    else:
        touch(beta + at)
    if STATE_GATE == 2:
        last = token + (gl.minimum(left, C) - 1) * H
        touch(sums + last * K + gl.minimum(feature, K - 1))


@gluon.jit
def fading(total, block: gl.constexpr, STATE_GATE: gl.constexpr):
    """The two factors by which a chunk fades the memory, of which `block` is the layout.

    Each thread finds those of a feature, and not all that it needs.
    """
    whole, less = fading_of(total)
    if STATE_GATE == 2:
        whole = gl.convert_layout(whole, gl.SliceLayout(1, block))[:, None]
        less = gl.convert_layout(less, gl.SliceLayout(1, block))[:, None]
    return whole, less


@gluon.jit
def decays_between(times, square: gl.constexpr):
    """The product of the gates after token j up to token t, [C, C], of their sums; 1 for t before j."""
    to = times.load(gl.SliceLayout(1, square))[:, None]
    since = times.load(gl.SliceLayout(0, square))[None, :]
    return exponential(gl.minimum(to - since, 0.0))


@gluon.jit
def touch(numbers):
    gl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; // dummy $0", "=r,l", [numbers], dtype=gl.int32, is_pure=False, pack=1
    )


# As many stages as there is shared memory for.
@autotune(
    configurations([{"BV": 32, "STAGES": 3}, {"BV": 64, "STAGES": 2}]),
    ["K", "V", "crowd", "STATE_GATE", "SAME", "BESIDE"],
)
@gluon.jit
def hopper_memory_kernel(
    q, k, write_key, v, beta, inverse, sums, scalars, overlaps, o, cuts, initial, final, flag, solved, bounds, first,
    length, stride, every, parts, scale, crowd,
    H: gl.constexpr, G: gl.constexpr, K: gl.constexpr, V: gl.constexpr, C: gl.constexpr, BK: gl.constexpr,
    BV: gl.constexpr, CUT: gl.constexpr, HAS_INITIAL: gl.constexpr, HAS_FINAL: gl.constexpr, PACKED: gl.constexpr,
    STATE_GATE: gl.constexpr, SAME: gl.constexpr, AGAIN: gl.constexpr, BESIDE: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    """Arguments as of `state.memory_kernel`, with READ and BULK; where the memory is gated by head there may be
    `overlaps` as well."""
    GIVEN: gl.constexpr = overlaps is not None
    if BESIDE > 0:
        begin_followers()
    if AGAIN:  # noqa: SIM102 -- nested, because `flag` is None otherwise
        if gl.load(flag) == 0:
            return
    dtype: gl.constexpr = v.dtype.element_ty
    block: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BV, 16]
    )
    square: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, C, 16]
    )
    factor: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=block, k_width=2)
    by_key: gl.constexpr = gl.NVMMASharedLayout.get_default_for([C, BK], dtype)
    by_value: gl.constexpr = gl.NVMMASharedLayout.get_default_for([C, BV], dtype)
    by_token: gl.constexpr = gl.NVMMASharedLayout.get_default_for([C, C], dtype)
    program = gl.program_id(0)
    head = program % H
    column = gl.program_id(1) * BV
    start, tokens, slot, chunks = sequence_of(program // H, bounds, first, length, C, PACKED, stride)
    tokens, end = tokens.to(gl.int32), chunks.to(gl.int32)
    here = start.to(gl.int64) * H + head
    key_here = start.to(gl.int64) * (H // G) + head // G
    apart: gl.constexpr = H // G * K
    keys = tma.make_tensor_descriptor(k + key_here * K, [tokens, K], [apart, 1], [C, BK], by_key)
    queries = tma.make_tensor_descriptor(q + key_here * K, [tokens, K], [apart, 1], [C, BK], by_key)
    values = tma.make_tensor_descriptor(v + here * V, [tokens, V], [H * V, 1], [C, BV], by_value)
    inverses = tma.make_tensor_descriptor(inverse + here * C, [tokens, C], [H * C, 1], [C, C], by_token)
    sk = gl.allocate_shared_memory(dtype, [STAGES, C, BK], by_key)
    sq = gl.allocate_shared_memory(dtype, [STAGES, C, BK], by_key)
    sv = gl.allocate_shared_memory(dtype, [STAGES, C, BV], by_value)
    st = gl.allocate_shared_memory(dtype, [STAGES, C, C], by_token)
    writes, sw, pairs, sp = keys, sk, inverses, st
    if not SAME:
        writes = tma.make_tensor_descriptor(
            write_key + key_here * K, [tokens, K], [apart, 1], [C, BK], by_key
        )
        sw = gl.allocate_shared_memory(dtype, [STAGES, C, BK], by_key)
    if GIVEN:
        pairs = tma.make_tensor_descriptor(overlaps + here * C, [tokens, C], [H * C, 1], [C, C], by_token)
        sp = gl.allocate_shared_memory(dtype, [STAGES, C, C], by_token)
    # Operands that are made here: the memory, what it misses, what is written, with decays up to the end, and read.
    entering = gl.allocate_shared_memory(dtype, [BK, BV], by_value)
    missing = gl.allocate_shared_memory(dtype, [C, BV], by_value)
    written = gl.allocate_shared_memory(dtype, [C, BV], by_value)
    kept, times = written, written
    if STATE_GATE == 1:
        # What is missing has been met when this is stored, and beside overlaps there is no room for both.
        kept = missing if GIVEN else gl.allocate_shared_memory(dtype, [C, BV], by_value)
    if STATE_GATE == 1 and not GIVEN:
        times = gl.allocate_shared_memory(gl.float32, [C], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    result = gl.allocate_shared_memory(dtype, [C, BV], by_value)
    outputs = tma.make_tensor_descriptor(o + here * V, [tokens, V], [H * V, 1], [C, BV], by_value)
    arrived = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(arrived.index(i), count=1)
    fence_async_shared()
    BYTES: gl.constexpr = 2 * C * (BK * (2 if SAME else 3) + BV + C * (2 if GIVEN else 1))

    row = gl.arange(0, C, layout=gl.SliceLayout(1, block))
    key = gl.arange(0, BK, layout=gl.SliceLayout(1, block))
    feature = gl.arange(0, BK, layout=gl.BlockedLayout([1], [32], [4], [0]))
    value = column + gl.arange(0, BV, layout=gl.SliceLayout(0, block))
    to = gl.arange(0, C, layout=gl.SliceLayout(1, square))[:, None]
    earlier = gl.arange(0, C, layout=gl.SliceLayout(0, square))[None, :]
    cell = key[:, None] * V + value[None, :]
    in_cell = (key < K)[:, None] & (value < V)[None, :]
    memory = gl.zeros([BK, BV], gl.float32, layout=block)
    if HAS_INITIAL:
        memory = gl.load(initial + program.to(gl.int64) * (K * V) + cell, mask=in_cell, other=0.0)
    none = gl.zeros([C, BV], gl.float32, layout=block)
    no_pairs = gl.zeros([C, C], gl.float32, layout=square)
    lane = gl.arange(0, GROUP, layout=gl.BlockedLayout([1], [32], [4], [0]))
    found_until, flags = end, solved
    if BESIDE > 0:
        flags = solved + slot * (H // G) + head // G
        found_until = gl.minimum(GROUP, end)
        if wait_for_all(flags + gl.minimum(lane, gl.maximum(end, 1) - 1) * (H // G), G, flag):
            end = end * 0
    for i in gl.static_range(STAGES - 1):
        copy_tiles(
            i, end, column, keys, writes, queries, values, inverses, pairs, arrived, sk, sw, sq, sv, st, sp,
            C, STAGES, BYTES, SAME, GIVEN,
        )  # fmt: skip
    rate, entered, stays, since = load_numbers(beta, scalars, row, here, tokens, H, STATE_GATE)
    total = load_total(scalars, sums, feature, here, tokens, H, K, C, STATE_GATE)
    if STATE_GATE > 0:
        whole, less = fading(total, block, STATE_GATE)
        total = load_total(scalars, sums, feature, here + C * H, tokens - C, H, K, C, STATE_GATE)
    if STATE_GATE == 1 and not GIVEN:
        times.store(since)
    entering.store(memory.to(dtype))
    fence_async_shared()
    barrier()
    i = end * 0
    part = 0
    while i < end:
        stage = i % STAGES
        token = here + i.to(gl.int64) * (C * H)
        left = tokens - i * C
        # The stage of the chunk before is free for it.
        far = i + STAGES - 1
        if BESIDE > 0:  # noqa: SIM102 -- nested, because `flags` are None otherwise
            if (far >= found_until) & (far < end):
                if wait_for_all(flags + gl.minimum(far + lane, end - 1) * (H // G), G, flag):
                    end = far
                found_until = far + GROUP
        mbarrier.wait(arrived.index(stage), (i // STAGES) & 1)
        known = warpgroup_mma(sk.index(stage), entering, none, is_async=True)
        out = warpgroup_mma(sq.index(stage), entering, none, is_async=True)
        copy_tiles(
            far, end, column, keys, writes, queries, values, inverses, pairs, arrived, sk, sw, sq, sv, st, sp,
            C, STAGES, BYTES, SAME, GIVEN,
        )  # fmt: skip
        tma.store_wait(0)
        target = sv.index(stage).load(block).to(gl.float32)
        if STATE_GATE == 1 and not GIVEN and BV < 64:
            decays = decays_between(times, square)
        known = warpgroup_mma_wait(num_outstanding=1, deps=(known,))
        if STATE_GATE == 1:
            known *= entered[:, None]
        missing.store((rate[:, None] * (target - known)).to(dtype))
        fence_async_shared()
        barrier()
        found = warpgroup_mma(st.index(stage), missing, none, is_async=True)
        if GIVEN:
            found, out = warpgroup_mma_wait(num_outstanding=0, deps=(found, out))
        else:
            overlap = warpgroup_mma(sq.index(stage), sw.index(stage).permute([1, 0]), no_pairs, is_async=True)
            found, out = warpgroup_mma_wait(num_outstanding=1, deps=(found, out))
        written.store(found.to(dtype))
        if STATE_GATE == 1 and GIVEN:
            barrier()
        if STATE_GATE == 1:
            kept.store((found * stays[:, None]).to(dtype))
            out *= entered[:, None]
        # Not earlier: what a product sums into is not to be touched while another is at work.
        if STATE_GATE > 0:
            memory = whole * memory + less * memory
        fence_async_shared()
        barrier()
        memory = warpgroup_mma(sw.index(stage).permute([1, 0]), kept, memory, is_async=True)
        next_rate, next_entered, next_stays, next_since = load_numbers(
            beta, scalars, row, token + C * H, left - C, H, STATE_GATE
        )
        bring_near(
            beta, scalars, sums, row, feature, token + NEAR * C * H, left - NEAR * C, H, K, C, STATE_GATE
        )
        next_total = load_total(scalars, sums, feature, token + 2 * C * H, left - 2 * C, H, K, C, STATE_GATE)
        if GIVEN:
            out = warpgroup_mma(sp.index(stage), written, out, is_async=True)
        else:
            overlap = warpgroup_mma_wait(num_outstanding=1, deps=(overlap,))
            if STATE_GATE == 1 and BV < 64:
                overlap *= decays
            elif STATE_GATE == 1:
                overlap *= decays_between(times, square)
            overlap = gl.where(to >= earlier, overlap, 0.0).to(dtype)
            out = warpgroup_mma(gl.convert_layout(overlap, factor), written, out, is_async=True)
        if STATE_GATE > 0:
            whole, less = fading(total, block, STATE_GATE)
        memory = warpgroup_mma_wait(num_outstanding=1, deps=(memory,))
        if CUT:  # noqa: SIM102 -- nested, because `cuts` is None otherwise
            if ((i + 1) % every == 0) & (part < parts - 1):
                place = (part * gl.num_programs(0) + program).to(gl.int64) * (K * V)
                gl.store(cuts + place + cell, memory, mask=in_cell)
                part += 1
        entering.store(memory.to(dtype))
        out = warpgroup_mma_wait(num_outstanding=0, deps=(out,))
        result.store((out * scale).to(dtype))
        if STATE_GATE == 1 and not GIVEN:
            times.store(next_since)
        fence_async_shared()
        barrier()
        tma.async_copy_shared_to_global(outputs, [i * C, column], result)
        rate, entered, stays, total = next_rate, next_entered, next_stays, next_total
        i += 1
    tma.store_wait(0)
    for i in gl.static_range(STAGES):
        mbarrier.invalidate(arrived.index(i))
    if HAS_FINAL:
        gl.store(final + program.to(gl.int64) * (K * V) + cell, memory, mask=in_cell)
    if BESIDE > 0:
        end_after_leader()
