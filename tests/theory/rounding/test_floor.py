"""The residual floor: where rounding ends the super-geometric decay, and how well that is predicted."""

import numpy as np
import pytest

from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.rounding import (
    CHUNK_BF16,
    CHUNK_FP32,
    D_IN_BF16,
    RECURRENT_FP32,
    RECURRENT_PLAIN,
    emulate,
    error_bounds,
    in_interpreter,
    residual_floor,
)
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import interpolating, orthogonal

FAST = CalibrationRule(eta=0.5, d_min=0.1, d_max=4.0)
"""Steps large enough that the decay meets the floor within a few hundred tokens."""

FLOAT32_MODELS = [RECURRENT_FP32, RECURRENT_PLAIN, CHUNK_FP32]


def decaying(length: int = 320) -> Stream:
    """Keys c_i e_i of float32 numbers: interpolating, by u_i = 1/c_i^2, which no format holds.

    The exact residual ratio of each coordinate falls geometrically for ever.
    """
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.8, 1.2, size=4).astype(np.float32).astype(np.float64)
    return orthogonal(rng, lead=(4,), length=length, key_dim=4, value_dim=3, scales=scales)


def gaps(d: np.ndarray, stream: Stream) -> np.ndarray:
    """|1 - beta_t a_t| of a path of d, formed in float64."""
    return np.abs(1.0 - np.asarray(stream.beta) * np.vecdot(d, stream.keys**2))


@pytest.mark.parametrize("model", FLOAT32_MODELS, ids=lambda m: m.name)
def test_the_decay_ends_at_the_predicted_floor(model):
    bounds = error_bounds(decaying(), FAST, model, chunk_size=32)
    floor = residual_floor(bounds)
    exact = gaps(bounds.trajectory.preconditioner, bounds.stream)
    found = gaps(emulate(bounds.stream, FAST, model, chunk_size=32).preconditioner, bounds.stream)
    assert np.all(found <= exact + floor.gap)
    # Exact arithmetic goes on where the kernel has stopped, at most a factor 100 below the prediction.
    assert np.all(floor.token < 250)
    late = slice(300, None)
    ended, predicted = (np.median(x[:, late], axis=-1) for x in (found, floor.gap))
    assert np.all(exact[:, late] < 0.01 * floor.gap[:, late])
    assert np.all(ended <= predicted)
    assert np.all(ended >= predicted / 100)


def test_bfloat16_inputs_do_not_move_the_floor_but_bfloat16_storage_does():
    """The arithmetic on d is float32 for every input format."""
    stream = decaying()
    plain, inputs, stored = (
        np.median(residual_floor(error_bounds(stream, FAST, in_interpreter(m), chunk_size=32)).gap)
        for m in (CHUNK_FP32, CHUNK_BF16, D_IN_BF16)
    )
    assert inputs == pytest.approx(plain, rel=0.5)
    assert stored > 1000 * plain


def test_a_kernel_that_stores_d_in_bfloat16_stops_far_above_the_float32_floor():
    bounds = error_bounds(decaying(), FAST, RECURRENT_PLAIN)
    exact = gaps(bounds.trajectory.preconditioner, bounds.stream)
    found = gaps(emulate(bounds.stream, FAST, D_IN_BF16).preconditioner, bounds.stream)
    late = slice(300, None)
    assert np.all(found[:, late].max(-1) > 100 * (exact + residual_floor(bounds).gap)[:, late].max(-1))


def test_the_super_geometric_decay_goes_on_where_the_comparator_is_a_number_of_the_format():
    """A floor is an upper bound: with a u that float32 holds the kernel may find it exactly."""
    stream = interpolating(np.random.default_rng(0), lead=(4,), length=400, key_dim=5, value_dim=5)
    rule = CalibrationRule(eta=1.0, d_min=0.1, d_max=4.0)
    bounds = error_bounds(stream, rule, RECURRENT_FP32)
    found = gaps(emulate(bounds.stream, rule, RECURRENT_FP32).preconditioner, bounds.stream)
    assert np.any(found[:, -50:] == 0)
    assert np.all(found <= gaps(bounds.trajectory.preconditioner, bounds.stream) + residual_floor(bounds).gap)


@pytest.mark.parametrize("model", [*FLOAT32_MODELS, CHUNK_BF16], ids=lambda m: m.name)
def test_recall_of_the_final_state(model):
    """||v_t - S_T k_t|| of the computed state, read in float64, beside the exact one."""
    bounds = error_bounds(decaying(), FAST, model, chunk_size=32)
    stream, exact = bounds.stream, bounds.trajectory.final_state
    found = emulate(stream, FAST, model, chunk_size=32).final_state

    def recall(state: np.ndarray) -> np.ndarray:
        return np.linalg.norm(stream.values - stream.keys @ state.swapaxes(-1, -2), axis=-1)

    excess = recall(found) - recall(exact)
    floor = residual_floor(bounds).recall
    assert np.all(excess <= floor)
    # Four chained products, each bounded by its worst order of summation, make the float32 chunk form the loosest.
    assert np.any(excess > floor / (1000 if model == CHUNK_FP32 else 100))
