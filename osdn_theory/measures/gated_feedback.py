"""What plain and beta-aware feedback leave of token losses where the memory fades, and against which memory (T17)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import Array
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import gated_delta_net
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import interpolating

FEEDBACK = {"plain": False, "aware": True}
"""Names of the two feedbacks, and `beta_aware` of their rules."""


@show_briefly
@dataclass(frozen=True, eq=False)
class FeedbackShares:
    """Shares that writes leave of losses, as decimal logarithms.

    - `gated`, mapping from feedback to (gates, T): Of the loss against the memory as its gate leaves it, the product
      over the tokens so far.
    - `ungated` (2, T): Of the loss against the memory before its gate, token by token, for two sets of values of the
      same keys, one solution's and drawn ones; beta-aware feedback, the strongest gate.
    """

    gated: Mapping[str, Array]
    ungated: Array
    beta: float
    gates: Sequence[float]


def feedback_shares(
    *, length: int = 48, beta: float = 0.5, gates: Sequence[float] = (1.0, 0.9, 0.5), seed: int = 0
) -> FeedbackShares:
    """Keys that interpolate, 8 features, each feedback with the step 1/M of its own learning problem (T5)."""
    rng = np.random.default_rng(seed)
    stream = interpolating(rng, length=length, key_dim=8, value_dim=8)
    tokens = Stream(keys=stream.keys, values=stream.values, beta=beta)
    found = {
        name: np.stack([_log_products(_run(tokens, gate, known)) for gate in gates])
        for name, known in FEEDBACK.items()
    }
    drawn = replace(tokens, values=rng.normal(size=tokens.values.shape))
    ungated = np.stack([_before_gate(_run(each, min(gates), True)) for each in (tokens, drawn)])
    return FeedbackShares(gated=found, ungated=ungated, beta=beta, gates=gates)


def _run(tokens: Stream, gate: float, known: bool) -> Trajectory:
    features = tokens.squared_keys * (np.asarray(tokens.beta)[..., None] if known else 1.0)
    step = 1.0 / float(np.max(np.sum(features**2, axis=-1)))
    rule = CalibrationRule(eta=step, d_min=0.0, d_max=10.0, beta_aware=known)
    faded = replace(tokens, state_gate=np.full(tokens.length, gate))
    return gated_delta_net(faded, rule, return_states=True)


def _log_products(run: Trajectory) -> Array:
    return np.cumsum(np.log10(run.residual_ratio))


def _before_gate(run: Trajectory) -> Array:
    """log10 of f_t(S_t) / f_t(S_{t-1}); the first token has nothing before it that fades."""
    assert run.states is not None
    keys, values = run.stream.keys, run.stream.values
    before = np.concatenate((run.initial_state[None], run.states[:-1]))
    after, least = (
        np.sum((values - np.einsum("tvk,tk->tv", states, keys)) ** 2, axis=-1)
        for states in (run.states, before)
    )
    shares: Array = np.log10(after / least)
    return shares
