"""Streams and rules on which solvers are compared."""

import numpy as np

from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, CalibrationRule
from osdn_theory.recurrence.solve import delta_net, gated_delta_net, kda, osdn, preconditioned_delta_net
from osdn_theory.streams.stream import Stream

NAMES = ("outputs", "preconditioner", "alignment", "residuals", "final_state", "final_preconditioner")


RULES = {
    "bounded": BOUNDED,
    "historic": HISTORIC,
    "clips in every chunk": CalibrationRule(eta=1.0, d_min=0.99, d_max=1.01),
    "normalised": CalibrationRule(eta=0.5, normalize_feedback=True),
    "beta-aware": CalibrationRule(eta=0.5, beta_aware=True),
    "forgetting": CalibrationRule(forgetting=0.9),
    "token forgetting": CalibrationRule(forgetting="token", anchor="initial"),
}


SOLVERS = {
    "osdn": osdn,
    "delta_net": lambda stream, rule, **options: delta_net(stream, **options),
    "gated_delta_net": gated_delta_net,
    "kda": kda,
    "preconditioned_delta_net": lambda stream, rule, **options: preconditioned_delta_net(
        stream, decay=stream.forget_gate, gated=True, **options
    ),
}


GATES = {"gated_delta_net": "token", "kda": "feature", "preconditioned_delta_net": "feature"}


def make(rng, lead=(), length=40, key_dim=6, value_dim=5, gate=None, condition=1.0, beta_max=1.0):
    keys = rng.normal(size=(*lead, length, key_dim)) * np.geomspace(1, 1 / condition, key_dim)
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    shapes = {"token": (*lead, length), "feature": (*lead, length, key_dim)}
    gates = None
    if gate is not None:
        # From 1 down to 1e-200, and zero: quotients of cumulative gates would be 0/0 or overflow.
        gates = 10.0 ** -(200 * rng.uniform(size=shapes[gate]) ** 20)
        gates[rng.uniform(size=shapes[gate]) < 0.05] = 0.0
    return Stream(
        keys=keys,
        values=rng.normal(size=(*lead, length, value_dim)),
        queries=rng.normal(size=(*lead, length, key_dim)),
        beta=rng.uniform(0, beta_max, size=(*lead, length)),
        state_gate=gates,
        forget_gate=10.0 ** rng.uniform(-6, 0, size=(*lead, length)),
    )
