"""The laws and their false variants: each law stands on its instances, each variant falls, a false law is seen."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import flint
import ml_dtypes
import numpy as np
import pytest
from flint import fmpq

from osdn_theory.theorems import THEOREMS
from proofs_check import coq_prover
from proofs_check.coq_prover.statements import read_register
from proofs_check.coq_prover.theorems import claim_of
from proofs_check.exact import numbers, rules
from proofs_check.exact.collection import COUNT, LAWS, check_law, check_variant, proofs
from proofs_check.exact.draw import KINDS, Draw, Instance
from proofs_check.exact.law import Law, broken, converted, instances, register
from proofs_check.exact.laws.kernel import Tracked
from proofs_check.exact.laws.rounding import to_nearest
from proofs_check.exact.laws.run.scan import lower, solve_unit
from proofs_check.exact.numbers import BITS, array, root
from proofs_check.exact.propositions import (
    Proposition,
    difference,
    either,
    eq,
    every,
    iff,
    implies,
    invertible,
    le,
    lt,
    ne,
    negation,
    same,
    true,
)


def draw_square(draw: Draw) -> Instance:
    return Instance(a=draw.number(1, 2))


def square(x: Instance) -> Proposition:
    return implies(le(1, x.a), le(x.a, x.a**2))


def law(says: Any = square, draw: Any = draw_square) -> Law:
    return Law("T1_square", draw, says)


def test_every_claim_has_laws_and_a_false_variant() -> None:
    theorems = {claim_of(name) for name in read_register(coq_prover.FOLDER).statements}
    assert {found.claim for found in LAWS.values()} == theorems <= set(THEOREMS)
    mutants = {proof.name for proof in proofs() if proof.method == "mutation"}
    assert mutants == {name for name in LAWS if "_needs_" not in name}
    assert set(map(claim_of, mutants)) == theorems


@pytest.mark.parametrize("found", LAWS.values(), ids=list(LAWS))
def test_a_law_stands_and_its_variant_falls(found: Law) -> None:
    stands = check_law(found, count=18)
    assert stands.verdict == "passed", stands.detail
    if not found.is_negative:
        fall = check_variant(found)
        assert fall.verdict == "passed", fall.detail
        assert fall.data["killed"] == 1
        json.dumps(dict(fall.data))


def test_a_name_is_stated_once() -> None:
    with pytest.raises(ValueError, match="T1_token_exact_quadratic is stated twice"):
        register(draw_square, T1_token_exact_quadratic=square)


def test_a_false_law_is_seen() -> None:
    found = check_law(law(lambda x: implies(le(1, x.a), lt(x.a**2, x.a))))
    assert found.verdict == "failed"
    assert re.fullmatch(r"\S+ < \S+ is false", found.detail)


def test_an_instance_that_breaks_a_premise_is_seen() -> None:
    found = check_law(law(draw=lambda draw: Instance(a=fmpq(1, 2))))
    assert found.detail == "the premise 1 <= 1/2 does not hold"


def test_a_true_variant_fails_the_proof() -> None:
    loose = law(lambda x: le(x.a, 4 * x.a**2))
    found = check_variant(loose, COUNT)
    assert (found.verdict, found.detail) == (
        "failed",
        "not refuted: 1/2 of a bound, the double of an equation",
    )
    assert check_variant(replace(loose, times=fmpq(1, 8)), COUNT).verdict == "passed"


def test_a_counterexample_must_leave_the_law_alone() -> None:
    false = law(lambda x: implies(le(x.a, 2), le(x.a**2, x.a)))  # of every a but 1
    assert check_variant(false, COUNT).verdict == "passed"  # a = 1
    assert (
        check_variant(replace(false, draw=lambda draw: Instance(a=draw.number(3, 4) / 2)), COUNT).verdict
        == "failed"
    )


@pytest.mark.parametrize(
    ("says", "falls"),
    [
        (lambda x: eq(x.a, x.a), True),
        (lambda x: eq(array([x.a, x.a]), array([x.a, x.a])), True),
        (lambda x: eq(((x.a, x.a), x.a), ((x.a, x.a), x.a)), True),
        (lambda x: eq(x.a - x.a, 0 * x.a), False),
        (lambda x: every(eq(0, 0), le(x.a, x.a)), True),
        (lambda x: implies(le(1, x.a), implies(le(x.a, 2), le(x.a, x.a))), True),
        (lambda x: iff(eq(x.a, x.a), eq(x.a + 1, x.a + 1)), True),
        (lambda x: invertible(numbers.identity(2)), True),
        (lambda x: negation(eq(x.a, 0)), False),
    ],
)
def test_what_becomes_false(says: Any, falls: bool) -> None:
    assert (check_variant(law(says), 6).verdict == "passed") is falls


def test_where_the_right_side_is_zero_a_variable_is_doubled() -> None:
    balanced = Law(
        "T1_zero", lambda draw: Instance(a=fmpq(1), b=fmpq(1)), lambda x: eq(x.a - x.b, 0), double="b"
    )
    assert check_law(balanced, 6).verdict == check_variant(balanced, 6).verdict == "passed"
    assert check_variant(replace(balanced, double=""), 6).verdict == "failed"


def test_a_wrong_rule_is_seen_by_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws evaluate the rules: a rule broken on purpose breaks them."""
    right = rules.moved

    def doubled(eta: Any, *rest: Any) -> Any:
        return right(2 * eta, *rest)

    monkeypatch.setattr(rules, "moved", doubled)
    failed = {name for name in LAWS if check_law(LAWS[name], 12).verdict == "failed"}
    assert {"T5_interpolating_regret", "T19_mean_step"} <= failed


def test_the_running_bound_of_a_kernel_counts_the_storage_of_d(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Tracked, "stored", lambda self, bits: replace(self, value=to_nearest(self.value, bits))
    )
    assert check_law(LAWS["T18_running_error_bound"], COUNT).verdict == "failed"


def test_propositions_are_decided_exactly() -> None:
    half = fmpq(1, 2)
    assert true(every(eq(half, half), le(half, 1), lt(0, half), ne(half, 1)))
    assert not true(lt(half, half))
    assert true(either(eq(1, 2), eq(2, 2)))
    assert true(iff(eq(1, 2), eq(2, 3)))
    assert not true(iff(eq(1, 2), eq(3, 3)))
    assert true(implies(eq(1, 2), eq(3, 4)))
    assert true(invertible(array([[half]])))
    assert not true(invertible(array([[half, half], [half, half]])))
    with pytest.raises(TypeError, match="a float slipped"):
        true(le(half, 0.5))


def test_roots_are_exact_or_enclosed() -> None:
    assert root(fmpq(9, 4)) == fmpq(3, 2)
    assert root(fmpq(-1)) == 0
    with flint.ctx.workprec(BITS):
        assert same(root(fmpq(2)) ** 2, fmpq(2))
        assert not same(root(fmpq(2)), root(fmpq(2)) + fmpq(1, 10**50))
        assert true(le(root(fmpq(2)), root(fmpq(2))))
        assert not true(lt(root(fmpq(3)), root(fmpq(2))))


@pytest.mark.parametrize(
    "other",
    [
        implies(le(1, 2), le(3, 5)),
        implies(le(1, 2), lt(3, 4)),
        implies(lt(1, 2), le(3, 4)),
        implies(le(0, 2), le(3, 4)),
        implies(le(1, 2), le(5, 6), le(3, 4)),
        implies([le(1, 2), le(5, 6)], le(3, 4)),
        le(3, 4),
        negation(le(3, 4)),
        iff(le(1, 2), le(3, 4)),
    ],
)
def test_propositions_differ_in_any_part(other: Proposition) -> None:
    """All of them are true, or of the same truth: only the values and the form tell them apart."""
    one = implies(le(1, 2), le(3, 4))
    assert difference(one, one) == ""
    assert difference(other, one) != ""
    assert difference(one, other) != ""


def test_instances_depend_on_the_name_alone() -> None:
    found = LAWS["T5_interpolating_regret"]
    first, again, other = ([x.eta for x in instances(found, name, 6)] for name in ("a", "a", "b"))
    assert first == again
    assert first != other


def test_dyadic_instances_are_float64_numbers() -> None:
    for name in ("T2_right_preconditioning", "T14_tracking"):
        for x in instances(LAWS[name], name, 24, dyadic=True):
            seen: list[Any] = []
            converted(x, seen.append)
            assert all(fmpq(*float(Fraction(int(a.p), int(a.q))).as_integer_ratio()) == a for a in seen)


def test_the_kinds_are_what_they_say() -> None:
    found = LAWS["T5_interpolating_regret"]
    drawn = list(instances(found, found.name, 120))
    by_kind = {kind: drawn[i :: len(KINDS)] for i, kind in enumerate(KINDS)}
    assert all(x.T == 1 for x in by_kind["single"])
    assert any(0 in key for x in by_kind["zeros"] for key in x.k)
    assert all(x.eta * x.M > fmpq(19, 10) for x in by_kind["limit"])
    assert any(
        (a != b).any()
        for x in by_kind["boxed"]
        for a, b in zip(rules.path(x), rules.path(x, project=False), strict=True)
    )
    # Tight: the bound is met with equality by instances with more than nothing on both sides.
    sides = [found.conclusion(x) for x in by_kind["tight"]]
    assert any(side.lhs == side.rhs > 0 for side in sides)


def test_some_runs_clip_and_others_do_not() -> None:
    stays = [true(x.agree) for x in instances(LAWS["T11_clip_certificate_iff"], "any", 60)]
    assert 6 < sum(stays) < 54


def test_sphere_moments_of_the_finite_distribution() -> None:
    """Against the sphere's own: E[k_i^4] = 3/(K(K + 2)), sampled."""
    k = np.random.default_rng(0).standard_normal((200_000, 3))
    s = (k / np.linalg.norm(k, axis=1, keepdims=True)) ** 2
    found = next(x for x in instances(LAWS["T19_eigenvector"], "any", 30) if x.n == 3)
    exact_moments = np.array([[int(a.p) / int(a.q) for a in row] for row in found.second_moment])
    assert np.abs(s.T @ s / len(s) - exact_moments).max() < 2e-3


def test_exact_linear_algebra() -> None:
    a = array([[fmpq(1), fmpq(2)], [fmpq(2), fmpq(4)]])
    x = numbers.solve(a, array([[fmpq(3)], [fmpq(6)]]))
    assert same(a @ x, array([[fmpq(3)], [fmpq(6)]]))
    with pytest.raises(ArithmeticError, match="no solution"):
        numbers.solve(a, array([[fmpq(3)], [fmpq(5)]]))
    unit = array([[fmpq(1), fmpq(0)], [fmpq(3), fmpq(1)]])
    right = array([[fmpq(1)], [fmpq(5)]])
    assert same(solve_unit(lower(unit, -1), right), numbers.solve(unit, right))
    assert same(unit @ numbers.inverse(unit), numbers.identity(2))


@pytest.mark.parametrize(("bits", "dtype"), [(24, np.float32), (11, np.float16), (8, ml_dtypes.bfloat16)])
def test_rounding_is_that_of_the_formats(bits: int, dtype: Any) -> None:
    near_one = [1 + 2.0**-bits, 1 - 2.0 ** -(bits + 1), 1 + 3 * 2.0**-bits, -0.75]
    for value in [*np.random.default_rng(0).standard_normal(200), *near_one]:
        found = to_nearest(fmpq(*float(value).as_integer_ratio()), bits)
        assert int(found.p) / int(found.q) == float(dtype(value))
        assert to_nearest(found, bits) == found
    assert to_nearest(fmpq(0), bits) == 0


def test_the_regret_is_not_trivial() -> None:
    found = LAWS["T5_interpolating_regret"]
    drawn = list(instances(found, "any", 30))
    assert sum(x.gap_sum > 0 for x in drawn) > 20
    assert not any(broken(found.says(x)) for x in drawn)
