"""What a recurrence reads and gives, as plain arrays: faults are functions from these to these."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array, as_float64
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.kernel.adapters import KEY_FLOOR
from osdn_theory.crosscheck.kernel.recurrences import GATED

PER_TOKEN = ("queries", "keys", "values", "beta", "forget", "decay", "gram_decay", "gram_weight")
PER_SEQUENCE = ("state", "start", "anchor")


@dataclass(frozen=True, eq=False)
class RecurrenceInputs:
    """A case without its checks, so that a fault may pass what no stream allows: a gate above 1, a key of zeros.

    - `queries`, `keys` (B, H, T, K), `values` (B, H, T, V), `beta` (B, H, T)
    - `forget` (B, H, T) or None: gamma_t of the preconditioner.
    - `decay` (B, H, T), (B, H, T, K) or None: alpha_t of the memory.
    - `gram_decay`, `gram_weight` (B, H, T) or None: Decay of Preconditioned DeltaNet's Gram diagonal, and the weight
      of each key in it.
    - `state` (B, H, V, K)
    - `start`, `anchor` (B, H, K): d_1, or A_0 of a Gram diagonal, and c.
    - `fades`: Whether the memory decays where a gate is given.
    - `floor`: Under the square root where queries and keys are divided by their norms first.
    """

    queries: Array
    keys: Array
    values: Array
    beta: Array
    forget: Array | None
    decay: Array | None
    gram_decay: Array | None
    gram_weight: Array | None
    state: Array
    start: Array
    anchor: Array
    scale: float
    eta: float
    d_min: float
    d_max: float
    epsilon: float
    normalize: bool
    beta_aware: bool
    fades: bool
    floor: float | None

    @property
    def length(self) -> int:
        return int(self.keys.shape[2])

    @property
    def key_dim(self) -> int:
        return int(self.keys.shape[3])

    @property
    def square(self) -> bool:
        """Whether K = V."""
        return bool(self.keys.shape[3] == self.values.shape[3])


def read_inputs(case: Case) -> RecurrenceInputs:
    """What the recurrence reads of a case."""
    stream, rule = case.stream, case.rule
    assert stream.queries is not None
    low, high = (float(as_float64("box", side, check_finite=False)) for side in (rule.d_min, rule.d_max))
    return RecurrenceInputs(
        queries=stream.queries,
        keys=stream.keys,
        values=stream.values,
        beta=np.broadcast_to(np.asarray(stream.beta), stream.keys.shape[:-1]),
        forget=None if case.log_gate is None else np.exp(case.log_gate),
        decay=case.state_gate,
        gram_decay=None if case.log_gram_decay is None else np.exp(case.log_gram_decay),
        gram_weight=case.gram_weight,
        state=case.initial_state,
        start=case.initial_preconditioner,
        anchor=case.anchor,
        scale=case.scale,
        eta=rule.eta,
        d_min=low,
        d_max=high,
        epsilon=rule.epsilon,
        normalize=rule.normalize_feedback,
        beta_aware=rule.beta_aware,
        fades=case.recurrence in GATED,
        floor=None if case.key_norm is None else KEY_FLOOR[case.key_norm],
    )


def join(parts: list[RecurrenceInputs]) -> RecurrenceInputs:
    """Sequences one after the other, from the states of the first."""
    arrays: dict[str, Any] = {}
    for name in PER_TOKEN:
        pieces = [getattr(part, name) for part in parts]
        arrays[name] = None if pieces[0] is None else np.concatenate(pieces, axis=2)
    return replace(parts[0], **arrays)


def together(parts: list[RecurrenceInputs]) -> RecurrenceInputs:
    """Sequences as one call has them: one row of tokens, and a row of states for each."""
    states: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in PER_SEQUENCE
    }
    return replace(join(parts), **states)


def apart(call: RecurrenceInputs, parts: list[RecurrenceInputs]) -> list[RecurrenceInputs]:
    """The sequences of one call again, as long as `parts`."""
    edges = np.cumsum([0, *(part.length for part in parts)])
    found = []
    for at, (start, stop) in enumerate(pairwise(edges.tolist())):
        states: dict[str, Any] = {name: getattr(call, name)[at : at + 1] for name in PER_SEQUENCE}
        found.append(replace(cut(call, start, stop), **states))
    return found


def cut(whole: RecurrenceInputs, start: int, stop: int) -> RecurrenceInputs:
    """The tokens ``start:stop``, from the same states."""
    arrays: dict[str, Any] = {}
    for name in PER_TOKEN:
        value = getattr(whole, name)
        arrays[name] = None if value is None else value[:, :, start:stop]
    return replace(whole, **arrays)


@dataclass(frozen=True, eq=False)
class RecurrenceOutcome:
    """Results of a recurrence, float64, leading axes (B, H).

    - `outputs` (B, H, T, V)
    - `state` (B, H, V, K): The final one.
    - `preconditioner` (B, H, T, K): d_t that token t is written with.
    - `handed_on` (B, H, K)
    """

    outputs: Array
    state: Array
    preconditioner: Array
    handed_on: Array
