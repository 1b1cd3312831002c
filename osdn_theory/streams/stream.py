"""A stream: the tokens that a recurrence reads, in one validated float64 object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import Array, as_float64, broadcastable, require

ARRAYS = (
    "keys",
    "values",
    "queries",
    "beta",
    "state_gate",
    "forget_gate",
    "comparator",
    "solution",
    "initial_preconditioner",
)


@show_briefly
@dataclass(frozen=True, eq=False)
class Stream:
    """Keys, values, queries and gates of a token stream, float64, leading axes broadcast.

    - `keys` (..., T, K), `values` (..., T, V)
    - `queries` (..., T, K): Default: the keys.
    - `beta` (..., T) or scalar: Write gate. Default 1.
    - `state_gate` (..., T) or (..., T, K): Decay of the state before the residual, in [0, 1]: one number per token
      (Gated DeltaNet) or one per feature (KDA). Only the gated recurrences read it.
    - `forget_gate` (..., T): Per-token forgetting of the preconditioner, in (0, 1].
    - `comparator` (..., K) or (..., T, K): The preconditioner the stream was generated around, where it is known; a
      path if it moves.
    - `solution` (..., V, K): The state that generated the values, where it is known.
    - `initial_preconditioner` (..., K): d_1 that belongs to the stream (a learned one, say). Default: ones, chosen by
      the recurrence.
    - `metadata`: mapping

    Raises TypeError, ValueError: non-numeric or non-finite data, wrong rank, lengths that do not match, gates out of
    range.
    """

    keys: Array
    values: Array
    queries: Array | None = None
    beta: Array | float = 1.0
    state_gate: Array | None = None
    forget_gate: Array | None = None
    comparator: Array | None = None
    solution: Array | None = None
    initial_preconditioner: Array | None = None
    name: str = "stream"
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = as_float64("keys", self.keys, min_ndim=2)
        values = as_float64("values", self.values, min_ndim=2)
        require(
            keys.shape[-2] == values.shape[-2],
            f"values: expected {keys.shape[-2]} tokens as in keys, got shape {values.shape}",
        )
        require(keys.shape[-1] > 0 and values.shape[-1] > 0, "keys, values: feature axis is empty")
        lead = _lead("values", keys.shape[:-2], values.shape[:-2])
        length, key_dim = keys.shape[-2:]
        object.__setattr__(self, "keys", np.broadcast_to(keys, (*lead, length, key_dim)))
        object.__setattr__(self, "values", np.broadcast_to(values, (*lead, length, values.shape[-1])))
        queries = self.keys if self.queries is None else self.queries
        self._fit("queries", queries, (*lead, length, key_dim))
        self._fit("beta", self.beta, (*lead, length))
        self._fit_state_gate()
        if self.forget_gate is not None:
            self._fit("forget_gate", self.forget_gate, (*lead, length))
            gate = self.forget_gate
            require(bool(np.all((gate > 0) & (gate <= 1))), "forget_gate: expected values in (0, 1]")
        if self.initial_preconditioner is not None:
            self._fit("initial_preconditioner", self.initial_preconditioner, (*lead, key_dim))
        if self.solution is not None:
            self._fit("solution", self.solution, (*lead, values.shape[-1], key_dim))
        self._fit_comparator()

    def _fit(self, name: str, value: Any, shape: tuple[int, ...]) -> None:
        array = as_float64(name, value)
        broadcastable(name, array.shape, shape)
        object.__setattr__(self, name, np.broadcast_to(array, shape))

    def _fit_state_gate(self) -> None:
        if self.state_gate is None:
            return
        gate = as_float64("state_gate", self.state_gate, min_ndim=1)
        per_token, per_feature = self.keys.shape[:-1], self.keys.shape
        per_feature_given = gate.ndim == len(per_feature) and gate.shape[-2:] == per_feature[-2:]
        self._fit("state_gate", gate, per_feature if per_feature_given else per_token)
        require(bool(np.all((gate >= 0) & (gate <= 1))), "state_gate: expected values in [0, 1]")

    def _fit_comparator(self) -> None:
        if self.comparator is None:
            return
        u = as_float64("comparator", self.comparator, min_ndim=1)
        moving = u.ndim == self.keys.ndim
        self._fit("comparator", u, self.keys.shape if moving else (*self.lead, self.key_dim))

    @property
    def lead(self) -> tuple[int, ...]:
        """Leading axes (batch, head, seed)."""
        return self.keys.shape[:-2]

    @property
    def length(self) -> int:
        """T, the number of tokens."""
        return int(self.keys.shape[-2])

    @property
    def key_dim(self) -> int:
        """K."""
        return int(self.keys.shape[-1])

    @property
    def value_dim(self) -> int:
        """V."""
        return int(self.values.shape[-1])

    @property
    def squared_keys(self) -> Array:
        """s_t = k_t * k_t, (..., T, K): the features of the preconditioner's own problem (T4)."""
        return self.keys * self.keys

    def arrays(self) -> dict[str, Array]:
        """The arrays that the stream has, by the names of their fields."""
        found = {name: getattr(self, name) for name in ARRAYS}
        return {name: np.asarray(array) for name, array in found.items() if array is not None}

    def map(self, change: Callable[[Array], Array], *names: str) -> Stream:
        """The stream with `change` applied to every array that it has, or to those of `names`."""
        arrays = self.arrays()
        changed: dict[str, Any] = {name: change(arrays[name]) for name in names or arrays if name in arrays}
        return replace(self, **changed)

    def map_tokens(self, change: Callable[[Array, int], Array]) -> Stream:
        """The stream with ``change(array, axis)`` applied to every array with an axis of tokens, which is `axis`."""
        changed: dict[str, Any] = {
            name: change(array, axis)
            for name, array in self.arrays().items()
            if (axis := self.token_axis(name)) is not None
        }
        return replace(self, **changed)

    def token_axis(self, name: str) -> int | None:
        """Where the array `name` has its tokens; None where it has none."""
        if name in ("solution", "initial_preconditioner"):
            return None
        if np.ndim(getattr(self, name)) == self.keys.ndim:
            return -2
        return None if name == "comparator" else -1

    def tokens(self, start: int, stop: int) -> Stream:
        """The tokens ``start:stop`` as a stream of their own; the ground truth travels along."""

        def cut(array: Array, axis: int) -> Array:
            return array[..., start:stop, :] if axis == -2 else array[..., start:stop]

        return self.map_tokens(cut)

    def at(self, index: tuple[int, ...]) -> Stream:
        """One stream without leading axes, the one at `index` of them."""
        require(len(index) == len(self.lead), f"index: expected {len(self.lead)} integers, got {index}")
        name = f"{self.name}[{','.join(map(str, index))}]" if index else self.name
        return replace(self.map(lambda array: array[index]), name=name)


def _lead(name: str, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(first, second)
    except ValueError:
        raise ValueError(f"{name}: leading axes {second} do not broadcast with {first} of keys") from None
