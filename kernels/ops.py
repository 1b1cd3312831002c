"""Public operators. Names, layouts and defaults are flash-linear-attention's, to which OSDN's own are added."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from .boundary.gated import check_gated_call, feedback_terms
from .boundary.inputs import CHUNK_KERNELS, KERNELS, Arguments, ScanArguments, check_call, check_scan
from .boundary.numerics import CHUNK, RECURRENT, SCAN, declare
from .boundary.results import AnyState, ExactState, Results, ScanPaths, State, count_paths, follow
from .boundary.signature import takes
from .chunk.registration import chunk_forward
from .chunk.stages import ChunkOptions, enter_chunks, in_order, key_mode
from .chunk.write_keys import LEARNED
from .launch.recurrence import Inputs, start_preconditioner
from .launch.tuning import settle_cache_keys
from .layers.norm import l2norm
from .recurrent.forward import RecurrentOptions
from .recurrent.registration import recurrent
from .scan.registration import ScanInputs, ScanOptions, preconditioner

settle_cache_keys()

_sequential = False


@contextmanager
def sequential_scan() -> Iterator[None]:
    """`chunk_osdn` calls inside step the preconditioner token by token; to compare with, in results and in speed."""
    global _sequential
    before, _sequential = _sequential, True
    try:
        yield
    finally:
        _sequential = before


@declare(CHUNK)
@takes(check_call, CHUNK_KERNELS)
def chunk_osdn(call: Arguments) -> Results:
    r"""Online Scaled DeltaNet over whole sequences, in chunks (T11, T12).

    .. math::
        H_t &= H_{t-1} + \beta_t (d_t \odot k_t) (v_t - H_{t-1}^\top k_t)^\top, \qquad o_t = scale \cdot H_t^\top q_t \\
        d_{t+1} &= \Pi\,[c + \gamma_t (d_t - c) + \eta w_t (1 - \langle d_t, k_t^2 \rangle) k_t^2],
        \qquad \gamma_t = e^{g_t}

    Differentiable in q, k, v, beta, g, anchor, initial_state and initial_preconditioner, through both parts of the
    final state and through the clip, which passes a gradient where d_min <= its argument <= d_max.

    - `q`, `k` [B, T, H, K] float16, bfloat16 or float32: Queries and keys, K <= 256.
    - `v` [B, T, HV, V], same dtype: Values, V <= 256. HV is H or a multiple of it: each key head, with its
      preconditioner, serves HV / H heads.
    - `beta` [B, T, HV]: Write gates.
    - `g` [B, T, H]: Log forgetting gates, <= 0. They make d forget, not the memory.
    - `scale`: Factor of the read; K ** -0.5.
    - `eta`, `d_min`, `d_max`: Hypergradient step and box; by default the setting `bounded`. `historic` is
      ``eta=1, d_min=0, d_max=1e9``: see `osdn_kernels.boundary.rule`. A step of 0 without `g` keeps d at d_1, and
      ``d_min = d_max = 1`` is DeltaNet: neither runs the scan.
    - `anchor` [N, H, K] or float: c, what forgetting returns to; 0. Pass d_1 for anchored forgetting (T13).
    - `normalize_feedback`: w_t = 1 / (\|k_t\|^2 + 1e-5) rather than 1.
    - `initial_state` [N, HV, K, V], State or ExactState: Memory to start with, zero; or what an earlier call handed
      on.
    - `initial_preconditioner` [N, H, K]: d_1, inside the box; ones.
    - `state_indices` [N] int32 or int64: `initial_state` is then a pool, a State [S, ...] with its memory in float32
      or bfloat16: sequence n starts from its row ``state_indices[n]``, which takes the final state; the pool is
      returned for it. A row that the pool does not have is an empty memory, which goes nowhere. For inference: no
      gradient. No two may be the same.
    - `output_final_state`: Whether to return the final state.
    - `use_qk_l2norm_in_kernel`: Normalise q and k first: x / sqrt(\|x\|^2 + 1e-6), rounded to their dtype.
    - `cu_seqlens` [N + 1] integers: Bounds of sequences packed into B = 1.
    - `chunk_size`: 16, 32 or 64
    - `return_trajectory`: Also return what each token met: the d_t of this very run, that its write keys were formed
      with.
    - `return_intermediate_states`: Also return the states that the chunks are entered with, of all sequences in
      order: an `initial_state` for what follows, which then has the bits of this call. Chunks that clip or forget are
      calibrated one after the other for this, here and in calls that start from such a state.
    - `check_values`: Whether to read g, initial_preconditioner, anchor and cu_seqlens to check them, which waits for
      the device. Ignored under `torch.compile`, `torch.func` and CUDA graph capture, and for meta and fake tensors,
      which cannot be read. Bounds that go unread lead out of no tensor; tokens of no sequence have outputs and
      gradients of zero.

    Returns:

    - `o` [B, T, HV, V], dtype of v
    - `final_state`: An `ExactState` where intermediate states are asked for or the call starts from one.
    - `trajectory`: Only with `return_trajectory`.
    - `intermediate`, ExactState [C, ...]: Only with `return_intermediate_states`; detached from autograd. C is B
      ceil(T / chunk_size), and for packed sequences ceil(T / chunk_size) + N - 1, of which those left over are at the
      end.

    Raises ValueError, TypeError: naming the argument, before anything is launched.

    Notes
    -----
    d, gains and both states are float32 throughout. Products of float32 inputs are full float32 unless
    ``torch.set_float32_matmul_precision`` allows TF32. ``chunk_osdn.numerics`` declares it all as data, of which the
    rounding bounds follow: see `osdn_kernels.boundary.numerics`.

    Products of whole chunks in 16 bits cost what `fused_recurrent_osdn` keeps: an update is lost that is small beside
    what bfloat16 rounds off the memory and the value (4096 over 4098); float16 overflows above 65504 in the memory, and
    from about 1e4 in gradients; and a NaN reaches the tokens before it in its chunk, though no earlier chunk.
    """
    return _solve_chunks(call)


@declare(CHUNK)
@takes(check_gated_call, CHUNK_KERNELS)
def chunk_osgdn(call: Arguments) -> Results:
    r"""OS-GDN, Gated DeltaNet with an online preconditioner, over whole sequences, in chunks (T11, T12, T17).

    .. math::
        M_t &= \alpha_t H_{t-1}, \qquad \alpha_t = e^{g_t} \\
        H_t &= M_t + \beta_t (d_t \odot k_t)(v_t - M_t^\top k_t)^\top, \qquad o_t = scale \cdot H_t^\top q_t \\
        d_{t+1} &= \Pi\,[c + \gamma_t (d_t - c) + \eta w_t \beta_t (1 - \beta_t \langle d_t, k_t^2 \rangle) k_t^2]

    The memory fades before the residual is taken against it. Arguments beside those of `chunk_osdn`, results, errors
    and remarks as there; differentiable in g and g_d as well. ``d_min = d_max = 1`` is Gated DeltaNet.

    - `g` [B, T, HV]: Log gates of the memory, <= 0, however strong; or, with `use_gate_in_kernel`, what they are
      formed from.
    - `g_d` [B, T, H] or "state": Log forgetting gates of d, <= 0: gamma_t = e^{g_d}. "state" takes the memory's, of
      value heads that share d the mean.
    - `beta_aware`: Whether the feedback is beta_t (1 - beta_t <d_t, k_t^2>), of value heads that share d the mean;
      without, it is 1 - <d_t, k_t^2>.
    - `use_gate_in_kernel`, `A_log`, `dt_bias`, `lower_bound`: g is then -exp(A_log) softplus(g + dt_bias), or
      lower_bound sigmoid(exp(A_log) (g + dt_bias)); see `osdn_kernels.boundary.gated.form_gate`. Without the first the
      others are not read.
    - `use_beta_sigmoid_in_kernel`, `allow_neg_eigval`: The write gates are sigmoid(beta), or twice that.
    - `state_v_first`: The memory is given and handed on as [N, HV, V, K]; not beside state_indices or
      return_intermediate_states.
    - `safe_gate`, `disable_recompute`, `cu_seqlens_cpu`, `chunk_indices`: Not read: hints of
      flash-linear-attention's, which change no result.
    """
    return _solve_chunks(call)


@declare(CHUNK)
@takes(check_gated_call, replace(CHUNK_KERNELS, per_feature=True))
def chunk_oskda(call: Arguments) -> Results:
    """OS-KDA, Kimi Delta Attention with an online preconditioner, over whole sequences, in chunks (T11, T12, T17).

    `chunk_osgdn` with a gate for each key feature: g [B, T, HV, K], however strong, of which ``g_d="state"`` takes the
    mean over features too. ``d_min = d_max = 1`` is KDA.

    Notes
    -----
    Decays between two tokens are products of two factors, none of them above 1, so that no gate is too strong. Beside
    16 bits, or where TF32 is allowed, blocks of 16 tokens over which no feature fades by more than e^-60 meet
    themselves with factors of up to e^60 on their keys, and keys above 3e12 may overflow. Beside float32 inputs sums of
    gates carry along what float32 loses of them; beside 16 bits gates are taken to be at least -104, where exp is 0,
    and decays are good to 5e-4.
    """
    return _solve_chunks(call)


@declare(RECURRENT)
@takes(check_call, KERNELS)
def fused_recurrent_osdn(call: Arguments) -> Results:
    """Online Scaled DeltaNet token by token, in one kernel: for short sequences, and as a second implementation.

    Arguments, results, gradients and errors are those of `chunk_osdn`; `chunk_size` is checked and has no effect. All
    arithmetic is float32. For single tokens with a carried state, `osdn_kernels.decode_step_` allocates nothing.
    """
    return _solve_tokens(call)


@declare(RECURRENT)
@takes(check_gated_call, replace(KERNELS, mixed=True))
def fused_recurrent_osgdn(call: Arguments) -> Results:
    """OS-GDN token by token, in one kernel: for short sequences, and as a second implementation.

    Arguments, results, gradients and errors are those of `chunk_osgdn`, as `fused_recurrent_osdn` is `chunk_osdn`; but
    q, k and v may each have a dtype of their own, as in flash-linear-attention. Gradients of g are summed from the
    start of a sequence, or from where a gate leaves nothing, on: they are as exact as float32 makes the largest term
    so far, where those of `chunk_osgdn` are as exact as themselves.
    """
    return _solve_tokens(call)


@declare(RECURRENT)
@takes(check_gated_call, replace(KERNELS, per_feature=True, mixed=True))
def fused_recurrent_oskda(call: Arguments) -> Results:
    """OS-KDA token by token, in one kernel: Kimi Delta Attention with an online preconditioner (T17).

    `fused_recurrent_osgdn` with a gate for each key feature: g [B, T, HV, K], of which ``g_d="state"`` takes the mean
    over features too. ``d_min = d_max = 1`` is KDA.
    """
    return _solve_tokens(call)


@declare(SCAN)
@takes(check_scan, KERNELS)
def osdn_preconditioner(call: ScanArguments) -> tuple[Tensor, Tensor]:
    """The preconditioner that each token is written with: the calibrate scan alone (T4, T11).

    A chunk's gains come from one triangular system; where its iterates provably stay in the box that is exact. Chunks
    where they do not, and all under forgetting, are found by sweeps over all chunks at once if eta <= 1/16 (T29), and
    stepped token by token otherwise: choices made on the device. `sequential` steps all of them.

    Arguments and errors as in `chunk_osdn`; differentiable in k, g, anchor and initial_preconditioner.

    Returns:

    - `d` [B, T, H, K] float32
    - `final` [N, H, K] float32: The d handed on.
    """
    inputs = ScanInputs(call.k, call.g, call.anchor, call.initial_preconditioner, call.cu_seqlens)
    found = preconditioner(inputs, ScanOptions(call.rule, call.chunk_size, call.sequential))
    return found.d, found.final


def _solve_tokens(call: Arguments) -> Results:
    inputs = _inputs(call)
    found = recurrent(
        inputs, RecurrentOptions(call.scale, call.rule, _learns(inputs) or call.return_trajectory)
    )
    return _results(call, inputs.k, found.o, State(found.state, found.preconditioner), found.path)


def _solve_chunks(call: Arguments) -> Results:
    inputs = _inputs(call)
    if call.return_intermediate_states:
        # Known ones and given ones are written by other kernels, and what goes on is given them.
        inputs = inputs._replace(initial_preconditioner=start_preconditioner(inputs))
    start = inputs.initial_preconditioner
    mode = key_mode(
        call.rule,
        gated=call.g is not None,
        started=start is not None,
        start_learns=start is not None and start.requires_grad and torch.is_grad_enabled(),
    )
    wanted = call.return_trajectory, call.return_intermediate_states
    options = ChunkOptions(
        call.scale, call.rule, call.chunk_size, mode, _sequential, *wanted, learns=_learns(inputs)
    )
    found = chunk_forward(inputs, options)
    scan = None
    if call.return_trajectory and mode == LEARNED and found.clipped is not None and found.opened is not None:
        scan = count_paths(found.clipped, found.opened, inputs.sequences)
    state: AnyState = State(found.state, found.preconditioner)
    if found.rest is not None and mode == LEARNED and in_order(inputs, options):
        state = ExactState(found.state, found.preconditioner, found.rest)
    results = _results(call, inputs.k, found.o, state, found.path, scan)
    if not call.return_intermediate_states:
        return results
    return *results, enter_chunks(inputs, options, found)


def _inputs(call: Arguments) -> Inputs:
    q, k = call.q, call.k
    if call.use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    states = call.anchor, call.initial_state, call.initial_preconditioner
    learns = call.rule.beta_aware and not call.rule.pinned
    feedback = feedback_terms(call.beta.float(), k.shape[2]) if learns else None
    last = call.state_gate, feedback, call.initial_rest, call.cu_seqlens
    return Inputs(q, k, call.v, call.beta, call.g, *states, *last)


def _learns(inputs: Inputs) -> bool:
    """Whether gradients of a call will be wanted."""
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)


def _results(
    call: Arguments, k: Tensor, o: Tensor, state: AnyState, path: Tensor | None, scan: ScanPaths | None = None
) -> Results:
    final = call.hand_on(state)
    if path is None or not call.return_trajectory:
        return o, final
    with torch.no_grad():
        # Contiguous, so that the order of the sum does not depend on how k lies in memory.
        return o, final, follow(path, k.contiguous().float(), call.beta.float(), scan)
