"""T3 and T16 over shapes, dtypes, seeds and parameters: exactly in rationals, and in the solver's own numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st

from osdn_theory.bounds import check_bounds
from osdn_theory.objective import token_loss
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.streams.exact_keys import to_grid
from osdn_theory.streams.stream import Stream

RULES = st.builds(
    CalibrationRule,
    eta=st.sampled_from([0.0, 0.003, 0.5, 1.0]),
    d_min=st.sampled_from([0.25, 2 / 3, 0.96875]),
    d_max=st.sampled_from([1.03125, 3 / 2, 8.0]),
    forgetting=st.sampled_from([1.0, 0.9]),
    anchor=st.sampled_from([0.0, 1.0, "initial"]),
    normalize_feedback=st.booleans(),
    beta_aware=st.booleans(),
)
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 7), st.integers(1, 5))
DTYPES = st.sampled_from([np.float16, np.float32, np.float64])


def drawn(seed: int, shape: tuple[int, int, int], dtype: type, *, realisable: bool) -> Stream:
    rng = np.random.default_rng(seed)
    length, key_dim, value_dim = shape
    keys = rng.uniform(-1, 1, (2, length, key_dim)).astype(dtype)
    beta = to_grid(rng.uniform(0, 2, (2, length)), 8)
    if not realisable:
        values = rng.standard_normal((2, length, value_dim)).astype(dtype)
        return Stream(keys=keys, values=values, beta=beta)
    # Few enough bits that S* k is a float64 without rounding.
    keys = to_grid(keys.astype(np.float64), 8)
    solution = to_grid(rng.uniform(-2, 2, (2, value_dim, key_dim)), 6)
    return Stream(keys=keys, values=keys @ np.swapaxes(solution, -1, -2), beta=beta, solution=solution)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**30), shape=SHAPES, dtype=DTYPES, rule=RULES)
def test_residual_identity(
    seed: int, shape: tuple[int, int, int], dtype: type, rule: CalibrationRule
) -> None:
    stream = drawn(seed, shape, dtype, realisable=False)
    run = osdn(stream, rule, return_states=True)
    assert {c.outcome for c in check_bounds(run, ["T3"])} == {"holds"}
    assert run.states is not None
    before = np.concatenate([run.initial_state[:, None], run.states[:, :-1]], axis=1)
    earlier = token_loss(before, stream.keys, stream.values)
    later = token_loss(run.states, stream.keys, stream.values)
    scale = np.maximum(earlier, np.sum(np.square(stream.values), axis=-1))
    np.testing.assert_allclose(later / scale, run.residual_ratio * earlier / scale, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**30), shape=SHAPES, rule=RULES)
def test_lyapunov_identity(seed: int, shape: tuple[int, int, int], rule: CalibrationRule) -> None:
    stream = drawn(seed, shape, np.float64, realisable=True)
    run = osdn(stream, rule, return_states=True)
    checks = check_bounds(run, ["T16"])
    assert {c.outcome for c in checks} <= {"holds", "holds, vacuously"}
    assert run.states is not None
    before = np.concatenate([run.initial_state[:, None], run.states[:, :-1]], axis=1)
    error = before - np.asarray(stream.solution)[:, None]
    after = run.states - np.asarray(stream.solution)[:, None]
    d = run.preconditioner[:, :, None, :]
    beta = np.asarray(stream.beta)
    drop = beta * (2 - beta * run.alignment) * 2 * token_loss(before, stream.keys, stream.values)
    metric = np.sum(error**2 / d, axis=(-1, -2))
    moved = np.sum(after**2 / d, axis=(-1, -2))
    np.testing.assert_allclose(moved, metric - drop, rtol=1e-9, atol=1e-12 * float(1 + np.max(metric)))
    contracting = (beta * run.alignment >= 0) & (beta * run.alignment <= 2)
    assert np.all(moved[contracting] <= metric[contracting] * (1 + 1e-12))
