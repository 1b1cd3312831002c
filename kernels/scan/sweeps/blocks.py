"""Blocks of chunks: how many sweeps a sequence may take, and the rows that sweeps leave of each block."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...launch.following import sleep
from ...launch.runtime import cdiv
from ...launch.sequences import Chunks, cut
from ...launch.tuning import configurations, narrow_rows

BLOCK = 4
"""Chunks in a block. Longer ones need fewer sweeps and leave fewer programs."""

AHEAD = 4
"""Blocks whose maps are in shared memory, or on their way there, when blocks are joined: more would leave room for
fewer walks."""

WALKS = narrow_rows(128, registers=168) + configurations(warps=(1,))
"""One warp holds a row: sums over features then need no exchange between warps. Joining would take more registers than
walking, which leaves room for twelve warps on a multiprocessor; rows of more than 128 features need them."""

LOOK: tl.constexpr = tl.constexpr(500)
"""Nanoseconds between two looks for what the last program of a sweep leaves: few beside what joining takes."""

UNSPECIALIZED = ("sweeps", "chains", "rows")
"""Arguments of which Triton is not to compile variants for 1 and for multiples of 16."""


def blocks_of(chunks: Chunks) -> Chunks:
    """The cut into blocks of `BLOCK` chunks."""
    return cut(chunks.batch, chunks.length, BLOCK * chunks.size, chunks.bounds)


def most_sweeps(length: int, size: int) -> int:
    """Sweeps launched where no sequence has more than `length` tokens: as many as one of them may take."""
    blocks = cdiv(length, BLOCK * size)
    return 1 if blocks <= 1 else min(blocks + 1, 8 + blocks // 32, 32)


@triton.jit
def allowed_sweeps(blocks):
    """Sweeps that a sequence may take, whatever it is batched with; the last only looks whether all has settled."""
    return tl.minimum(tl.minimum(blocks + 1, 8 + blocks // 32), 32)


GOES_ON, ENDED = tl.constexpr(1), tl.constexpr(2)
"""What the last program of a sweep leaves for those of the next."""


def progress_of(sweeps: int, chains: int, like: Tensor) -> Tensor:
    """The next item, then for each sweep and chain: programs that have ended, and what the last of them leaves."""
    return torch.zeros(1 + 2 * sweeps * chains, dtype=torch.int32, device=like.device)


@triton.jit
def arrive(counter):
    """How many programs came here before, all of whose writes are then seen."""
    tl.debug_barrier()
    before = tl.atomic_add(counter, 1)
    tl.debug_barrier()
    return before


@triton.jit
def leave(flag, number):
    """Let those who wait for `flag` go on."""
    tl.debug_barrier()
    tl.atomic_xchg(flag, number)


@triton.jit
def wait_for(flag):
    """What is left at `flag`, with all that was written before.

    All but a few warps of the GPU wait while those few join: they are not to look all the time.
    """
    found = tl.load(flag, volatile=True)
    while found == 0:
        sleep(tl.full([], LOOK, tl.int32))
        found = tl.load(flag, volatile=True)
    found = tl.atomic_add(flag, 0)
    tl.debug_barrier()
    return found


@triton.jit
def enter_sweep(progress, sweep, chain, sweeps, chains):
    """Where programs of a chain arrive in a sweep, the flag for the next sweep, and what the sweep before has left."""
    arrived = progress + 1 + sweep * chains + chain
    ready = arrived + sweeps * chains
    before = 0 * sweep + GOES_ON
    if sweep > 0:
        before = wait_for(ready - chains)
    return arrived, ready, before


@triton.jit
def goes_on_after(opened, sweep, chain, sweeps, chains, blocks, last):
    """Whether a sweep of `blocks` that has ended is followed by another; what the last leaves open is noted as such.

    One block is exact as it is walked.
    """
    found = tl.atomic_add(opened + sweep * chains + chain, 0)
    left_open = (found != 0) & (blocks > 1)
    goes_on = left_open & (last == 0)
    if left_open & last:
        tl.store(opened + (sweeps - 1) * chains + chain, 1)
    return goes_on


@triton.jit
def norm_of(x):
    """Euclidean norm."""
    return tl.sqrt(tl.sum(x * x, 0))


@triton.jit
def load_pair(planes, plane, at, size, known):
    """A row and its rest."""
    return (
        tl.load(planes + plane * size + at, mask=known, other=0.0),
        tl.load(planes + (plane + 1) * size + at, mask=known, other=0.0),
    )


@triton.jit
def apart(planes, first, first_at, second, second_at, size, known):
    """How far two rows with their rests lie apart."""
    a, a_rest = load_pair(planes, first, first_at, size, known)
    b, b_rest = load_pair(planes, second, second_at, size, known)
    return (a - b) + (a_rest - b_rest)


@triton.jit
def spread_of(mass, strength, total):
    """sum of w_t s_t s_t^T as z z^T + Diag(v), equal to it where all s_t are: z and v, which is on its diagonal."""
    share = mass / tl.maximum(total, 1e-30)
    return mass * tl.rsqrt(tl.maximum(total, 1e-30)), tl.maximum(strength - share * mass, 0.0)


@triton.jit
def answer(y, common, own, eta):
    """What the gains of a block answer to a change y of what enters it, to first order in eta."""
    return -eta * (common * tl.sum(common * y, 0) + own * y)


@triton.jit
def lengthen(reach, slope, kappa):
    """r_{b+1} = l_b r_b + 2 kappa_b, l_b the product of the block's gates where the step shrinks distances by it."""
    return tl.where(kappa <= 2.0 * slope, slope, 1.0) * reach + 2.0 * kappa
