"""Every kernel of the project under its rounding bound, in Triton's interpreter."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

import numpy as np
import pytest
import support.rounding_cases as cases

from osdn_theory.recurrence.rules import BOUNDED
from osdn_theory.rounding import RECURRENT_BF16
from osdn_theory.rounding.preconditioner import chunk_calibration
from osdn_theory.rounding.preconditioner.chunk_calibration import _GainErrors
from osdn_theory.rounding.preconditioner.formed import Formed

LENGTH = 40
"""Two whole chunks of 16 tokens, and part of a third."""


def checked(name, source, rule):
    bounds = cases.bounded(cases.stream(source, LENGTH), cases.RULES[rule], cases.KERNELS[name])
    return cases.errors(bounds, cases.run_kernel(bounds))


@pytest.mark.parametrize("name", cases.KERNELS)
def test_errors_stay_below_usable_bounds(name):
    """Bound over error, by norms and in the median over streams, heads and tokens."""
    pooled = {}
    for source, rule in (("isotropic", "bounded"), ("interpolating", "anchored")):
        pairs = checked(name, source, rule)
        assert cases.exceeded(pairs) == []
        for quantity, pair in pairs.items():
            pooled.setdefault(quantity, []).append(cases.ratios(*pair))
    medians = {quantity: np.median(np.concatenate(parts)) for quantity, parts in pooled.items()}
    for quantity in ("d", "o", "final state"):
        assert 1 < medians[quantity] < 200


@pytest.mark.parametrize("name", ["recurrent_fp32", "chunk_fp32"])
def test_errors_stay_below_the_bounds_where_d_clips(name):
    assert cases.exceeded(checked(name, "interpolating", "narrow box")) == []


def test_chunk_bounds_do_not_hold_for_conversions_that_drop_bits():
    """The interpreter's conversion to bfloat16 truncates: `in_interpreter` is needed, and its absence is seen."""
    bounds = cases.bounded(cases.stream("isotropic", LENGTH), BOUNDED, RECURRENT_BF16)
    assert "o by entry" in cases.exceeded(cases.errors(bounds, cases.run_kernel(bounds)))


@pytest.mark.parametrize(
    ("where", "name", "rule"),
    [
        (_GainErrors, "step", "historic"),
        (Formed, "iterate", "fast"),
        (Formed, "handed", "anchored"),
    ],
)
def test_a_dropped_part_of_the_chunk_scan_is_found_out(monkeypatch, where, name, rule):
    """Errors of the gains, of forming d for a token, and of forming the d that is handed on."""
    real = getattr(where, name)

    def dropped(self, *args):
        if name == "step":
            return real(self, *args[:-1], 0 * args[-1])
        return 0 * real(self, *args)

    monkeypatch.setattr(where, name, dropped)
    assert "d by entry" in cases.exceeded(checked("chunk_fp32", "constant_key", rule))


def test_what_a_swept_chunk_rounds_is_needed(monkeypatch):
    """d of every token to float32: steps of 0.003 from entries that sweeps settle are otherwise as good as exact."""
    monkeypatch.setattr(chunk_calibration, "_SETTLED", 0.0)
    monkeypatch.setattr(chunk_calibration, "arithmetic", np.zeros_like)
    assert "d by entry" in cases.exceeded(checked("chunk_fp32", "constant_key", "bounded"))


@pytest.mark.slow
@pytest.mark.parametrize("source", cases.STREAMS)
@pytest.mark.parametrize("name", cases.KERNELS)
def test_every_kernel_on_every_stream_and_rule(name, source):
    for rule in cases.RULES:
        bounds = cases.bounded(cases.stream(source, 64), cases.RULES[rule], cases.KERNELS[name], 32)
        assert cases.exceeded(cases.errors(bounds, cases.run_kernel(bounds))) == [], rule
