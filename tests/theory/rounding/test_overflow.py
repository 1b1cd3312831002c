"""Overflow, the hypothesis of T18: where it may happen first, and that no bound is finite from there on."""

from dataclasses import replace

import numpy as np
import pytest

from osdn_theory.recurrence.rules import BOUNDED, FROZEN, CalibrationRule
from osdn_theory.rounding import (
    BFLOAT16,
    CHUNK_ANY_ORDER,
    CHUNK_BF16,
    CHUNK_FP16,
    CHUNK_FP32,
    FLOAT16,
    FLOAT32,
    MODELS,
    RECURRENT_FP16,
    RECURRENT_FP32,
    RECURRENT_PLAIN,
    emulate,
    error_bounds,
    residual_floor,
)
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import isotropic

WIDE = CalibrationRule(eta=0.0, d_min=-np.inf, d_max=np.inf)


def ordinary(length=20):
    return isotropic(np.random.default_rng(0), lead=(2,), length=length, key_dim=5, value_dim=3)


def growing(length=12, value=20_000.0):
    """One head whose memory adds up along one key: |S_t| is t times the value, as beta vanishes against the read."""
    keys = np.zeros((length, 2))
    keys[:, 0] = 2.0**-6
    values = np.full((length, 1), value)
    return Stream(keys=keys, values=values, beta=0.5, initial_preconditioner=np.full(2, 2.0**6))


def bounds_of(stream, model, rule=WIDE, **options):
    options.setdefault("chunk_size", 4)
    return error_bounds(stream, rule, model, **options)


@pytest.mark.parametrize("name", MODELS)
def test_ordinary_streams_overflow_nothing(name):
    bounds = error_bounds(ordinary(), BOUNDED, MODELS[name], chunk_size=8)
    assert bounds.overflow is None
    assert bounds.overflows == ()
    assert np.array_equal(bounds.overflow_token, [0, 0])
    assert np.isfinite(bounds.outputs).all()


def test_a_memory_that_leaves_float16_where_products_read_it():
    """In the chunk order the first chunk that reads it, in the recurrent order nothing: the memory is float32 there."""
    bounds = bounds_of(growing(), CHUNK_FP16)
    found = bounds.overflow
    assert (found.quantity, found.format, found.token) == ("S", FLOAT16, 9)
    assert found.exact > FLOAT16.largest
    assert str(found).startswith("S in float16 at token 9: ")
    assert str(found).endswith("> 65504")
    assert np.isfinite(bounds.state[:8]).all()
    assert np.isinf(bounds.state[8:]).all()
    assert np.isinf(bounds.outputs_norm[8:]).all()
    assert np.isinf(bounds.outputs[8:]).all()
    assert np.isinf(bounds.final_state)
    assert np.isinf(bounds.recall).all()
    assert np.isfinite(bounds.preconditioner).all()
    with np.errstate(over="ignore", invalid="ignore"):
        kernel = emulate(bounds.stream, WIDE, CHUNK_FP16, chunk_size=4)
    assert not np.isfinite(kernel.outputs[8:]).all()
    assert np.isfinite(kernel.outputs[:8]).all()
    assert bounds_of(growing(), RECURRENT_FP16).overflow is None
    assert bounds_of(growing(), CHUNK_BF16).overflow is None


def test_an_output_that_leaves_its_format():
    """Of the read alone: the memory goes on."""
    stream = replace(growing(), queries=np.tile([[1.0, 0.0]], (12, 1)))
    bounds = bounds_of(stream, RECURRENT_FP16)
    found = bounds.overflow
    outputs = np.abs(bounds.trajectory.outputs[:, 0])
    assert found.quantity == "o"
    assert found.token == 1 + int(np.argmax(outputs > FLOAT16.largest))
    assert found.exact == pytest.approx(outputs[found.token - 1])
    assert np.isfinite(bounds.outputs[: found.token - 1]).all()
    assert np.isinf(bounds.outputs[found.token - 1 :]).all()
    assert np.isfinite(bounds.state).all()
    assert bounds_of(stream, replace(RECURRENT_FP16, outputs=FLOAT32)).overflow is None


def test_a_value_below_the_maximum_whose_error_bound_reaches_above():
    """60 000 with an error bound of more than 5 504: a kernel may overflow where the trajectory does not."""
    value = 65_472.0
    stream = Stream(keys=np.ones((3, 1)), values=np.full((3, 1), value))
    bounds = bounds_of(stream, CHUNK_FP16)
    found = bounds.overflow
    assert found is not None
    assert found.exact < FLOAT16.largest < found.value
    assert "with its rounding errors" in str(found)
    below = replace(stream, values=np.full((3, 1), 0.9 * value))
    assert bounds_of(below, CHUNK_FP16).overflow is None


def test_the_chunk_of_an_overflow_is_lost_from_its_first_token_on():
    """Masked products take an infinite write value of a later token times zero."""
    values = np.ones((8, 1))
    values[6] = 60_000.0
    stream = Stream(keys=np.ones((8, 1)), values=values, beta=np.where(np.arange(8) == 6, 2.0, 1.0))
    bounds = bounds_of(stream, CHUNK_FP16)
    assert bounds.overflow.token == 7
    assert bounds.overflow_token == 7
    assert np.isfinite(bounds.outputs[:4]).all()
    assert np.isinf(bounds.outputs[4:]).all()
    with np.errstate(over="ignore", invalid="ignore"):
        kernel = emulate(bounds.stream, WIDE, CHUNK_FP16, chunk_size=4)
    assert np.isnan(kernel.outputs[4]).all()


@pytest.mark.parametrize(
    "model", [RECURRENT_FP32, RECURRENT_PLAIN, CHUNK_FP32, CHUNK_ANY_ORDER], ids=lambda m: m.name
)
def test_float32_itself_overflows(model):
    """Keys whose squares, values whose sums, are no float32 numbers."""
    tokens = ordinary(8)
    keys = tokens.keys.copy()
    keys[1, 5] *= 1e20
    squares = error_bounds(replace(tokens, keys=keys), CalibrationRule(eta=1e-30), model, chunk_size=4)
    assert squares.overflow.entry == (1,)
    assert squares.overflow.token == 6
    assert squares.overflow.format == FLOAT32
    assert np.array_equal(squares.overflow_token, [0, 6])
    assert np.isfinite(squares.preconditioner[0]).all()
    assert np.isinf(squares.preconditioner[1, 5:]).all()
    assert np.isfinite(squares.preconditioner[1, :4]).all()
    assert np.isinf(squares.state[1, 5:]).all()
    assert np.isinf(squares.alignment[1, 5:]).all()
    big = replace(tokens, values=1e38 * tokens.values, beta=2.0)
    assert error_bounds(big, FROZEN, model, chunk_size=4).overflow is not None
    small = replace(tokens, values=1e34 * tokens.values)
    assert error_bounds(small, FROZEN, model, chunk_size=4).overflow is None


def test_a_preconditioner_of_float32_size():
    stream = Stream(keys=np.full((3, 1), 2.0**-60), values=np.ones((3, 1)))
    rule = CalibrationRule(eta=2.0**127, d_min=-np.inf, d_max=np.inf)
    assert error_bounds(stream, rule, RECURRENT_FP32).overflow is None
    big = replace(stream, keys=np.full((3, 1), 2.0**2))
    found = error_bounds(big, rule, RECURRENT_FP32).overflow
    assert found.token == 1
    assert found.quantity in ("d", "eta w (1 - <d, k^2>) k^2")


def test_inputs_that_overflow_are_an_error():
    tokens = ordinary()
    with pytest.raises(ValueError, match="values"):
        error_bounds(replace(tokens, values=1e6 * tokens.values), BOUNDED, CHUNK_FP16)
    with pytest.raises(ValueError, match=r"reading\[0\]: expected finite numbers of float16"):
        error_bounds(tokens, BOUNDED, CHUNK_FP16, reading=[1e6 * tokens.keys])
    with pytest.raises(ValueError, match=r"reading\[0\]: expected the shape of the keys"):
        error_bounds(tokens, BOUNDED, CHUNK_FP16, reading=[tokens.keys[0]])


@pytest.mark.parametrize("name", ["recurrent_fp16", "chunk_fp16", "chunk_any_order"])
def test_further_reads_have_the_bounds_of_streams_with_these_queries(name):
    tokens, model = ordinary(), MODELS[name]
    sets = [tokens.keys, np.roll(tokens.keys, -1, axis=-2)]
    bounds = error_bounds(tokens, BOUNDED, model, chunk_size=8, scale=0.7, reading=sets)
    for queries, reads in zip(sets, bounds.reads, strict=True):
        alone = error_bounds(replace(tokens, queries=queries), BOUNDED, model, chunk_size=8, scale=0.7)
        assert np.array_equal(alone.outputs, reads.outputs)
        assert np.array_equal(alone.outputs_norm, reads.outputs_norm)
        assert np.array_equal(alone.stream.queries, reads.queries)
        assert np.array_equal(alone.state, bounds.state)


def test_a_further_read_that_overflows_leaves_the_others_alone():
    stream = growing()
    bounds = bounds_of(stream, RECURRENT_FP16, reading=[np.ones((12, 2)), stream.keys])
    assert bounds.overflow is None
    assert bounds.reads[0].overflows[0].quantity == "o"
    assert np.isinf(bounds.reads[0].outputs[-1]).all()
    assert bounds.reads[1].overflows == ()
    assert np.isfinite(bounds.outputs).all()


def test_the_floor_of_a_run_that_overflows_is_infinite():
    tokens = ordinary(8)
    keys = tokens.keys.copy()
    keys[1, 5] *= 1e20
    beta = np.ones((2, 8))
    beta[1, 6] = 0.0
    bounds = error_bounds(replace(tokens, keys=keys, beta=beta), CalibrationRule(eta=1e-30), RECURRENT_FP32)
    assert np.isinf(residual_floor(bounds).gap[1, 5:]).all()


def test_factors_of_an_inverse_overflow_as_their_parts_do():
    """k^T k lies between the maxima of bfloat16 and of float32."""
    keys = np.tile(2.0**59 * np.array([31.0, 6.0, 5.0]), (2, 1))
    stream = Stream(keys=keys, values=np.zeros((2, 1)), queries=np.zeros((2, 3)))
    found = bounds_of(stream, CHUNK_BF16).overflow
    assert (found.quantity, found.format, found.token) == ("A", BFLOAT16, 2)
    of_float32 = replace(CHUNK_BF16, storage=FLOAT32, operands=FLOAT32)
    assert bounds_of(stream, of_float32).overflow.quantity == "A"
    assert bounds_of(stream, replace(of_float32, inverse_product=None)).overflow is None
