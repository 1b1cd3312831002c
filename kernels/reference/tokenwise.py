"""The operators in plain PyTorch, token by token: what every other implementation is compared with.

float64 throughout for float64 inputs, else float32 on inputs widened to it. Autograd differentiates all of it, the
trajectory included.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary.inputs import Inputs, PreconditionerInputs, check_inputs, check_preconditioner_inputs
from ..boundary.numerics import REFERENCE, declare
from ..boundary.results import State, Trajectory
from ..boundary.rule import Rule

FEEDBACK_EPSILON = 1e-5
"""Added to |k|^2 in the normalised feedback."""

NORM_EPSILON = 1e-6
"""Added to |x|^2 where queries and keys are normalised."""


class Scan(NamedTuple):
    """Sequences of one length, widened, as the calibration reads them.

    k [N, T, H, K]; gamma = exp(g) comes from `g` [N, T, H] or None; anchor [N, H, K] or None (0); start [N, H, K].
    """

    k: Tensor
    g: Tensor | None
    anchor: Tensor | None
    start: Tensor


class Memory(NamedTuple):
    """The same sequences as the memory reads them, with their write keys d_t * k_t still to come.

    q, k [N, T, H, K]; v [N, T, H, V]; beta [N, T, H]; start [N, H, K, V].
    """

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    start: Tensor


ScanSolver = Callable[[Scan, Rule, int], tuple[Tensor, Tensor]]
"""(scan, rule, chunk size) -> d_t [N, T, H, K] and the d handed on [N, H, K]."""

MemorySolver = Callable[[Memory, Tensor, float, int], tuple[Tensor, Tensor]]
"""(memory, d_t, scale, chunk size) -> o [N, T, H, V] and the final state [N, H, K, V]."""


@declare(REFERENCE)
def osdn_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    g: Tensor | None = None,
    scale: float | None = None,
    eta: float = 0.003,
    d_min: float = 2 / 3,
    d_max: float = 3 / 2,
    anchor: Tensor | float | None = None,
    normalize_feedback: bool = False,
    initial_state: Tensor | State | None = None,
    initial_preconditioner: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Tensor | None = None,
    chunk_size: int = 64,
    return_trajectory: bool = False,
    check_values: bool = True,
) -> tuple[Tensor, State | None] | tuple[Tensor, State | None, Trajectory]:
    r"""OSDN token by token, arguments and results as in `osdn_kernels.chunk_osdn`.

    .. math::
        H_t &= H_{t-1} + \beta_t (d_t \odot k_t)(v_t - H_{t-1}^T k_t)^T, \qquad o_t = \text{scale}\, H_t^T q_t \\
        d_{t+1} &= \Pi[c + \gamma_t (d_t - c) + \eta w_t (1 - \langle d_t, k_t \odot k_t\rangle) k_t \odot k_t]

    Also takes float64, and any K and V; states come in float64 for float64 inputs. Unlike that of the kernels the
    trajectory stays attached to the graph. `chunk_size` is checked and not used. The gradient of the clip is that of
    `torch.clamp`, save that a box of one point (d_min = d_max) lets none through: there the clip is a constant.

    Raises
    ------
    TypeError, ValueError
        See `osdn_kernels.boundary.inputs.check_inputs`.
    """
    inputs = check_inputs(
        q, k, v, beta, g=g, scale=scale, eta=eta, d_min=d_min, d_max=d_max, anchor=anchor,
        normalize_feedback=normalize_feedback, initial_state=initial_state,
        initial_preconditioner=initial_preconditioner, cu_seqlens=cu_seqlens, chunk_size=chunk_size,
        check_values=check_values, for_kernels=False,
    )  # fmt: skip
    return run(
        inputs, scan_tokens, remember_tokens, use_qk_l2norm_in_kernel, output_final_state, return_trajectory
    )


@declare(REFERENCE)
def preconditioner_reference(
    k: Tensor,
    *,
    g: Tensor | None = None,
    eta: float = 0.003,
    d_min: float = 2 / 3,
    d_max: float = 3 / 2,
    anchor: Tensor | float | None = None,
    normalize_feedback: bool = False,
    initial_preconditioner: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    chunk_size: int = 64,
    sequential: bool = False,
    check_values: bool = True,
) -> tuple[Tensor, Tensor]:
    """The preconditioner alone: d_t [B, T, H, K] and the d handed on [N, H, K], in float32 (float64 for float64 keys).

    Arguments as in `osdn_kernels.osdn_preconditioner`; `chunk_size` is checked and not used, nor is `sequential`.
    """
    inputs = check_preconditioner_inputs(
        k, g=g, eta=eta, d_min=d_min, d_max=d_max, anchor=anchor, normalize_feedback=normalize_feedback,
        initial_preconditioner=initial_preconditioner, cu_seqlens=cu_seqlens, chunk_size=chunk_size,
        check_values=check_values, for_kernels=False,
    )  # fmt: skip
    pieces = [scan_tokens(scan, inputs.rule, inputs.chunk_size) for scan in scans(inputs, widened(inputs.k))]
    path, final = zip(*pieces, strict=True)
    return torch.cat(path, 1), torch.cat(final)


def run(
    inputs: Inputs,
    solve_scan: ScanSolver,
    solve_memory: MemorySolver,
    normalize: bool,
    output_final_state: bool,
    return_trajectory: bool,
) -> tuple[Tensor, State | None] | tuple[Tensor, State | None, Trajectory]:
    """Both recurrences over every sequence, by the solvers given, and the results of `chunk_osdn` from them."""
    q, k = (unit(x) if normalize else widened(x) for x in (inputs.q, inputs.k))
    outputs, paths, states, finals = [], [], [], []
    for scan, memory in zip(scans(inputs, k), memories(inputs, q, k), strict=True):
        path, final = solve_scan(scan, inputs.rule, inputs.chunk_size)
        output, state = solve_memory(memory, path, inputs.scale, inputs.chunk_size)
        for results, result in zip(
            (outputs, paths, states, finals), (output, path, state, final), strict=True
        ):
            results.append(result)
    o = torch.cat(outputs, 1).to(inputs.v.dtype)
    final_state = State(torch.cat(states), torch.cat(finals)) if output_final_state else None
    if not return_trajectory:
        return o, final_state
    preconditioner = torch.cat(paths, 1)
    alignment = (preconditioner * k.square()).sum(-1)
    residual_ratio = (1 - widened(inputs.beta, k.dtype) * alignment).square()
    return o, final_state, Trajectory(preconditioner, alignment, residual_ratio)


def scan_tokens(scan: Scan, rule: Rule, chunk_size: int) -> tuple[Tensor, Tensor]:
    """d_t of every token, one after the other (T4, T13)."""
    gates = [None] * scan.k.shape[1] if scan.g is None else scan.g.exp().unbind(1)
    d, path = scan.start, []
    for k, gamma in zip(scan.k.unbind(1), gates, strict=True):
        path.append(d)
        d = calibrate(d, k, gamma, scan.anchor, rule)
    return stack_tokens(path, scan.k), d


def calibrate(d: Tensor, k: Tensor, gamma: Tensor | None, anchor: Tensor | None, rule: Rule) -> Tensor:
    """d_{t+1} from d_t and k_t [..., K] and gamma_t [...]."""
    s = k.square()
    gain = rule.eta * feedback_weight(s, rule) * (1 - (d * s).sum(-1))
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
    if rule.d_min == rule.d_max:
        return torch.full_like(d, rule.d_min)
    return d.clamp(rule.d_min, rule.d_max)


def remember_tokens(memory: Memory, path: Tensor, scale: float, chunk_size: int) -> tuple[Tensor, Tensor]:
    """Write, then read, one token after the other; `path` holds d_t."""
    state, outputs = memory.start, []
    tokens = (memory.q, memory.k, path * memory.k, memory.v, memory.beta)
    for q, k, write_key, v, beta in zip(*(x.unbind(1) for x in tokens), strict=True):
        residual = v - torch.einsum("nhkv,nhk->nhv", state, k)
        state = state + torch.einsum("nhk,nhv->nhkv", write_key, beta[..., None] * residual)
        outputs.append(scale * torch.einsum("nhkv,nhk->nhv", state, q))
    return stack_tokens(outputs, memory.v), state


def stack_tokens(rows: list[Tensor], like: Tensor) -> Tensor:
    """[N, T, ...] of T tensors [N, ...], or the empty `like`."""
    return torch.stack(rows, 1) if rows else like


def scans(inputs: PreconditionerInputs, k: Tensor) -> list[Scan]:
    """The batch, or its packed sequences one by one, with `k` the widened keys."""
    g = None if inputs.g is None else widened(inputs.g, k.dtype)
    start = inputs.initial_preconditioner
    if start is None:
        start = k.new_ones(inputs.sequences, *k.shape[2:])
    tokens = cut(inputs.cu_seqlens, k, g)
    sequences = rows(inputs.cu_seqlens, inputs.anchor, start)
    return [Scan(*piece, *row) for piece, row in zip(tokens, sequences, strict=True)]


def memories(inputs: Inputs, q: Tensor, k: Tensor) -> list[Memory]:
    """Likewise for the memory."""
    v, beta = widened(inputs.v), widened(inputs.beta, k.dtype)
    start = inputs.initial_state
    if start is None:
        start = k.new_zeros(inputs.sequences, *k.shape[2:], v.shape[3])
    tokens = cut(inputs.cu_seqlens, q, k, v, beta)
    return [Memory(*piece, *row) for piece, row in zip(tokens, rows(inputs.cu_seqlens, start), strict=True)]


def cut(cu_seqlens: Tensor | None, *tensors: Tensor | None) -> list[tuple[Tensor | None, ...]]:
    """[B, T, ...] by sequence: themselves for a batch, one [1, T_n, ...] for each packed sequence."""
    if cu_seqlens is None:
        return [tensors]
    lengths = cu_seqlens.diff().tolist()
    pieces = [[None] * len(lengths) if x is None else x.split(lengths, 1) for x in tensors]
    return list(zip(*pieces, strict=True))


def rows(cu_seqlens: Tensor | None, *tensors: Tensor | None) -> list[tuple[Tensor | None, ...]]:
    """[N, ...] by sequence: themselves for a batch, one [1, ...] for each packed sequence."""
    if cu_seqlens is None:
        return [tensors]
    number = len(cu_seqlens) - 1
    pieces = [[None] * number if x is None else x.split(1) for x in tensors]
    return list(zip(*pieces, strict=True))


def widened(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`x` in `dtype`, by default float64 if it has it and float32 if not."""
    return x.to(dtype or (torch.float64 if x.dtype == torch.float64 else torch.float32))


def unit(x: Tensor) -> Tensor:
    """x / sqrt(|x|^2 + 1e-6) rounded to the dtype of `x`, widened; its gradient is that without the rounding."""
    wide = widened(x)
    exact = wide * (wide.square().sum(-1, keepdim=True) + NORM_EPSILON).rsqrt()
    rounded = exact.detach().to(x.dtype).to(wide.dtype)
    # The difference is exact, and so is the sum: the value is `rounded` itself.
    return exact + (rounded - exact).detach()
