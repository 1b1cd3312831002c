"""Online Scaled DeltaNet as a layer of a language model, in place of a DeltaNet or attention layer."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from ..boundary.checks import read_count, read_rule, refuse
from ..boundary.inputs import MAX_FEATURES, Gates
from ..boundary.layer_calls import check_cache, check_forward
from ..boundary.pools import take
from ..boundary.results import State, widen
from ..boundary.rule import BOUNDED
from ..parallel import context_parallel, exchange_tails
from .cache import LayerCache
from .convolution import Packing, ShortConvolution, packing
from .marks import MarkedModule
from .operator import Form, can_launch, choose, step_
from .parts import ForgetGate, HeadNorm

CHUNK_SIZE = 64
MODES = ("chunk", "fused_recurrent")


class Spread(NamedTuple):
    """Where the tokens and the past of a call lie: arguments of `forward`, `between` its last one."""

    cu_seqlens: Tensor | None
    rows: Tensor | None
    cp_group: Any
    between: bool


class OnlineScaledDeltaNet(MarkedModule):
    r"""Delta-rule attention whose write keys are scaled by an online-learned preconditioner.

    .. math::
        q_t, k_t &= \text{unit}(\text{SiLU}(\text{conv}(W_{q,k} x)))_t, \quad v_t = \text{SiLU}(\text{conv}(W_v x))_t,
        \quad \beta_t = \sigma(W_\beta x_t), \quad \log \gamma_t = \log \sigma(W_\gamma x_t + b_\gamma) \\
        H_t &= H_{t-1} + \beta_t (d_t \odot k_t)(v_t - H_{t-1}^T k_t)^T, \qquad
        y_t = W_o \, \text{RMSNorm}(H_t^T q_t / \sqrt K) \\
        d_{t+1} &= \Pi[c + \gamma_t (d_t - c) + \eta w_t (1 - \langle d_t, k_t \odot k_t\rangle) k_t \odot k_t]

    Runs on the Triton kernels where they can be launched, and through the PyTorch references elsewhere, which it says
    once. Parameters shared with flash-linear-attention's DeltaNet layer have its names and shapes, so that its
    checkpoints load with ``strict=False``. Without forgetting and with d_1 = 1 the keys, being of unit length, leave d
    at one: the layer then is DeltaNet but for rounding (T15), until d_1 is trained.

    - `hidden_size`: Features D of the input and the output.
    - `num_heads`: H of queries, keys and preconditioners; must divide the features of the keys.
    - `num_v_heads`: HV of values, memories and write gates: H, or a multiple of it; must divide the features of the
      values.
    - `expand_k`, `expand_v`: Features of all keys and of all values over D.
    - `head_k_dim`, `head_v_dim`: K and V of one head, in place of `expand_k` and `expand_v`; at most 256.
    - `mode`, {"chunk", "fused_recurrent"}: Operator of calls that need a gradient or are longer than 64 tokens;
      others take the recurrent one anyway.
    - `use_short_conv`, `conv_size`, `conv_bias`: Causal convolutions on q, k and v.
    - `allow_neg_eigval`: Gate beta in (0, 2) instead of (0, 1).
    - `use_forget_gate`: Learn gamma_t per token and head, starting at 0.999; otherwise nothing is forgotten.
    - `anchored`: Forget towards c = d_1 instead of c = 0, which has no bias (T13); has an effect only with the forget
      gate.
    - `learnable_preconditioner`: Train d_1 [H, K], which starts at ones.
    - `eta`, `d_min`, `d_max`, `normalize_feedback`, `beta_aware`: The calibrate rule, by default the setting
      `bounded`; ``**SETTINGS["historic"]._asdict()`` of `osdn_kernels.boundary.rule` is the other. d_1 is clipped to
      the box as well. ``d_min = d_max = 1`` is DeltaNet.
    - `use_gate`: Multiply the normalised output by SiLU of a projection.
    - `norm_eps`: Epsilon of the output norm.

    - `initial_preconditioner`, [H, K] parameter: d_1. Marked, like the forgetting bias, to be left alone by weight
      decay and generic initialisers, and put back by `reset_parameters`, which the latter call.

    Raises ValueError, TypeError: naming the argument, what was expected and what came.
    """

    marked: ClassVar[tuple[str, ...]] = ("initial_preconditioner",)
    form: ClassVar[Form] = "osdn"

    def __init__(
        self,
        hidden_size: int = 1024,
        num_heads: int = 4,
        *,
        num_v_heads: int | None = None,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        head_k_dim: int | None = None,
        head_v_dim: int | None = None,
        mode: str = "chunk",
        use_short_conv: bool = True,
        conv_size: int = 4,
        conv_bias: bool = False,
        allow_neg_eigval: bool = False,
        use_forget_gate: bool = False,
        anchored: bool = False,
        learnable_preconditioner: bool = True,
        eta: float = BOUNDED.eta,
        d_min: float = BOUNDED.d_min,
        d_max: float = BOUNDED.d_max,
        normalize_feedback: bool = BOUNDED.normalize_feedback,
        beta_aware: bool = BOUNDED.beta_aware,
        use_gate: bool = False,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            refuse("mode", " or ".join(MODES), mode)
        self.hidden_size, self.num_heads = (
            read_count("hidden_size", hidden_size),
            read_count("num_heads", num_heads),
        )
        self.mode = mode
        self.head_k_dim = _head_dim("k", head_k_dim, expand_k, hidden_size, num_heads)
        self.num_v_heads = read_count("num_v_heads", num_heads if num_v_heads is None else num_v_heads)
        if self.num_v_heads % num_heads:
            refuse("num_v_heads", f"a multiple of num_heads = {num_heads}", num_v_heads)
        self.head_v_dim = _head_dim("v", head_v_dim, expand_v, hidden_size, self.num_v_heads)
        self.allow_neg_eigval, self.anchored = allow_neg_eigval, anchored
        self.rule = read_rule(eta, d_min, d_max, normalize_feedback, beta_aware)
        if not d_min <= 1.0 <= d_max:
            refuse("d_min, d_max", "a box around 1, where d_1 starts", (d_min, d_max))

        key_dim, value_dim = num_heads * self.head_k_dim, self.num_v_heads * self.head_v_dim
        self.q_proj = nn.Linear(hidden_size, key_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, key_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, value_dim, bias=False)
        self.b_proj = nn.Linear(hidden_size, self.num_v_heads, bias=False)
        self.use_short_conv = use_short_conv
        if use_short_conv:
            read_count("conv_size", conv_size, 2)
            self.q_conv1d = ShortConvolution(key_dim, conv_size, conv_bias)
            self.k_conv1d = ShortConvolution(key_dim, conv_size, conv_bias)
            self.v_conv1d = ShortConvolution(value_dim, conv_size, conv_bias)
        self.forget_gate = ForgetGate(hidden_size, num_heads) if use_forget_gate else None
        self.g_proj: nn.Module | None = None
        if use_gate:
            self.g_proj = nn.Linear(hidden_size, value_dim, bias=False)
        self.o_norm = HeadNorm(self.head_v_dim, eps=norm_eps)
        self.o_proj = nn.Linear(value_dim, hidden_size, bias=False)
        self.initial_preconditioner = nn.Parameter(
            torch.empty(num_heads, self.head_k_dim), requires_grad=learnable_preconditioner
        )
        if d_min == d_max:
            # What d depends on has no influence, and would only be unused parameters.
            self.initial_preconditioner.requires_grad_(False)
            if self.forget_gate is not None:
                self.forget_gate.requires_grad_(False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set d_1 to ones; the other modules have a `reset_parameters` of their own."""
        nn.init.ones_(self.initial_preconditioner)

    @torch.no_grad()
    def project_(self) -> None:
        """Move d_1 into the box, say after each optimizer step: clipped entries have no gradient to come back by."""
        self.initial_preconditioner.clamp_(self.rule.d_min, self.rule.d_max)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        cache: LayerCache | None = None,
        use_cache: bool = False,
        cu_seqlens: Tensor | None = None,
        state_indices: Tensor | None = None,
        cp_group: Any = None,
        return_intermediate_states: bool = False,
    ) -> tuple[Any, ...]:
        """Mix the tokens of each sequence, causally.

        - `hidden_states` [B, T, D]
        - `attention_mask` [B, T] or longer, bool or integer, or None: False or zero where a token is padding, on
          either side; of a longer mask the last T columns count. Padding is left out of the computation and its
          outputs are zero. Reading it waits for the device.
        - `cache`: Past to start from, updated to where this call ends.
        - `use_cache`: Begin a cache where none is given.
        - `cu_seqlens` [N + 1] int32 or int64 or None: Bounds of sequences packed into one row (B = 1).
        - `state_indices` [N] int32 or int64 or None: The rows of `cache` that this call continues, of one that has
          more of them (`new_cache`); below 0 none. For inference, and without `attention_mask`.
        - `cp_group`, torch.distributed.ProcessGroup or None: Ranks over which the tokens of each sequence are spread
          (`osdn_kernels.parallel.context_parallel`); tokens, mask and `cu_seqlens` are those of this rank, `cache` is
          the same on every rank before and after.
        - `return_intermediate_states`: Also return a cache of what stands before each chunk of 64 tokens, of all
          sequences in order, padding left out: ``cache.take(rows)`` starts others with that prefix, with the bits of
          this call where that call asks for the same. Waits for the device without `cu_seqlens`; not with `cp_group`.

        Returns (o [B, T, D], LayerCache or None), and a LayerCache with `return_intermediate_states`.

        Raises ValueError, TypeError: shapes that do not fit, `attention_mask` together with `cu_seqlens`,
        wrong bounds, a cache of another number of sequences or that is none, or one in a call that the
        backward pass repeats (activation checkpointing): it would start from where the first one ended.
        """
        cu_seqlens = check_forward(
            hidden_states, self.hidden_size, attention_mask, cache, cu_seqlens, state_indices, self.rule
        )
        if cache is None and use_cache:
            cache = LayerCache()
        if return_intermediate_states and cp_group is not None:
            refuse("return_intermediate_states", "False beside cp_group", True)
        spread = Spread(cu_seqlens, state_indices, cp_group, return_intermediate_states)
        kept = None
        if attention_mask is not None:
            kept = attention_mask[:, attention_mask.shape[1] - hidden_states.shape[1] :].bool()
        elif return_intermediate_states and cu_seqlens is None:
            kept = hidden_states.new_ones(hidden_states.shape[:2], dtype=torch.bool)
        if kept is not None and (return_intermediate_states or not bool(kept.all())):
            o, between = self._mix_unpadded(hidden_states, kept, cache, spread)
        else:
            o, between = self._mix(hidden_states, cache, spread)
        return (o, cache, between) if return_intermediate_states else (o, cache)

    @torch.no_grad()
    def new_cache(self, sequences: int, dtype: torch.dtype | None = None) -> LayerCache:
        """A cache of sequences that have not begun, with tails of `dtype`, by default the weights'.

        Calls with `state_indices` continue some of its rows; ``cache.put_(rows, layer.new_cache(len(rows)))`` begins
        rows again.
        """
        memory = self.initial_preconditioner.new_zeros(
            read_count("sequences", sequences, 0),
            self.num_v_heads,
            self.head_k_dim,
            self.head_v_dim,
            dtype=widen(self.initial_preconditioner.dtype),
        )
        cache = LayerCache()
        cache.state = State(memory, self._start(sequences, memory.dtype))
        if self.use_short_conv:
            filters = (self.q_conv1d, self.k_conv1d, self.v_conv1d)
            cache.tails = tuple(
                f.weight.new_zeros(sequences, f.reach, f.in_channels, dtype=dtype) for f in filters
            )
        return cache

    def _start(self, sequences: int, dtype: torch.dtype) -> Tensor:
        """d_1 [N, H, K] inside the box."""
        start = self.initial_preconditioner.to(dtype).clamp(self.rule.d_min, self.rule.d_max)
        return start.expand(sequences, -1, -1).contiguous()

    def _mix_unpadded(
        self, x: Tensor, kept: Tensor, cache: LayerCache | None, spread: Spread
    ) -> tuple[Tensor, LayerCache | None]:
        """`_mix` of the tokens that a mask [B, T] keeps, packed, and zeros for the others."""
        tokens = kept.flatten().nonzero()[:, 0]
        packed = spread._replace(cu_seqlens=nn.functional.pad(kept.sum(1).cumsum(0), (1, 0)))
        o, between = self._mix(x.flatten(0, 1)[tokens][None], cache, packed)
        return o.new_zeros(kept.numel(), x.shape[2]).index_copy(0, tokens, o[0]).view(x.shape), between

    def _mix(self, x: Tensor, cache: LayerCache | None, spread: Spread) -> tuple[Tensor, LayerCache | None]:
        """The outputs, and what stands before each chunk if asked for."""
        cu_seqlens, rows, *_ = spread
        sequences = x.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
        if cache is not None:
            memory = (self.num_v_heads, self.head_k_dim, self.head_v_dim)
            check_cache(cache, sequences if rows is None else None, memory, self.use_short_conv)
        tails = None if cache is None else cache.tails
        if tails is not None and rows is not None:
            tails = tuple(take(tail, rows) for tail in tails)
        q, k, v, tails = self._queries_keys_values(x, tails, spread)
        beta = self.b_proj(x).to(widen(x.dtype)).sigmoid()
        if self.allow_neg_eigval:
            beta = 2 * beta
        o, state, *states = self._attend(q, k, v, beta, self._gates(x), cache, sequences, spread)
        between = None
        if spread.between:
            between = LayerCache()
            between.advance(tails and tuple(tail[sequences:].detach() for tail in tails), *states)
            tails = tails and tuple(tail[:sequences] for tail in tails)
        if cache is not None and rows is not None:
            cache.put_tails_(rows, tails)
        elif cache is not None:
            cache.advance(tails, state)
        o = self.o_norm(o).flatten(2)
        if self.g_proj is not None:
            o = o * self._activate(self.g_proj(x))
        return self.o_proj(o.to(v.dtype)), between

    def _activate(self, x: Tensor) -> Tensor:
        """Of the output gate."""
        return silu(x)

    def _gates(self, x: Tensor) -> Gates:
        """Log gates of the memory, which this layer has not, and of d."""
        return Gates(None, None if self.forget_gate is None else self.forget_gate(x))

    def _queries_keys_values(
        self, x: Tensor, tails: tuple[Tensor, ...] | None, spread: Spread
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...] | None]:
        """q and k [B, T, H, K], not yet normalised, v [B, T, H, V], and the next tails of the convolutions."""
        streams = [self.q_proj(x), self.k_proj(x), self.v_proj(x)]
        if self.use_short_conv:
            streams, tails = self._convolve(streams, tails, spread)
        dtype = streams[2].dtype
        heads = (self.num_heads, self.num_heads, self.num_v_heads)
        q, k, v = (silu(x).to(dtype).unflatten(2, (h, -1)) for x, h in zip(streams, heads, strict=True))
        return q, k, v, tails

    def _convolve(
        self, streams: list[Tensor], tails: tuple[Tensor, ...] | None, spread: Spread
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        filters = (self.q_conv1d, self.k_conv1d, self.v_conv1d)
        packed: Packing | None = None
        cu_seqlens, _, cp_group, between = spread
        if cu_seqlens is not None:
            size = CHUNK_SIZE if between else None
            packed = packing(cu_seqlens, streams[0].shape[1], self.q_conv1d.reach, size)
        leaving: tuple[Tensor, ...] | None = None
        if cp_group is not None:
            tails, leaving = exchange_tails(streams, tails, self.q_conv1d.reach, cu_seqlens, cp_group)
        entering = tails or (None, None, None)
        filtered = [f(x, tail, packed) for f, x, tail in zip(filters, streams, entering, strict=True)]
        return [y for y, _ in filtered], leaving or tuple(tail for _, tail in filtered)

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        beta: Tensor,
        gates: Gates,
        cache: LayerCache | None,
        sequences: int,
        spread: Spread,
    ) -> tuple[Any, ...]:
        """o [B, T, H, V] and what the sequences hand on; None without a cache, and where it was written into it.

        Then the states before each chunk, if asked for.
        """
        cu_seqlens, rows, cp_group, between = spread
        state = None if cache is None else cache.state
        start = None
        if state is None or self.anchored:
            start = self._start(sequences, widen(q.dtype))
        options = {
            **self.rule._asdict(),
            "anchor": start if self.anchored else None,
            "use_qk_l2norm_in_kernel": True,
            "state_indices": rows,
        }
        single = cu_seqlens is None and cp_group is None and q.shape[1] == 1
        if single and cache is not None and cache.writable and state is not None and can_launch(q):
            cache.state = state = State(*state[:2])
            return step_(q, k, v, beta, state, g=gates.forget, state_gate=gates.state, **options), None
        tensors = (q, k, v, beta) if gates.state is None else (q, k, v, gates.state, beta)
        options["g" if gates.state is None else "g_d"] = gates.forget
        # What the layer passes is in range by construction, and cu_seqlens was checked.
        operator = self.operator(q)
        if cp_group is not None:
            operator = context_parallel(operator, cp_group)
        if between:
            operator = partial(
                choose("chunk", q, self.form, in_chunks=True),
                chunk_size=CHUNK_SIZE,
                return_intermediate_states=True,
            )
        results: tuple[Any, ...] = operator(
            *tensors, initial_state=state, initial_preconditioner=start if state is None else None,
            output_final_state=cache is not None, cu_seqlens=cu_seqlens, check_values=False, **options,
        )  # fmt: skip
        return results

    def operator(self, q: Tensor) -> Callable[..., Any]:
        """What a call with these queries goes through; a subclass may watch or replace it."""
        return choose(self.mode, q, self.form)

    def extra_repr(self) -> str:
        rule = self.rule
        return (
            f"head_k_dim={self.head_k_dim}, head_v_dim={self.head_v_dim}, num_heads={self.num_heads}, "
            f"mode={self.mode!r}, eta={rule.eta:g}, d_min={rule.d_min:g}, d_max={rule.d_max:g}, "
            f"anchored={self.anchored}"
        )


def _head_dim(which: str, given: int | None, expand: float, hidden_size: int, num_heads: int) -> int:
    if given is None:
        features = int(hidden_size * expand)
        if features % num_heads:
            refuse("num_heads", f"a divisor of hidden_size * expand_{which} = {features}", num_heads)
        given = features // num_heads
    return read_count(f"head_{which}_dim", given, 1, MAX_FEATURES)
