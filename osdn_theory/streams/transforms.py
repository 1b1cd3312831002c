"""Streams made from streams: the same context read again, or the same tokens with gates."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from osdn_theory.base.validation import as_float64, require, require_generator
from osdn_theory.streams.exact_keys import uniform_on_grid
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import path_length


def repeated(stream: Stream, times: int = 2) -> Stream:
    """The tokens of `stream` read `times` times in a row, ("read twice").

    Keeps every hypothesis on single tokens (unit norm, interpolation, realisable values). A moving
    comparator jumps back at each seam. Metadata: `times`, `source` (the stream's own metadata), and
    `path_length` of the moving comparator.

    Raises ValueError: `times` < 1.
    """
    require(times >= 1, f"times: expected >= 1, got {times}")
    longer = stream.map_tokens(lambda array, axis: np.concatenate([array] * times, axis=axis))
    metadata: dict[str, Any] = {"generator": "repeated", "times": times, "source": dict(stream.metadata)}
    if longer.comparator is not None and longer.token_axis("comparator") is not None:
        metadata["path_length"] = path_length(longer.comparator)
    return replace(longer, name=f"{stream.name}/x{times}", metadata=metadata)


def with_gates(
    stream: Stream,
    rng: np.random.Generator,
    *,
    state: Literal["token", "feature"] | None = None,
    forget: float | Literal["random"] | None = None,
    most: float = 1.0,
) -> Stream:
    """`stream` with gates that float64 represents exactly: T13, T17.

    - `state`, "token", "feature" or None: State gate, uniform on the multiples of 2^-8 in [3/4, 1], one per token or
      one per feature.
    - `forget`, float in (0, 1], "random" or None: Forget gate: one constant, or per token uniform on the multiples of
      2^-10 in [15/16, 1].
    - `most`, float in (0, 1]: The largest state gate: all of them times this.

    None keeps the gate that `stream` has.

    Raises ValueError: an unknown choice (the known ones are listed), or a forget gate or a `most` outside (0, 1].
    """
    require_generator(rng)
    require(state in (None, "token", "feature"), f"state: expected 'token', 'feature' or None, got {state!r}")
    require(
        not isinstance(forget, str) or forget == "random",
        f"forget: expected a number, 'random' or None, got {forget!r}",
    )
    require(0 < most <= 1, f"most: expected a value in (0, 1], got {most}")
    per_token, per_feature = stream.keys.shape[:-1], stream.keys.shape
    state_gate, forget_gate = stream.state_gate, stream.forget_gate
    if state is not None:
        shape = per_feature if state == "feature" else per_token
        state_gate = most * uniform_on_grid(rng, shape, 8, low=3 / 4)
    if isinstance(forget, str):
        forget_gate = uniform_on_grid(rng, per_token, 10, low=15 / 16)
    elif forget is not None:
        gamma = as_float64("forget", forget)
        require(gamma.ndim == 0, f"forget: expected one number, got shape {gamma.shape}")
        require(bool(0 < gamma <= 1), f"forget: expected a value in (0, 1], got {forget}")
        forget_gate = np.broadcast_to(gamma, per_token)
    metadata = {**stream.metadata, "state_gate": state, "forget_gate": forget}
    return replace(stream, state_gate=state_gate, forget_gate=forget_gate, metadata=metadata)
