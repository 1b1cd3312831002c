"""What a kernel computes, read off its signature and stated as data, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from osdn_theory._validation import require

Recurrence = Literal["osdn", "delta_net", "gated_delta_net", "kda", "preconditioner"]
Order = Literal["chunk", "recurrent", "unknown"]
Layout = Literal["time first", "head first"]
StateLayout = Literal["KV", "VK"]
FixedScale = Literal["K^-1/2", "1"]

ARGUMENTS = (
    "q", "k", "v", "beta", "g", "scale", "eta", "d_min", "d_max", "anchor", "normalize_feedback",
    "initial_state", "initial_preconditioner", "output_final_state", "cu_seqlens", "chunk_size", "return_trajectory",
)  # fmt: skip
"""Arguments that the cross-check knows how to fill, by their names in flash-linear-attention and here."""

FORMULAS: Mapping[str, str] = {
    "osdn": "S_t = S_{t-1} + beta_t (v_t - S_{t-1} k_t)(d_t * k_t)^T, o_t = scale S_t q_t, then d calibrates",
    "delta_net": "S_t = S_{t-1} + beta_t (v_t - S_{t-1} k_t) k_t^T, o_t = scale S_t q_t",
    "gated_delta_net": "S_t = e^{g_t} S_{t-1} + beta_t (v_t - e^{g_t} S_{t-1} k_t) k_t^T, o_t = scale S_t q_t",
    "kda": "S_t = S_{t-1} e^{g_t} + beta_t (v_t - S_{t-1} e^{g_t} k_t) k_t^T, o_t = scale S_t q_t",
    "preconditioner": "d_{t+1} = clip[c + e^{g_t} (d_t - c) + eta w_t (1 - <d_t, k_t^2>) k_t^2, d_min, d_max]",
}

DECAY: Mapping[str, str] = {
    "osdn": "g forgets the preconditioner, after the write; the memory does not decay",
    "delta_net": "none",
    "gated_delta_net": "g decays the memory before the residual is formed",
    "kda": "g decays the memory feature by feature before the residual is formed",
    "preconditioner": "g forgets the preconditioner, in the calibrate step",
}

LAYOUT = "q, k [B, T, H, K]; v, o [B, T, H, V]; beta, g [B, T, H]; states [B, H, K, V]; d [B, T, H, K]"


@dataclass(frozen=True, eq=False)
class Adapter:
    """A kernel and the statement of what it is taken to compute.

    Attributes
    ----------
    name : str
    call : callable
        Takes the arguments in `parameters` by keyword. Returns o, a tuple (o, final state), or (o, final state,
        trajectory). The final state is a tensor [B, H, K, V], or has the fields ``state`` and ``preconditioner``;
        the trajectory has ``preconditioner`` [B, T, H, K] and ``alignment`` [B, T, H]. A kernel of the
        preconditioner alone returns (d [B, T, H, K], the d handed on [B, H, K]).
    recurrence : "osdn", "delta_net", "gated_delta_net" or "preconditioner"
    order : "chunk", "recurrent" or "unknown"
        The order of operations, which its rounding bound depends on; unknown is held to the wider of both.
    parameters : frozenset of str
        Out of `ARGUMENTS`: what it takes.
    defaults : mapping
        What it does when left alone.
    options : mapping
        Arguments passed in every call.
    names : mapping
        Its own names of arguments in `parameters`, where they differ.
    layout : "time first" or "head first"
        [B, T, H, ...], or [B, H, T, ...] for everything that has tokens.
    state_layout : "KV" or "VK"
        States [B, H, K, V], or [B, H, V, K].
    fixed_scale : "K^-1/2", "1" or None
        Its factor of the read where it takes no `scale`.
    results : mapping
        Places of "o", "state" and "trajectory" in the tuple that it returns; without "state" it hands none on.
    findings : tuple of str
        What was found out about it by calling it.
    """

    name: str
    call: Callable[..., Any]
    recurrence: Recurrence
    order: Order
    parameters: frozenset[str]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    layout: Layout = "time first"
    state_layout: StateLayout = "KV"
    fixed_scale: FixedScale | None = None
    results: Mapping[str, int] = field(default_factory=lambda: {"o": 0, "state": 1, "trajectory": 2})
    findings: tuple[str, ...] = ()

    def scale(self, wanted: float, key_dim: int) -> float:
        """The factor of the read: `wanted` where the kernel takes it, else the one it is fixed to."""
        if "scale" in self.parameters:
            return wanted
        return key_dim**-0.5 if self.fixed_scale == "K^-1/2" else 1.0

    @property
    def gated(self) -> bool:
        """Whether its memory decays."""
        return self.recurrence in ("gated_delta_net", "kda")

    @property
    def calibrates(self) -> bool:
        """Whether it has a preconditioner that learns."""
        return self.recurrence in ("osdn", "preconditioner")

    @property
    def reads(self) -> bool:
        """Whether it has a memory and an output."""
        return self.recurrence != "preconditioner"

    def statement(self) -> dict[str, str]:
        """What the cross-check takes the kernel to compute: shown with every result."""
        defaults = ", ".join(f"{name}={_short(value)}" for name, value in sorted(self.defaults.items()))
        passed = ", ".join(f"{name}={_short(value)}" for name, value in sorted(self.options.items()))
        return {
            "kernel": self.name,
            "recurrence": self.recurrence,
            "computes": FORMULAS[self.recurrence],
            "decay": DECAY[self.recurrence] if "g" in self.parameters else "none",
            "order of operations": self.order,
            "layout": LAYOUT,
            "arguments": ", ".join(name for name in ARGUMENTS if name in self.parameters),
            "defaults": defaults or "none",
            "passed": passed or "nothing beyond the stream and the rule",
        }


def adapt(kernel: Callable[..., Any] | Adapter, name: str = "", **options: Any) -> Adapter:
    """The adapter of a callable with flash-linear-attention's signature.

    Without `v` among its arguments it is the preconditioner alone; with `eta` it is OSDN; with `g` and no `eta`
    Gated DeltaNet; otherwise DeltaNet. With ``**kwargs`` and no `k`, OSDN with every argument. Its order is chunk if
    "chunk" is in its name; else recurrent if "recurrent", "naive" or "reference" is; else chunk if it takes
    `chunk_size`; else unknown. `options` are passed in every call. An Adapter passes through, with `options` added.

    Raises
    ------
    TypeError
        Not a callable, or one whose signature cannot be read.
    ValueError
        Without the arguments that every such kernel has, or one that requires an argument unknown here.
    """
    if isinstance(kernel, Adapter):
        return Adapter(**{**vars(kernel), "options": {**kernel.options, **options}})
    if not callable(kernel):
        raise TypeError(f"kernel: expected a callable, a name or an Adapter, got {type(kernel).__name__}")
    label = name or str(getattr(kernel, "__name__", type(kernel).__name__))
    parameters, defaults = _signature(kernel, label)
    wanted = {"k"} if "v" not in parameters else {"q", "k", "v", "beta"}
    missing = sorted(wanted - parameters)
    require(not missing, f"kernel: {label} takes no argument {', '.join(missing)}, got {sorted(parameters)}")
    return Adapter(
        name=label,
        call=kernel,
        recurrence=_recurrence(parameters),
        order=_order(label, kernel),
        parameters=parameters,
        defaults=defaults,
        options=options,
    )


def _signature(kernel: Callable[..., Any], label: str) -> tuple[frozenset[str], dict[str, Any]]:
    try:
        found = inspect.signature(kernel).parameters.values()
    except ValueError:
        raise TypeError(f"kernel: the signature of {label} cannot be read; pass an Adapter") from None
    if "k" not in [item.name for item in found] and any(item.kind is item.VAR_KEYWORD for item in found):
        return frozenset(ARGUMENTS), {}
    known = {item.name: item for item in found if item.name in ARGUMENTS}
    required = [item for item in found if item.default is item.empty and "VAR" not in item.kind.name]
    unknown = [item.name for item in required if item.name not in ARGUMENTS]
    require(not unknown, f"kernel: {label} requires {', '.join(unknown)}, unknown here; wrap it")
    defaults = {name: item.default for name, item in known.items() if item.default is not item.empty}
    return frozenset(known), defaults


def _order(label: str, kernel: Callable[..., Any]) -> Order:
    if "chunk" in label:
        return "chunk"
    if any(word in label for word in ("recurrent", "naive", "reference")):
        return "recurrent"
    return "chunk" if "chunk_size" in inspect.signature(kernel).parameters else "unknown"


def _recurrence(parameters: frozenset[str]) -> Recurrence:
    if "v" not in parameters:
        return "preconditioner"
    if "eta" in parameters:
        return "osdn"
    return "gated_delta_net" if "g" in parameters else "delta_net"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
