"""What the operators return."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


def widen(dtype: torch.dtype) -> torch.dtype:
    """Of states, gates and preconditioners beside inputs of `dtype`: float32, or float64 beside float64."""
    return torch.promote_types(dtype, torch.float32)


class State(NamedTuple):
    """What a sequence hands on: pass it back as `initial_state` to continue.

    - `state`, [N, HV, K, V] float32: Memory after the last token (the transpose of the theory's S).
    - `preconditioner`, [N, H, K] float32: d after the last token's calibration: the one that the next token is
      written with.
    """

    state: Tensor
    preconditioner: Tensor


class ExactState(NamedTuple):
    """A `State` from which `chunk_osdn` goes on bit for bit as if it had not stopped; others start without the rest.

    - `rest` [N, H, K] float32: What float32 leaves of d.
    """

    state: Tensor
    preconditioner: Tensor
    rest: Tensor


AnyState = State | ExactState
"""What a sequence may start from."""


def turn_state(state: AnyState) -> AnyState:
    """The same with value features before key features in the memory, or the other way around."""
    return state._replace(state=state.state.mT.contiguous())


# What holds tensors alone is read back as they are.
torch.serialization.add_safe_globals([State, ExactState])


class ScanPaths(NamedTuple):
    """Which way each part of a scan went.

    - `clipped`, [chunks, H] int8: 1 for each chunk in which the clip bound at some token, sequence after sequence.
    - `sweeps`, [N, H] int32: How many sweeps walked some block of a sequence: 0 where nothing clipped, and where none
      are tried (T29).
    - `unsettled`, [N, H] int32: 1 where the sweeps left something that one warp then walked token by token.
    """

    clipped: Tensor
    sweeps: Tensor
    unsettled: Tensor


class Trajectory(NamedTuple):
    """What each token met in the run that made the output; detached from autograd.

    - `preconditioner` [B, T, H, K] float32: d_t that token t was written with, as the kernel itself computed it.
    - `alignment` [B, T, H] float32: a_t = <d_t, k_t * k_t>, of that d_t.
    - `residual_ratio` [B, T, HV] float32: (1 - beta_t a_t)^2, the token loss after the write over the one
      before it (T3).
    - `scan`: How the chunkwise operator found the d_t; None from the others.
    """

    preconditioner: Tensor
    alignment: Tensor
    residual_ratio: Tensor
    scan: ScanPaths | None = None


Results = tuple[Any, ...]
"""(o, final state), the latter None unless asked for; then the trajectory and the intermediate states if asked for."""


def follow(d: Tensor, k: Tensor, beta: Tensor, scan: ScanPaths | None = None) -> Trajectory:
    """What follows from the d_t of a run; sums of products rather than matrix products, which TF32 would round."""
    alignment = (d * k.square()).sum(-1)
    met = alignment.repeat_interleave(beta.shape[2] // alignment.shape[2], 2)
    return Trajectory(d, alignment, (1.0 - beta * met).square(), scan)


def count_paths(clipped: Tensor, opened: Tensor, sequences: int) -> ScanPaths:
    """How a scan went, from its flags and from what each sweep left open."""
    if not opened.numel():
        opened = clipped.new_zeros(1, sequences, clipped.shape[1], dtype=torch.int32)
    unsettled = opened[-1] if len(opened) > 1 else torch.zeros_like(opened[0])
    return ScanPaths(clipped, opened.sum(0, dtype=torch.int32), unsettled)
