"""Streams with gates, rules beside them, and errors of kernels and emulations beside their bounds."""

from dataclasses import replace

import numpy as np
import support.rounding_cases as cases

from osdn_theory import rounding

LENGTH = 40
RULES = {
    "plain": cases.RULES["bounded"],
    "aware": replace(cases.RULES["fast"], beta_aware=True),
    "aware, forgetting": replace(cases.RULES["anchored"], beta_aware=True),
    "aware, clipping": replace(cases.RULES["narrow box"], beta_aware=True),
}


def gated(per_feature=False, strength=0.3, length=LENGTH):
    """Gates from next to none to e^-5 and less, some exactly one."""
    stream, rng = cases.stream("isotropic", length), np.random.default_rng(1)
    shape = stream.keys.shape if per_feature else stream.beta.shape
    exponents = rng.exponential(strength, size=shape) * rng.choice([0.0, 0.01, 1.0, 5.0], size=shape)
    return replace(stream, state_gate=np.exp(-exponents))


def checked(stream, rule, model, chunk_size=16):
    bounds = cases.bounded(stream, RULES[rule], model, chunk_size)
    return cases.errors(bounds, cases.run_kernel(bounds))


def emulated(stream, rule, model, by=None, chunk_size=16):
    """Errors of the model `by`, emulated, beside the bounds of `model`."""
    bounds = cases.bounded(stream, RULES[rule], model, chunk_size)
    start = bounds.trajectory
    found = rounding.emulate(
        bounds.stream, bounds.rule, by or model, chunk_size=chunk_size, scale=0.7,
        initial_state=start.initial_state, initial_preconditioner=start.initial_preconditioner,
    )  # fmt: skip
    return cases.errors(bounds, found)
