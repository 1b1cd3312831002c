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
from .runtime import IN_INTERPRETER

PATIENCE: tl.constexpr = tl.constexpr(1 << 16)
"""Looks before what is waited for is given up: a fifth of a second."""


class Signals(NamedTuple):
    """What launches see of those that they run behind, int32, zeros at first.

    - `busy`, [1]: Not 0 where all is to be done again.
    - `progress`, [N, H]: Chunks that a chain is done with.
    - `solved`, [slots, H]: Systems of a chunk that are there, of all heads that share its keys.
    """

    busy: Tensor
    progress: Tensor
    solved: Tensor


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
def pause():
    """For some microseconds: a thousand warps that look all the time are in the way of those they wait for."""
    if not IN_INTERPRETER:
        tl.inline_asm_elementwise(
            "nanosleep.u32 2000; // dummy $0", "=r", [], dtype=tl.int32, is_pure=False, pack=1
        )


@triton.jit
def wait_until(progress, wanted, stopped):
    """Wait until all of `progress` [N] have come to `wanted`: N is at most 32, as warps do not wait for each other.

    Whether there is nothing to go on for, as this warp sees it: `stopped` is not 0 then, or from now on if what is
    waited for has not come in a long time.
    """
    seen = tl.min(tl.load(progress, volatile=True), 0)
    looks = tl.where(tl.load(stopped, volatile=True) != 0, PATIENCE, 0)
    while (seen < wanted) & (looks < PATIENCE):
        pause()
        seen = tl.min(tl.load(progress, volatile=True), 0)
        looks += 1
    seen = tl.min(acquire(progress), 0)
    tl.store(stopped, 1, mask=seen < wanted)
    return tl.load(stopped, volatile=True) != 0


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
