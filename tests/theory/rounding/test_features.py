"""Bounds of chunks whose features have a gate each (T17, T18): factors and products, models, and each part missed."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import support.rounding_cases as cases
from support.gated_rounding import RULES, emulated, gated

from osdn_theory import rounding
from osdn_theory.base.layouts import transpose
from osdn_theory.recurrence.rules import FROZEN
from osdn_theory.rounding import BFLOAT16, CHUNK_BF16, CHUNK_FP32, FLOAT32, TF32, round_to, truncate_to
from osdn_theory.rounding.errors.enclosed import Enclosed
from osdn_theory.rounding.errors.lemmas import UNIT
from osdn_theory.rounding.memory.features import FeatureGates
from osdn_theory.streams.stream import Stream

UNORDERED = replace(CHUNK_FP32, ordered=False)

MODELS = {name: model for name, model in rounding.MODELS.items() if model.gate_sums is not None}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MODELS)
def test_emulations_stay_below_the_bounds(name, rule):
    assert cases.exceeded(emulated(gated(per_feature=True), rule, MODELS[name], chunk_size=32)) == []


def strong(length=48):
    """Gates of e^-600 among weak ones, each feature's at other tokens: sums are large, and differences are not."""
    exponents = np.full((2, length, 8), 0.02)
    for feature in range(8):
        exponents[:, feature::11, feature] = 600.0
    return replace(gated(per_feature=True, length=length), state_gate=np.exp(-exponents))


@pytest.mark.parametrize(("stream", "claimed", "made"), [
    (strong(), CHUNK_FP32, {"gate_sums": UNIT}),
    (gated(True, 1e-3, 48), UNORDERED, {"formed_product": rounding.CHUNK_TF32.formed_product}),
    (strong(), rounding.CHUNK_FP16, {"storage": BFLOAT16, "operands": BFLOAT16}),
])  # fmt: skip
def test_coarser_arithmetic_leaves_the_bound_and_stays_below_its_own(stream, claimed, made):
    coarse = replace(claimed, **made)
    assert "o" in cases.exceeded(emulated(stream, "plain", claimed, coarse, 32))
    assert cases.exceeded(emulated(stream, "plain", coarse, chunk_size=32)) == []


# Factors and products, one feature in many heads, so that nothing averages out


def drawn(heads=3000, length=24, features=1):
    rng = np.random.default_rng(0)
    x = rng.exponential(1.0, size=(heads, length, features))
    x *= rng.choice([0.01, 1.0, 3.0], size=x.shape)
    return x.astype(np.float32).astype(np.float64)


def gates_of(exponent, model=CHUNK_FP32):
    setup = SimpleNamespace(exponent=exponent, model=model, key_dim=exponent.shape[-1], count=len(exponent))
    return FeatureGates(setup, slice(0, None))


def computed(exponent, to, since, rests=True, most=0.0):
    """e^{-(G_to - G_since)} as GPUs may make it, (N, ..., F), from sums with their rests or without; e^most at most."""
    whole = np.cumsum(exponent, axis=1)
    sums = whole.astype(np.float32)
    rest = (whole - sums).astype(np.float32) if rests else np.zeros_like(sums)
    apart = np.maximum((sums[to] - sums[since]) + (rest[to] - rest[since]), -most)
    y = (apart * np.float32(np.log2(np.e))).astype(np.float64)
    side = np.where(y.astype(np.int64) % 2, 1.0, -1.0)
    return np.exp2(-y) * (1 + side * 4 * UNIT)


def rows_of(heads, length, dim=1, fmt=FLOAT32):
    rng = np.random.default_rng(1)
    return round_to(rng.uniform(1, 2, size=(2, heads, length, dim)), fmt)


def single(x):
    return round_to(x, FLOAT32)


def attained(missed, bound):
    assert np.all(missed <= bound)
    return np.max(missed / bound)


def made_through(exponent, keys, writes, t, m, j, most=0.0, rests=True, fmt=None):
    """What token t meets of token j, both scaled to token m."""
    at = np.s_[:, m : m + 1]
    left = single(keys[:, t : t + 1] * computed(exponent, np.s_[:, t : t + 1], at, rests))
    right = single(writes[:, j : j + 1] * computed(exponent, at, np.s_[:, j : j + 1], rests, most))
    if fmt is not None:
        left, right = truncate_to(left, fmt), truncate_to(right, fmt)
    return single(left * right)[:, 0, 0]


@pytest.mark.parametrize(("rests", "reach"), [(True, 0), (False, 0), (True, 60)])
def test_tokens_of_one_block_meet_half_by_half(rests, reach):
    """Through the last token of the first half of the least part with both: under a reach, where they fade by more."""
    exponent, (keys, writes) = drawn(length=16), rows_of(3000, 16)
    exponent[:, 5] += 61.0 if reach else 0.0
    model = replace(CHUNK_FP32, gate_sums=CHUNK_FP32.gate_sums if rests else UNIT, feature_reach=reach)
    found = gates_of(exponent, model).met(Enclosed(keys), Enclosed(writes))
    sums, ratios = np.cumsum(exponent, axis=1), []
    for t in range(16):
        for j in range(t + 1):
            size = 2 ** (t ^ j).bit_length()
            made = made_through(exponent, keys, writes, t, t // size * size + (size - 1) // 2, j, rests=rests)
            exact = (keys[:, t] * writes[:, j] * np.exp(-(sums[:, t] - sums[:, j])))[:, 0]
            np.testing.assert_allclose(found.value[:, t, j], exact, rtol=1e-12)
            ratios.append(attained(np.abs(made - exact), np.asarray(found.error)[:, t, j]))
    assert max(ratios) > 0.5


@pytest.mark.parametrize(("model", "fmt", "edge"), [
    (rounding.CHUNK_TF32, TF32, 16), (rounding.CHUNK_FP16, TF32, 16), (rounding.CHUNK_TF32, TF32, 0),
    (replace(CHUNK_FP32, feature_reach=60), None, 16),
])  # fmt: skip
def test_tokens_of_a_block_that_fades_little_meet_through_the_token_before(model, fmt, edge):
    """With columns up to e^60: the chunk's start is the token before its first."""
    tokens = edge + 16
    exponent, (keys, writes) = drawn(length=tokens), rows_of(3000, tokens)
    exponent = single(exponent * np.minimum(1, 59.9 / np.sum(exponent[:, edge:], axis=1, keepdims=True)))
    found = gates_of(exponent, model).met(Enclosed(keys), Enclosed(writes))
    start = np.concatenate((0 * exponent[:, :1], exponent), axis=1)
    rows, columns = (np.concatenate((x[:, :1], x), axis=1) for x in (keys, writes))
    sums, ratios = np.cumsum(exponent, axis=1), []
    for t in range(edge, tokens):
        for j in range(edge, t + 1):
            made = made_through(start, rows, columns, t + 1, edge, j + 1, 60.0, model.gate_sums < UNIT, fmt)
            exact = (keys[:, t] * writes[:, j] * np.exp(-(sums[:, t] - sums[:, j])))[:, 0]
            np.testing.assert_allclose(found.value[:, t, j], exact, rtol=1e-12)
            ratios.append(attained(np.abs(made - exact), np.asarray(found.error)[:, t, j]))
    assert max(ratios) > 0.6


def test_sums_over_the_features_of_a_pair_go_in_any_order():
    """One, and 63 terms of a little more than half an ulp of it, each of which a sum in order rounds up."""
    terms = np.full((1, 1, 64), UNIT * (1 + 2.0**-20))
    terms[..., 0] = 1.0
    found = gates_of(np.zeros((1, 1, 64))).met(Enclosed(np.ones((1, 1, 64))), Enclosed(terms))
    made = np.float32(0)
    for term in terms.ravel().astype(np.float32):
        made = np.float32(made + term)
    assert attained(abs(float(made) - found.value), found.error) > 0.6


@pytest.mark.parametrize("name", ["chunk_fp32", "chunk_tf32"])
def test_blocks_meet_those_before_them_through_the_edge_between(name):
    """Token 16 on with tokens before it: two factors, two roundings, and a product of full or dropped bits."""
    exponent, (keys, writes) = drawn(), rows_of(3000, 24)
    found = gates_of(exponent, MODELS[name]).met(Enclosed(keys), Enclosed(writes))
    left = single(keys[:, 16:] * computed(exponent, np.s_[:, 16:], np.s_[:, 15:16]))
    right = single(writes[:, :16] * computed(exponent, np.s_[:, 15:16], np.s_[:, :16]))
    if name == "chunk_tf32":
        left, right = truncate_to(left, TF32), truncate_to(right, TF32)
    made = single(left * transpose(right))
    sums = np.cumsum(exponent, axis=1)
    exact = np.exp(-(sums[:, 16:] - transpose(sums[:, :16]))) * (keys[:, 16:] * transpose(writes[:, :16]))
    np.testing.assert_allclose(found.value[:, 16:, :16], exact, rtol=1e-12)
    missed = np.abs(made - exact)
    assert attained(missed, np.asarray(found.error)[:, 16:, :16]) > 0.6


def test_what_follows_a_block_is_not_met():
    exponent, (keys, writes) = drawn(heads=2, length=40, features=3), rows_of(2, 40, 3)
    found = gates_of(exponent).met(Enclosed(keys), Enclosed(writes))
    after = np.arange(40)[:, None] // 16 < np.arange(40)[None, :] // 16
    assert found.value.shape == (2, 40, 40)
    assert not np.any(found.computed[:, after])


def test_unknown_and_computed_rows_reach_what_they_meet():
    """Slack stays apart from errors, and both fade."""
    exponent, (keys, writes) = drawn(heads=5, length=24, features=3), rows_of(5, 24, 3)
    gates, size = gates_of(exponent), np.full_like(writes, 0.25)
    known = gates.met(Enclosed(keys), Enclosed(writes))
    apart = gates.met(Enclosed(keys), Enclosed(writes, size, size))
    alone = gates.met(Enclosed(np.abs(keys)), Enclosed(size))
    np.testing.assert_allclose(apart.slack, alone.value, rtol=1e-9)
    assert np.all(apart.error >= known.error + alone.value)


def test_stored_rows_carry_their_decays():
    """To the token for what reads, to the chunk's end for what is written, in 16 bits."""
    exponent, (keys, writes) = drawn(length=16), rows_of(3000, 16, fmt=BFLOAT16)
    gates = gates_of(exponent, CHUNK_BF16)
    entered, (ended, values) = gates.entered(Enclosed(keys)), gates.ended(Enclosed(writes), Enclosed(keys))
    assert values.value is keys
    sums = np.cumsum(exponent, axis=1)
    to_token = computed(np.concatenate((0 * exponent[:, :1], exponent), axis=1), np.s_[:, 1:], np.s_[:, :1])
    to_end = computed(exponent, np.s_[:, -1:], np.s_[:, :], rests=False)
    for rows, factor, x, exact in (
        (entered, to_token, keys, np.exp(-sums) * keys),
        (ended, to_end, writes, np.exp(-(sums[:, -1:] - sums)) * writes),
    ):
        np.testing.assert_allclose(rows.value, exact, rtol=1e-12)
        missed = np.abs(round_to(single(x * factor), BFLOAT16) - exact)
        assert attained(missed, rows.error) > 0.9


# What is known by its norm alone


def test_what_decays_cost_parts_of_known_norm():
    exponent, (keys, writes) = drawn(heads=400, length=16, features=4), rows_of(400, 16, 4)
    gates = gates_of(exponent)
    np.testing.assert_array_equal(gates.lost_reading(Enclosed(keys)),
                                  np.linalg.norm(gates.entered(Enclosed(keys)).error, axis=-1))  # fmt: skip
    nothing, one = np.zeros((400, 16)), np.eye(16)[:1]
    of_memory = gates.lost_handing(Enclosed(writes), np.ones(400), nothing)
    rows = np.abs(gates.handed_on(Enclosed(np.eye(4)[None])).error)
    assert np.all(rows.max(axis=(1, 2)) <= of_memory * (1 + 1e-9) + 3 * FLOAT32.smallest_normal)
    assert np.all(rows.max(axis=(1, 2)) > 0.9 * of_memory)
    of_value = gates.lost_handing(Enclosed(writes), np.zeros(400), np.broadcast_to(one, nothing.shape))
    ended, _ = gates.ended(Enclosed(writes), Enclosed(keys))
    np.testing.assert_allclose(of_value, np.linalg.norm(ended.error, axis=-1)[:, 0])


@pytest.mark.parametrize("large", ["memory", "first value"])
def test_what_has_faded_costs_nothing(large):
    """Something of 1e6 at the start of a chunk, in features that e^-3 fades at every token."""
    stream = cases.stream("isotropic", 32)
    values = np.array(stream.values)
    values[:, 0] *= 1e6 if large == "first value" else 1.0
    stream = replace(stream, values=values, beta=0.5, state_gate=np.full((2, 32, 8), np.exp(-3.0)))
    state = np.full((2, 8, 8), 1e6 if large == "memory" else 1.0)
    bounds = rounding.error_bounds(stream, FROZEN, CHUNK_FP32, chunk_size=32, initial_state=state)
    assert np.all(bounds.outputs_norm[:, 0] > 0.01)
    assert np.all(bounds.outputs_norm[:, 12:] < 1e-5)
    assert np.all(bounds.final_state < 1e-5)


def test_a_column_that_grows_out_of_float32_is_an_overflow():
    """Of a last token's key of 1e14 in a feature that fades by e^-58 in the block: its column is infinite, others are
    zero times that, and the kernel gives no number."""
    rng = np.random.default_rng(0)
    keys, gate = np.full((1, 16, 8), 0.5), np.full((1, 16, 8), np.exp(-3.6))
    keys[:, 15, 0] = 1e14
    values, queries = 1e-14 * rng.normal(size=(1, 16, 8)), 1e-3 * rng.normal(size=(1, 16, 8))
    stream = Stream(keys=keys, values=values, queries=queries, beta=np.full((1, 16), 1e-28), state_gate=gate)
    bounds = cases.bounded(stream, FROZEN, cases.KERNELS["chunk_bf16"])
    assert bounds.overflow.quantity == "K (d k)^T"
    assert np.all(np.isinf(bounds.outputs_norm))
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(cases.run_kernel(bounds).outputs).all()
    keys[:, 15, 0] = 1e8
    assert cases.bounded(replace(stream, keys=keys), FROZEN, cases.KERNELS["chunk_bf16"]).overflow is None


def test_no_bound_without_what_sums_of_gates_lose():
    with pytest.raises(ValueError, match="state_gate: expected one number per token"):
        rounding.error_bounds(gated(per_feature=True), RULES["plain"], rounding.CHUNK_ANY_ORDER)


# Each part where it is all that rounds: one feature, many heads


def alone(part):
    """A stream, a model and a memory of which a chunk's results round by one part of it almost alone."""
    heads, rng = 500, np.random.default_rng(2)
    length = 24 if part.startswith("_before") else 2
    draw = rng.uniform(1, 2, size=(4, heads, length, 1)).astype(np.float32).astype(np.float64)
    exponents, beta, memory, model = 10 * draw[0], np.zeros((heads, length)), 0.0, CHUNK_FP32
    if part in ("entered", "handed_on"):
        memory = 1.0
    else:
        beta[:, 0] = 1.0
    if part.startswith("_before"):
        model = replace(UNORDERED, formed_product=rounding.CHUNK_TF32.formed_product)
        exponents = exponents / 1000
    if part == "_before, of A":
        beta[:, 20], draw[1] = 1.0, 0.0
    stream = Stream(keys=draw[2], values=round_to(draw[3], BFLOAT16), queries=draw[1], beta=beta,
                    state_gate=np.exp(-exponents))  # fmt: skip
    return stream, model, np.full((heads, 1, 1), memory)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("part", ["_within", "_before", "_before, of A", "entered", "ended", "handed_on"])
def test_a_dropped_part_is_found_out(part, kept, monkeypatch):
    """Errors of pairs of a block, of blocks, of rows as they enter and end, and of the memory that is handed on."""
    name = part.partition(",")[0]
    real = getattr(FeatureGates, name)

    def exact(matrix):
        return Enclosed(matrix.value, matrix.slack, 0 * np.asarray(matrix.error))

    def dropped(*given):
        found = real(*given)
        return (exact(found[0]), found[1]) if isinstance(found, tuple) else exact(found)

    if not kept:
        monkeypatch.setattr(FeatureGates, name, dropped)
    stream, model, memory = alone(part)
    given = {"initial_state": memory, "chunk_size": 32}
    bounds = rounding.error_bounds(stream, FROZEN, model, **given)
    found = cases.errors(bounds, rounding.emulate(bounds.stream, bounds.rule, model, **given))
    assert (cases.exceeded(found) == []) == kept
