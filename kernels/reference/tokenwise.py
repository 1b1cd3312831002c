"""The operators in plain PyTorch, token by token: what every other implementation is compared with.

float64 throughout for float64 inputs, else float32 on inputs widened to it. Autograd differentiates all of it, the
trajectory included.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..boundary.cuts import count_slots
from ..boundary.gated import check_gated_call, feedback_terms
from ..boundary.inputs import ANYWHERE, FORGOTTEN, Arguments, ScanArguments, check_call, check_scan
from ..boundary.numerics import REFERENCE, declare, suspend_autocast
from ..boundary.results import Results, State, follow, widen
from ..boundary.rule import Rule
from ..boundary.signature import takes
from ..boundary.values import own_rows

FEEDBACK_EPSILON = 1e-5
"""Added to |k|^2 in the normalised feedback."""

NORM_EPSILON = 1e-6
"""Added to |x|^2 where queries and keys are normalised."""


class Scan(NamedTuple):
    """Sequences of one length, widened, as the calibration reads them.

    k [N, T, H, K]; gamma = exp(g) comes from `g` [N, T, H] or None; `feedback` [N, T, H, 2] or None as in
    `feedback_terms`; anchor [N, H, K] or None (0); start [N, H, K].
    """

    k: Tensor
    g: Tensor | None
    anchor: Tensor | None
    start: Tensor
    feedback: Tensor | None = None


class Memory(NamedTuple):
    """The same sequences as the memory reads them, with their write keys d_t * k_t still to come.

    q, k [N, T, H, K]; v [N, T, H, V]; beta [N, T, H]; start [N, H, K, V]. alpha = exp(state_gate), the latter [N, T, H]
    or [N, T, H, K], or None (1).
    """

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    start: Tensor
    state_gate: Tensor | None = None


ScanSolver = Callable[[Scan, Rule, int], tuple[Tensor, Tensor]]
"""(scan, rule, chunk size) -> d_t [N, T, H, K] and the d handed on [N, H, K]."""

MemorySolver = Callable[[Memory, Tensor, float, int], tuple[Tensor, Tensor, list[Tensor]]]
"""(memory, d_t, scale, chunk size) -> o [N, T, H, V], and the states [N, H, K, V] at the end and where chunks begin."""


@declare(REFERENCE)
@takes(check_call, ANYWHERE)
def osdn_reference(call: Arguments) -> Results:
    r"""OSDN token by token, arguments and results as in `osdn_kernels.chunk_osdn`.

    .. math::
        H_t &= H_{t-1} + \beta_t (d_t \odot k_t)(v_t - H_{t-1}^T k_t)^T, \qquad o_t = \text{scale}\, H_t^T q_t \\
        d_{t+1} &= \Pi[c + \gamma_t (d_t - c) + \eta w_t (1 - \langle d_t, k_t \odot k_t\rangle) k_t \odot k_t]

    Also takes float64, and any K and V; states come in float64 for float64 inputs. Unlike that of the kernels the
    trajectory stays attached to the graph. `chunk_size` is checked and not used. The gradient of the clip is that of
    `torch.clamp`, save that a box of one point (d_min = d_max) lets none through: there the clip is a constant.

    Raises TypeError, ValueError: see `osdn_kernels.boundary.inputs.check_call`.
    """
    return run(call, scan_tokens, remember_tokens)


@declare(REFERENCE)
@takes(check_gated_call, replace(ANYWHERE, mixed=True))
def osgdn_reference(call: Arguments) -> Results:
    r"""OS-GDN token by token: OSDN whose memory fades by one gate for each token and head before it is read (T17).

    .. math::
        M_t &= \alpha_t H_{t-1}, \qquad \alpha_t = e^{g_t} \\
        H_t &= M_t + \beta_t (d_t \odot k_t)(v_t - M_t^T k_t)^T, \qquad o_t = \text{scale}\, H_t^T q_t \\
        d_{t+1} &= \Pi[c + \gamma_t (d_t - c)
                   + \eta w_t \beta_t (1 - \beta_t \langle d_t, k_t \odot k_t\rangle) k_t \odot k_t]

    Remarks, gradients and results as in `osdn_reference`, arguments as in `osdn_kernels.fused_recurrent_osgdn`; float64
    of q, k and v goes with float64 alone.
    """
    return run(call, scan_tokens, remember_tokens)


@declare(REFERENCE)
@takes(check_gated_call, replace(ANYWHERE, per_feature=True, mixed=True))
def oskda_reference(call: Arguments) -> Results:
    r"""OS-KDA token by token: `osgdn_reference` with a gate for each key feature, g [B, T, HV, K]."""
    return run(call, scan_tokens, remember_tokens)


@declare(REFERENCE)
@takes(check_scan, ANYWHERE)
def preconditioner_reference(call: ScanArguments) -> tuple[Tensor, Tensor]:
    """The preconditioner alone: d_t [B, T, H, K] and the d handed on [N, H, K], in float32 (float64 for float64 keys).

    Arguments as in `osdn_kernels.osdn_preconditioner`; `chunk_size` is checked and not used, nor is `sequential`.
    """
    pieces = [scan_tokens(scan, call.rule, call.chunk_size) for scan in scans(call, widened(call.k))]
    path, final = zip(*pieces, strict=True)
    return join(call.cu_seqlens, path, call.k.shape[1]), torch.cat(final)


def run(call: Arguments, solve_scan: ScanSolver, solve_memory: MemorySolver) -> Results:
    """Both recurrences over every sequence, by the solvers given, and the results of `chunk_osdn` from them."""
    with suspend_autocast(call.k):
        return _run(call, solve_scan, solve_memory)


def _run(call: Arguments, solve_scan: ScanSolver, solve_memory: MemorySolver) -> Results:
    q, k = (own_rows(x, call.cu_seqlens, read=False) for x in (call.q, call.k))
    q, k = (unit(x) if call.use_qk_l2norm_in_kernel else widened(x) for x in (q, k))
    pieces = []
    group = call.v.shape[2] // k.shape[2]
    feedback = feedback_terms(widened(call.beta, k.dtype), k.shape[2]) if call.rule.beta_aware else None
    for scan, memory in zip(
        scans(call, k, feedback), memories(call, *(spread(x, group) for x in (q, k))), strict=True
    ):
        path, final = solve_scan(scan, call.rule, call.chunk_size)
        pieces.append((*solve_memory(memory, spread(path, group), call.scale, call.chunk_size), path, final))
    outputs, states, entries, paths, finals = zip(*pieces, strict=True)
    o = join(call.cu_seqlens, outputs, k.shape[1]).to(call.v.dtype)
    final_state = call.hand_on(State(torch.cat(states), torch.cat(finals)))
    results: Results = o, final_state
    if call.return_trajectory:
        path = join(call.cu_seqlens, paths, k.shape[1])
        results += (follow(path, k, widened(call.beta, k.dtype)),)
    if call.return_intermediate_states:
        slots = count_slots(k.shape[0], k.shape[1], call.chunk_size, call.cu_seqlens)
        starts = [torch.stack(memories, 1) for memories in entries if memories]
        firsts = [path[:, :: call.chunk_size] for path in paths]
        between = by_slot(starts, states[0], slots), by_slot(firsts, finals[0], slots)
        results += (State(*map(Tensor.detach, between)),)
    return results


def by_slot(pieces: Sequence[Tensor], like: Tensor, slots: int) -> Tensor:
    """[slots, ...] of what pieces [N, n, ...] have for each chunk, zeros for slots that packed sequences leave over."""
    rows = torch.cat([like[:0], *(x.flatten(0, 1) for x in pieces)])
    return pad(rows, (*[0, 0] * (rows.dim() - 1), 0, slots - len(rows)))


def spread(x: Tensor, group: int) -> Tensor:
    """[B, T, H, K] for the value heads that share its heads."""
    return x if group == 1 else x.repeat_interleave(group, 2)


def scan_tokens(scan: Scan, rule: Rule, chunk_size: int) -> tuple[Tensor, Tensor]:
    """d_t of every token, one after the other (T4, T13)."""
    none = [None] * scan.k.shape[1]
    gates = none if scan.g is None else scan.g.exp().unbind(1)
    feedbacks = none if scan.feedback is None else scan.feedback.unbind(1)
    d = scan.start
    path: list[Tensor] = []
    for k, gamma, feedback in zip(scan.k.unbind(1), gates, feedbacks, strict=True):
        path.append(d)
        d = calibrate(d, k, gamma, scan.anchor, rule, feedback)
    return stack_tokens(path, scan.k), d


def calibrate(
    d: Tensor,
    k: Tensor,
    gamma: Tensor | None,
    anchor: Tensor | None,
    rule: Rule,
    feedback: Tensor | None = None,
) -> Tensor:
    """d_{t+1} from d_t and k_t [..., K], gamma_t [...] and the feedback [..., 2]."""
    s = k.square()
    fixed, slope = (1.0, 1.0) if feedback is None else feedback.unbind(-1)
    gain = rule.eta * feedback_weight(s, rule) * (fixed - slope * (d * s).sum(-1))
    return project(forget(d, gamma, anchor) + gain[..., None] * s, rule)


def forget(d: Tensor, gamma: Tensor | None, anchor: Tensor | None) -> Tensor:
    """c + gamma (d - c), gamma [...] or None (1)."""
    if gamma is None:
        return d
    kept = gamma[..., None]
    return kept * d if anchor is None else anchor + kept * (d - anchor)


def feedback_weight(s: Tensor, rule: Rule) -> Tensor | float:
    """w_t [...] of squared keys [..., K]."""
    return 1 / (s.sum(-1) + FEEDBACK_EPSILON) if rule.normalize_feedback else 1.0


def project(d: Tensor, rule: Rule) -> Tensor:
    """Clip to the box; a box of one point has no gradient, for there the clip is a constant."""
    if rule.pinned:
        return torch.full_like(d, rule.d_min)
    return d.clamp(rule.d_min, rule.d_max)


def remember_tokens(
    memory: Memory, path: Tensor, scale: float, chunk_size: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Write, then read, one token after the other; `path` holds d_t."""
    state = memory.start
    outputs: list[Tensor] = []
    entries: list[Tensor] = []
    tokens = (memory.q, memory.k, path * memory.k, memory.v, memory.beta)
    gates = [None] * memory.k.shape[1] if memory.state_gate is None else memory.state_gate.exp().unbind(1)
    for q, k, write_key, v, beta, alpha in zip(*(x.unbind(1) for x in tokens), gates, strict=True):
        if len(outputs) % chunk_size == 0:
            entries.append(state)
        state = fade(state, alpha)
        residual = v - torch.einsum("nhkv,nhk->nhv", state, k)
        state = state + torch.einsum("nhk,nhv->nhkv", write_key, beta[..., None] * residual)
        outputs.append(scale * torch.einsum("nhkv,nhk->nhv", state, q))
    return stack_tokens(outputs, memory.v), state, entries


def fade(state: Tensor, alpha: Tensor | None) -> Tensor:
    """alpha H for H [N, H, K, V], with alpha [N, H] or [N, H, K], or None (1)."""
    if alpha is None:
        return state
    return state * (alpha[..., None] if alpha.dim() == 3 else alpha[..., None, None])


def stack_tokens(rows: list[Tensor], like: Tensor) -> Tensor:
    """[N, T, ...] of T tensors [N, ...], or the empty `like`."""
    return torch.stack(rows, 1) if rows else like


def scans(call: ScanArguments, k: Tensor, feedback: Tensor | None = None) -> list[Scan]:
    """The batch, or its packed sequences one by one, with `k` the widened keys."""
    g = None if call.g is None else widened(call.g, k.dtype)
    start = call.initial_preconditioner
    if start is None:
        start = k.new_ones(call.sequences, *k.shape[2:])
    pieces = split(call.cu_seqlens, (k, g, feedback), (call.anchor, start))
    return [Scan(k, g, c, start, feedback) for k, g, feedback, c, start in pieces]


def memories(call: Arguments, q: Tensor, k: Tensor) -> list[Memory]:
    """Likewise for the memory."""
    v, beta = widened(call.v), widened(call.beta, k.dtype)
    gate = None if call.state_gate is None else widened(call.state_gate, k.dtype).clamp(min=FORGOTTEN)
    start = call.initial_state
    if start is None:
        start = k.new_zeros(call.sequences, *k.shape[2:], v.shape[3])
    pieces = split(call.cu_seqlens, (q, k, v, beta, gate), (start,))
    return [Memory(q, k, v, beta, start, gate) for q, k, v, beta, gate, start in pieces]


def split(
    cu_seqlens: Tensor | None, tokens: Sequence[Tensor | None], rows: Sequence[Tensor | None]
) -> list[tuple[Any, ...]]:
    """Tokens [B, T, ...] and rows [N, ...] by sequence: themselves for a batch, one sequence each where packed."""
    if cu_seqlens is None:
        return [(*tokens, *rows)]
    bounds: list[int] = cu_seqlens.tolist()
    cuts = [(x, 1, bounds) for x in tokens] + [(x, 0, list(range(len(bounds)))) for x in rows]
    pieces = [
        [None if x is None else x.narrow(axis, a, b - a) for a, b in pairwise(places)]
        for x, axis, places in cuts
    ]
    return list(zip(*pieces, strict=True))


def join(cu_seqlens: Tensor | None, pieces: Sequence[Tensor], length: int) -> Tensor:
    """[B, T, ...] of the sequences' tokens, zero where they belong to none."""
    joined = torch.cat(list(pieces), 1)
    if cu_seqlens is None or joined.shape[1] == length:
        return joined
    start = int(cu_seqlens[0])
    return pad(joined, (*[0, 0] * (joined.dim() - 2), start, length - start - joined.shape[1]))


def widened(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`x` in `dtype`, by default float64 if it has it and float32 if not."""
    return x.to(dtype or widen(x.dtype))


def unit(x: Tensor) -> Tensor:
    """x / sqrt(|x|^2 + 1e-6) rounded to the dtype of `x`, widened; its gradient is that without the rounding."""
    wide = widened(x)
    exact = wide * (wide.square().sum(-1, keepdim=True) + NORM_EPSILON).rsqrt()
    rounded = exact.detach().to(x.dtype).to(wide.dtype)
    # The difference is exact, and so is the sum: the value is `rounded` itself.
    return exact + (rounded - exact).detach()
