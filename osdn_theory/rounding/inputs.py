"""What a kernel reads: a stream and a rule rounded to the formats of its inputs (T18)."""

from dataclasses import replace

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.recurrence import calibrate as calibration
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.rounding.formats import FLOAT32, round_to
from osdn_theory.rounding.models import KernelModel
from osdn_theory.streams.stream import Stream

LEAST = float(np.nextafter(0.0, 1.0))
"""In the place of gates of zero, which have no logarithm."""


def round_stream(stream: Stream, model: KernelModel, rule: CalibrationRule) -> Stream:
    """The stream as a kernel reads it.

    Queries, keys and values are rounded to ``model.inputs``; the write gate and d_1 to float32. Kernels take
    forgetting as log gates: ``forget_gate`` becomes exp(float32(log gamma)), one number per token even where the rule
    has one constant (see `round_rule`); ``state_gate`` likewise, where zero counts as the least number
    above it. Ground truth, which a bound never reads, is left out.
    """
    gamma = calibration.forgetting_or_none(stream.forget_gate, stream.lead, stream.length, rule)
    start, fading = stream.initial_preconditioner, stream.state_gate
    return Stream(
        keys=round_to(stream.keys, model.inputs),
        values=round_to(stream.values, model.inputs),
        queries=round_to(np.asarray(stream.queries), model.inputs),
        beta=round_to(np.asarray(stream.beta), FLOAT32),
        forget_gate=None if gamma is None else round_gate(gamma),
        state_gate=None if fading is None else round_gate(np.maximum(fading, LEAST)),
        initial_preconditioner=None if start is None else round_to(start, FLOAT32),
        name=stream.name,
        metadata=stream.metadata,
    )


def round_gate(gamma: Array) -> Array:
    """exp(float32(log gamma)), (...) like gamma."""
    return np.exp(round_to(np.log(gamma), FLOAT32))


def round_rule(rule: CalibrationRule) -> CalibrationRule:
    """The rule that goes with `round_stream`: forgetting read per token, an anchor of float32 numbers.

    The step and the box stay as they are: what float32 does to them is part of the bound.
    """
    gated = isinstance(rule.forgetting, str) or bool(np.any(np.asarray(rule.forgetting) != 1.0))
    anchor = rule.anchor if isinstance(rule.anchor, str) else round_to(np.asarray(rule.anchor), FLOAT32)
    return replace(rule, forgetting="token" if gated else 1.0, anchor=anchor)
