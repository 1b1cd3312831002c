"""What a kernel says in answer to one case: its outputs, its own reads, and states after prefixes.

A kernel that returns no trajectory still shows its memory, because reads do not change it: with the keys as queries
the output is the token's own read after the write, and with the next token's key the read before that token's write.
States, and the preconditioner where the final state holds one, come from calls on prefixes.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array, require
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import Returned, ask
from osdn_theory.crosscheck.results import Tokens
from osdn_theory.measures.least_squares import checkpoints

CUTS = 6
"""Prefixes that a kernel is called on for its states."""


@dataclass(frozen=True, eq=False)
class Observation:
    """What a kernel said, float64, leading axes (B, H). None: it does not say.

    - `outputs` (B, H, T, V)
    - `reads_after`, `reads_before` (B, H, T, V): S_t k_t and S_{t-1} k_t, the latter decayed where the recurrence
      decays.
    - `tokens` (P,) int: Prefix lengths at which `states` and `handed_on` were seen.
    - `states` (B, H, P, V, K)
    - `handed_on` (B, H, P, K): The preconditioner in the final state: d_{t+1}.
    - `preconditioner` (B, H, T, K): d_t of every token, as returned.
    - `alignment` (B, H, T): a_t as returned.
    - `gradients`, mapping from argument to array, in the layout of the argument: tokens at axis 2.
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
    """Everything that calls of the kernel on the case, its batch repeated `copies` times, show."""
    require(copies >= 1, f"copies: expected >= 1, got {copies}")
    refuse_unspeakable(adapter, case)
    return farthest(_observe(adapter, case.repeated(copies), device, cuts), copies)


def _observe(adapter: Adapter, case: Case, device: str, cuts: int) -> Observation:
    length = case.stream.length
    whole = observe_answer(ask(adapter, case, device, what="the call on the whole stream"), length)
    if not adapter.reads:
        notes = ("the kernel is the preconditioner alone: no memory, no output, no residuals",)
        return replace(whole, notes=notes)
    if case.key_norm is not None:
        notes = (
            "the kernel normalises its queries, so that it cannot be asked for its own reads: no residuals",
        )
        return _with_states(adapter, case, device, replace(whole, notes=notes), cuts)
    own, ahead = "the call with the keys as queries", "the call with the next keys as queries"
    after = ask(adapter, case.asking(case.stream.keys), device, final=False, what=own).outputs
    before = ask(adapter, case.asking_ahead(), device, final=False, what=ahead).outputs
    assert after is not None
    assert before is not None
    seen = replace(
        whole, reads_after=after / case.scale, reads_before=before_reads(case, before / case.scale)
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
    first = np.matmul(case.initial_state, case.next_keys(0)[..., None])[..., 0]
    reads = np.concatenate([first[..., None, :], ahead[..., :-1, :]], axis=-2)
    decay = None if case.gates_features else case.state_gate
    return reads if decay is None else reads * decay[..., None]


def _with_states(adapter: Adapter, case: Case, device: str, seen: Observation, cuts: int) -> Observation:
    if seen.states is None:
        return replace(seen, notes=(*seen.notes, "S: the kernel hands no state on, so none was compared"))
    positions = checkpoints(case.stream.length, cuts)
    pieces = [
        observe_answer(ask(adapter, case.first(t), device, what=f"the call on the first {t} tokens"), t)
        for t in positions[:-1]
    ]
    pieces.append(seen)
    states = [piece.states for piece in pieces]
    handed = [piece.handed_on for piece in pieces]
    return replace(
        seen,
        tokens=np.array(positions, dtype=np.int64),
        states=np.concatenate([s for s in states if s is not None], axis=2),
        handed_on=None if handed[0] is None else np.concatenate([d for d in handed if d is not None], axis=2),
    )


def observe_answer(returned: Returned, length: int) -> Observation:
    """One call's results, with what it hands on as seen after its last token."""

    def at_end(array: Array | None) -> Array | None:
        return None if array is None else array[:, :, None]

    return Observation(
        outputs=returned.outputs,
        tokens=np.array([length], dtype=np.int64),
        states=at_end(returned.state),
        handed_on=at_end(returned.handed_on),
        preconditioner=returned.preconditioner,
        alignment=returned.alignment,
    )


def refuse_unspeakable(adapter: Adapter, case: Case) -> None:
    """What the rule or the stream asks for must be an argument of the kernel."""
    takes, rule = adapter.parameters, case.rule
    if not adapter.calibrates:
        return
    needed = {
        "beta_aware": rule.beta_aware != adapter.beta_aware,
        adapter.forget_gate: case.log_gate is not None,
        "anchor": case.log_gate is not None and bool(np.any(case.anchor != 0)),
        "normalize_feedback": rule.normalize_feedback,
        "initial_preconditioner": bool(np.any(case.initial_preconditioner != 1)),
    }
    for name, wanted in needed.items():
        require(name in takes or not wanted, f"rule: {adapter.name} takes no argument {name}")
