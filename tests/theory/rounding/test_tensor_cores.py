"""d_t of a chunk's tokens formed as a tensor core does, bit by bit, beside its bound (T18)."""

from dataclasses import replace

import numpy as np
import pytest

from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.rounding import CHUNK_ANY_ORDER, CHUNK_BF16, CHUNK_FP16, CHUNK_TF32, error_bounds
from osdn_theory.streams.stream import Stream

MODELS = {"bfloat16": CHUNK_BF16, "float16": CHUNK_FP16, "TF32": CHUNK_TF32}
RULE = CalibrationRule(eta=292.0, d_min=1e-3, d_max=1e3)
TOKENS, FEATURES = 16, 18


def truncated(x, bits: int):
    """`x` without what lies below so many bits after its first."""
    unit = np.ldexp(1.0, np.frexp(x)[1] - 1 - bits)
    return np.trunc(x / unit) * unit


def accumulated(total, left, right):
    """`total` (K,) plus left (n,) @ right (n, K): operands lose bits, terms those below the largest one's last."""
    terms = np.concatenate([total[None], truncated(left, 10)[:, None] * truncated(right, 10)])
    unit = np.ldexp(1.0, np.frexp(np.abs(terms).max(0))[1] - 1 - 23)
    return truncated((np.trunc(terms / unit) * unit).sum(0), 23)


def formed(gains, squares):
    """d of every token of a block that enters with ones, eight terms at a time."""
    rows = []
    for n in range(TOKENS):
        weights = np.where(np.arange(TOKENS) < n, gains, 0.0)
        d = np.ones(FEATURES)
        for first in range(0, TOKENS, 8):
            part = slice(first, first + 8)
            d = accumulated(d, weights[part], squares[part])
        rows.append(d)
    return np.array(rows)


@pytest.fixture(scope="module")
def block():
    """A stream of one block with some steps far below an ulp of d, and what a tensor core makes of it."""
    rng = np.random.default_rng(0)
    sizes = np.where(rng.uniform(size=FEATURES) < 0.5, 0.05, 2.0**-12)
    # Eight bits: numbers of either format, whose squares need rounding to TF32 nowhere but by a multiple of theirs.
    keys = truncated(rng.normal(size=(TOKENS, FEATURES)) * sizes, 7)
    stream = Stream(keys=keys, values=np.zeros((TOKENS, 1)))
    exact = error_bounds(stream, RULE, CHUNK_FP16, chunk_size=TOKENS).trajectory
    squares = keys * keys
    gaps = 1 - np.sum(exact.preconditioner * squares, -1)
    found = formed(np.float32(RULE.eta * gaps).astype(float), squares)
    return stream, np.abs(found - exact.preconditioner)


def outside(block, model) -> int:
    stream, error = block
    bound = error_bounds(stream, RULE, model, chunk_size=TOKENS).preconditioner
    return int(np.sum(error > bound))


@pytest.mark.parametrize("name", MODELS)
def test_dropped_bits_stay_inside_the_bound(name, block):
    assert outside(block, MODELS[name]) == 0


@pytest.mark.parametrize("name", MODELS)
def test_a_bound_without_one_of_the_two_losses_is_left(name, block):
    """Of operands, which is of the size of the steps; of the sum, which is of the size of d."""
    assert outside(block, replace(MODELS[name], formed_product=None)) > TOKENS
    assert outside(block, replace(MODELS[name], fused=False)) > TOKENS


@pytest.mark.parametrize("name", MODELS)
def test_coarse_formation_reaches_its_own_token_alone(name, block):
    """The d handed on, and in a second chunk the alignment of its first token, have the bound of exact products."""
    stream, _ = block
    coarse = error_bounds(stream, RULE, MODELS[name], chunk_size=8)
    exact = error_bounds(stream, RULE, replace(MODELS[name], formed_product=None), chunk_size=8)
    assert np.array_equal(coarse.final_preconditioner, exact.final_preconditioner)
    assert np.array_equal(coarse.preconditioner[8], exact.preconditioner[8])
    assert np.max(coarse.preconditioner[7] / exact.preconditioner[7]) > 100


@pytest.mark.parametrize("name", MODELS)
def test_certificates_do_not_look_at_coarse_iterates(name, block):
    """A box that d keeps clear of by more than what exact products lose, and less than what coarse ones do."""
    stream, _ = block
    free = error_bounds(stream, RULE, MODELS[name], chunk_size=TOKENS)
    path = np.vstack([free.trajectory.preconditioner, free.trajectory.final_preconditioner])
    top = path.max(axis=0)
    margin = 1e-3
    boxed = replace(RULE, d_max=top + margin)
    coarse = error_bounds(stream, boxed, MODELS[name], chunk_size=TOKENS)
    assert np.array_equal(coarse.final_preconditioner, free.final_preconditioner)
    assert free.final_preconditioner.max() < margin < coarse.preconditioner.max()


def test_certificates_look_at_what_forming_exact_iterates_rounds():
    """d goes from 0 to 3/2, next to the box but for coarse products, and back to 3/4."""
    model = replace(CHUNK_ANY_ORDER, exact_product=2.0**-9)
    stream = Stream(keys=np.ones((2, 1)), values=np.zeros((2, 1)))

    def handed_on(d_max: float) -> float:
        rule = CalibrationRule(eta=1.5, d_min=-9.0, d_max=d_max)
        bounds = error_bounds(stream, rule, model, chunk_size=2, initial_preconditioner=np.zeros(1))
        return float(bounds.final_preconditioner[0])

    assert handed_on(1.5 + 1e-4) > handed_on(9.0) + 2.0**-10
