"""OS-GDN and OS-KDA as layers: in place of Gated DeltaNet and Kimi Delta Attention, whose checkpoints they load."""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..boundary.checks import read_count, refuse
from ..boundary.gated import form_gate, read_bound, reuse_gate
from ..boundary.inputs import Gates
from ..boundary.results import widen
from ..boundary.rule import BOUNDED
from .layer import OnlineScaledDeltaNet
from .operator import Form

Forgetting = Literal["none", "learned", "state"]
FORGETTING: tuple[Forgetting, ...] = ("none", "learned", "state")

SLOWEST, FASTEST = 0.001, 0.1
"""Range of softplus(dt_bias) at the start, as in Mamba2 and its successors: spread evenly over the logarithms."""

LEAST_SLOPE = 1e-4
"""Of exp(A_log) at the start: a slope of 0 would have no gradient."""


class OnlineScaledGatedDeltaNet(OnlineScaledDeltaNet):
    r"""Gated DeltaNet whose write keys are scaled by an online-learned preconditioner (OS-GDN).

    `OnlineScaledDeltaNet` with a memory that fades by a gate for each token and value head before it is read,

    .. math::
        \log \alpha_t = -e^{A}\, \text{softplus}(W_a x_t + b), \qquad M_t = \alpha_t H_{t-1}, \qquad
        H_t = M_t + \beta_t (d_t \odot k_t)(v_t - M_t^T k_t)^T

    and with beta-aware feedback (T17). Parameters have the names and shapes of flash-linear-attention's GatedDeltaNet,
    so that its checkpoints load with ``strict=False``, d_1 and the forgetting of d being what they lack. With
    ``d_min = d_max = 1`` it is that layer.

    - `hidden_size`, `expand_v`, `head_dim`, `num_heads`, `num_v_heads`: As in flash-linear-attention: K is
      `head_dim`, V is `head_dim` times `expand_v`, both at most 256.
    - `mode`, `use_gate`, `use_short_conv`, `allow_neg_eigval`, `conv_size`, `conv_bias`, `norm_eps`: Likewise.
    - `forgetting`, {"none", "learned", "state"}: Whether d forgets nothing, by a gate of its own for each token and
      head, which starts at 0.999, or by that of the memory.
    - `anchored`, `learnable_preconditioner`, `eta`, `d_min`, `d_max`, `normalize_feedback`: As in
      `OnlineScaledDeltaNet`.
    - `beta_aware`: Feedback beta_t (1 - beta_t <d_t, k_t * k_t>), of value heads that share d the mean.

    - `A_log`, `dt_bias` [HV] parameters: A and b; marked as `initial_preconditioner` is, and put back by
      `reset_parameters`.

    Raises ValueError, TypeError: naming the argument, what was expected and what came.
    """

    marked: ClassVar[tuple[str, ...]] = ("initial_preconditioner", "A_log", "dt_bias")
    form: ClassVar[Form] = "osgdn"
    slopes: ClassVar[tuple[float, float]] = (0.0, 16.0)

    def __init__(
        self,
        hidden_size: int = 2048,
        expand_v: float = 2.0,
        head_dim: int = 128,
        num_heads: int = 6,
        *,
        num_v_heads: int | None = None,
        mode: str = "chunk",
        use_gate: bool = True,
        use_short_conv: bool = True,
        allow_neg_eigval: bool = False,
        conv_size: int = 4,
        conv_bias: bool = False,
        norm_eps: float = 1e-5,
        forgetting: Forgetting = "none",
        anchored: bool = False,
        learnable_preconditioner: bool = True,
        eta: float = BOUNDED.eta,
        d_min: float = BOUNDED.d_min,
        d_max: float = BOUNDED.d_max,
        normalize_feedback: bool = BOUNDED.normalize_feedback,
        beta_aware: bool = True,
    ) -> None:
        if forgetting not in FORGETTING:
            refuse("forgetting", " or ".join(FORGETTING), forgetting)
        value_dim = read_count("head_dim", head_dim) * expand_v
        if not math.isclose(value_dim, round(value_dim)):
            refuse("expand_v", f"a factor that makes head_dim = {head_dim} a whole number", expand_v)
        super().__init__(
            hidden_size, num_heads, num_v_heads=num_v_heads, head_k_dim=head_dim,
            head_v_dim=round(value_dim), mode=mode, use_short_conv=use_short_conv,
            conv_size=conv_size, conv_bias=conv_bias, allow_neg_eigval=allow_neg_eigval,
            use_forget_gate=forgetting == "learned", anchored=anchored,
            learnable_preconditioner=learnable_preconditioner, eta=eta, d_min=d_min, d_max=d_max,
            normalize_feedback=normalize_feedback, beta_aware=beta_aware, use_gate=use_gate, norm_eps=norm_eps,
        )  # fmt: skip
        self.forgetting = forgetting
        self._build_gate()
        self.reset_parameters()

    def _build_gate(self) -> None:
        self.a_proj = nn.Linear(self.hidden_size, self.num_v_heads, bias=False)
        self.A_log = nn.Parameter(torch.empty(self.num_v_heads))
        self.dt_bias = nn.Parameter(torch.empty(self.num_v_heads))

    def reset_parameters(self) -> None:
        """Set d_1 to ones, and draw A and b as flash-linear-attention does."""
        super().reset_parameters()
        if "A_log" not in self._parameters:
            return
        with torch.no_grad():
            self.A_log.copy_(_draw(self.A_log, *self.slopes).clamp(min=LEAST_SLOPE).log())
            spread = _draw(self.dt_bias, math.log(SLOWEST), math.log(FASTEST)).exp()
            self.dt_bias.copy_(spread + torch.log(-torch.expm1(-spread)))

    def _gates(self, x: Tensor) -> Gates:
        gate = self._state_gate(x)
        if self.forgetting == "state":
            return Gates(gate, reuse_gate(gate, self.num_heads))
        return Gates(gate, super()._gates(x).forget)

    def _state_gate(self, x: Tensor) -> Tensor:
        return form_gate(self.a_proj(x), self.A_log, self.dt_bias)


class OnlineScaledKDA(OnlineScaledGatedDeltaNet):
    r"""Kimi Delta Attention whose write keys are scaled by an online-learned preconditioner (OS-KDA).

    `OnlineScaledGatedDeltaNet` with a gate for each key feature, from a projection through V features, and an output
    gate that is a sigmoid of such a projection. Parameters have the names and shapes of flash-linear-attention's
    KimiDeltaAttention.

    - `lower_bound`: Log gates are then `lower_bound` times a sigmoid, at least that.
    - `others`: As in `OnlineScaledGatedDeltaNet`; there is always an output gate.
    """

    form: ClassVar[Form] = "oskda"
    slopes: ClassVar[tuple[float, float]] = (1.0, 16.0)

    def __init__(
        self,
        hidden_size: int = 2048,
        expand_v: float = 1.0,
        head_dim: int = 128,
        num_heads: int = 16,
        *,
        lower_bound: float | None = None,
        **options: Any,
    ) -> None:
        if "use_gate" in options:
            refuse("use_gate", "nothing, as KDA always has one", options["use_gate"])
        super().__init__(hidden_size, expand_v, head_dim, num_heads, use_gate=False, **options)
        self.lower_bound = None if lower_bound is None else read_bound(lower_bound)
        value_dim = self.num_v_heads * self.head_v_dim
        self.g_proj = nn.Sequential(
            nn.Linear(hidden_size, self.head_v_dim, bias=False), nn.Linear(self.head_v_dim, value_dim)
        )

    def _build_gate(self) -> None:
        features = self.num_v_heads * self.head_k_dim
        self.f_proj = nn.Sequential(
            nn.Linear(self.hidden_size, self.head_v_dim, bias=False),
            nn.Linear(self.head_v_dim, features, bias=False),
        )
        self.A_log = nn.Parameter(torch.empty(self.num_v_heads))
        self.dt_bias = nn.Parameter(torch.empty(features))

    def _activate(self, x: Tensor) -> Tensor:
        return x.sigmoid()

    def _state_gate(self, x: Tensor) -> Tensor:
        per_feature = self.f_proj(x).unflatten(2, (self.num_v_heads, -1))
        return form_gate(per_feature, self.A_log, self.dt_bias, self.lower_bound)


def _draw(like: Tensor, low: float, high: float) -> Tensor:
    """Uniform numbers for a parameter, in float32: among those of 16 bits are so few that some slopes would be 0."""
    return torch.empty_like(like, dtype=widen(like.dtype)).uniform_(low, high)
