"""What rounding explains of a kernel's errors: the running bounds of T18, laid beside what is observed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.results import Tokens
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.rounding import (
    CHUNK_ANY_ORDER,
    CHUNK_BF16,
    CHUNK_FP16,
    FORMATS,
    RECURRENT_PLAIN,
    ErrorBounds,
    KernelModel,
    Overflow,
    ReadBounds,
    error_bounds,
    in_interpreter,
    spacing,
)
from osdn_theory.rounding.declared import declared_model

RELATIVE_ALLOWANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Where no bound is proved (`is_proved`): relative to the largest token of the head."""

_STEPS: dict[str, Any] = {
    **dict.fromkeys(("residuals", "compensated", "wide_steps", "wide_gates"), False),
    "swept": 0.0,
    "gate_sums": None,
    "feature_reach": 0,
}

_CHUNK = {
    "float32": CHUNK_ANY_ORDER,
    "bfloat16": replace(CHUNK_BF16, **_STEPS),
    "float16": replace(CHUNK_FP16, **_STEPS),
}
"""Of any kernel the form alone is known, neither the order of its sums nor the precision of its clipped steps."""


@dataclass(frozen=True, eq=False)
class Limit:
    """Bound on |kernel - exact|: the norm of every token (B, H, P) and, where known, every entry (B, H, P, ...)."""

    norm: Array
    entries: Array | None
    basis: str

    def at(self, tokens: Tokens) -> Limit:
        """At these token numbers, from 1."""
        picked = tokens - 1
        entries = None if self.entries is None else self.entries[:, :, picked]
        return replace(self, norm=self.norm[:, :, picked], entries=entries)


@dataclass(frozen=True, eq=False)
class RoundingLimits:
    """Bounds on everything that is compared, and on the reads behind the residuals where these are looked at.

    `overflow` is the first value that may leave its format: from there on nothing is bounded.
    """

    outputs: Limit
    reads_after: Limit | None
    reads_before: Limit | None
    states: Limit
    preconditioner: Limit
    handed_on: Limit
    alignment: Limit
    overflow: Overflow | None = None


def models_of(adapter: Adapter, dtype: str, *, interpreted: bool = False) -> tuple[KernelModel, ...]:
    """The models of rounding that a kernel is held to: the one it declares, or the widest.

    What it declares is the attribute `numerics` of its callable (`osdn_theory.rounding.declared`). Of any other kernel
    the form alone is taken to be known: float32 sums, and what its dtype stores; token by token, d summed without
    compensation, which bounds a compensated kernel too. Triton's interpreter drops bits where a GPU rounds.

    Raises ValueError: a declaration that makes no sense.
    """
    fmt = FORMATS[dtype]
    plain = replace(RECURRENT_PLAIN, name=f"recurrent, {dtype} inputs", inputs=fmt, outputs=fmt)
    known = {"chunk": (_CHUNK[dtype],), "recurrent": (plain,), "unknown": (_CHUNK[dtype], plain)}
    declared = declared_model(getattr(adapter.call, "numerics", {}), dtype, tf32=tf32_allowed())
    models = known[adapter.order] if declared is None else (declared,)
    return tuple(in_interpreter(model) if interpreted else model for model in models)


def tf32_allowed() -> bool:
    """Whether PyTorch, where it is loaded, lets float32 products be rounded to TF32."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.get_float32_matmul_precision() != "highest"


def chunk_size_of(adapter: Adapter) -> int:
    """Tokens per chunk: passed, or the kernel's default, or 64."""
    given = adapter.options.get("chunk_size", adapter.defaults.get("chunk_size", 64))
    return int(given)


def limits(
    adapter: Adapter,
    case: Case,
    exact: Trajectory,
    models: Sequence[KernelModel],
    *,
    reads: bool = True,
    prefixes: Sequence[int] = (),
) -> RoundingLimits:
    """The bounds for a kernel on a case; stated allowances where T18 says nothing (`is_proved`).

    Without `reads` those of the kernel's own reads are left out. States are bounded as handed on after all tokens, and
    by calls on `prefixes` of so many.
    """
    if not is_proved(case, models):
        return _allowances(case, exact)
    found = [_limits(adapter, case, exact, model, reads, prefixes) for model in models]
    names = [item.name for item in fields(RoundingLimits) if item.name != "overflow"]
    widest: dict[str, Any] = {name: _widest([getattr(one, name) for one in found]) for name in names}
    overflows = [one.overflow for one in found if one.overflow is not None]
    return RoundingLimits(**widest, overflow=min(overflows, key=lambda first: first.token, default=None))


def is_proved(case: Case, models: Sequence[KernelModel]) -> bool:
    """Whether T18 speaks of the case: not where keys are normalised, d follows their Gram diagonal, or several features
    have a gate each in chunks whose products nothing is known of."""
    known = all(model.order == "recurrent" or model.gate_sums is not None for model in models)
    return case.key_norm is None and case.gram_weight is None and (known or not case.gates_features)


def _widest(found: Sequence[Limit | None]) -> Limit | None:
    """Entry by entry the largest."""
    given = [one for one in found if one is not None]
    if not given:
        return None
    entries = [one.entries for one in given if one.entries is not None]
    return Limit(
        norm=np.max([one.norm for one in given], axis=0),
        entries=np.max(entries, axis=0) if entries else None,
        basis=" or ".join(one.basis for one in given),
    )


def _limits(
    adapter: Adapter,
    case: Case,
    exact: Trajectory,
    model: KernelModel,
    reads: bool,
    prefixes: Sequence[int],
) -> RoundingLimits:
    basis = f"T18, {model.name}"
    asking: tuple[Array, ...] = ()
    if reads:
        ahead = case.asking_ahead().stream.queries
        assert ahead is not None
        asking = (case.stream.keys, ahead)
    asked = _bounds(adapter, case, model, asking)
    after = before = None
    if reads:
        own, before_reads = asked.reads
        after = Limit(own.outputs_norm / abs(case.scale), own.outputs / abs(case.scale), basis)
        before = _shifted(before_reads, case, exact, basis)
    handed, handed_norm = _handed_on(asked)
    return RoundingLimits(
        outputs=Limit(asked.outputs_norm, asked.outputs, basis),
        reads_after=after,
        reads_before=before,
        states=Limit(_handed_states(adapter, case, model, asked, prefixes), None, basis),
        preconditioner=Limit(asked.preconditioner_norm, asked.preconditioner, basis),
        handed_on=Limit(handed_norm, handed, basis),
        alignment=Limit(asked.alignment, None, basis),
        overflow=asked.overflow,
    )


def _handed_states(
    adapter: Adapter, case: Case, model: KernelModel, asked: ErrorBounds, prefixes: Sequence[int]
) -> Array:
    """Bounds on the state that a call on so many tokens hands on: a chunk is summed up at its end, wherever it is."""
    norm = asked.state.copy()
    norm[..., -1:] = asked.final_state[..., None]
    for length in prefixes if model.order == "chunk" else ():
        if length < case.stream.length:
            norm[..., length - 1] = _bounds(adapter, case.first(length), model).final_state
    return norm


def _bounds(adapter: Adapter, case: Case, model: KernelModel, reading: Sequence[Array] = ()) -> ErrorBounds:
    return error_bounds(
        replace(case.stream, state_gate=case.state_gate),
        case.rule,
        model,
        chunk_size=chunk_size_of(adapter),
        scale=case.scale,
        initial_state=case.initial_state,
        initial_preconditioner=case.initial_preconditioner,
        reading=reading,
    )


def _shifted(bounds: ReadBounds, case: Case, exact: Trajectory, basis: str) -> Limit:
    """The read before token t is an output of token t - 1, faded; that of the first token is exact.

    Gates of several features are in the keys that read, which `Case.next_keys` rounds.
    """
    scale = abs(case.scale)
    entries = np.zeros_like(bounds.outputs)
    entries[..., 1:, :] = bounds.outputs[..., :-1, :] / scale
    norm = np.zeros_like(bounds.outputs_norm)
    norm[..., 1:] = bounds.outputs_norm[..., :-1] / scale
    if case.state_gate is None:
        return Limit(norm, entries, basis)
    if not case.gates_features:
        return Limit(norm * case.state_gate, entries * case.state_gate[..., None], basis)
    assert exact.states is not None
    before = np.concatenate([case.initial_state[:, :, None], exact.states[:, :, :-1]], axis=2)
    rounded = case.next_keys(slice(None)) - case.stream.keys * case.state_gate
    beside = np.matmul(before, rounded[..., None])[..., 0]
    return Limit(norm + np.linalg.norm(beside, axis=-1), entries + np.abs(beside), basis)


def _handed_on(bounds: ErrorBounds) -> tuple[Array, Array]:
    """Bounds on d_{t+1} as handed on after token t: that of the next token's d, stored once more."""
    unit = bounds.model.preconditioner.unit_roundoff
    trajectory = bounds.trajectory
    values = np.concatenate(
        [trajectory.preconditioner[..., 1:, :], trajectory.final_preconditioner[..., None, :]], axis=-2
    )
    last, last_norm = bounds.final_preconditioner, bounds.final_preconditioner_norm
    entries = np.concatenate([bounds.preconditioner[..., 1:, :], last[..., None, :]], axis=-2)
    norm = np.concatenate([bounds.preconditioner_norm[..., 1:], last_norm[..., None]], axis=-1)
    stored = unit * (np.abs(values) + entries)
    return entries + stored, norm + np.linalg.norm(stored, axis=-1)


def _allowances(case: Case, exact: Trajectory) -> RoundingLimits:
    """A fraction of what memory and values have been of late: an error decays as the memory does.

    What is read with x is measured by ||S_t|| ||x|| / sqrt(K) where the read itself is smaller, as terms cancel.
    """
    relative = RELATIVE_ALLOWANCE[case.dtype]
    why = "chunks decay by feature" if case.gates_features else "d follows the Gram diagonal"
    why = why if case.key_norm is None else "the kernel normalises keys"
    basis = f"allowance, {relative:g} of what was there of late: no bound is proved where {why}"
    assert exact.states is not None
    gates = np.ones(exact.outputs.shape[:-1]) if case.state_gate is None else case.state_gate
    decay = gates.max(axis=-1) if gates.ndim == exact.outputs.ndim else gates
    state = np.linalg.norm(exact.states, axis=(-2, -1))
    stream = case.read_stream()
    queries, keys = (np.linalg.norm(x, axis=-1) for x in (np.asarray(stream.queries), stream.keys))
    typical = abs(case.scale) * state * queries / np.sqrt(case.stream.key_dim)
    read = np.maximum(np.linalg.norm(exact.outputs, axis=-1), typical)
    own = np.maximum(np.linalg.norm(case.stream.values, axis=-1), state * keys)
    path = relative_limit(relative, np.linalg.norm(exact.preconditioner, axis=-1), basis)
    return RoundingLimits(
        outputs=Limit(relative * of_late(read, decay) + _storing(exact.outputs, case.dtype), None, basis),
        reads_after=Limit(relative * of_late(own, decay), None, basis),
        reads_before=Limit(relative * of_late(own, decay), None, basis),
        states=Limit(relative * of_late(state, decay), None, basis),
        preconditioner=path,
        handed_on=Limit(relative * np.linalg.norm(case.following(exact), axis=-1), None, basis),
        alignment=relative_limit(relative, np.abs(exact.alignment), basis),
    )


def _storing(outputs: Array, dtype: str) -> Array:
    """What storing outputs adds, rounded or cut off, (B, H, T): no fraction of their size where that is subnormal."""
    return np.asarray(np.linalg.norm(spacing(outputs, FORMATS[dtype]), axis=-1))


def of_late(sizes: Array, decay: Array) -> Array:
    """The largest size so far, each decayed since, (B, H, T): m_t = max(size_t, decay_t m_{t-1})."""
    largest = sizes.copy()
    for t in range(1, sizes.shape[-1]):
        largest[..., t] = np.maximum(sizes[..., t], decay[..., t] * largest[..., t - 1])
    return largest


def relative_limit(relative: float, norms: Array, basis: str) -> Limit:
    """An allowance: a fraction of the largest token of each head, for norms (B, H, P)."""
    largest = norms.max(axis=-1, keepdims=True, initial=0.0)
    return Limit(np.broadcast_to(relative * largest, norms.shape), None, basis)
