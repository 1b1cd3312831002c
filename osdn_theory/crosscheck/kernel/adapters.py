"""What a kernel computes, read off its signature and stated as data, and how it is called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import require
from osdn_theory.crosscheck.kernel.recurrences import (
    CALIBRATING,
    FEATURE_GATED,
    GATED,
    PRECONDITIONED,
    RECURRENCES,
    REMEMBERING,
    TABLE,
    Recurrence,
    needed_arguments,
)
from osdn_theory.crosscheck.kernel.signature.reading import ARGUMENTS as ARGUMENTS, FACTORS, read_signature

Order = Literal["chunk", "recurrent", "unknown"]
Layout = Literal["time first", "head first"]
StateLayout = Literal["KV", "VK"]
FixedScale = Literal["K^-1/2", "1"]
GateForm = Literal["log", "factor"]
KeyNorm = Literal["exact", "floored"]
"""How a kernel normalises queries and keys itself: x / |x|, or x / sqrt(|x|^2 + 1e-6)."""

KEY_FLOOR: Mapping[KeyNorm, float] = {"exact": 0.0, "floored": 1e-6}


@show_briefly
@dataclass(frozen=True, eq=False)
class Adapter:
    """A kernel and the statement of what it is taken to compute.

    - `call`: Takes its arguments by name. Returns o, or a tuple with o, the final state and the trajectory.
      The final state is a tensor [B, H, K, V], or has the fields ``state`` and ``preconditioner``; the
      trajectory has ``preconditioner`` [B, T, H, K] and ``alignment`` [B, T, H]. A kernel of the
      preconditioner alone returns (d [B, T, H, K], the d handed on [B, H, K]).
    - `order`: The order of operations, which its rounding bound depends on; unknown is held to the wider of both.
    - `parameters`: Out of `ARGUMENTS`: what it takes.
    - `defaults`: What it does when left alone.
    - `names`: Its own names of arguments in `parameters`, where they differ.
    - `layout`: [B, T, H, ...], or [B, H, T, ...] for everything that has tokens.
    - `state_layout`: States [B, H, K, V], or [B, H, V, K].
    - `fixed_scale`: Its factor of the read where it takes no `scale`.
    - `results`: Places of "o", "state", "trajectory" and "gram_diagonal" in the tuple that it returns;
      without "state" it hands none on.
    - `findings`: What was found out about it by reading its signature and by calling it.
    - `required`: Arguments of `parameters` without a default: given None where a call has nothing to say.
    - `aliases`: Its own arguments that are given another one's tensor.
    - `gate_form`: Whether g is the logarithm of the gate, or the gate.
    - `multiple`: Sequences are filled up to a multiple of so many tokens, with tokens that write nothing.
    - `key_norm`: How it normalises queries and keys itself.
    - `feature_gates`: Whether g of Preconditioned DeltaNet has one gate per feature.
    - `gate_optional`: Whether it takes g = None, for a memory that does not decay.
    - `dtype`: The dtype of inputs in which it was recognised.
    - `disagreement`: Why no reading of it agreed with float64 in the calls that recognised it; "" where one did.
    - `stated`: Fields that were stated rather than found.
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
    required: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)
    gate_form: GateForm = "log"
    multiple: int = 1
    key_norm: KeyNorm | None = None
    feature_gates: bool = False
    gate_optional: bool = False
    dtype: str | None = None
    disagreement: str = ""
    stated: frozenset[str] = frozenset()

    def scale(self, wanted: float, key_dim: int) -> float:
        """The factor of the read: `wanted` where the kernel takes it, else the one it is fixed to."""
        if "scale" in self.parameters:
            return wanted
        return key_dim**-0.5 if self.fixed_scale == "K^-1/2" else 1.0

    @property
    def gated(self) -> bool:
        """Whether its memory decays."""
        return self.recurrence in GATED

    @property
    def gates_features(self) -> bool:
        """Whether its memory decays by one number per feature, not per token."""
        return self.recurrence in FEATURE_GATED or (self.preconditioned and self.feature_gates)

    @property
    def preconditioned(self) -> bool:
        """Whether its d follows from a running Gram diagonal, as in Preconditioned DeltaNet."""
        return self.recurrence in PRECONDITIONED

    @property
    def calibrates(self) -> bool:
        """Whether it has a preconditioner that learns."""
        return self.recurrence in CALIBRATING

    @property
    def forget_gate(self) -> str:
        """The argument with the log gates that d forgets by; g where that does not decay the memory."""
        return "g_d" if self.gated else "g"

    @property
    def beta_aware(self) -> bool:
        """Whether its feedback is beta-aware when left alone: that of the gated forms is, as in the authors' code."""
        default = self.defaults.get("beta_aware")
        return self.gated if default is None else bool(default)

    def default(self, name: str, otherwise: float) -> float:
        """The number that an argument is when left alone; `otherwise` where its default is None, or it has none."""
        value = self.defaults.get(name)
        return otherwise if value is None else float(value)

    @property
    def reads(self) -> bool:
        """Whether it has a memory and an output."""
        return self.recurrence in REMEMBERING

    def statement(self) -> dict[str, str]:
        """What the cross-check takes the kernel to compute: shown with every result."""
        defaults = ", ".join(f"{name}={_short(value)}" for name, value in sorted(self.defaults.items()))
        passed = ", ".join(f"{name}={_short(value)}" for name, value in sorted(self.options.items()))
        statement = {
            "kernel": self.name,
            "recurrence": self.recurrence,
            "computes": TABLE[self.recurrence]["computes"],
            "decay": TABLE[self.recurrence]["decay"] if "g" in self.parameters else "none",
            "order of operations": self.order,
            "layout": self._layouts(),
            "arguments": ", ".join(self._argument(name) for name in ARGUMENTS if name in self.parameters),
            "defaults": defaults or "none",
            "passed": passed or "nothing beyond the stream and the rule",
        }
        if "scale" not in self.parameters and self.reads:
            statement["scale"] = f"fixed to {self.fixed_scale or '1'}"
        if self.findings:
            statement["found"] = "; ".join(self.findings)
        return statement

    def _argument(self, name: str) -> str:
        own = self.names.get(name, name)
        return name if own == name else f"{own} ({name})"

    def _layouts(self) -> str:
        tokens = "B, T, H" if self.layout == "time first" else "B, H, T"
        if not self.reads:
            return f"k, d [{tokens}, K]; g [{tokens}]; the d handed on [B, H, K]"
        gate = f"beta [{tokens}]; g [{tokens}, K]" if self.gates_features else f"beta, g [{tokens}]"
        state = ", ".join(self.state_layout)
        d = f"; d [{tokens}, K]" if self.calibrates else ""
        return f"q, k [{tokens}, K]; v, o [{tokens}, V]; {gate}; states [B, H, {state}]{d}"


def adapt(kernel: Callable[..., Any] | Adapter, name: str = "", **options: Any) -> Adapter:
    """The adapter of a callable, from its signature alone, in the field's names (`signature.names.SYNONYMS`).

    Without `v` among its arguments it is the preconditioner alone; with `eta` it is OSDN until calls show that its g
    decays the memory, and with `g_d` as well OS-KDA or OS-GDN; with `g_atk` and `beta_atk` Preconditioned DeltaNet;
    with `g` KDA if "kda" or "kimi" is in its name and Gated DeltaNet otherwise; without, DeltaNet. With ``**kwargs``
    and no `k`, OSDN with every argument. Its order is the one that it declares; else chunk if "chunk" is in its name,
    recurrent if "recurren", "naive" or "reference" is, else unknown. Without a `scale` its factor of the read is taken
    to be 1. What a signature does not say, `osdn_theory.crosscheck.kernel.signature.recognition.recognise` finds by
    calling the kernel. `recurrence`, `layout`, `state_layout`, `fixed_scale` and `gate_form` state it (see `CHOICES`);
    other `options` are passed in every call. An Adapter passes through, with all of these added.

    Raises TypeError: not a callable, or one whose signature cannot be read.
    Raises ValueError: without the arguments that every such kernel has, one that requires an argument
    unknown here, or a statement that its signature contradicts.
    """
    stated = {field: options.pop(field, None) for field in CHOICES}
    if not isinstance(kernel, Adapter):
        kernel = _read(kernel, name, options)
    else:
        kernel = replace(kernel, options={**kernel.options, **options})
    return _state(kernel, {field: value for field, value in stated.items() if value is not None})


def _read(kernel: Callable[..., Any], name: str, options: Mapping[str, Any]) -> Adapter:
    if not callable(kernel):
        raise TypeError(f"kernel: expected a callable, a name or an Adapter, got {type(kernel).__name__}")
    label = name or str(getattr(kernel, "__name__", type(kernel).__name__))
    read = read_signature(kernel, label, options)
    return Adapter(
        name=label,
        call=read.call,
        recurrence=_recurrence(label, read.parameters),
        order=_declared_order(kernel) or _order(label),
        parameters=read.parameters,
        defaults=read.defaults,
        options={**read.options, **options},
        names=read.names,
        findings=read.findings,
        required=read.required,
        aliases=read.aliases,
        gate_form="factor" if read.names.get("g", "g").lower() in FACTORS else "log",
        feature_gates=_says_kda(label),
    )


CHOICES: Mapping[str, tuple[str, ...]] = {
    "recurrence": RECURRENCES,
    "layout": get_args(Layout),
    "state_layout": get_args(StateLayout),
    "fixed_scale": get_args(FixedScale),
    "gate_form": get_args(GateForm),
}
"""What can be stated about a kernel, and how."""


def _state(adapter: Adapter, stated: Mapping[str, Any]) -> Adapter:
    for name, value in stated.items():
        require(value in CHOICES[name], f"{name}: expected one of {', '.join(CHOICES[name])}, got {value!r}")
    if "fixed_scale" in stated:
        takes = "scale" in adapter.parameters
        require(not takes, f"fixed_scale: {adapter.name} takes a scale")
    adapter = replace(adapter, **stated, stated=adapter.stated | set(stated))
    needed = needed_arguments(adapter.recurrence) - adapter.parameters
    require(
        "recurrence" not in stated or not needed,
        f"recurrence: {adapter.name} takes no {', '.join(sorted(needed))}, which {adapter.recurrence} needs",
    )
    return adapter


def _declared_order(kernel: Callable[..., Any]) -> Order | None:
    """The order that a kernel declares of itself, in whatever dtype; what makes no sense is refused with its bounds."""
    numerics = getattr(kernel, "numerics", {})
    entries = numerics.values() if isinstance(numerics, Mapping) else ()
    orders = {entry.get("order") for entry in entries if isinstance(entry, Mapping)}
    found: Any = orders.pop() if len(orders) == 1 else None
    return found if found in get_args(Order) else None


def _order(label: str) -> Order:
    if "chunk" in label:
        return "chunk"
    if any(word in label for word in ("recurren", "naive", "reference")):
        return "recurrent"
    return "unknown"


def _recurrence(label: str, parameters: frozenset[str]) -> Recurrence:
    if "v" not in parameters:
        return "preconditioner"
    if "eta" in parameters:
        return "osdn" if "g_d" not in parameters else "oskda" if _says_kda(label) else "osgdn"
    if {"g_atk", "beta_atk"} <= parameters:
        return "preconditioned_delta_net"
    if "g" not in parameters:
        return "delta_net"
    return "kda" if _says_kda(label) else "gated_delta_net"


def _says_kda(label: str) -> bool:
    return any(word in label.lower() for word in ("kda", "kimi"))


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
