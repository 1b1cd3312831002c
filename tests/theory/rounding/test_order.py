"""Sums in order: the lemma on exact rationals, and what happens in other orders."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import support.rounding_cases as cases

from osdn_theory.recurrence.rules import BOUNDED
from osdn_theory.rounding import CHUNK_ANY_ORDER, CHUNK_FP32, in_interpreter
from osdn_theory.rounding.errors import lemmas, ordered
from osdn_theory.rounding.errors.lemmas import CHAIN, UNIT, arithmetic, non_negative_error, sum_error
from osdn_theory.rounding.errors.ordered import ordered_error

KINDS = ("random", "cancelling", "growing", "swallowed", "sparse")


def single(x):
    """The float32 number nearest to a rational."""
    near = np.float32(float(x))
    around = (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf)))
    return min((Fraction(float(f)) for f in around), key=lambda f: abs(f - x))


def drawn(rng, kind, terms):
    """Factors (terms,) and a start, float32 numbers."""
    a, b = rng.normal(size=(2, terms)).astype(np.float32)
    start = np.float32(rng.normal())
    if kind == "cancelling":
        a, b = np.abs(a), np.abs(b)
        a[1::2], b[1::2] = -a[: terms - 1 : 2], b[: terms - 1 : 2]
        start = np.float32(0)
    if kind == "growing":
        a, b = np.abs(a), np.abs(b)
    if kind == "swallowed":
        a, b, start = np.full(terms, np.float32(UNIT)), np.ones(terms, dtype=np.float32), np.float32(1)
    if kind == "sparse":
        a[rng.uniform(size=terms) < 0.7] = 0
    return a, b, start


def added(rng, products, start, size):
    """Blocks of `size` terms in a random order, each on top of one of the sums so far or from zero; then the sums."""
    blocks = [products[i : i + size] for i in range(0, len(products), size)]
    sums = [start]
    for i in rng.permutation(len(blocks)):
        total = sums.pop(rng.integers(len(sums))) if sums and rng.uniform() < 0.5 else Fraction(0)
        for product in blocks[i]:
            total = single(total + product)
        sums.append(total)
    while len(sums) > 1:
        i, j = rng.choice(len(sums), 2, replace=False)
        joined = single(sums[i] + sums[j])
        sums = [x for n, x in enumerate(sums) if n not in (i, j)] + [joined]
    return sums[0]


def rationals(x):
    return [Fraction(float(one)) for one in x]


def lemma(a, b, start, wider=0.0):
    """The bound for one dot product; `wider` is the relative width of what is known of its factors."""
    left, right, at = (np.asarray(x, dtype=np.float64) for x in (a[None], b[:, None], [[start]]))
    return ordered_error(
        left, right, (1 + wider) * abs(left), (1 + wider) * abs(right), at, (1 + wider) * abs(at)
    )[0, 0]


def excess(kind, terms, size, seed, wider=0.0):
    """Error over bound."""
    rng = np.random.default_rng(seed)
    a, b, start = drawn(rng, kind, terms)
    bound = lemma(a, b, start, wider)
    if wider:
        a, b = ((x * (1 + wider * rng.uniform(-0.5, 0.5, x.shape))).astype(np.float32) for x in (a, b))
    products = [x * y for x, y in zip(rationals(a), rationals(b), strict=True)]
    found = added(rng, products, Fraction(float(start)), size)
    return float(abs(found - sum(products) - Fraction(float(start)))) / bound


@pytest.mark.parametrize("size", [CHAIN, 2 * CHAIN, 3 * CHAIN, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_in_blocks_stay_below_the_lemma(kind, size):
    ratios = [excess(kind, terms, size, seed) for terms in (1, 2, 15, 16, 17, 48, 70) for seed in range(6)]
    assert max(ratios) <= 1
    assert max(ratios) > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_factors_that_are_known_within_a_width(kind):
    """The bound is formed at other factors than those that are multiplied."""
    assert max(excess(kind, 40, CHAIN, seed, wider=1e-3) for seed in range(20)) <= 1


def test_half_the_unit_is_too_little(monkeypatch):
    """1 + u + u + ...: every multiply-add on top of the 1 rounds back to it."""
    assert 0.9 < max(excess("swallowed", 64, 1000, seed) for seed in range(8)) <= 1
    monkeypatch.setattr(ordered, "UNIT", UNIT / 2)
    assert max(excess("swallowed", 64, 1000, seed) for seed in range(8)) > 1


def test_blocks_shorter_than_a_chain_are_not_covered():
    """Terms one by one in any order, of sums that cancel when added in order: only the lemma for any order holds."""
    assert max(excess("cancelling", 64, 1, seed) for seed in range(30)) > 1
    for seed in range(30):
        rng = np.random.default_rng(seed)
        a, b, _ = drawn(rng, "cancelling", 64)
        products = [x * y for x, y in zip(rationals(a), rationals(b), strict=True)]
        size = np.sum(np.abs(a.astype(np.float64) * b))
        assert abs(added(rng, products, Fraction(0), 1)) <= sum_error(size, 0.0, 64)


def test_a_sum_split_over_lanes_is_not_covered():
    """Lanes of 16: term k goes to lane k mod 16, as vector units sum."""
    worst = 0.0
    for seed in range(30):
        a, b, _ = drawn(np.random.default_rng(seed), "cancelling", 256)
        products = [x * y for x, y in zip(rationals(a), rationals(b), strict=True)]
        lanes = [Fraction(0)] * 16
        for k, product in enumerate(products):
            lanes[k % 16] = single(lanes[k % 16] + product)
        found = Fraction(0)
        for lane in lanes[::2] + lanes[1::2]:
            found = single(found + lane)
        worst = max(worst, float(abs(found)) / lemma(a, b, 0.0))
    assert worst > 1


@pytest.mark.parametrize("terms", [16, 64])
def test_terms_of_even_and_of_odd_index_apart_are_not_covered(terms):
    """As OpenBLAS 0.3 adds on processors with AVX2: in the interpreter no order is known."""
    worst = 0.0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        a, b, _ = drawn(rng, "cancelling", terms)
        a[1::2] *= 1 + 1e-3 * rng.normal(size=terms // 2).astype(np.float32)
        products = [x * y for x, y in zip(rationals(a), rationals(b), strict=True)]
        lanes = [Fraction(0)] * 2
        for k, product in enumerate(products):
            lanes[k % 2] = single(lanes[k % 2] + product)
        error = float(abs(single(lanes[0] + lanes[1]) - sum(products)))
        worst = max(worst, error / lemma(a, b, 0.0))
    assert worst > 1


@pytest.mark.parametrize("model", [CHUNK_FP32, CHUNK_ANY_ORDER], ids=lambda m: m.name)
def test_the_order_of_sums_is_unknown_in_the_interpreter(model):
    found = in_interpreter(model)
    assert not any(
        products.ordered for products in (found.products, found.gram_products(1), found.exact_products)
    )
    assert CHUNK_FP32.gram_products(256).ordered
    assert CHUNK_FP32.products.ordered


def test_knowing_the_order_tightens_the_bound():
    tokens = cases.stream("isotropic", 64)
    in_any = replace(CHUNK_FP32, ordered=False, ordered_gram=0)
    known, unknown = (cases.bounded(tokens, BOUNDED, m, 32) for m in (CHUNK_FP32, in_any))
    for name in ("outputs", "outputs_norm", "state", "final_state", "preconditioner"):
        assert np.all(getattr(known, name) <= getattr(unknown, name) * (1 + 1e-12)), name
    assert np.median(known.outputs_norm / unknown.outputs_norm) < 0.7


def tree(rng, terms):
    """Float32 sum in a random order and tree."""
    left = list(terms)
    while len(left) > 1:
        i, j = rng.choice(len(left), 2, replace=False)
        left = [x for n, x in enumerate(left) if n not in (i, j)] + [np.float32(left[i] + left[j])]
    return left[0]


def test_non_negative_sums_in_any_tree_stay_below_the_lemma():
    rng = np.random.default_rng(9)
    for terms in (2, 5, 16, 40):
        for _ in range(50):
            a, b = np.abs(rng.normal(size=(2, terms))).astype(np.float32)
            exact = a.astype(np.float64) * b
            descending = np.sort(a * b)[::-1]
            for found in (tree(rng, a * b), np.cumsum(descending, dtype=np.float32)[-1]):
                assert abs(float(found) - exact.sum()) <= non_negative_error(exact)


def test_half_a_rounding_of_a_non_negative_sum_is_too_little(monkeypatch):
    """1, then half spacings that each round away."""
    terms = np.array([1.0, *[UNIT] * 30])
    error = abs(float(np.cumsum(terms.astype(np.float32), dtype=np.float32)[-1]) - terms.sum())
    assert 0.9 * non_negative_error(terms, 0.0) < error <= non_negative_error(terms, 0.0)
    monkeypatch.setattr(lemmas, "arithmetic", lambda size: arithmetic(size) / 2)
    assert error > non_negative_error(terms, 0.0)
