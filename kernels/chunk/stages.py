"""The chunkwise operator: its stages in order, forward and backward."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary.cuts import start_chunks
from ..boundary.results import AnyState, ExactState, State
from ..boundary.rule import Rule
from ..launch.recurrence import Cotangents, Gradients, Inputs, start_preconditioner, sum_groups
from ..launch.runtime import single
from ..launch.sequences import Chunks, sum_by_sequence
from ..scan.backward import scan_backward
from ..scan.calls import Gains, ScanCall, new_gains
from ..scan.forward import has_chain, scan_forward
from .behind import count_behind, go_behind, go_beside, leaves_room
from .decays import new_sums, sum_gates
from .feature.fold import fold, new_folded
from .feature.pairs import pair
from .state import launch_memory, wants_overlaps
from .stretches import differentiate_memory, new_cuts, plan_cuts
from .write_keys import FIXED, IDENTITY, LEARNED, WriteKeys
from .wy import solve


class ChunkOptions(NamedTuple):
    """Numbers of one call.

    `keep` asks for d_t of every token, and `sequential` steps all of them one by one; `intermediate` asks for the
    states that chunks are entered with. `learns` says that gradients will be wanted: without it they are right as well,
    but take more memory.
    """

    scale: float
    rule: Rule
    chunk_size: int
    mode: int
    sequential: bool = False
    keep: bool = False
    intermediate: bool = False
    learns: bool = True

    @property
    def keeps_cuts(self) -> bool:
        """Whether the backward pass will want the states at cuts (`stretches`)."""
        return self.learns and not self.intermediate


class ChunkOutputs(NamedTuple):
    """Results, what the backward pass needs beside the inputs, and what was asked for: d_t of every token, the memory
    that each chunk enters with [slots, H, K, V] float32, and what float32 leaves of the last d.

    There is no `write_key` where the keys are written as they are, and an `overlap` where gates are per feature alone:
    q_t k~_j for the tokens of a chunk, decays and all, [B, T, HV, C]. `cuts` are the states at cuts, as
    `stretches.new_cuts` has them. What the scan leaves, `gain`, `entries`,
    `clipped` and `opened`, is there in the mode `LEARNED` alone; see `Gains`.
    """

    o: Tensor
    state: Tensor
    preconditioner: Tensor
    write_key: Tensor | None
    inverse: Tensor
    gain: Tensor | None
    entries: Tensor | None
    clipped: Tensor | None
    overlap: Tensor | None
    cuts: Tensor
    opened: Tensor | None
    path: Tensor | None
    states: Tensor | None = None
    rest: Tensor | None = None


class ChunkSaved(NamedTuple):
    """The part of `ChunkOutputs` that the backward pass needs; empty tensors for what is not there."""

    write_key: Tensor
    inverse: Tensor
    gain: Tensor
    entries: Tensor
    clipped: Tensor
    overlap: Tensor
    cuts: Tensor


def key_mode(rule: Rule, *, gated: bool, started: bool, start_learns: bool) -> int:
    """Which write keys a call needs, decided without reading a tensor.

    A box of one point pins d; so do eta = 0 and no gate, at d_1. `started` says that d_1 is given (ones otherwise), and
    `start_learns` that its gradient is wanted.
    """
    if rule.pinned:
        return IDENTITY if rule.d_min == 1.0 and not start_learns else FIXED
    if rule.eta == 0.0 and not gated:
        return FIXED if started else IDENTITY
    return LEARNED


def write_keys(
    inputs: Inputs, mode: int, gains: Gains | None, out: Tensor, path: Tensor | None = None
) -> WriteKeys:
    """The preconditioner of a call as the chunk kernels take it; `gains` are those of the mode `LEARNED`."""
    if gains is not None:
        known = (gains.entry, gains.gain, gains.clipped, inputs.g, inputs.anchor)
        return WriteKeys(mode, out, *known, path, gains.written)
    if mode == FIXED:
        return WriteKeys(mode, out, inputs.initial_preconditioner, path=path)
    return WriteKeys(mode, out)


def forward(inputs: Inputs, options: ChunkOptions, chunks: Chunks) -> ChunkOutputs:
    """Output, final state and final preconditioner of every sequence, of contiguous inputs with tokens."""
    q, k, v, beta, g, anchor, initial_state, start = inputs[:8]
    mode = options.mode
    path = new_path(k, mode) if options.keep else None
    out = k if mode == IDENTITY else torch.empty_like(k)
    cuts = new_cuts(inputs, options.chunk_size, mode, needed=options.keeps_cuts)
    gates = new_sums(inputs.state_gate, k.dtype)
    sum_up = functools.partial(sum_gates, inputs.state_gate, beta, gates, chunks)
    every = plan_cuts(v, k.shape[3], chunks.size, mode, per_feature=gates.per_feature).every
    scan = ScanCall(k, g, anchor, inputs.feedback, options.rule, out, path, True) if mode == LEARNED else None
    behind = launches_behind(inputs, options, chunks)
    gains: Gains | None = new_gains(k, chunks) if behind else None
    if scan is None or (behind and not gates.per_feature):
        sum_up()
    elif not behind:
        gains = scan_forward(
            scan, start, chunks, sequential=options.sequential, in_order=in_order(inputs, options),
            initial_rest=inputs.initial_rest, beside=sum_up if gates.kind > 0 else None,
        )  # fmt: skip
    keys = write_keys(inputs, mode, gains, out, path)
    o, state = torch.empty_like(v), single(v, chunks.sequences, v.shape[2], k.shape[3], v.shape[3])
    states = new_states(inputs, chunks.slots) if options.intermediate else None
    inverse = k.new_empty(*beta.shape, chunks.size)
    system, overlap, met, rows = None, None, None, (q, k, out)
    launches: list[Callable[..., object]] = []
    if gates.per_feature:
        met = overlap = torch.empty_like(inverse)
        rows = new_folded(k, gates)
        system = single(k, *inverse.shape)
        launches += [
            functools.partial(fold, q, k, gates, keys, chunks, rows),
            functools.partial(pair, q, k, out, gates, system, overlap, chunks),
        ]
    elif states is None and leaves_room(inputs, chunks) and wants_overlaps(k, v, gates, chunks):
        met = torch.empty_like(inverse)
    asked = (q, met) if gates.kind == 1 and met is not None else ()
    find = functools.partial(solve, k, beta, gates, keys, chunks, system, inverse, *asked)
    read = functools.partial(
        launch_memory, *rows, v, beta, inverse, gates, met, o, states, cuts, None, initial_state, state, chunks,
        options.scale, every,
    )  # fmt: skip
    launches += [find, read]
    if scan is not None and gains is not None and behind:
        beside = functools.partial(sum_up, follows=True) if gates.per_feature else None
        gains = go_behind(scan, gains, start, launches[:behind], chunks, beside)
    room = behind < 2 and leaves_room(inputs, chunks)
    for launch in launches[behind : -2 if room else None]:
        launch()
    if room:
        go_beside(find, read, inputs, chunks)
    write_key = None if mode == IDENTITY else out
    if gains is None:
        start = start_preconditioner(inputs)
        return ChunkOutputs(
            o, state, start, write_key, inverse, None, None, None, overlap, cuts, None, path, states
        )
    learned = (gains.gain, gains.entries, gains.clipped, overlap, cuts, gains.opened)
    return ChunkOutputs(o, state, gains.final, write_key, inverse, *learned, path, states, gains.rest)


def launches_behind(inputs: Inputs, options: ChunkOptions, chunks: Chunks) -> int:
    """How many of a call's launches run behind its chain of d, if it has one."""
    whole = options.sequential or in_order(inputs, options)
    chained = options.mode == LEARNED and has_chain(inputs.g, options.rule)
    return count_behind(inputs, chunks) if chained and not whole else 0


def in_order(inputs: Inputs, options: ChunkOptions) -> bool:
    """Whether the calibrations of a call have to be those of a sequence that is cut between chunks, bit for bit."""
    return options.intermediate or inputs.initial_rest is not None


def new_states(inputs: Inputs, slots: int) -> Tensor:
    """Memory for the state that each chunk enters with; zeros where packed sequences leave slots over."""
    k, v = inputs.k, inputs.v
    make = torch.empty if inputs.cu_seqlens is None else torch.zeros
    return make(slots, v.shape[2], k.shape[3], v.shape[3], dtype=torch.float32, device=k.device)


def enter_chunks(inputs: Inputs, options: ChunkOptions, found: ChunkOutputs) -> AnyState:
    """The state that each chunk is entered with, detached, of a call that asked for the memory."""
    assert found.states is not None
    if options.mode == LEARNED and found.entries is not None:
        # Without tokens nothing has been launched, and packed sequences have slots left over.
        entries = found.entries if inputs.k.numel() else torch.zeros_like(found.entries)
        return ExactState(found.states, *entries)
    batch, length = inputs.k.shape[:2]
    bounds = inputs.cu_seqlens
    if bounds is None:
        bounds = torch.arange(batch + 1, device=inputs.k.device) * length
    owner, _ = start_chunks(bounds, len(found.states), options.chunk_size)
    return State(found.states, start_preconditioner(inputs).detach()[owner])


def new_path(k: Tensor, mode: int) -> Tensor:
    """Memory for d_t of every token; ones, and right, where the keys are written as they are."""
    make = torch.ones if mode == IDENTITY else torch.empty
    return make(k.shape, dtype=torch.float32, device=k.device)


def backward(
    inputs: Inputs, options: ChunkOptions, saved: ChunkSaved, grads: Cotangents, chunks: Chunks
) -> Gradients:
    """Gradients of every input; the states and X are formed again rather than kept."""
    q, k, v, beta, g, anchor, initial_state = inputs[:7]
    rule, mode = options.rule, options.mode
    gains: Gains | None = None
    if mode == LEARNED:
        gains = Gains(saved.gain, saved.entries, saved.clipped, saved.entries.new_empty(0))
    keys = write_keys(inputs, mode, gains, k if mode == IDENTITY else saved.write_key)
    gates = new_sums(inputs.state_gate, k.dtype)
    sum_gates(inputs.state_gate, beta, gates, chunks)
    overlap, initial = (saved.overlap if gates.per_feature else None), initial_state
    found, grad_initial = differentiate_memory(
        q, k, v, beta, saved.inverse, gates, overlap, keys, initial, saved.cuts, grads.o, grads.state, chunks,
        options.scale, pinned=rule.pinned,
    )  # fmt: skip
    heads = k.shape[2]
    grad_q = sum_groups(found.q, heads)
    grad_k: Tensor = sum_groups(found.k, heads)
    grad_g, grad_start, grad_anchor, grad_feedback = None, None, None, None
    if mode == FIXED:
        assert found.entry is not None
        grad_start = sum_groups(sum_by_sequence(found.entry, chunks)[None], heads)[0]
        if grads.preconditioner is not None and not rule.pinned:
            grad_start += grads.preconditioner
        elif grads.preconditioner is not None and chunks.bounds is not None:
            # A clip to one point lets nothing through, but a sequence without tokens meets none.
            grad_start += grads.preconditioner * (chunks.bounds.diff() == 0)[:, None, None]
    if gains is not None:
        assert found.write_key is not None
        grad_k, grad_g, grad_start, grad_anchor, grad_feedback = scan_backward(
            k, g, anchor, rule, chunks, gains, sum_groups(found.write_key, heads), grads.preconditioner, grad_k,
            scale_key=True, sequential=options.sequential, feedback=inputs.feedback,
        )  # fmt: skip
    return Gradients(
        grad_q,
        grad_k,
        found.v,
        found.beta,
        grad_g,
        grad_anchor,
        grad_initial,
        grad_start,
        found.state_gate,
        grad_feedback,
    )
