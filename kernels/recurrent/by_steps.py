"""The decoding step over whole sequences, with the arguments of `chunk_osdn`: for the cross-check, not for speed.

Sequences are rows of a pool, which shorter ones leave.
"""

from typing import Any

import torch

from ..boundary.inputs import KERNELS, Arguments, check_call
from ..boundary.numerics import DECODE, DECODE_BFLOAT16, DECODE_SEEDED, declare
from ..boundary.results import Results, State, follow
from ..boundary.signature import takes
from ..launch.recurrence import Inputs, start_preconditioner, start_state
from ..layers.norm import l2norm
from .decode import decode_step_


@declare(DECODE)
@takes(check_call, KERNELS)
def decode_osdn(call: Arguments) -> Results:
    """OSDN by `decode_step_`."""
    return _decode(call, torch.float32)


@declare(DECODE_BFLOAT16)
@takes(check_call, KERNELS)
def decode_osdn_bfloat16(call: Arguments) -> Results:
    """OSDN by `decode_step_` on a memory that is kept in bfloat16."""
    return _decode(call, torch.bfloat16)


@declare(DECODE_SEEDED)
@takes(check_call, KERNELS)
def decode_osdn_seeded(call: Arguments) -> Results:
    """OSDN by `decode_step_` on a memory in bfloat16, rounded up or down at random."""
    return _decode(call, torch.bfloat16, seed=0)


def _decode(call: Arguments, dtype: torch.dtype, seed: int | None = None) -> Results:
    start = Inputs(call.q, call.k, call.v, call.beta, cu_seqlens=call.cu_seqlens)
    start = start._replace(
        initial_state=call.initial_state, initial_preconditioner=call.initial_preconditioner
    )
    pool = State(start_state(start).to(dtype), start_preconditioner(start))
    batch, length = call.k.shape[:2]
    device = call.k.device
    bounds = call.cu_seqlens
    if bounds is None:
        bounds = torch.arange(batch + 1, device=device) * length
    rows = torch.arange(call.sequences, device=device)
    named = {"q": call.q, "k": call.k, "v": call.v, "beta": call.beta, "g": call.g}
    tokens = {name: x.flatten(0, 1) for name, x in named.items() if x is not None}
    o, path = torch.zeros_like(tokens["v"]), torch.zeros_like(tokens["k"], dtype=torch.float32)
    given: dict[str, Any] = {**call.rule._asdict(), "scale": call.scale, "anchor": call.anchor}
    given["use_qk_l2norm_in_kernel"] = call.use_qk_l2norm_in_kernel
    for t in range(int(bounds.diff().max())):
        place = bounds[:-1] + t
        here = place < bounds[1:]
        if seed is not None:
            given["seed"] = torch.tensor([seed + t], device=device)
        path[place[here]] = pool.preconditioner[here]
        token: dict[str, Any] = {name: x[place.clamp(max=len(x) - 1)][:, None] for name, x in tokens.items()}
        out = decode_step_(**token, state=pool, state_indices=torch.where(here, rows, -1), **given)
        o[place[here]] = out[here, 0]
    results: Results = o.view(call.v.shape), call.hand_on(State(pool.state.float(), pool.preconditioner))
    if call.return_trajectory:
        k = l2norm(call.k) if call.use_qk_l2norm_in_kernel else call.k
        results += (follow(path.view(k.shape), k.float(), call.beta.float()),)
    return results
