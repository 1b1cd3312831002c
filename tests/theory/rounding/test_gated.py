"""Bounds where the memory fades and feedback takes beta (T17, T18): lemmas, the kernels, and each part missed."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

from dataclasses import replace

import numpy as np
import pytest
import support.rounding_cases as cases
from support.gated_rounding import LENGTH, RULES, checked, emulated, gated

from osdn_theory import rounding
from osdn_theory.recurrence.rules import FROZEN, CalibrationRule
from osdn_theory.rounding import BFLOAT16, CHUNK_FP32, RECURRENT_FP32, RECURRENT_PLAIN
from osdn_theory.rounding.errors.lemmas import UNIT, rounding as rounding_of
from osdn_theory.rounding.memory import bound as memory, fading
from osdn_theory.rounding.setup import Setup
from osdn_theory.streams.stream import Stream

# Kernels


@pytest.mark.parametrize(("name", "per_feature", "rule"), [
    ("recurrent_fp32", False, "aware"), ("recurrent_fp32", True, "aware, forgetting"),
    ("recurrent_bf16", True, "plain"), ("chunk_fp32", False, "aware"), ("chunk_bf16", False, "aware, forgetting"),
    ("chunk_fp16", False, "plain"), ("chunk_fp32", False, "aware, clipping"), ("chunk_fp32", True, "aware"),
    ("chunk_bf16", True, "aware, forgetting"), ("chunk_fp16", True, "aware, clipping"),
])  # fmt: skip
def test_kernels_stay_below_usable_bounds(name, per_feature, rule):
    pairs = checked(gated(per_feature), rule, cases.KERNELS[name], 32)
    assert cases.exceeded(pairs) == []
    for quantity in ("d", "o", "final state"):
        assert 1 < np.median(cases.ratios(*pairs[quantity])) < 150


@pytest.mark.parametrize("name", ["recurrent_fp32", "chunk_fp32", "chunk_fp16"])
def test_a_gate_that_empties_the_memory(name):
    for per_feature in (False, True):
        stream = gated(per_feature)
        gate = np.array(stream.state_gate)
        gate[:, 9::16] = 0.0
        faded = replace(stream, state_gate=gate)
        assert cases.exceeded(checked(faded, "plain", cases.KERNELS[name], 32)) == []


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("strength", [1e-3, 0.1, 3.0, 40.0])
@pytest.mark.parametrize("name", cases.KERNELS)
def test_every_kernel_under_every_strength_of_gate(name, strength, rule):
    for per_feature in (False, True):
        pairs = checked(gated(per_feature, strength), rule, cases.KERNELS[name], 32)
        assert cases.exceeded(pairs) == []


def test_bounds_without_gates_are_not_for_kernels_that_have_them():
    bounds = cases.bounded(gated(), RULES["plain"], RECURRENT_FP32)
    plain = cases.bounded(replace(gated(), state_gate=None), RULES["plain"], RECURRENT_FP32)
    assert "o" in cases.exceeded(cases.errors(plain, cases.run_kernel(bounds)))


# Each model, emulated


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", rounding.MODELS)
def test_emulations_stay_below_the_bounds(name, rule):
    model = rounding.MODELS[name]
    if not model.substitution:
        assert cases.exceeded(emulated(gated(), rule, model)) == []


def far_apart():
    """A gate of e^-600 among weak ones: sums of exponents are large, and their differences are not."""
    exponents = np.full((2, LENGTH), 0.07)
    exponents[:, 1::16] = 600.0
    return replace(gated(), state_gate=np.exp(-exponents))


def test_sums_of_gates_that_round_leave_the_bound_of_wide_ones():
    narrow = replace(CHUNK_FP32, wide_gates=False)
    assert "o" in cases.exceeded(emulated(far_apart(), "plain", CHUNK_FP32, narrow))
    assert cases.exceeded(emulated(far_apart(), "plain", narrow)) == []


@pytest.mark.parametrize(("model", "least"), [
    (CHUNK_FP32, 2e-6), (rounding.CHUNK_ANY_ORDER, 2e-4), (RECURRENT_FP32, 2e-6),
])  # fmt: skip
@pytest.mark.parametrize("large", ["memory", "first value"])
def test_what_has_faded_costs_nothing(large, model, least):
    """Something of 1e6 at the start of a chunk, and gates of e^-3: late tokens of the chunk do not see it."""
    stream = cases.stream("isotropic", 16)
    values = np.array(stream.values)
    values[:, 0] *= 1e6 if large == "first value" else 1.0
    stream = replace(stream, values=values, beta=0.5, state_gate=np.full((2, 16), np.exp(-3.0)))
    state = np.full((2, 8, 8), 1e6 if large == "memory" else 1.0)
    bounds = rounding.error_bounds(stream, FROZEN, model, chunk_size=16, initial_state=state)
    assert np.all(bounds.outputs_norm[:, 0] > 0.01)
    assert np.all(bounds.outputs_norm[:, 12:] < least)
    assert np.all(bounds.final_state < least)


def test_what_rounded_sums_lose_is_needed(monkeypatch):
    monkeypatch.setattr(fading, "relative", lambda _: UNIT / 64)
    narrow = replace(CHUNK_FP32, wide_gates=False)
    assert "o" in cases.exceeded(emulated(far_apart(), "plain", narrow))


def test_feedback_without_beta_leaves_the_bound_of_aware_feedback():
    bounds = cases.bounded(gated(), RULES["aware"], RECURRENT_FP32)
    plain = cases.bounded(gated(), replace(RULES["aware"], beta_aware=False), RECURRENT_FP32)
    found = cases.run_kernel(plain)
    assert "d" in cases.exceeded(cases.errors(bounds, found))


def test_products_with_gates_are_stored_before_they_are_handed_on(monkeypatch):
    """In 16 bits: the write values that a chunk's reads meet are other numbers."""
    found, real = [], memory._summed_error
    monkeypatch.setattr(memory, "_summed_error", lambda *given: found.append(real(*given)) or found[-1])
    stream = one_feature(50, 2, state_gate=np.full((50, 2), 0.37))
    beta, values = np.array([1.0, 0.0]), np.linspace(1.0, 2.0, 50)[:, None, None] * np.ones((1, 2, 1))
    tokens = replace(stream, beta=beta, values=values)
    bounds = rounding.error_bounds(tokens, FROZEN, rounding.CHUNK_BF16, chunk_size=2)
    lost = rounding_of(0.37 * bounds.stream.values[:, 0, 0], BFLOAT16)
    assert np.all((lost < found[0]) & (found[0] < 2.2 * lost))


# Parts that show where nothing else rounds as much: one feature, many heads


def one_feature(heads, length, **given):
    ones = np.ones((heads, length, 1))
    return Stream(keys=ones, values=0 * ones, **given)


def of_one_feature(stream, rule, model, start):
    """Errors of the emulated model beside its bounds, from d_1 = `start` and a memory of one."""
    given = {"initial_state": np.ones((*stream.lead, 1, 1)), "initial_preconditioner": start, "chunk_size": 4}
    bounds = rounding.error_bounds(stream, rule, model, **given)
    return cases.errors(bounds, rounding.emulate(bounds.stream, bounds.rule, model, **given))


@pytest.mark.parametrize("part", [None, "faded memory"])
def test_a_memory_that_only_fades(part, monkeypatch):
    exponents = np.random.default_rng(0).uniform(0.685, 0.693, size=(2000, 1)) * np.ones(48)
    stream = one_feature(2000, 48, beta=0.0, state_gate=np.exp(-exponents))
    if part:
        monkeypatch.setattr(fading, "fading_error", lambda x, **_: 0 * x)
    found = of_one_feature(stream, FROZEN, RECURRENT_PLAIN, np.ones((2000, 1)))
    assert ("final state" in cases.exceeded(found)) == (part is not None)


@pytest.mark.parametrize("part", [None, "slope"])
def test_feedback_whose_parts_cancel(part, monkeypatch):
    """beta - beta^2 a at beta a = 1: what is left of the step is the rounding of a, of beta^2 and of their product."""
    beta = np.random.default_rng(0).uniform(0.2, 0.3, size=(4000, 1)).astype(np.float32).astype(np.float64)
    if part:
        monkeypatch.setattr(Setup, "slope_roundings", 0)
    stream = one_feature(4000, 1, beta=beta)
    rule = CalibrationRule(eta=500.0, d_min=0.0, d_max=1e4, beta_aware=True)
    # Keys whose squares are exact.
    model = replace(RECURRENT_PLAIN, inputs=BFLOAT16)
    found = of_one_feature(replace(stream, keys=3 * stream.keys), rule, model, 1 / (9 * beta))
    assert ("final d" in cases.exceeded(found)) == (part is not None)
