"""Rounding bounds: the lemmas one by one, emulated kernels below their bounds, and wrong bounds found out."""

from dataclasses import replace

import numpy as np
import pytest
import support.rounding_cases as cases
from scipy.linalg import solve_triangular

from osdn_theory import rounding
from osdn_theory.recurrence.rules import BOUNDED, FROZEN, CalibrationRule
from osdn_theory.rounding import (
    CHUNK_BF16,
    CHUNK_FP16,
    CHUNK_FP32,
    CHUNK_TF32,
    D_IN_BF16,
    FLOAT16,
    FLOAT32,
    MODELS,
    RECURRENT_BF16,
    RECURRENT_FP32,
    RECURRENT_PLAIN,
    emulate,
    in_interpreter,
)
from osdn_theory.rounding.errors import error_set
from osdn_theory.rounding.errors.enclosed import Enclosed
from osdn_theory.rounding.errors.error_set import ErrorSet
from osdn_theory.rounding.errors.lemmas import UNIT, Products, arithmetic, sum_error
from osdn_theory.rounding.memory import bound as memory, reading
from osdn_theory.rounding.memory.triangular import inverse
from osdn_theory.rounding.preconditioner import calibration
from osdn_theory.rounding.preconditioner.clipping import through_clip
from osdn_theory.streams.synthetic import isotropic

SOUND = [name for name in MODELS if name != "d_in_bf16"]


def emulated(bounds, model=None):
    """The emulation of `model`, by default that of the bounds, on the inputs of `bounds`."""
    exact = bounds.trajectory
    return emulate(
        bounds.stream,
        bounds.rule,
        model or bounds.model,
        chunk_size=bounds.chunk_size,
        scale=exact.scale,
        initial_state=exact.initial_state,
        initial_preconditioner=exact.initial_preconditioner,
    )


def compared(source, rule, model, length=70):
    tokens = cases.stream(source, length) if isinstance(source, str) else cases.beside(*source, length=length)
    bounds = cases.bounded(tokens, cases.RULES[rule], model)
    return cases.errors(bounds, emulated(bounds))


@pytest.mark.parametrize("rule", cases.RULES)
@pytest.mark.parametrize("name", [*SOUND, "d_in_bf16"])
def test_emulated_kernels_stay_below_their_bounds(name, rule):
    both = ("interpolating", "constant_key")
    assert cases.exceeded(compared(both, rule, MODELS[name], length=40)) == []


@pytest.mark.parametrize("name", SOUND)
def test_bounds_are_of_the_order_of_the_errors(name):
    """Median of bound/error over tokens, by norms. Worst cases of T tokens add up coherently, roundings do not."""
    most = {"chunk_any_order": 400, "chunk_substituted": 400, "chunk_tf32": 400, "recurrent_plain": 150}.get(
        name, 100
    )
    found = [compared(source, "bounded", MODELS[name], length=40) for source in cases.STREAMS]
    for quantity in ("d", "o"):
        parts = [cases.ratios(*pairs[quantity]) for pairs in found]
        assert 1 < np.median(np.concatenate(parts)) < most


@pytest.mark.parametrize("name", SOUND)
def test_a_hundredth_of_a_bound_is_exceeded(name):
    bounds = cases.bounded(cases.stream("isotropic", 40), BOUNDED, MODELS[name])
    pairs = cases.errors(cases.shifted(bounds, 0.01), emulated(bounds))
    assert {"d", "o", "o by entry"} <= set(cases.exceeded(pairs))


@pytest.mark.parametrize(
    ("model", "kernel"),
    [(CHUNK_FP32, CHUNK_TF32), (CHUNK_FP16, CHUNK_BF16), (RECURRENT_FP32, RECURRENT_BF16)],
    ids=lambda m: m.name,
)
def test_a_kernel_of_a_coarser_format_exceeds_the_bound_of_a_finer_one(model, kernel):
    """On inputs that both formats hold, so that only the arithmetic differs."""
    tokens = rounding.round_stream(cases.stream("isotropic", 40), kernel, BOUNDED)
    tokens = rounding.round_stream(tokens, model, BOUNDED)
    bounds = cases.bounded(tokens, BOUNDED, model)
    assert "o" in cases.exceeded(cases.errors(bounds, emulated(bounds, kernel)))


@pytest.mark.parametrize("source", ["isotropic", "interpolating", "layer0"])
def test_storing_d_in_bfloat16_is_found_out(source):
    """T18: near 1 its spacing is that of a `bounded` step, so d never moves as it should."""
    bounds = cases.bounded(cases.stream(source, 40), BOUNDED, RECURRENT_PLAIN)
    wrong = cases.exceeded(cases.errors(bounds, emulated(bounds, D_IN_BF16)))
    assert {"d", "d by entry", "final d", "o", "final state"} <= set(wrong)
    assert cases.exceeded(cases.errors(bounds, emulated(bounds))) == []


def without(monkeypatch, where, name):
    real = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *args: 0 * np.asarray(real(*args)))


@pytest.mark.parametrize(
    ("where", "name", "quantity"),
    [(calibration, "rounding", "d"), (reading, "rounding", "o"), (memory, "_write_key_error", "final state")],
)
def test_a_dropped_term_is_found_out(monkeypatch, where, name, quantity):
    model = {"d": RECURRENT_FP32, "o": RECURRENT_BF16, "final state": D_IN_BF16}[quantity]
    without(monkeypatch, where, name)
    assert quantity in cases.exceeded(compared("isotropic", "bounded", model))


def accumulated(bounds):
    """d of one chunk, each formed by multiply-adds on top of the entry, as a GPU does: every one rounds near d."""
    exact, keys = bounds.trajectory, bounds.stream.keys
    square = keys.astype(np.float32) ** 2
    gap = 1 - np.sum(exact.preconditioner * keys**2, axis=-1)
    gain = (bounds.rule.eta * gap).astype(np.float32)
    start, path = exact.initial_preconditioner.astype(np.float32), np.empty(keys.shape)
    for t in range(keys.shape[-2]):
        d = start
        for j in range(t):
            d = (d + gain[..., j, None].astype(np.float64) * square[..., j, :]).astype(np.float32)
        path[..., t, :] = d
    return path


def test_products_on_top_of_d_are_covered_where_a_model_is_fused():
    fused, formed_first = (
        cases.bounded(cases.stream("isotropic", 64), BOUNDED, m, 64)
        for m in (CHUNK_FP32, in_interpreter(CHUNK_FP32))
    )
    error = np.linalg.norm(accumulated(fused) - fused.trajectory.preconditioner, axis=-1)
    assert np.all(error <= fused.preconditioner_norm)
    assert np.any(error > formed_first.preconditioner_norm)


def test_bounds_without_the_accumulated_error_are_exceeded(monkeypatch):
    """Local errors alone do not bound what a long run collects."""
    monkeypatch.setattr(
        ErrorSet, "transition", lambda self, *_: self.__init__(*vars(ErrorSet.zero(2, 8)).values())
    )
    assert "final d" in cases.exceeded(compared("interpolating", "bounded", RECURRENT_PLAIN, length=400))


def test_what_does_not_move_has_no_error():
    bounds = cases.bounded(cases.stream("isotropic", 20), FROZEN, CHUNK_FP32)
    assert np.all(bounds.preconditioner == 0)
    assert np.all(bounds.final_preconditioner_norm == 0)
    assert np.all(bounds.state > 0)


def test_leading_axes_are_independent():
    tokens = cases.stream("non_stationary", 40)
    both = rounding.error_bounds(tokens, cases.RULES["narrow box"], CHUNK_FP32, chunk_size=16)
    for i in range(2):
        alone = rounding.error_bounds(tokens.at((i,)), cases.RULES["narrow box"], CHUNK_FP32, chunk_size=16)
        for name in (
            "preconditioner",
            "final_preconditioner_norm",
            "state",
            "outputs",
            "alignment",
            "recall",
        ):
            assert np.allclose(getattr(alone, name), getattr(both, name)[i], rtol=1e-9, atol=0), name


def test_bad_arguments_are_named():
    tokens = cases.stream("isotropic", 4)
    gate = np.full(tokens.keys.shape, 0.5)
    with pytest.raises(
        ValueError, match="state_gate: expected one number per token in the chunk order without"
    ):
        rounding.error_bounds(replace(tokens, state_gate=gate), BOUNDED, rounding.CHUNK_ANY_ORDER)
    with pytest.raises(
        ValueError, match="state_gate: expected none where systems are solved by substitution"
    ):
        rounding.error_bounds(replace(tokens, state_gate=gate[..., 0]), BOUNDED, rounding.CHUNK_SUBSTITUTED)
    with pytest.raises(ValueError, match="chunk_size"):
        rounding.error_bounds(tokens, chunk_size=0)
    with pytest.raises(ValueError, match="keys"):
        rounding.error_bounds(replace(tokens, keys=1e6 * tokens.keys), BOUNDED, CHUNK_FP16)


def test_the_stream_of_the_bounds_is_what_the_kernel_reads():
    tokens = cases.stream("isotropic", 20)
    rule = CalibrationRule(eta=0.5, forgetting=0.9)
    given = rounding.error_bounds(tokens, rule, CHUNK_BF16)
    assert rounding.is_representable(given.stream.keys, rounding.BFLOAT16)
    assert given.rule.forgetting == "token"
    logs = np.log(given.stream.forget_gate)
    assert np.allclose(logs, np.float32(np.log(0.9)), rtol=1e-14, atol=0)


# The lemmas.


@pytest.mark.parametrize("order", ["as given", "ascending", "descending", "pairwise"])
def test_sums_in_any_order_stay_below_the_lemma(order):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(300, 40)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) * b
    products = a * b
    if order != "as given":
        products = np.sort(products, axis=-1)[:, :: -1 if order == "descending" else 1]
    found = np.zeros(len(a), dtype=np.float32)
    if order == "pairwise":
        found = products.sum(-1, dtype=np.float32)
    else:
        for column in products.T:
            found = found + column
    bound = sum_error(np.abs(exact).sum(-1), np.abs(exact.sum(-1)), 40)
    error = np.abs(found - exact.sum(-1))
    assert np.all(error <= bound)
    assert np.any(error > bound / 100)


def random_errors(rng, dim=6, columns=4):
    """A set of errors, and one of its members that is extreme in a random direction."""
    kept, member = ErrorSet.zero(1, dim), np.zeros((dim, columns))
    for _ in range(12):
        write, key = rng.normal(size=(2, 1, dim)) / np.sqrt(dim)
        keep = rng.uniform(0.9, 1.0)
        kept.transition(keep, write, key)
        member = keep * member - np.outer(write[0], key[0] @ member)
        line, toward = rng.normal(size=dim), rng.normal(size=columns)
        kept.add_line(line[None], np.array([0.1]))
        member = member + 0.1 * np.outer(line, toward / np.linalg.norm(toward))
        ball = rng.normal(size=(dim, columns))
        kept.add_ball(np.array([0.05]))
        member = member + 0.05 * ball / np.linalg.norm(ball)
    return kept, member


@pytest.mark.parametrize("limit", [512, 4], ids=["lines kept", "lines folded"])
def test_error_sets_hold_every_error_that_they_should(monkeypatch, limit):
    monkeypatch.setattr(error_set, "_LINES", limit)
    rng = np.random.default_rng(1)
    for _ in range(100):
        kept, member = random_errors(rng)
        direction = rng.normal(size=6)
        assert np.linalg.norm(member) <= kept.radius()[0]
        assert np.all(np.linalg.norm(member, axis=-1) <= kept.rows()[0])
        assert np.linalg.norm(direction @ member) <= kept.along(direction[None])[0]
        assert kept.radius()[0] <= kept.limit[0]


def test_errors_through_a_clip():
    """Free, pinned and undecided coordinates; every error of the set, clipped, lies in the set after the clip."""
    rng = np.random.default_rng(2)
    lower, upper = np.full((1, 6), -1.0), np.full((1, 6), 1.0)
    for _ in range(200):
        kept, member = random_errors(rng, columns=1)
        exact = rng.normal(size=(1, 6)) * rng.choice([0.5, 1.0, 3.0], size=(1, 6))
        after = through_clip(kept, exact, lower, upper)
        moved = np.clip(exact[0] + member[:, 0], -1, 1) - np.clip(exact[0], -1, 1)
        assert np.all(np.abs(moved) <= after.rows()[0] * (1 + 1e-12))
        assert np.linalg.norm(moved) <= after.radius()[0] * (1 + 1e-12)


def float32_inverse(a):
    """By the kernels' blocks, in NumPy's float32."""
    row, col = np.arange(16)[:, None], np.arange(16)[None, :]

    def doubled(block):
        x = np.eye(16, dtype=np.float32) - np.where(
            (row // 2 == col // 2) & (row > col), block, np.float32(0)
        )
        for size in (2, 4, 8):
            couples = (row // (2 * size) == col // (2 * size)) & (row // size > col // size)
            x = x - (x @ np.where(couples, block, np.float32(0))) @ x
        return x

    first, last = doubled(a[:16, :16]), doubled(a[16:, 16:])
    below = -(last @ (a[16:, :16] @ first))
    return np.block([[first, np.zeros((16, 16), dtype=np.float32)], [below, last]])


@pytest.mark.parametrize("ordered", [False, True], ids=["any order", "in order"])
@pytest.mark.parametrize("size", [0.1, 0.4])
def test_what_a_computed_inverse_does_to_a_solution(size, ordered):
    rng = np.random.default_rng(3)
    for _ in range(20):
        a = np.tril(size * rng.normal(size=(32, 32)), -1).astype(np.float32)
        b = rng.normal(size=32)
        lower = np.eye(32) + a.astype(np.float64)
        exact = solve_triangular(lower, np.eye(32), lower=True, unit_diagonal=True)
        found = float32_inverse(a).astype(np.float64)
        bound = inverse(Enclosed(a.astype(np.float64)), Products(UNIT, UNIT, ordered))
        whole = bound.matrix.slack + bound.matrix.error
        assert np.all(np.abs(found - exact) <= whole + 1e-11)
        x, left = exact @ b, found @ b
        met = bound.of_solution @ np.abs(x) + bound.of_right_side @ np.abs(b)
        # The last block solves its rows with what the first one left: L_22 x_2 = b_2 - A_21 x_1.
        rest = b[16:] - lower[16:, :16] @ left[:16]
        last = solve_triangular(lower[16:, 16:], rest, lower=True, unit_diagonal=True)
        error = np.abs(left - np.concatenate((x[:16], last)))
        assert np.all(error <= 1.001 * met + 1e-11)
        assert np.any(error > met / 100)


def test_one_operation_rounds_by_at_most_half_a_spacing():
    x = np.random.default_rng(4).normal(size=1000)
    assert np.all(np.abs(x.astype(np.float32) - x) <= arithmetic(np.abs(x)))
    assert np.any(np.abs(x.astype(np.float32) - x) > 0.99 * arithmetic(np.abs(x)))
    assert arithmetic(np.array(0.0)) > 0
    assert rounding.spacing(1.0, FLOAT16) / 2 == FLOAT16.unit_roundoff
    assert rounding.spacing(1.0, FLOAT32) / 2 == UNIT


def test_a_bound_that_overflows_is_infinite_and_no_error() -> None:
    """d stored in bfloat16 over a thousand tokens: errors feed on themselves."""
    stream = isotropic(np.random.default_rng(0), length=1024, key_dim=8)
    bounds = rounding.error_bounds(stream, CalibrationRule(eta=0.003), D_IN_BF16)
    for bound in (bounds.preconditioner, bounds.state, bounds.outputs_norm, bounds.alignment):
        assert not np.isnan(bound).any()
    assert np.isinf(bounds.state[-1])
    assert np.isfinite(bounds.state[:100]).all()
