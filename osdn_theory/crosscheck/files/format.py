"""What a file says of one call, and what makes sense: the same for who writes it and who reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, get_args

import numpy as np

from osdn_theory.base.validation import require
from osdn_theory.crosscheck.cases.case import DTYPES
from osdn_theory.crosscheck.kernel.adapters import Order, StateLayout
from osdn_theory.crosscheck.kernel.recurrences import (
    FEATURE_GATED,
    GATED,
    GATED_OSDN,
    PRECONDITIONED,
    RECURRENCES,
    REMEMBERING,
    Recurrence,
)

VERSION = 2
"""Of the format; the first one had no number."""

INPUTS = {"q": 4, "k": 4, "v": 4, "beta": 3}
OPTIONAL_INPUTS = {"g": 3, "g_d": 3, "initial_state": 4, "initial_preconditioner": 3, "anchor": 3}
RESULTS = {"o": 4, "state": 4, "preconditioner": 3, "d": 4, "alignment": 3, "o_keys": 4, "o_next_keys": 4}
TENSORS = {**INPUTS, **OPTIONAL_INPUTS, **RESULTS}
"""Number of axes of every tensor that a call may have; one more for the g of KDA."""

STATES = ("initial_state", "state")
PER_SEQUENCE = (*STATES, "initial_preconditioner", "anchor", "preconditioner")

BY_KEY_HEAD = ("q", "k", "g_d", "d", "alignment", "preconditioner", "initial_preconditioner", "anchor")
"""Tensors with a head for each of the keys, of which values may have a multiple; the g of OSDN too."""

SAVED = tuple(name for name in RECURRENCES if name in REMEMBERING - PRECONDITIONED)
"""Recurrences that files are of."""

RawArray = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class SavedCall:
    """One call of a kernel, as it is in a file.

    - `tensors`, mapping from name to array: In their own dtypes.
    - `normalize_feedback`: These four are OSDN's.
    - `beta_aware`: So is this; None: as in the gated forms alone.
    - `cu_seqlens`: First tokens of packed sequences, and after the last one the number of tokens.
    - `state_layout`: None: the shapes tell.
    - `device`: What it ran on: type and name.
    - `interpreted`: Whether that was Triton's interpreter.
    - `tf32`: Whether float32 products were allowed to be TF32.
    - `numerics`: What the kernel declares of its arithmetic, as its attribute `numerics`.
    """

    tensors: Mapping[str, RawArray]
    recurrence: Recurrence = "osdn"
    order: Order = "chunk"
    kernel: str = ""
    scale: float = 1.0
    chunk_size: int = 64
    eta: float = 0.003
    d_min: float = 2 / 3
    d_max: float = 3 / 2
    normalize_feedback: bool = False
    beta_aware: bool | None = None
    cu_seqlens: tuple[int, ...] | None = None
    state_layout: StateLayout | None = None
    device: str = ""
    interpreted: bool = False
    tf32: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    numerics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Tokens of a batch row."""
        return int(self.tensors["k"].shape[1])

    @property
    def key_dim(self) -> int:
        return int(self.tensors["k"].shape[-1])

    @property
    def value_dim(self) -> int:
        return int(self.tensors["v"].shape[-1])

    @property
    def group(self) -> int:
        """Value heads that share a key head."""
        return int(self.tensors["v"].shape[2] // self.tensors["k"].shape[2])

    def has_key_heads(self, name: str) -> bool:
        """Whether the heads of a tensor are those of keys, rather than of values."""
        return name in BY_KEY_HEAD or (name == "g" and self.recurrence not in GATED)

    @property
    def aware(self) -> bool:
        """Whether feedback is beta-aware."""
        return self.recurrence in GATED_OSDN if self.beta_aware is None else self.beta_aware

    @property
    def states_lie(self) -> StateLayout:
        """As said, as the shapes tell, or [K, V] where they cannot."""
        if self.state_layout is not None:
            return self.state_layout
        transposed = (self.value_dim, self.key_dim)
        shapes = [self.tensors[name].shape[-2:] for name in STATES if name in self.tensors]
        return "VK" if self.key_dim != self.value_dim and shapes and shapes[0] == transposed else "KV"

    @property
    def states_told(self) -> str:
        """How the layout of states is known."""
        if self.state_layout is not None:
            return "as said"
        if not any(name in self.tensors for name in STATES):
            return "there are none"
        return "told by their shape" if self.key_dim != self.value_dim else "taken, as K = V does not tell"


def check_call(label: str, call: SavedCall) -> None:
    """Refuse what makes no sense."""
    _check_numbers(label, call)
    for name in (*INPUTS, "o"):
        require(
            name in call.tensors,
            f"{label}{name} is missing; the call has {', '.join(sorted(call.tensors)) or 'nothing'}",
        )
    fades = call.recurrence in GATED_OSDN
    require("g_d" not in call.tensors or fades, f"{label}g_d: {call.recurrence} takes none")
    alone = call.group == 1 or not call.aware
    require(alone, f"{label}beta_aware: expected False where {call.group} heads share a key")
    needs = call.recurrence in GATED
    require("g" in call.tensors or not needs, f"{label}g is missing, which {call.recurrence} needs")
    for name, tensor in call.tensors.items():
        axes = TENSORS[name] + (name == "g" and call.recurrence in FEATURE_GATED)
        require(tensor.ndim == axes, f"{label}{name}: expected {axes} axes, got shape {tensor.shape}")
    stored = call.tensors["k"].dtype.name
    require(stored in DTYPES, f"{label}k: expected {', '.join(DTYPES)}, got {stored}")
    require(call.length > 0, f"{label}k: there are no tokens")
    if call.cu_seqlens is not None:
        _check_sequences(label, call, call.cu_seqlens)
    _check_shapes(label, call)


def _check_numbers(label: str, call: SavedCall) -> None:
    words = {"recurrence": SAVED, "order": get_args(Order), "state_layout": (*get_args(StateLayout), None)}
    for name, known in words.items():
        found = getattr(call, name)
        expected = ", ".join(str(each) for each in known)
        require(found in known, f"{label}{name}: expected one of {expected}, got {found!r}")
    require(call.chunk_size >= 1, f"{label}chunk_size: expected >= 1, got {call.chunk_size}")
    for name in ("scale", "eta"):
        number = getattr(call, name)
        require(bool(np.isfinite(number)), f"{label}{name}: expected a finite number, got {number}")


def _check_sequences(label: str, call: SavedCall, bounds: tuple[int, ...]) -> None:
    batch = call.tensors["k"].shape[0]
    require(batch == 1, f"{label}cu_seqlens: packed sequences are one batch row, got {batch}")
    require(len(bounds) >= 2, f"{label}cu_seqlens: expected at least two numbers, got {len(bounds)}")
    require(bounds[0] == 0, f"{label}cu_seqlens: expected to start at 0, got {bounds[0]}")
    for before, after in pairwise(bounds):
        require(before <= after, f"{label}cu_seqlens: expected never to decrease, got {after} after {before}")
    length = call.length
    require(bounds[-1] == length, f"{label}cu_seqlens: expected to end at T = {length}, got {bounds[-1]}")


def _check_shapes(label: str, call: SavedCall) -> None:
    batch, length, heads, key_dim = call.tensors["k"].shape
    value_dim = call.value_dim
    number = batch if call.cu_seqlens is None else len(call.cu_seqlens) - 1
    shared = call.tensors["v"].shape[2]
    multiple = heads > 0 and shared % heads == 0
    require(multiple, f"{label}v: expected a multiple of the {heads} heads of k, got {shared}")
    state = (key_dim, value_dim) if call.states_lie == "KV" else (value_dim, key_dim)
    of_a_head: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("q", "d"), (key_dim,)),
        **dict.fromkeys(("v", "o", "o_keys", "o_next_keys"), (value_dim,)),
        **dict.fromkeys(("beta", "alignment"), ()),
        **dict.fromkeys(STATES, state),
        **dict.fromkeys(("preconditioner", "initial_preconditioner", "anchor"), (key_dim,)),
        "g": (key_dim,) if call.recurrence in FEATURE_GATED else (),
        "g_d": (),
    }
    for name, rest in of_a_head.items():
        lead = (number,) if name in PER_SEQUENCE else (batch, length)
        shape = (*lead, heads if call.has_key_heads(name) else shared, *rest)
        found = call.tensors[name].shape if name in call.tensors else shape
        require(found == shape, f"{label}{name}: expected shape {shape} beside k, got {found}")
