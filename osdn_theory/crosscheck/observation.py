"""Calling a kernel and bringing home what it says, in the layouts of the theory. The only place that transposes.

A kernel that returns no trajectory still shows its memory, because reads do not change it: with the keys as queries
the output is the token's own read after the write, and with the next token's key the read before that token's write.
States, and the preconditioner where the final state holds one, come from calls on prefixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osdn_theory._validation import Array, require
from osdn_theory.crosscheck.adapters import Adapter
from osdn_theory.crosscheck.case import Case
from osdn_theory.crosscheck.results import Tokens
from osdn_theory.least_squares import checkpoints

if TYPE_CHECKING:
    from torch import Tensor

CUTS = 6
"""Prefixes that a kernel is called on for its states."""


@dataclass(frozen=True, eq=False)
class Observation:
    """What a kernel said, float64, leading axes (B, H). None: it does not say.

    Attributes
    ----------
    outputs : (B, H, T, V)
    reads_after, reads_before : (B, H, T, V)
        S_t k_t and S_{t-1} k_t, the latter decayed where the recurrence decays.
    tokens : (P,) int
        Prefix lengths at which `states` and `handed_on` were seen.
    states : (B, H, P, V, K)
    handed_on : (B, H, P, K)
        The preconditioner in the final state: d_{t+1}.
    preconditioner : (B, H, T, K)
        d_t of every token, as returned.
    alignment : (B, H, T)
        a_t as returned.
    gradients : mapping from argument to array, in the layout of the argument: tokens at axis 2.
    """

    outputs: Array | None = None
    reads_after: Array | None = None
    reads_before: Array | None = None
    tokens: Tokens = field(default_factory=lambda: np.array([], dtype=np.int64))
    states: Array | None = None
    handed_on: Array | None = None
    preconditioner: Array | None = None
    alignment: Array | None = None
    gradients: dict[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def observe(adapter: Adapter, case: Case, *, device: str, cuts: int = CUTS, copies: int = 1) -> Observation:
    """Everything that calls of the kernel on the case, its batch repeated `copies` times, show.

    Raises
    ------
    ValueError
        A rule or a stream that the kernel has no argument for, or results of the wrong shape.
    """
    require(copies >= 1, f"copies: expected >= 1, got {copies}")
    refuse_unspeakable(adapter, case)
    return farthest(_observe(adapter, case.repeated(copies), device, cuts), copies)


def _observe(adapter: Adapter, case: Case, device: str, cuts: int) -> Observation:
    if not adapter.reads:
        return _observe_scan(adapter, case, device)
    whole = _call(adapter, case, device)
    keys = case.stream.keys
    after = _call(adapter, case.asking(keys), device, final=False)
    ahead = np.concatenate([keys[..., 1:, :], keys[..., -1:, :]], axis=-2)
    before = _call(adapter, case.asking(ahead), device, final=False)
    assert after.outputs is not None
    assert before.outputs is not None
    seen = replace(
        whole,
        reads_after=after.outputs / case.scale,
        reads_before=before_reads(case, before.outputs / case.scale),
    )
    return _with_states(adapter, case, device, seen, cuts)


def farthest(seen: Observation, copies: int) -> Observation:
    """One copy of the batch: of every number the one that differs most from the first."""
    if copies == 1:
        return seen
    arrays = {name: x for name, x in vars(seen).items() if isinstance(x, np.ndarray) and x.ndim > 2}
    worst: dict[str, Any] = {name: farthest_copy(value, copies) for name, value in arrays.items()}
    return replace(seen, **worst)


def farthest_copy(values: Array, copies: int) -> Array:
    """(copies B, ...) as (B, ...): of every number the copy that differs most from the first; NaN differs most."""
    stacked = values.reshape(copies, -1, *values.shape[1:])
    with np.errstate(invalid="ignore"):
        apart = np.abs(stacked - stacked[0])
    worst = np.argmax(np.where(np.isnan(stacked), np.inf, np.nan_to_num(apart, nan=np.inf)), axis=0)
    picked: Array = np.take_along_axis(stacked, worst[None], axis=0)[0]
    return picked


def before_reads(case: Case, ahead: Array) -> Array:
    """S_{t-1} k_t, decayed, from the reads that token t - 1 made with the next key."""
    first = np.matmul(case.initial_state, case.stream.keys[..., 0, :, None])[..., 0]
    reads = np.concatenate([first[..., None, :], ahead[..., :-1, :]], axis=-2)
    decay = case.state_gate
    return reads if decay is None else reads * decay[..., None]


def _with_states(adapter: Adapter, case: Case, device: str, seen: Observation, cuts: int) -> Observation:
    if seen.states is None:
        return replace(seen, notes=(*seen.notes, "S: the kernel hands no state on, so none was compared"))
    positions = checkpoints(case.stream.length, cuts)
    pieces = [_call(adapter, case.first(t), device) for t in positions[:-1]]
    pieces.append(seen)
    states = [piece.states for piece in pieces]
    handed = [piece.handed_on for piece in pieces]
    return replace(
        seen,
        tokens=np.array(positions, dtype=np.int64),
        states=np.concatenate([s for s in states if s is not None], axis=2),
        handed_on=None if handed[0] is None else np.concatenate([d for d in handed if d is not None], axis=2),
    )


def _observe_scan(adapter: Adapter, case: Case, device: str) -> Observation:
    d, *final = call(adapter, arguments(adapter, case, device))
    stream = case.stream
    path = from_tokens(d, "d", (*stream.lead, stream.length, stream.key_dim))
    handed = None
    if final and final[0] is not None:
        handed = _numpy(final[0], "the d handed on", (*stream.lead, stream.key_dim))[:, :, None, :]
    notes = ("the kernel is the preconditioner alone: no memory, no output, no residuals",)
    at_end = np.array([stream.length], dtype=np.int64)
    return Observation(preconditioner=path, handed_on=handed, tokens=at_end, notes=notes)


def _call(adapter: Adapter, case: Case, device: str, *, final: bool = True) -> Observation:
    returned = call(adapter, arguments(adapter, case, device, final=final))
    stream = case.stream
    outputs = from_tokens(returned[0], "o", stream.values.shape)
    seen = Observation(outputs=outputs)
    if final and len(returned) > 1 and returned[1] is not None:
        seen = _with_final(seen, case, returned[1])
    if final and len(returned) > 2 and returned[2] is not None:
        path = getattr(returned[2], "preconditioner", None)
        alignment = getattr(returned[2], "alignment", None)
        seen = replace(
            seen,
            preconditioner=None if path is None else from_tokens(path, "d", stream.keys.shape),
            alignment=None if alignment is None else from_tokens(alignment, "a", stream.keys.shape[:-1]),
        )
    return seen


def _with_final(seen: Observation, case: Case, final: Any) -> Observation:
    stream = case.stream
    state, handed = getattr(final, "state", final), getattr(final, "preconditioner", None)
    found = _numpy(state, "final state", (*stream.lead, stream.key_dim, stream.value_dim))
    at_end = np.array([stream.length], dtype=np.int64)
    seen = replace(seen, tokens=at_end, states=np.swapaxes(found, -1, -2)[:, :, None])
    if handed is None:
        return seen
    d = _numpy(handed, "final preconditioner", (*stream.lead, stream.key_dim))
    return replace(seen, handed_on=d[:, :, None])


def refuse_unspeakable(adapter: Adapter, case: Case) -> None:
    """What the rule or the stream asks for must be an argument of the kernel.

    Raises
    ------
    ValueError
        Naming what the kernel does not take.
    """
    takes, rule = adapter.parameters, case.rule
    if not adapter.calibrates:
        return
    require(not rule.beta_aware, f"rule: {adapter.name} has no beta-aware feedback")
    needed = {
        "g": case.log_gate is not None,
        "anchor": case.log_gate is not None and bool(np.any(case.anchor != 0)),
        "normalize_feedback": rule.normalize_feedback,
        "initial_preconditioner": bool(np.any(case.initial_preconditioner != 1)),
    }
    for name, wanted in needed.items():
        require(name in takes or not wanted, f"rule: {adapter.name} takes no argument {name}")


def arguments(
    adapter: Adapter, case: Case, device: str, *, final: bool = True, exact: bool = False
) -> dict[str, Any]:
    """The kernel's arguments on the case, as tensors on the device; all of them float64 if `exact`."""
    stream, rule = case.stream, case.rule
    dtype, wide = ("float64", "float64") if exact else (case.dtype, "float32")
    given: dict[str, Any] = {
        "q": to_tokens(stream.queries, dtype, device),
        "k": to_tokens(stream.keys, dtype, device),
        "v": to_tokens(stream.values, dtype, device),
        "beta": to_tokens(stream.beta, dtype, device),
        "scale": case.scale,
        "output_final_state": final,
        "return_trajectory": final,
    }
    if np.any(case.initial_state != 0):
        given["initial_state"] = _tensor(np.swapaxes(case.initial_state, -1, -2), wide, device)
    gate = case.log_gate if adapter.calibrates else case.log_state_gate
    if gate is not None:
        given["g"] = to_tokens(gate, wide, device)
    if adapter.calibrates:
        given |= {"eta": rule.eta, "d_min": float(rule.d_min), "d_max": float(rule.d_max)}
        if rule.normalize_feedback:
            given["normalize_feedback"] = True
        if case.log_gate is not None and np.any(case.anchor != 0):
            given["anchor"] = _tensor(case.anchor, wide, device)
        if np.any(case.initial_preconditioner != 1):
            given["initial_preconditioner"] = _tensor(case.initial_preconditioner, wide, device)
    taken = {name: value for name, value in given.items() if name in adapter.parameters}
    return {**taken, **adapter.options}


def to_tokens(array: Any, dtype: str, device: str) -> Tensor:
    """(B, H, T, ...) float64 as a tensor [B, T, H, ...]; exact where `dtype` holds the values."""
    return _tensor(np.swapaxes(np.asarray(array), 1, 2), dtype, device)


def from_tokens(tensor: Any, name: str, shape: Sequence[int]) -> Array:
    """A kernel's [B, T, H, ...] as (B, H, T, ...) float64 of the given shape."""
    batch, heads, length, *rest = shape
    return np.swapaxes(_numpy(tensor, name, (batch, length, heads, *rest)), 1, 2)


def _tensor(array: Array, dtype: str, device: str) -> Tensor:
    import torch

    # A copy: torch warns about arrays that cannot be written, such as broadcast ones.
    return torch.from_numpy(np.array(array, order="C")).to(device=device, dtype=getattr(torch, dtype))


def _numpy(tensor: Any, name: str, shape: Sequence[int]) -> Array:
    found = tuple(getattr(tensor, "shape", ()))
    require(found == tuple(shape), f"kernel: returned {name} of shape {list(found)}, expected {list(shape)}")
    array: npt.NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return array


def call(adapter: Adapter, given: dict[str, Any]) -> tuple[Any, ...]:
    """What the kernel returns, as a tuple.

    Raises
    ------
    ValueError
        If an assertion of the kernel refuses the arguments: a dtype it does not take, say.
    """
    try:
        returned = adapter.call(**given)
    except AssertionError as error:
        raise ValueError(f"kernel: {adapter.name} refuses the call: {error}") from error
    return tuple(returned) if isinstance(returned, tuple | list) else (returned,)
