"""A stream cut anywhere and continued has exactly the bits of the uncut run."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from support.streams import GATES, NAMES, RULES, SOLVERS, make

from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn

PER_TOKEN = {"outputs": -2, "preconditioner": -2, "alignment": -1, "residuals": -2}


def in_pieces(solver, stream, rule, cuts, options, start):
    edges = [0, *sorted(cuts), stream.length]
    pieces, given = [], start
    for begin, end in pairwise(edges):
        pieces.append(solver(stream.tokens(begin, end), rule, **options, **given))
        given = {"carry": pieces[-1].carry}
    return pieces


def assert_same_bits(pieces, whole):
    for name, axis in PER_TOKEN.items():
        joined = np.concatenate([getattr(piece, name) for piece in pieces], axis=axis)
        np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)
    for name in NAMES:
        if name.startswith("final"):
            np.testing.assert_array_equal(getattr(pieces[-1], name), getattr(whole, name), err_msg=name)
    for before, after in pairwise(pieces):
        np.testing.assert_array_equal(after.initial_state, before.final_state)
        np.testing.assert_array_equal(after.initial_preconditioner, before.final_preconditioner)


@given(
    st.integers(0, 2**31),
    st.sampled_from(sorted(SOLVERS)),
    st.sampled_from(sorted(RULES)),
    st.sampled_from([(), (3,), (2, 2)]),
    st.tuples(st.integers(0, 45), st.integers(1, 7), st.integers(1, 7)),
    st.sampled_from(["recurrent", "chunk"]),
    st.integers(1, 24),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_cut_streams_repeat_the_uncut_bits(seed, solver, rule, lead, shape, method, chunk_size, where):
    rng = np.random.default_rng(seed)
    stream = make(rng, lead, *shape, gate=GATES.get(solver))
    options = {"method": method, "chunk_size": chunk_size, "scale": 0.7}
    start = {"initial_state": rng.normal(size=(*lead, shape[2], shape[1]))}
    if solver != "preconditioned_delta_net":
        start["initial_preconditioner"] = rng.uniform(0.9, 1.1, size=(*lead, shape[1]))
    whole = SOLVERS[solver](stream, RULES[rule], **options, **start)
    cuts = [round(x * stream.length) for x in where]
    assert_same_bits(in_pieces(SOLVERS[solver], stream, RULES[rule], cuts, options, start), whole)


@pytest.mark.parametrize("method", ["recurrent", "chunk"])
def test_every_cut_of_a_wide_stream(method):
    """Sizes at which BLAS uses its blocked and threaded kernels."""
    stream = make(np.random.default_rng(0), (), 70, 128, 96)
    options = {"method": method, "chunk_size": 32}
    rule = CalibrationRule(eta=1.0, d_min=0.999, d_max=1.001)
    whole = osdn(stream, rule, **options)
    for cut in (0, 1, 31, 32, 33, 64, 69, 70):
        assert_same_bits(in_pieces(osdn, stream, rule, [cut, min(cut + 5, 70)], options, {}), whole)


def test_token_by_token_pieces_of_the_chunk_form():
    stream = make(np.random.default_rng(1), (2,), 20)
    options = {"method": "chunk", "chunk_size": 8}
    pieces = in_pieces(osdn, stream, RULES["forgetting"], list(range(20)), options, {})
    assert_same_bits(pieces, osdn(stream, RULES["forgetting"], **options))


def test_the_initial_anchor_survives_the_cut():
    stream = make(np.random.default_rng(2))
    rule = CalibrationRule(eta=1.0, forgetting=0.9, anchor="initial")
    start = {"initial_preconditioner": 1.2}
    pieces = in_pieces(osdn, stream, rule, [13], {}, start)
    np.testing.assert_array_equal(pieces[1].anchor, np.full(6, 1.2))
    assert_same_bits(pieces, osdn(stream, rule, **start))


@pytest.mark.parametrize("lost", ["pending", "anchor"])
def test_a_carry_that_lost_something_is_noticed(lost):
    stream = make(np.random.default_rng(3))
    rule = CalibrationRule(eta=1.0, forgetting=0.9, anchor="initial")
    options = {"method": "chunk", "chunk_size": 16}
    whole = osdn(stream, rule, initial_preconditioner=1.2, **options)
    head = osdn(stream.tokens(0, 21), rule, initial_preconditioner=1.2, **options)
    broken = {"pending": None, "anchor": np.ones(6)}
    carry = dataclasses.replace(head.carry, **{lost: broken[lost]})
    tail = osdn(stream.tokens(21, 40), rule, carry=carry, **options)
    assert np.linalg.norm(tail.outputs - whole.outputs[21:]) > 1e-6 * np.linalg.norm(whole.outputs)


def test_the_carry_does_not_hold_the_stream():
    stream = make(np.random.default_rng(4), length=1003)
    carry = osdn(stream, method="chunk", chunk_size=100).carry
    assert carry.pending.length == 3
    for array in (carry.pending.keys, carry.pending.values, carry.preconditioner, carry.state):
        owner = array
        while owner.base is not None:
            owner = owner.base
        assert owner.nbytes < 1000


def test_a_chunk_carry_continues_token_by_token():
    stream = make(np.random.default_rng(5))
    head = osdn(stream.tokens(0, 21), method="chunk", chunk_size=16)
    tail = osdn(stream.tokens(21, 40), carry=head.carry, return_states=True)
    whole = osdn(stream, return_states=True)
    np.testing.assert_allclose(tail.outputs, whole.outputs[21:], rtol=1e-11, atol=1e-12)
    assert tail.states.shape == whole.states[21:].shape
    np.testing.assert_allclose(tail.initial_state, whole.states[20], rtol=1e-11, atol=1e-12)
