"""The lemmas of the rounding bounds one by one, each beside an error that comes near it: no term may be smaller."""

from dataclasses import replace

import numpy as np
import pytest
from support.rounding_worst import Execution

from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.rounding import (
    BFLOAT16,
    CHUNK_ANY_ORDER,
    CHUNK_BF16,
    FLOAT16,
    FLOAT32,
    RECURRENT_PLAIN,
    error_bounds,
    in_interpreter,
    residual_floor,
)
from osdn_theory.rounding.errors import error_set
from osdn_theory.rounding.errors.enclosed import Enclosed, sum_of_products
from osdn_theory.rounding.errors.error_set import ErrorSet
from osdn_theory.rounding.errors.lemmas import (
    UNIT,
    Products,
    arithmetic,
    linear_error,
    non_negative_error,
    relative,
    relative_terms,
    sum_error,
)
from osdn_theory.rounding.errors.ordered import ordered_error
from osdn_theory.rounding.memory import bound as memory
from osdn_theory.rounding.memory.reading import Reads
from osdn_theory.rounding.memory.solve import Solve
from osdn_theory.rounding.memory.triangular import inverse
from osdn_theory.rounding.overflow import Watch, earliest
from osdn_theory.rounding.preconditioner import clipping
from osdn_theory.rounding.preconditioner.calibrated import Calibrated
from osdn_theory.rounding.preconditioner.chunk_calibration import (
    _GainErrors,
    _if_solved,
    _stepped,
    _walk,
    bound_rest,
)
from osdn_theory.rounding.preconditioner.chunk_system import System, _coupling_error, _decays, _right_side
from osdn_theory.rounding.preconditioner.clipping import sure, through_clip
from osdn_theory.rounding.preconditioner.formed import Formed
from osdn_theory.rounding.preconditioner.single_step import advance
from osdn_theory.rounding.setup import Setup
from osdn_theory.streams.stream import Stream

COARSE = 2.0**-6
"""A unit so large that what is of second order in it is seen."""

EXACT = Products(0.0, 0.0)


def test_a_subnormal_result_may_be_flushed_to_zero():
    below = FLOAT32.smallest_normal * (1 - 2.0**-23)
    assert below <= arithmetic(np.array(below)) <= 1.001 * FLOAT32.smallest_normal


@pytest.mark.parametrize("count", [1, 3, 20])
def test_roundings_one_after_the_other(count):
    """(1 + delta) n times, or divided by: both are within gamma_n, and the second comes near."""
    worst = (1 - COARSE) ** -count - 1
    for lemma in (relative(count, COARSE), float(relative_terms(count, COARSE))):
        assert (1 + COARSE) ** count - 1 <= lemma
        assert 0.8 * lemma < worst <= lemma


def chained(terms, product, addition):
    """Error of the sum in the given order, every operation one way."""
    exact, total = np.sum(terms), 0.0
    for n, term in enumerate(terms):
        total = term * (1 + product) if n == 0 else (total + term * (1 + product)) * (1 + addition)
    return total - exact


@pytest.mark.parametrize(
    ("product", "addition", "terms", "least"),
    [(COARSE, 0.0, 1, 0.99), (0.0, COARSE, 2, 0.9), (0.0, COARSE, 20, 0.75), (COARSE, COARSE, 4, 0.85)],
)
def test_a_sum_of_products(product, addition, terms, least):
    """A first term that every addition rounds."""
    values = np.array([1.0, *[1e-9] * (terms - 1)])
    bound = sum_error(values.sum(), values.sum(), terms, product, addition)
    assert least * bound < chained(values, product, addition) <= bound


def test_a_sum_that_cancels():
    """Half of the sizes may have been added up before the other half cancels them: 1 + 1 + ... - 1 - 1 ..."""
    values = np.array([1.0] * 16 + [-1.0] * 16)
    found = chained(values, 0.0, COARSE)
    assert 0.1 * (bound := sum_error(32.0, 0.0, 32, 0.0, COARSE)) < found <= bound
    assert sum_error(1.0, 0.0, 2, 0.0, 1e-9) == pytest.approx(0.5e-9)
    assert sum_error(1.0, 1.0, 2, 0.0, 1e-9) == pytest.approx(1e-9)


def test_a_non_negative_sum():
    terms = np.array([1.0])
    assert non_negative_error(terms, COARSE) == pytest.approx(COARSE)
    # One addition, at 3: half of float32's spacing of 2^-22.
    assert non_negative_error(np.array([1.5, 1.5]), 0.0) == pytest.approx(2.0**-23)


@pytest.mark.parametrize(
    "products", [Products(0.0, COARSE), Products(COARSE, 0.0), Products(COARSE, COARSE, ordered=True)]
)
def test_what_is_known_by_its_norm_alone(products):
    """The start and a term of a sum of one product, each rounded by every operation that meets it."""
    found = (1 + products.product) * (1 + products.addition) ** 2 - 1
    assert 0.2 * linear_error(1, products) < found <= linear_error(1, products)


def test_a_chain_of_multiply_adds_on_top_of_a_start():
    """1 + u + u + ...: every term but none before the start."""
    terms = 16
    left, right, start = np.full((1, terms), UNIT), np.ones((terms, 1)), np.ones((1, 1))
    bound = ordered_error(left, right, left, right, start, start)[0, 0]
    assert 0.9 * bound < terms * UNIT <= bound
    negative = ordered_error(-left, right, left, right, -start, start)[0, 0]
    assert 0.9 * negative < terms * UNIT <= negative


def ordered_of(terms, start=0.0, size=None):
    terms = np.array(terms)
    left, right = terms[None], np.ones((len(terms), 1))
    at = np.array([[start]])
    size = np.abs(left) if size is None else np.array(size)[None]
    return ordered_error(left, right, size, right, at, np.abs(at))[0, 0]


def test_blocks_of_a_chain_are_joined():
    """Two blocks whose sum is 2^20 and whose terms are small otherwise: what joins them rounds at 2^20."""
    terms = np.zeros(64)
    terms[[0, 16, 32, 48]] = 2.0**20
    assert ordered_of(terms) >= 3 * UNIT * 2.0**20
    # One block and the start make one join.
    assert ordered_of([2.0**-20], start=1.0) >= 2 * UNIT
    assert ordered_of([2.0**-20]) < UNIT * 2.0**-19


def test_a_block_on_top_of_another():
    """2^20 in one block and small terms in the next, which may begin on top of it; likewise for falls."""
    terms = np.full(32, 2.0**-20)
    terms[:16] = 0
    terms[0] = 2.0**20
    for sign in (1, -1):
        assert ordered_of(sign * terms) >= 16 * UNIT * 2.0**20


def test_partial_sums_that_fall_below_zero():
    terms = np.array([-(2.0**20), 2.0**20, 1.0])
    assert ordered_of(terms) >= UNIT * 2.0**20
    assert ordered_of(-terms) >= UNIT * 2.0**20


def test_factors_wider_than_their_values():
    """1 - 1 that may be 2 - 0: what is not known of the terms counts."""
    assert ordered_of([1.0, -1.0], size=[2.0**10, 1.0]) >= 2 * UNIT * 2.0**9


def test_earlier_roundings_of_a_chain_count():
    """A sum that is exactly zero has been rounded before: u 2^40 is left, which every later addition may round."""
    terms = [2.0**40, -(2.0**40), *[2.0**-40] * 14]
    assert ordered_of(terms) >= UNIT * 2.0**40 + 10 * UNIT * UNIT * 2.0**40
    # Without them a chain is rounded at its partial sums alone: at 2^40 once, and at 2^-40.
    assert ordered_of([2.0**40, *[2.0**-40] * 2, -(2.0**40)]) >= 3 * UNIT * 2.0**40


def test_multiply_adds_may_be_flushed():
    tiny = FLOAT32.smallest_normal
    assert ordered_of([0.9 * tiny]) >= 0.9 * tiny


# Computed matrices.


def positive(rng, *shape):
    return Enclosed(*(rng.uniform(0.5, 1.0, size=shape) * x for x in (1.0, 0.1, 0.01)))


def corner(x):
    """X and the computed X^ at their largest."""
    return x.value + x.slack, x.value + x.slack + x.error


def test_products_and_sums_of_enclosed_matrices():
    rng = np.random.default_rng(0)
    left, right, start = positive(rng, 3, 4), positive(rng, 4, 2), positive(rng, 3, 2)
    (a, a_hat), (b, b_hat), (c, c_hat) = corner(left), corner(right), corner(start)
    product = left.times(right, 4, EXACT)
    assert np.allclose(product.error, a_hat @ b_hat - a @ b, rtol=1e-12)
    assert np.allclose(product.slack, a @ b - left.value @ right.value, rtol=1e-12)
    whole = start.plus(product)
    lost = whole.error - (c_hat - c) - product.error
    # A sum near 2 rounds by half of 2^-22, one near 1 by half of 2^-23.
    assert np.allclose(lost, 0.5 * np.spacing(np.float32(whole.value + whole.slack)), rtol=1e-5)
    settled = product.settled()
    assert np.allclose(settled.magnitude, product.computed, rtol=1e-12)
    for ordered in (False, True):
        fused = start.plus_product(left, right, 4, Products(0.0, 0.0, ordered), fused=True)
        exact = a_hat @ b_hat - a @ b + c_hat - c
        assert np.all(fused.error >= exact)
        assert np.all(fused.error <= 1.001 * exact)


def test_scaled_and_stored_matrices():
    x = Enclosed(np.ones((1, 1)))
    assert x.scaled(1.0).error == pytest.approx(UNIT)
    assert x.stored(BFLOAT16).error == pytest.approx(BFLOAT16.unit_roundoff)
    assert x.stored(FLOAT16, 2.0).error == pytest.approx(2 * FLOAT16.unit_roundoff)
    assert x.stored(FLOAT32).error == 0


@pytest.mark.parametrize("terms", [1, 4, 16])
def test_a_product_on_top_of_a_large_matrix(terms):
    """Every term rounds what is there."""
    start, left, right = np.ones((1, 1, 1)), np.full((1, 1, terms), UNIT), np.ones((1, terms, 1))
    how = Products(0.0, COARSE)
    bound = Enclosed(start[0]).plus_product(Enclosed(left[0]), Enclosed(right[0]), terms, how, fused=True)
    error = terms * COARSE
    assert 0.9 * bound.error < error + UNIT <= 1.5 * bound.error
    assert bound.error >= (1 + COARSE) * error
    pairs = [(Enclosed(start[0]), Enclosed(start[0])), (Enclosed(left[0]), Enclosed(right[0]))]
    assert sum_of_products(pairs, [1, terms], how, fused=True).error >= error
    assert sum_of_products(pairs, [1, terms], EXACT, fused=False).error == pytest.approx(UNIT)


def worst_residual(block, product, addition):
    """The largest entries of X^ L - I that executions reach, X^ being the computed inverse of L = I + block."""
    from support.rounding_worst import inverted

    how = Products(product, addition)
    counted = Execution()
    exact = inverted(counted, block[None], how, fused=False)
    count = sum(len(x) for x in counted.places)
    whole = np.eye(len(block)) + block
    moved = (
        inverted(Execution(np.eye(count), counted.places), np.tile(block, (count, 1, 1)), how, fused=False)
        - exact
    ) @ whole
    worst = np.zeros_like(block)
    for i, j in zip(*np.nonzero(np.tril(np.ones_like(block), -1)), strict=True):
        shares = np.sign(moved[:, i, j])[None]
        found = inverted(Execution(shares, counted.places), block[None], how, fused=False)[0]
        worst[i, j] = abs((found @ whole - np.eye(len(block)))[i, j])
    return worst


def test_the_residual_of_an_inverted_block():
    """Entry by entry, with products and additions that err by much."""
    rng = np.random.default_rng(5)
    block = np.tril(rng.uniform(0.2, 1.0, size=(8, 8)), -1)
    bound = inverse(Enclosed(block), Products(2.0**-12, 0.0)).of_solution
    found = worst_residual(block, 2.0**-12, 0.0)
    assert np.all(found <= 1.01 * bound + 1e-15)
    some = bound > 0
    assert np.all(found[some] >= 0.95 * bound[some])
    sums = inverse(Enclosed(block), Products(0.0, 2.0**-12)).of_solution
    assert np.all(worst_residual(block, 0.0, 2.0**-12) <= 1.01 * sums + 1e-15)


def test_a_block_below_the_diagonal():
    """-X_ii (A X_jj): the error of the first product through X_ii, and that of the second."""
    rng = np.random.default_rng(6)
    lower = np.tril(rng.uniform(0.1, 0.3, size=(18, 18)), -1)
    lower[2:16] = 0.0
    lower[:, 2:16] = 0.0
    bound = inverse(Enclosed(lower), Products(2.0**-12, 0.0))
    x = bound.matrix.value
    diagonal, first = np.abs(x[16:, 16:]), np.abs(lower[16:, :2]) @ np.abs(x[:2, :2])
    expected = 2.0**-12 * (diagonal @ first + diagonal @ np.abs(lower[16:, :2] @ x[:2, :2]))
    assert np.all(bound.of_right_side[16:, :2] >= 0.99 * expected)
    assert np.all(bound.of_right_side[16:, :2] <= 1.1 * expected)


# Sets of errors.


def test_a_transition_takes_every_part_along():
    """Lines, ellipsoid and limit of E <- (g I - u k^T) E, with one error of each kind."""
    write, key = np.array([[0.5, 1.0]]), np.array([[1.0, -2.0]])
    matrix = 0.9 * np.eye(2) - np.outer(write, key)
    for direction in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -3.0]):
        line, ball = ErrorSet.zero(1, 2), ErrorSet.zero(1, 2)
        line.add_line(np.array([direction]), np.array([1.0]))
        ball.add_ball(np.array([1.0]))
        line.transition(0.9, write, key)
        ball.transition(0.9, write, key)
        moved = matrix @ np.array(direction)
        assert np.allclose(line.rows()[0], np.abs(moved), rtol=1e-9)
        assert np.allclose(ball.rows()[0], np.linalg.norm(matrix, axis=1), rtol=1e-9)
        assert line.radius()[0] == pytest.approx(np.linalg.norm(moved), rel=1e-9)
        assert ball.radius()[0] == pytest.approx(np.linalg.norm(matrix, ord=2), rel=1e-9)
        along = np.array([direction])
        assert ball.along(along)[0] == pytest.approx(np.linalg.norm(matrix.T @ direction), rel=1e-9)
        assert line.along(along)[0] == pytest.approx(abs(moved @ direction), rel=1e-9)


def test_errors_add_up():
    """A line and a ball, of the same direction: the sum of both, in every measure and in the limit."""
    unit = np.array([[1.0, 0.0]])
    both = ErrorSet.zero(1, 2)
    both.add_line(2 * unit, np.array([1.5]))
    both.add_ball(np.array([1.0]))
    for size in (both.radius()[0], both.rows()[0, 0], both.along(unit)[0], both.limit[0]):
        assert size == pytest.approx(4.0)
    other = ErrorSet.zero(1, 2)
    other.add_ball(np.array([2.0]))
    total = both.plus(other)
    for size in (total.radius()[0], total.rows()[0, 0], total.along(unit)[0], total.limit[0]):
        assert size == pytest.approx(6.0)


def test_lines_that_are_folded_are_kept(monkeypatch):
    monkeypatch.setattr(error_set, "_LINES", 2)
    found = ErrorSet.zero(1, 1)
    for _ in range(5):
        found.add_line(np.ones((1, 1)), np.ones(1))
    found.limit = np.array([np.inf])
    assert found.rows()[0, 0] >= 5
    assert found.along(np.ones((1, 1)))[0] >= 5


# The clip.


def clipped(exact, size, lower=-1.0, upper=1.0):
    errors = ErrorSet.zero(1, 1)
    errors.add_ball(np.array([size]))
    corners = (np.array([[x]]) for x in (exact, lower, upper))
    return through_clip(errors, *corners).rows()[0, 0]


def test_what_a_clip_leaves_of_an_error():
    assert clipped(0.0, 0.5) == 0.5
    assert clipped(2.0, 0.5) == 0.0
    assert clipped(-2.0, 0.5) == 0.0
    # Undecided: outside, and inside, with an error that crosses the edge.
    assert clipped(1.2, 0.5) >= 0.3
    assert clipped(0.8, 0.5) >= 0.5
    assert clipped(-0.8, 0.5) >= 0.5
    assert clipped(-1.2, 0.5) >= 0.3


def test_an_edge_that_float32_does_not_hold():
    """1 + 2^-25 is 1 in float32; kernels clip there."""
    edge = 1 + 2.0**-25
    for lower, upper, exact in ((-1.0, edge, 3.0), (-edge, 1.0, -3.0)):
        assert clipped(exact, 0.5, lower, upper) >= 2.0**-25
    # Inside the exact box and outside that of float32.
    for lower, upper, exact in ((-1.0, edge, 1 + 2.0**-26), (-edge, 1.0, -1 - 2.0**-26)):
        assert clipped(exact, 2.0**-40, lower, upper) >= 2.0**-26
    assert clipping._lost(np.array([np.inf])) == 0


def test_a_path_that_surely_stays_or_leaves():
    path, error = np.zeros((1, 3, 1)), np.full((1, 3, 1), 0.2)
    low, high = np.array([[-1.0]]), np.array([[1.0]])
    for value, inside, outside in (
        (0.5, True, False),
        (0.9, False, False),
        (1.1, False, False),
        (1.3, False, True),
    ):
        for sign in (1, -1):
            path[0, 1] = sign * value
            found = sure(path, error, low, high)
            assert (bool(found[0][0]), bool(found[1][0])) == (inside, outside)
    # The float32 number of an edge: in the box as kernels hold it.
    edge = 1 + 2.0**-25
    for value, low, high in ((1.0 + 2.0**-26, -1.0, edge), (1.0, 1.0 + 2.0**-25, 2.0)):
        found = sure(
            np.full((1, 1, 1), value), np.full((1, 1, 1), 2.0**-40), np.array([[low]]), np.array([[high]])
        )
        assert not found[0][0]
        assert not found[1][0]


# What is recorded of d.


def small_setup(lower=0.5, upper=2.0, model=RECURRENT_PLAIN):
    stream = Stream(keys=np.ones((2, 1)), values=np.ones((2, 1)))
    bounds = error_bounds(stream, CalibrationRule(eta=0.1, d_min=lower, d_max=upper), model)
    run: Trajectory = bounds.trajectory
    return Setup.of(run, replace(bounds.rule), model, 1)


def test_errors_of_d_are_recorded_with_what_forming_it_adds():
    setup = small_setup()
    found, errors = Calibrated.zeros(setup), ErrorSet.zero(1, 1)
    errors.add_ball(np.array([0.25]))
    found.record(0, setup, errors, np.array([[0.125]]))
    assert found.used[0, 0, 0] == pytest.approx(0.375)
    assert found.norm[0, 0] == pytest.approx(0.375)
    assert found.alignment[0, 0] == pytest.approx(0.375)


def test_an_error_of_d_is_no_larger_than_the_box():
    """Both ends, each rounded, and what forming d adds."""
    setup = small_setup()
    found = Calibrated.zeros(setup)
    found.used[:], found.extra[:] = 10.0, 0.125
    found.within_box(setup)
    assert found.used[0, 1, 0] - 0.125 == pytest.approx(1.5)
    assert found.used[0, 1, 0] - 0.125 >= 1.5 + 2 * UNIT * 2.5
    assert found.used[0, 0, 0] == 10.0


def test_the_floor_of_a_gap():
    """beta times the error of a_t; and the roundings of beta a_t and of its difference from 1."""
    stream = Stream(keys=np.ones((1, 1)), values=np.ones((1, 1)), beta=0.5)
    bounds = error_bounds(stream, CalibrationRule(eta=0.0, d_min=0, d_max=2), RECURRENT_PLAIN)
    coarse = replace(bounds, alignment=np.array([0.25]))
    assert residual_floor(coarse).gap[0] == pytest.approx(0.125, rel=1e-5)
    exact = replace(bounds, alignment=np.array([0.0]))
    assert residual_floor(exact).gap[0] >= UNIT * (0.5 + 0.5)


def test_the_earliest_overflow_of_two_parts():
    """Whichever part is asked first, and within a part whichever is seen first."""
    first, second = Watch(1), Watch(1)
    large, small = np.full((1, 1), 1e6), np.ones((1, 1))
    first.see("b", FLOAT16, 5, large, large)
    first.see("a", FLOAT16, 3, small, large)
    first.see("c", FLOAT16, 4, large, large)
    second.see("d", FLOAT16, 1, large, large, np.array([False]))
    second.see("e", FLOAT16, 2, small, np.full((1, 1), np.nan))
    assert [x.quantity for x in first.first] == ["a"]
    for watches in ((first, second), (second, first)):
        assert [(x.quantity, x.token) for x in earliest(*watches)] == [("e", 3)]


# Terms of the second order, which no whole run shows: with errors that are put in by hand.


def test_a_step_rounds_what_an_error_of_d_adds_to_its_gap():
    """The gap is zero on the trajectory, and 1 for the kernel's own d."""
    setup = small_setup()
    assert setup.gap[0, 0] == 0
    found, errors = Calibrated.zeros(setup), ErrorSet.zero(1, 1)
    found.alignment[:, 0] = 1.0
    advance(setup, 0, errors, found, np.zeros((1, 1)))
    # In the gain the gap, the step size twice and the product; three roundings of gain times square, and one sum.
    step = 0.1
    assert errors.rows()[0, 0] >= step * (UNIT * (0.5 + 3 + 3) + 0.5 * UNIT)


def test_a_write_key_that_errs_meets_the_error_of_the_residual_too():
    """delta k (r + E^T k), with r zero."""
    setup = small_setup()
    assert np.all(setup.residuals[0, 1] == 0)
    errors = ErrorSet.zero(1, 1)
    errors.add_ball(np.array([0.25]))
    before = errors.rows()[0, 0]
    memory._through_write(setup, 1, errors, np.full((1, 2, 1), 0.5))
    # d k k^T is 1 here, so that nothing of the entering error is left but what the write key's makes of it.
    assert errors.rows()[0, 0] == pytest.approx(0.5 * before, rel=1e-5)


def test_errors_of_write_values_are_written_with_the_kernels_own_keys():
    setup, errors = small_setup(), ErrorSet.zero(1, 1)
    memory._add_write_values(setup, 0, errors, np.array([0.25]), np.full((1, 2, 1), 0.5))
    assert errors.rows()[0, 0] == pytest.approx(0.25 * 1.5)


def chunk_setup(values, state=None, model=CHUNK_BF16, keys=None, beta=1.0):
    """One chunk whose d does not move."""
    values = np.array(values, dtype=np.float64)[:, None]
    keys = np.ones((len(values), 1)) if keys is None else np.array(keys, dtype=np.float64)[:, None]
    stream = Stream(keys=keys, values=values, beta=beta)
    state = None if state is None else np.full((1, 1), float(state))
    bounds = error_bounds(stream, CalibrationRule(eta=0.0, d_min=0, d_max=2), model, initial_state=state)
    return Setup.of(bounds.trajectory, bounds.rule, model, len(values))


def solved(setup, entry):
    """The solve of the first chunk, whose entering memory errs by `entry`, and the walk through it."""
    errors = ErrorSet.zero(1, 1)
    errors.add_ball(np.array([entry]))
    whole, no_error = slice(0, setup.length), np.zeros(setup.keys.shape)
    exact = setup.state.swapaxes(-1, -2)
    write_keys = memory._write_keys(setup, whole, no_error)
    solve = Solve(setup, whole, errors, exact, write_keys, Watch(1))
    return solve, memory._Walk(setup, solve, errors), errors


def test_what_a_solve_loses_with_a_memory_that_errs():
    """v = k H = 0 on the trajectory; a memory that errs by 1 is stored, met by W, and met by T's and W's errors."""
    u = BFLOAT16.unit_roundoff
    # T and W each err by u, H by u; nothing else rounds. Twice that where bits are dropped.
    apart = replace(CHUNK_BF16, residuals=False)
    for model, times in ((CHUNK_BF16, 1), (in_interpreter(CHUNK_BF16), 2), (apart, 1)):
        solve, _, _ = solved(chunk_setup([0.0], 0.0, model), 1.0)
        assert 2.99 * times * u <= solve.lost[0, 0] <= 3.3 * times * u


def test_a_sum_with_a_memory_of_its_error_alone():
    """H is zero and may be 1, where a float32 sum rounds by u."""
    setup = chunk_setup([0.0], 0.0, replace(CHUNK_ANY_ORDER, fused=False), beta=0.0)
    _, walk, entry = solved(setup, 1.0)
    walk.step(0, np.zeros(setup.keys.shape))
    lost = memory._summed_error(setup, walk, entry, setup.state.swapaxes(-1, -2), np.zeros(setup.keys.shape))
    assert lost[0] >= UNIT


def test_errors_of_a_block_stay_in_the_memory():
    """An error of token 0's write value, of its block of the inverse, after the block has ended."""
    setup = chunk_setup(np.zeros(18), keys=[1.0, *[0.0] * 17])
    solve, walk, _ = solved(setup, 0.0)
    solve.of_right_side[0, 0] = 1.0
    for t in range(18):
        assert walk.step(t, np.zeros(setup.keys.shape)).radius()[0] >= 1.0


def test_a_memory_of_another_size_than_its_error():
    """By entries and by norms: neither halves."""
    setup = chunk_setup([0.0], 0.99)
    u = BFLOAT16.unit_roundoff
    solve, _, _ = solved(setup, 0.5)
    # 0.99 may be 1.49, where half a spacing is u: of H and of the residual; and 1.49 u of T.
    assert solve.lost[0, 0] >= u * (2 + 1.49 - 0.01)


def test_half_spacings_that_grow_with_an_error():
    """0.999 with an error of 0.002 rounds as 1 does: by twice as much."""
    setup = chunk_setup([0.0], 0.999, replace(CHUNK_ANY_ORDER, fused=False), beta=0.0)
    _, walk, entry = solved(setup, 0.002)
    walk.step(0, np.zeros(setup.keys.shape))
    lost = memory._summed_error(setup, walk, entry, setup.state.swapaxes(-1, -2), np.zeros(setup.keys.shape))
    assert lost[0] >= UNIT


def test_the_right_side_of_a_chunk_whose_entry_errs():
    """1 - <d, s> is zero on the trajectory, and 1 for the kernel's own d."""
    stream = Stream(keys=np.ones((1, 1)), values=np.ones((1, 1)))
    bounds = error_bounds(stream, CalibrationRule(eta=0.5, d_min=0, d_max=3), CHUNK_ANY_ORDER)
    setup = Setup.of(bounds.trajectory, bounds.rule, CHUNK_ANY_ORDER, 1)
    entry = ErrorSet.zero(1, 1)
    entry.add_ball(np.array([1.0]))
    right, error = _right_side(setup, slice(0, 1), entry, np.ones((1, 1)))
    assert right.slack[0, 0, 0] == pytest.approx(0.5)
    # Two products (the square and d's), the gap, and three of the step size.
    assert error[0, 0] >= 0.5 * UNIT * (2 * 2 + 0.5 + 3)


def test_a_gain_that_misses_its_equation_is_larger_for_the_next():
    """u_2 meets L_21 (u_1 + what u_1 misses)."""
    stream = Stream(keys=np.ones((2, 1)), values=np.ones((2, 1)))
    bounds = error_bounds(stream, CalibrationRule(eta=0.5, d_min=0, d_max=3), CHUNK_ANY_ORDER)
    setup = Setup.of(bounds.trajectory, bounds.rule, CHUNK_ANY_ORDER, 2)
    system = System(setup, slice(0, 2), ErrorSet.zero(1, 1))
    system.right_error[:] = 1.0
    system.meet(0, np.array([0.0]))
    assert system.gains[0, 0] == 1.0
    system.meet(1, np.array([0.0]))
    assert system.sizes[0, 0, 1] == 1.0 + system.lower_error[0, 1, 0]


# The chunk scan's parts, with errors that are put in by hand.


def scan_setup(gate=None, tokens=18, eta=0.125, model=CHUNK_ANY_ORDER, upper=4.0, dim=1):
    """Keys of ones (over sqrt(dim)) and d_1 = 1; the gates of every token."""
    keys = np.full((tokens, dim), dim**-0.5)
    stream = Stream(keys=keys, values=np.ones((tokens, 1)), forget_gate=gate and np.full(tokens, gate))
    forgetting = 1.0 if gate is None else "token"
    rule = CalibrationRule(eta=eta, d_min=-4.0, d_max=upper, forgetting=forgetting, anchor=0.0)
    bounds = error_bounds(stream, rule, model)
    return Setup.of(bounds.trajectory, bounds.rule, model, tokens)


@pytest.mark.parametrize(("part", "kept"), [(0, 0.5 - 0.125), (1, 0.5), (2, 0.5)])
def test_errors_of_gains_go_through_the_gates(part, kept):
    """What misses its equation through the whole transition, g - eta s^2; what is in the solution through g alone."""
    errors, sizes = _GainErrors(scan_setup(gate=0.5)), np.zeros((3, 1))
    sizes[part] = 1.0
    errors.step(0, 0, sizes)
    assert errors.whole().rows()[0, 0] == pytest.approx(1.0)
    errors.step(1, 1, np.zeros((3, 1)))
    assert errors.whole().rows()[0, 0] == pytest.approx(kept)


def test_errors_of_a_finished_block_go_through_whole_transitions():
    errors, sizes = _GainErrors(scan_setup()), np.zeros((3, 1))
    sizes[1] = 1.0
    errors.step(0, 0, sizes)
    errors.step(16, 16, np.zeros((3, 1)))
    assert errors.whole().rows()[0, 0] == pytest.approx(1 - 0.125)


def test_accepted_iterates_beside_the_box_count():
    """From the second token on by the excess so far, and at the end by all of it."""
    setup = scan_setup(tokens=3)
    chunk, entry, found = slice(0, 3), ErrorSet.zero(1, 1), Calibrated.zeros(setup)
    system = System(setup, chunk, entry)
    excess = np.array([[1.0, 2.0, 4.0]])
    last, _ = _walk(setup, chunk, entry, setup.path, system, found, excess, np.array([True]))
    assert np.allclose(found.used[0, :3, 0], [0.0, 1.0, 2.0], atol=1e-5)
    assert last.rows()[0, 0] == pytest.approx(4.0, abs=1e-5)


def test_a_single_step_of_a_chunk_rounds_d():
    setup = scan_setup(eta=1e-9, tokens=1)
    found = Calibrated.zeros(setup)
    assert _stepped(setup, 0, ErrorSet.zero(1, 1), found).rows()[0, 0] >= UNIT
    stepped = np.ones(1, dtype=bool)
    formed = _if_solved(setup, 1, ~stepped, np.full((1, 1), 7.0), np.ones((1, 1)), ErrorSet.zero(1, 1))
    assert formed[0, 0] == pytest.approx(UNIT)
    assert (
        _if_solved(setup, 1, stepped, np.full((1, 1), 7.0), np.ones((1, 1)), ErrorSet.zero(1, 1))[0, 0] == 7.0
    )


def test_what_forming_d_from_gains_rounds():
    """One gain of 1/8: its product and square, and two additions on top of d, or one where it is formed first."""
    one, none = np.ones(1), np.zeros((1, 1))
    for model, additions in ((CHUNK_ANY_ORDER, 2), (replace(CHUNK_ANY_ORDER, fused=False), 1)):
        formed = Formed(scan_setup(model=model))
        assert np.all(formed.iterate(0, np.ones((1, 1)), none, UNIT) == 0)
        formed.gain(0, one, 0 * one)
        assert formed.iterate(1, np.ones((1, 1)), none, UNIT)[0, 0] == pytest.approx(
            UNIT * (0.25 + additions), rel=1e-3
        )
    formed = Formed(scan_setup())
    formed.gain(0, 0 * one, one)
    for part in (formed.rising, formed.falling, formed.up, formed.down):
        assert part[0, 0] == 0.125


def test_what_forming_the_handed_on_d_rounds():
    """Falls of 3/2: d + rises, which is larger by the falls, rounds at 5/2; the difference at 1."""
    none = np.zeros((1, 1))
    formed = Formed(scan_setup(eta=1.5))
    formed.gain(0, -np.ones(1), np.zeros(1))
    assert formed.handed(1, np.ones((1, 1)), none)[0, 0] == pytest.approx(UNIT * (2 * 1.5 + 2 + 1), rel=1e-3)
    formed = Formed(scan_setup(eta=1.5))
    formed.gain(0, np.ones(1), np.zeros(1))
    assert formed.handed(1, np.ones((1, 1)), none)[0, 0] == pytest.approx(UNIT * (2 * 1.5 + 1 + 1), rel=1e-3)


def test_what_a_handed_on_d_with_its_rest_rounds():
    """A fall of 1/2 to d = 1: its product and square, and three roundings of it, but none of d."""
    formed = Formed(scan_setup(eta=0.5, model=replace(CHUNK_ANY_ORDER, compensated=True)))
    formed.gain(0, -np.ones(1), np.zeros(1))
    handed = formed.handed(1, np.ones((1, 1)), np.zeros((1, 1)))[0, 0]
    assert handed == pytest.approx(UNIT * (2 * 0.5 + 3 * 0.5), rel=1e-3)


@pytest.mark.parametrize(
    ("gate", "changes", "expected"),
    [
        (None, {}, 0.0),
        (None, {"compensated": True}, UNIT),
        (None, {"compensated": True, "swept": 0.1}, UNIT),
        (None, {"compensated": True, "swept": 0.125}, UNIT + 2.0**-24),
        (0.5, {"compensated": True}, 0.0),
        (0.5, {"compensated": True, "swept": 0.125}, UNIT + 2.0**-24),
    ],
)
def test_what_tokens_miss_of_the_d_that_is_carried(gate, changes, expected):
    """A rest of half an ulp of d = 1, and what sweeps leave open at steps of 1/8."""
    setup = scan_setup(gate=gate, model=replace(CHUNK_ANY_ORDER, **changes))
    missed = bound_rest(setup, 1, np.ones((1, 1)), ErrorSet.zero(1, 1))
    assert missed[0, 0] == pytest.approx(expected, rel=1e-6)
    assert bound_rest(setup, 0, np.ones((1, 1)), ErrorSet.zero(1, 1))[0, 0] == 0


def test_a_swept_step_carries_what_it_rounds():
    """Small beside the rounding of d that a step without the rest makes; the gain's error by what tokens miss stays."""
    sizes = []
    for changes in ({}, {"compensated": True, "swept": 1.0}):
        setup = scan_setup(eta=2.0**-10, tokens=2, model=replace(CHUNK_ANY_ORDER, **changes))
        sizes.append(_stepped(setup, 1, ErrorSet.zero(1, 1), Calibrated.zeros(setup)).rows()[0, 0])
    plain, carried = sizes
    assert plain >= UNIT
    assert 2.0**-10 * (UNIT + 2.0**-24) <= carried <= 0.02 * UNIT


def test_what_is_carried_past_a_bound_counts_there():
    """d + rest ends at the bound of 1, its rest of half an ulp beyond."""
    errors = through_clip(ErrorSet.zero(1, 1), np.full((1, 1), 1.5), np.zeros((1, 1)), np.ones((1, 1)), UNIT)
    assert errors.rows()[0, 0] == pytest.approx(UNIT)


def test_what_gates_add_to_forming_d():
    """Entry: five roundings of d - c = 1, and the sum. Weight: three of its 1/8, and its exponent's on 1/8."""
    none = np.zeros((1, 1))
    formed = Formed(scan_setup(gate=0.5))
    entry = formed.iterate(0, np.ones((1, 1)), none, UNIT)[0, 0]
    assert entry == pytest.approx(UNIT * (5 + 1), rel=1e-3)
    formed.gain(0, np.ones(1), np.zeros(1))
    gains = UNIT * 0.125 * (2 + 3 + 1)
    assert formed.iterate(1, np.ones((1, 1)), none, UNIT)[0, 0] == pytest.approx(
        entry + gains + 2 * UNIT, rel=1e-3
    )
    assert formed.handed(1, np.ones((1, 1)), none)[0, 0] == pytest.approx(entry + gains + UNIT, rel=1e-3)
    assert formed.iterate(16, np.ones((1, 1)), none, UNIT)[0, 0] >= 2 * entry + (16 + 2) * UNIT


@pytest.mark.parametrize(("gate", "roundings"), [(None, 1 + 2 + 1 + 3), (0.5, 1 + 2 + 1 + 3 + 4)])
def test_what_an_entry_of_the_coupling_rounds(gate, roundings):
    """Two squares, their product and sum; eta twice and the product with it; the decay's exponential and product."""
    assert _coupling_error(scan_setup(gate=gate, tokens=1)) == pytest.approx(roundings * UNIT, rel=1e-4)
    wide = scan_setup(gate=gate, tokens=1, dim=4)
    assert _coupling_error(wide) == pytest.approx((roundings + 3) * UNIT, rel=1e-4)


def test_the_right_side_with_gates():
    """1 - c - G (d - c) for d = 1, G = 1/2: five roundings of the span, its sum; products; the gap; the step size."""
    setup = scan_setup(gate=0.5, tokens=1)
    right, error = _right_side(setup, slice(0, 1), ErrorSet.zero(1, 1), np.full((1, 1), 0.5))
    assert right.value[0, 0, 0] == pytest.approx(0.125 * 0.5)
    # The products of 1/2, the decay at 1, the gap of 1/2, and the step size on it.
    expected = 0.125 * UNIT * (2 * 0.5 + 5 + 1 + 0.5 + 3 * 0.5)
    assert error[0, 0] == pytest.approx(expected, rel=1e-3)


def test_decays_between_tokens():
    """Of gates strictly between two tokens, and of all before one."""
    between, before = _decays(scan_setup(gate=0.5, tokens=3), slice(0, 3))
    assert np.allclose(before[0], [1.0, 0.5, 0.25])
    assert np.allclose(np.tril(between[0], -1), [[0, 0, 0], [1, 0, 0], [0.5, 1, 0]])


def test_the_system_of_a_chunk_meets_what_its_inverse_and_solution_round():
    setup = scan_setup(tokens=2)
    system = System(setup, slice(0, 2), ErrorSet.zero(1, 1))
    system.of_solution[0, 1, 0], system.of_right_side[0, 1] = 2.0, 3.0
    system.meet(0, np.ones(1))
    earlier = system.gains[0, 0]
    system.meet(1, np.ones(1))
    missed, inner, summed = system.sizes[:, 0, 1]
    assert missed == system.right_error[0, 1] + system.lower_error[0, 1, 0] * earlier
    assert inner == pytest.approx(2.0 * earlier + 3.0)
    assert summed == system.summed[0, 1] > 0


def test_a_product_with_a_memory_that_an_error_takes_into_the_next_binade():
    """Of 0.999 that may be 1.001: T, W, the product W H and the difference each err by u."""
    solve, _, _ = solved(chunk_setup([0.0], 0.999, replace(CHUNK_ANY_ORDER, fused=False)), 0.002)
    assert 3.99 * UNIT <= solve.lost[0, 0] <= 4.6 * UNIT


def test_what_a_read_rounds_in_the_recurrent_order():
    """<k~, q> x alone: the overlap's product, that with x, the sum; the scale and its product."""
    setup = chunk_setup([1.0], 0.0, RECURRENT_PLAIN)
    reads, one = Reads(setup, np.ones((1, 1, 1))), np.ones((1, 1))
    reads.token(0, ErrorSet.zero(1, 1), np.zeros((1, 1, 1)), one, one, np.ones((1, 1, 1)))
    assert reads.outputs[0, 0, 0] == pytest.approx(5 * UNIT, rel=1e-5)
    # S q alone: its product and the sum.
    reads.token(0, ErrorSet.zero(1, 1), np.ones((1, 1, 1)), 0 * one, 0 * one, np.ones((1, 1, 1)))
    assert reads.outputs[0, 0, 0] == pytest.approx(4 * UNIT, rel=1e-5)
