"""Launches that run behind another, chunk by chunk, while it still runs.

A chain reports how far it is, and what needs each chunk's part of it waits for that. Whoever waits has to wait for
programs that are at work: a launch that follows another (`following`) begins once all programs of that one have, on
GPUs that know dependent launches; elsewhere after it. Should what it waits for not come, under tools that make every
launch wait for the one before or on a GPU shared in ways unknown here, it notes that, and all is done again in order.

Memory that a launch reads is to be kept until one after all of these has been launched: it is otherwise given to
whoever asks next, who need not wait.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from . import descriptors
from .runtime import IN_INTERPRETER, cdiv
from .sequences import Chunks

PATIENCE: tl.constexpr = tl.constexpr(1 << 27)
"""Nanoseconds of pauses before what is waited for is given up: about a fifth of a second."""

SHORTEST: tl.constexpr = tl.constexpr(2000)
"""Nanoseconds between looks, at least."""

LONGEST: tl.constexpr = tl.constexpr(8000)
"""At most: a program that sleeps through what it waits for keeps those after it from their multiprocessor."""

STEP: tl.constexpr = tl.constexpr(1000)
"""Nanoseconds that what is waited for takes for one step, about."""

APART: tl.constexpr = tl.constexpr(32)
"""Numbers from one chain's progress to the next one's: each has a cache line, as all who wait for it look there."""

MULTIPROCESSORS = 100
"""At least, for programs that wait and others beside them: not on a part of a GPU."""

MOST_WAITING = 64
"""Programs of a launch that waits for others, at most: these need room beside it."""

LEFT: tl.constexpr = tl.constexpr(1)
"""The operator of a chunk is too large for its series, and not there yet."""

THERE: tl.constexpr = tl.constexpr(2)


class Signals(NamedTuple):
    """What launches see of each other, int32, zeros at first.

    - `busy`, [1]: Not 0 where what runs behind a chain is to be done again.
    - `stuck`, [1]: Not 0 where the chain itself is, as operators did not come.
    - `operators`, [slots, H]: What has become of those of a chain's chunks, `LEFT` or `THERE`.
    - `progress`, [N, H, APART] or None: Chunks that a chain is done with, the first of its numbers.
    - `solved`, [slots, H] or None: Systems of a chunk that are there, of all heads that share its keys.
    - `summed`, [slots]: Parts of a chunk's gates whose sums are there.
    """

    busy: Tensor
    stuck: Tensor
    operators: Tensor
    progress: Tensor | None
    solved: Tensor | None
    summed: Tensor


def new_signals(chunks: Chunks, heads: int, device: torch.device) -> Signals:
    slots, programs = chunks.slots * heads, chunks.sequences * heads
    # Multiples of four: kernels are compiled apart for tensors that do not begin at a multiple of 16 bytes.
    sizes = [4 * cdiv(size, 4) for size in (1, 1, slots, programs * APART.value, slots, chunks.slots)]
    return Signals(*torch.zeros(sum(sizes), dtype=torch.int32, device=device).split(sizes))


def is_large(device: torch.device) -> bool:
    """Whether a GPU is Hopper, where this was measured, and a whole one; another kind of device stands for one."""
    if not descriptors.is_hopper(device):
        return False
    if device.type != "cuda":
        return True
    return torch.cuda.get_device_properties(device).multi_processor_count >= MULTIPROCESSORS


def following(device: torch.device) -> dict[str, Any]:
    """Option of a launch that begins, on Hopper and later, as soon as all programs of the one before it have
    (`begin_followers`)."""
    return {"launch_pdl": True} if descriptors.generation(device) >= descriptors.HOPPER else {}


@triton.jit
def begin_followers():
    """Let the next launch begin, as far as this program is concerned."""
    if not IN_INTERPRETER:
        gdc_launch_dependents()


@triton.jit
def end_after_leader():
    """Go on after the launch that is followed has ended.

    What is launched after a follower waits for that alone: one program of it has to have waited for the leader.
    """
    if not IN_INTERPRETER:
        gdc_wait()


@triton.jit
def slot_of(item, per_sequence, H: tl.constexpr, BEHIND: tl.constexpr):
    """The chunk that a program takes: behind chains all sequences' first ones first, as these need them."""
    if BEHIND:
        sequences = tl.num_programs(0) // (H * per_sequence)
        return item % sequences * per_sequence + item // sequences
    return item


@triton.jit
def report(progress, number):
    """Let those who wait for `progress` see `number`, and all that this program has written."""
    tl.debug_barrier()
    tl.atomic_xchg(progress, number, sem="release")


@triton.jit
def report_one(progress):
    """Add 1 to what those who wait for `progress` see, likewise."""
    tl.debug_barrier()
    tl.atomic_add(progress, 1, sem="release")


@triton.jit
def acquire(progress):
    """Numbers that other programs have reported: from now on this warp sees all that they had written by then."""
    if IN_INTERPRETER:
        return tl.load(progress, volatile=True)
    else:  # noqa: RET505 -- Triton compiles what follows a return as well
        return tl.inline_asm_elementwise(
            "ld.acquire.gpu.global.b32 $0, [$1];", "=r,l", [progress], dtype=tl.int32, is_pure=False, pack=1
        )


@triton.jit
def pause(steps):
    """For about as long as what is waited for takes for some steps: nanoseconds.

    Thousands of warps that look all the time are in the way of those they wait for.
    """
    time = tl.minimum(tl.maximum(steps * STEP, SHORTEST), LONGEST)
    sleep(time)
    return time


@triton.jit
def sleep(time):
    """For so many nanoseconds, up to twice as many."""
    if not IN_INTERPRETER:
        tl.inline_asm_elementwise(
            "nanosleep.u32 $1; // dummy $0", "=r,r", [time], dtype=tl.int32, is_pure=False, pack=1
        )


@triton.jit
def wait_until(progress, wanted, stopped):
    """Wait until all of `progress` [N] have come to `wanted`: N is at most 32, as warps do not wait for each other.

    Whether there is nothing to go on for, as this warp sees it: `stopped` is not 0 then, or from now on if what is
    waited for has not come in a long time.
    """
    # Both asked for at once: most find that all is there, and wait for nothing else.
    over = tl.load(stopped, volatile=True)
    seen = tl.min(acquire(progress), 0)
    if seen < wanted:
        waited = tl.where(over != 0, PATIENCE, 0)
        while (seen < wanted) & (waited < PATIENCE):
            waited += pause(-(seen - wanted))
            seen = tl.min(tl.load(progress, volatile=True), 0)
        seen = tl.min(acquire(progress), 0)
        tl.store(stopped, 1, mask=seen < wanted)
        over = tl.load(stopped, volatile=True)
    return over != 0


@triton.jit
def agree_whether(stopped):
    """Whether `stopped` is not 0, the same for all warps of a program, after each has waited; copies of tiles then see
    what was waited for as well."""
    tl.debug_barrier()
    over = tl.atomic_add(stopped, 0, sem="relaxed") != 0
    tl.debug_barrier()
    if not IN_INTERPRETER:
        tl.inline_asm_elementwise(
            "fence.proxy.async.global; // dummy $0", "=r", [], dtype=tl.int32, is_pure=False, pack=1
        )
    return over
