"""The boundary of every operator: what a call may pass, with its defaults, and the canonical values behind it."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import values
from .checks import check_tensor, count_sequences, read_finite, read_rule, refuse, require_tensor
from .pools import put_state_, take_state
from .results import AnyState, ExactState, turn_state, widen
from .rule import BOUNDED, Rule

CHUNK_SIZES = (16, 32, 64)
MAX_FEATURES = 256
"""Largest K and V that the kernels hold in one tile."""

FORGOTTEN = -1000.0
"""A log gate below which exp is 0 even in float64, and which sums and differences take, as they do not -inf.

Whoever sums gates of the memory raises them to it: there may be many."""

KERNEL_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
POOL_DTYPES, WIDE = (torch.float32, torch.bfloat16), (torch.float32,)
INDICES = (torch.int32, torch.int64)
REFERENCE_DTYPES = (*KERNEL_DTYPES, torch.float64)


@dataclass(frozen=True)
class Limits:
    """What an implementation takes beyond what is right in itself.

    - `dtypes`: Of q, k, v, beta and g.
    - `features`: Largest K and V.
    - `launches`: Whether it is made of Triton kernels, which run on some devices only.
    - `rounds_state`: Whether products take the memory in the inputs' dtype.
    - `per_feature`: Whether a state gate has an entry for each key feature.
    - `intermediate`: Whether it can return the states between chunks.
    - `mixed`: Whether q, k and v may each have a dtype of their own; outputs then have that of v.
    """

    dtypes: tuple[torch.dtype, ...] = REFERENCE_DTYPES
    features: int | None = None
    launches: bool = False
    rounds_state: bool = False
    per_feature: bool = False
    intermediate: bool = True
    mixed: bool = False

    def beside(self, q: Tensor) -> tuple[torch.dtype, ...]:
        """Dtypes of k and v: that of q, or where they may be mixed all that are widened to the same."""
        if not self.mixed:
            return (q.dtype,)
        return tuple(dtype for dtype in self.dtypes if widen(dtype) == widen(q.dtype))


KERNELS = Limits(KERNEL_DTYPES, MAX_FEATURES, launches=True, intermediate=False)
CHUNK_KERNELS = replace(KERNELS, rounds_state=True, intermediate=True)
ANYWHERE = Limits()


class Gates(NamedTuple):
    """Log gates of a call: of the memory [B, T, HV] or [B, T, HV, K], and of d [B, T, H] with its argument's name."""

    state: Tensor | None
    forget: Tensor | None
    name: str = "g"


@dataclass(frozen=True)
class ScanArguments:
    """A call of `osdn_preconditioner` after its checks.

    - `k` [B, T, H, K]: As given, possibly not contiguous.
    - `g` [B, T, H] or None: At least `FORGOTTEN`.
    - `anchor` [N, H, K] or None: c in float32 (float64 for float64 keys); None is 0, and also what remains
      without `g`, where c cancels.
    - `initial_preconditioner` [N, H, K] or None: d_1 in the same dtype; None is ones.
    - `cu_seqlens` [N + 1] or None: In order and in 0 to T, whatever was given.
    - `sequences`: N: B, or the number of packed sequences.
    """

    k: Tensor
    g: Tensor | None
    rule: Rule
    anchor: Tensor | None
    initial_preconditioner: Tensor | None
    cu_seqlens: Tensor | None
    chunk_size: int
    sequences: int
    sequential: bool


@dataclass(frozen=True)
class Arguments(ScanArguments):
    """A call of `chunk_osdn` or of its gated forms after its checks.

    - `q`, `v`, `beta` [B, T, H, K], [B, T, HV, V], [B, T, HV]: As given, possibly not contiguous; HV is a
      multiple of H.
    - `scale`: Factor of the read; K ** -0.5 unless given.
    - `initial_state` [N, H, K, V] or None: H_0 in float32 (float64 for float64 keys); None is zero.
    - `state_gate` [B, T, HV] or [B, T, HV, K], or None: Log gates of the memory, as given; `g` is that of d in
      gated forms too.
    - `initial_rest` [N, H, K] or None: What float32 leaves of d_1.
    - `pool`, `state_indices`, AnyState [S, ...] and [N], or None: Where `initial_state` comes from and the
      final state goes.
    - `state_v_first`: Whether the final state that is returned has its memory as [N, HV, V, K].
    """

    q: Tensor
    v: Tensor
    beta: Tensor
    scale: float
    initial_state: Tensor | None
    output_final_state: bool
    use_qk_l2norm_in_kernel: bool
    return_trajectory: bool
    return_intermediate_states: bool = False
    state_gate: Tensor | None = None
    initial_rest: Tensor | None = None
    pool: AnyState | None = None
    state_indices: Tensor | None = None
    state_v_first: bool = False

    def hand_on(self, state: AnyState) -> AnyState | None:
        """The final state that the call returns; a pool gets it in any case."""
        if self.pool is not None and self.state_indices is not None:
            put_state_(self.pool, self.state_indices, state)
            state = self.pool
        if not self.output_final_state:
            return None
        return turn_state(state) if self.state_v_first else state


def check_scan(
    limits: Limits,
    k: Tensor,
    *,
    g: Tensor | None = None,
    eta: float = BOUNDED.eta,
    d_min: float = BOUNDED.d_min,
    d_max: float = BOUNDED.d_max,
    anchor: Tensor | float | None = None,
    normalize_feedback: bool = BOUNDED.normalize_feedback,
    initial_preconditioner: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    chunk_size: int = 64,
    sequential: bool = False,
    check_values: bool = True,
) -> ScanArguments:
    """The arguments of `osdn_preconditioner`, checked and made canonical.

    `check_values` also reads g, d_1, c and cu_seqlens, in one transfer; it is ignored where values cannot be read:
    under `torch.compile`, `torch.func` and CUDA graph capture, and of meta and fake tensors. Bounds that go unread are
    made to lie in order and in 0 to T; g is raised to `FORGOTTEN`.

    Raises TypeError: an argument that must be a tensor is not one.
    Raises ValueError: anything else, naming the argument, what was expected and what came.
    """
    rule = read_rule(eta, d_min, d_max, normalize_feedback)
    require_tensor("k", k, "[B, T, H, K]")
    check_device("k", k.device, limits)
    return _check_scan(
        limits, k, Gates(None, g), rule, anchor, initial_preconditioner, cu_seqlens, chunk_size, sequential,
        check_values,
    )  # fmt: skip


def _check_scan(
    limits: Limits, k: Tensor, gates: Gates, rule: Rule, anchor: Tensor | float | None,
    initial_preconditioner: Tensor | None, cu_seqlens: Tensor | None, chunk_size: int, sequential: bool,
    check_values: bool,
) -> ScanArguments:  # fmt: skip
    check_tensor("k", k, "[B, T, H, K]", limits.dtypes)
    check_size("k", k, limits)
    if not isinstance(chunk_size, int) or chunk_size not in CHUNK_SIZES:
        refuse("chunk_size", " or ".join(map(str, CHUNK_SIZES)), repr(chunk_size))
    sequences, g = count_sequences(cu_seqlens, k), gates.forget
    if g is not None:
        check_tensor(gates.name, g, "[B, T, H]", limits.dtypes, k.shape[:3], k.device)
    per_sequence = (sequences, *k.shape[2:])
    if initial_preconditioner is not None:
        initial_preconditioner = _state("initial_preconditioner", initial_preconditioner, k, per_sequence)
    elif not rule.d_min <= 1.0 <= rule.d_max:
        box = f"[{rule.d_min}, {rule.d_max}]"
        refuse("initial_preconditioner", f"a tensor, as its default of ones lies outside the box {box}", None)
    anchor = _anchor(anchor, k, per_sequence, gated=g is not None)
    if check_values:
        named = {"g": gates.state, gates.name: g} if gates.state is not None else {gates.name: g}
        values.check_values(named, initial_preconditioner, anchor, cu_seqlens, rule, k.shape[1])
    if cu_seqlens is not None:
        cu_seqlens = values.settle(cu_seqlens, k.shape[1])
    if g is not None:
        g = g.clamp(min=FORGOTTEN)
    return ScanArguments(
        k, g, rule, anchor, initial_preconditioner, cu_seqlens, chunk_size, sequences, sequential
    )


def check_call(
    limits: Limits,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    g: Tensor | None = None,
    scale: float | None = None,
    eta: float = BOUNDED.eta,
    d_min: float = BOUNDED.d_min,
    d_max: float = BOUNDED.d_max,
    anchor: Tensor | float | None = None,
    normalize_feedback: bool = BOUNDED.normalize_feedback,
    beta_aware: bool = BOUNDED.beta_aware,
    initial_state: Tensor | AnyState | None = None,
    initial_preconditioner: Tensor | None = None,
    state_indices: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Tensor | None = None,
    chunk_size: int = 64,
    return_trajectory: bool = False,
    return_intermediate_states: bool = False,
    check_values: bool = True,
) -> Arguments:
    """The arguments of `chunk_osdn`, checked and made canonical; see `check_scan`."""
    rule = read_rule(eta, d_min, d_max, normalize_feedback, beta_aware)
    return check_gates(
        limits, q, k, v, beta, Gates(None, g), scale, rule, anchor, initial_state, initial_preconditioner,
        state_indices, output_final_state, use_qk_l2norm_in_kernel, cu_seqlens, chunk_size, return_trajectory,
        check_values, return_intermediate_states,
    )  # fmt: skip


def check_gates(
    limits: Limits, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, gates: Gates, scale: float | None, rule: Rule,
    anchor: Tensor | float | None, initial_state: Tensor | AnyState | None, initial_preconditioner: Tensor | None,
    state_indices: Tensor | None, output_final_state: bool, use_qk_l2norm_in_kernel: bool, cu_seqlens: Tensor | None,
    chunk_size: int, return_trajectory: bool, check_values: bool, return_intermediate_states: bool = False,
) -> Arguments:  # fmt: skip
    """The arguments of any form of the recurrence: what `check_call` and `check_gated_call` have in common."""
    check_tensor("q", q, "[B, T, H, K]", limits.dtypes)
    check_size("q", q, limits)
    check_device("q", q.device, limits)
    check_tensor("k", k, "[B, T, H, K]", limits.beside(q), q.shape, q.device)
    check_tensor("v", v, "[B, T, HV, V]", limits.beside(q), (*q.shape[:2], None, None), q.device)
    check_size("v", v, limits)
    check_groups(q, v)
    check_tensor("beta", beta, "[B, T, HV]", limits.dtypes, v.shape[:3], q.device)
    pool: AnyState | None = None
    if state_indices is not None:
        sequences = count_sequences(cu_seqlens, q)
        pool = _pool(initial_state, state_indices, sequences, q, v, k, beta, *gates, anchor)
        if check_values:
            values.check_rows("state_indices", state_indices, len(pool.state))
        initial_state = take_state(pool, state_indices, min(max(1.0, rule.d_min), rule.d_max))
    if return_intermediate_states and not limits.intermediate:
        refuse("return_intermediate_states", "False but for the chunk operators and the references", True)
    initial_rest = None
    if isinstance(initial_state, AnyState):
        if initial_preconditioner is not None:
            expected = "None beside an initial_state that is a State and has its own"
            refuse("initial_preconditioner", expected, "both")
        initial_rest = initial_state.rest if isinstance(initial_state, ExactState) else None
        initial_state, initial_preconditioner = initial_state[:2]
    scan = _check_scan(
        limits, k, gates, rule, anchor, initial_preconditioner, cu_seqlens, chunk_size, False, check_values
    )
    if initial_rest is not None:
        d = (scan.sequences, *k.shape[2:])
        check_tensor("initial_state.rest", initial_rest, "[N, H, K]", WIDE, d, k.device)
    if initial_state is not None:
        shape = (scan.sequences, v.shape[2], k.shape[3], v.shape[3])
        initial_state = _state("initial_state", initial_state, k, shape)
        if limits.rounds_state and check_values:
            values.check_fits("initial_state", initial_state, k.dtype)
    if rule.beta_aware:
        beta = values.own_rows(beta, scan.cu_seqlens, read=check_values)
    return Arguments(
        **vars(scan),
        q=q,
        v=v,
        beta=beta,
        scale=k.shape[3] ** -0.5 if scale is None else read_finite("scale", scale),
        initial_state=initial_state,
        output_final_state=output_final_state,
        use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel,
        return_trajectory=return_trajectory,
        state_gate=gates.state,
        return_intermediate_states=return_intermediate_states,
        initial_rest=initial_rest,
        pool=pool,
        state_indices=state_indices,
    )


def _pool(pool: Any, state_indices: Any, sequences: int, q: Tensor, v: Tensor, *others: object) -> AnyState:
    """A pool of states that a call with `others` beside q and v may overwrite."""
    if not isinstance(pool, AnyState):
        raise TypeError(f"initial_state: expected a State beside state_indices, got {type(pool).__name__}")
    memory, d = (None, v.shape[2], q.shape[3], v.shape[3]), (None, *q.shape[2:])
    check_tensor("initial_state.state", pool.state, "[S, HV, K, V]", POOL_DTYPES, memory, q.device)
    check_tensor("initial_state.preconditioner", pool.preconditioner, "[S, H, K]", WIDE, d, q.device)
    if isinstance(pool, ExactState):
        check_tensor("initial_state.rest", pool.rest, "[S, H, K]", WIDE, pool.preconditioner.shape, q.device)
    check_tensor("state_indices", state_indices, "[N]", INDICES, (sequences,), q.device)
    if not len(pool.state):
        refuse("initial_state.state", "a pool of at least one row", list(pool.state.shape))
    if any(0 in x.stride() for x in pool if x.numel()):
        refuse("initial_state", "a pool whose rows lie in memory of their own", "an expanded tensor")
    if torch.is_grad_enabled() and any(getattr(x, "requires_grad", False) for x in (q, v, *others, *pool)):
        refuse("state_indices", "None where a gradient is wanted, as the pool is overwritten", "a tensor")
    return pool


def _anchor(
    anchor: Tensor | float | None, k: Tensor, shape: tuple[int, ...], *, gated: bool
) -> Tensor | None:
    if isinstance(anchor, Tensor):
        anchor = _state("anchor", anchor, k, shape)
        return anchor if gated else None
    if anchor is None:
        return None
    anchor = read_finite("anchor", anchor)
    return k.new_full(shape, anchor, dtype=widen(k.dtype)) if gated and anchor != 0.0 else None


def _state(name: str, value: Tensor, k: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A tensor [N, H, K] or [N, H, K, V], in the dtype of states."""
    check_tensor(
        name, value, "[N, H, K, V]" if len(shape) == 4 else "[N, H, K]", REFERENCE_DTYPES, shape, k.device
    )
    return value.to(widen(k.dtype))


def check_groups(q: Tensor, v: Tensor) -> None:
    """Heads of v: those of q, or as many for each of them."""
    if v.shape[2] % q.shape[2]:
        refuse("v", f"[B, T, HV, V] with HV a multiple of H = {q.shape[2]}", list(v.shape))


def check_size(name: str, tensor: Tensor, limits: Limits) -> None:
    """Of q, k or v [B, T, H, K]: no empty axis but T, and within what the implementation takes."""
    batch, _, heads, features = tensor.shape
    if batch == 0 or heads == 0 or features == 0:
        refuse(name, "no empty axis but T", list(tensor.shape))
    if limits.features is not None and features > limits.features:
        refuse(name, f"at most {limits.features} features in a head", list(tensor.shape))


def check_device(name: str, device: torch.device, limits: Limits) -> None:
    """One that the implementation runs on; the meta device has shapes alone, and runs nothing."""
    if not limits.launches:
        return
    from ..launch import runtime

    if device.type == "meta" or runtime.can_launch(device):
        return
    where = "a CPU tensor, for Triton's interpreter is on" if runtime.INTERPRETED else "a CUDA tensor"
    refuse(name, f"{where} (osdn_reference and chunk_osdn_reference run on any device)", f"one on {device}")
