"""The laws and their mutants: each law stands on its instances, each mutant falls, and the checkers see a false law."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flint import fmpq

from osdn_theory.theorems import THEOREMS
from proofs_check import exact
from proofs_check.exact import linear as la, mean_laws, regret_laws, rules, scan_laws
from proofs_check.exact.draw import KINDS, Draw
from proofs_check.exact.law import (
    BrokenHypothesis,
    Counterexample,
    Law,
    Relation,
    at_most,
    confirmed,
    converted,
    equal,
    examine,
    instances,
    search,
)
from proofs_check.exact.roots import RootSum, root, roots
from proofs_check.exact.rounding_laws import to_nearest, towards_zero

CLAIMS = list(THEOREMS)


def of_claim(claim: str) -> list[Law]:
    return [law for law in exact.LAWS if law.claim == claim]


def square(draw: Draw) -> SimpleNamespace:
    return SimpleNamespace(a=draw.number(1, 2))


TRUE = Law("T1", "square", "a <= a^2 for a >= 1", square, lambda x: [at_most("a", x.a, x.a**2)],
           {"a >= 1": lambda x: x.a >= 1})  # fmt: skip


def test_every_claim_has_laws_and_at_least_three_mutants_of_more_than_one_kind() -> None:
    for claim in CLAIMS:
        mutants = [mutant for law in of_claim(claim) for mutant in law.mutants]
        assert len(mutants) >= 3, claim
        assert len({mutant.kind for mutant in mutants}) >= 2, claim


def test_names_tell_laws_and_mutants_apart() -> None:
    names = [(law.claim, law.name) for law in exact.LAWS]
    assert len(set(names)) == len(names)
    for law in exact.LAWS:
        changes = [mutant.change for mutant in law.mutants]
        assert len(set(changes)) == len(changes), law.name


@pytest.mark.parametrize("law", exact.LAWS, ids=lambda law: f"{law.claim} {law.name}")
def test_a_law_stands_and_its_mutants_fall(law: Law) -> None:
    assert exact.check_law(law, count=24, seed=1).verdict == "passed"
    found = exact.check_mutants(law, count=480, seed=1)
    assert found.verdict == "passed", found.detail
    assert found.data["killed"] == len(law.mutants)
    json.dumps(dict(found.data))


def test_a_dropped_hypothesis_is_what_the_counterexample_breaks() -> None:
    for law in exact.LAWS:
        for mutant in law.mutants:
            if not mutant.dropped:
                continue
            _, finding = search(mutant.law, exact.COUNT, exact.SEED)
            assert isinstance(finding, Counterexample)
            broken = examine(law, finding.instance)
            assert isinstance(broken, BrokenHypothesis), f"{law.name}: {mutant.change}"
            assert broken.hypothesis in mutant.dropped


def test_a_true_mutant_survives_and_fails_the_proof() -> None:
    law = TRUE.mutant("wrong constant", "a <= 2 a^2", relations=lambda x: [at_most("a", x.a, 2 * x.a**2)])
    found = exact.check_mutants(law)
    assert found.verdict == "failed"
    assert found.detail == "a <= 2 a^2: survives"
    assert not found.data["mutants"][0]["killed"]


def test_a_false_law_is_refuted_with_its_instance_printed() -> None:
    found = exact.check_law(replace(TRUE, relations=lambda x: [at_most("a^2", x.a**2, x.a)]))
    assert found.verdict == "failed"
    assert "a^2: " in found.detail
    assert "is false at a = " in found.detail


def test_a_generator_that_breaks_a_hypothesis_fails_the_proof() -> None:
    broken = replace(TRUE, draw=lambda draw: SimpleNamespace(a=fmpq(1, 2)))
    assert "breaks the hypothesis 'a >= 1'" in exact.check_law(broken).detail
    law = TRUE.mutant("wrong constant", "2 a", draw=broken.draw)
    assert "breaks the hypothesis" in exact.check_mutants(law).detail


def test_a_counterexample_must_be_one_in_fractions_too() -> None:
    def depends_on_the_type(x: Any) -> Iterator[Relation]:
        yield equal("type", int(isinstance(x.a, fmpq)), 0)

    law = TRUE.mutant("wrong formula", "of flint's making", relations=depends_on_the_type)
    assert "none in fractions.Fraction" in exact.check_mutants(law).detail


def test_a_counterexample_to_the_law_itself_does_not_kill_its_mutant() -> None:
    false = replace(TRUE, relations=lambda x: [at_most("a^2", x.a**2, x.a - 1)])
    law = false.mutant("wrong constant", "a - 2", relations=lambda x: [at_most("a^2", x.a**2, x.a - 2)])
    assert "refutes the law as well" in exact.check_mutants(law).detail


def test_confirmation_compares_both_sides() -> None:
    false = replace(TRUE, relations=lambda x: [at_most("a^2", x.a**2, 0 * x.a)])
    found = Counterexample(SimpleNamespace(a=fmpq(3, 2)), at_most("a^2", fmpq(9, 4), fmpq(0)))
    assert confirmed(false, found)
    assert not confirmed(false, replace(found, relation=at_most("a^2", fmpq(9, 4), fmpq(-1))))
    assert not confirmed(TRUE, found)


def test_a_law_that_says_nothing_is_no_evidence() -> None:
    with pytest.raises(ValueError, match="square: no relation on an instance"):
        exact.check_law(replace(TRUE, relations=lambda x: []))


def test_floats_are_refused() -> None:
    with pytest.raises(TypeError, match="a float slipped"):
        equal("a", fmpq(1), 1.0).holds()
    with pytest.raises(TypeError, match="exact rational"):
        root(2.0)


def test_only_known_hypotheses_can_be_dropped() -> None:
    with pytest.raises(KeyError, match="no hypothesis called 'b >= 1'"):
        TRUE.mutant("dropped hypothesis", "any", without=["b >= 1"])


def test_instances_depend_on_the_seed_alone() -> None:
    law = of_claim("T5")[0]
    first, again, other = ([vars(x) for x in instances(law, 6, seed)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_dyadic_instances_are_float64_numbers() -> None:
    for name in ("T2", "T8"):
        for x in instances(of_claim(name)[0], 24, 0, dyadic=True):
            for key, value in vars(converted(x)).items():
                assert all(Fraction(float(a)) == a for a in np.ravel(np.array(value, dtype=object))), key


def test_the_kinds_are_what_they_say() -> None:
    law = of_claim("T5")[0]
    drawn = list(instances(law, 120, 0))
    by_kind = {kind: drawn[i :: len(KINDS)] for i, kind in enumerate(KINDS)}
    assert all(len(x.features) == 1 for x in by_kind["single"])
    assert any(0 in key for x in by_kind["zeros"] for key in x.keys)
    assert all(x.eta * rules.largest(x) > fmpq(19, 10) for x in by_kind["limit"])
    assert any(rules.path(x) != rules.path(x, project=False) for x in by_kind["boxed"])
    # Tight: the bound is met with equality by instances with more than nothing on both sides.
    sides = [next(iter(law.relations(x))) for x in by_kind["tight"]]
    assert any(side.lhs == side.rhs > 0 for side in sides)


def test_the_certificate_accepts_some_chunks_and_rejects_others() -> None:
    counts = [scan_laws.chunks_accepted(x) for x in instances(scan_laws.CLIP_CERTIFICATE, 60, 0)]
    accepted, total = (sum(column) for column in zip(*counts, strict=True))
    assert total / 10 < accepted < total * 9 / 10


def test_sphere_moments_of_the_finite_distribution() -> None:
    """Against the sphere's own: E[k_i^4] = 3/(K(K + 2)), sampled."""
    k = np.random.default_rng(0).standard_normal((200_000, 3))
    s = (k / np.linalg.norm(k, axis=1, keepdims=True)) ** 2
    found = next(x for x in instances(mean_laws.ISOTROPIC_RATES, 30, 0) if len(x.d1) == 3)
    exact_moments = np.array(
        [[float(Fraction(int(a.p), int(a.q))) for a in row] for row in mean_laws.moments(found)]
    )
    assert np.abs(s.T @ s / len(s) - exact_moments).max() < 2e-3


def test_root_sums_compare_exactly() -> None:
    assert (root(2) * root(2) - 2).sign() == 0
    assert (root(2) + root(3) - root(5) - root(fmpq(1, 10**9))).sign() == 1
    assert RootSum.of(fmpq(9, 4)).sign() == 1
    assert (root(fmpq(9, 4)) - fmpq(3, 2)).sign() == 0
    assert ((1 + root(2)) ** 3 - 7 - 5 * root(2)).sign() == 0
    with pytest.raises(ArithmeticError, match="square root of -1"):
        root(-1)
    with pytest.raises(ArithmeticError, match="within"):
        (roots([2, 8]) - root(18)).sign()


def test_exact_linear_algebra() -> None:
    a = [[fmpq(1), fmpq(2)], [fmpq(2), fmpq(4)]]
    x = la.solve(a, [[fmpq(3)], [fmpq(6)]])
    assert la.matmul(a, x) == [[fmpq(3)], [fmpq(6)]]
    with pytest.raises(ArithmeticError, match="no solution"):
        la.solve(a, [[fmpq(3)], [fmpq(5)]])
    unit = [[fmpq(1), fmpq(0)], [fmpq(3), fmpq(1)]]
    assert la.forward_substitute(unit, [[fmpq(1)], [fmpq(5)]]) == la.solve(unit, [[fmpq(1)], [fmpq(5)]])
    for wrong in (a, la.transpose(unit)):
        with pytest.raises(ArithmeticError, match="unit lower triangular"):
            la.forward_substitute(wrong, [[fmpq(1)], [fmpq(5)]])
    for matrix, psd in (([[1, 1], [1, 1]], True), ([[1, 2], [2, 1]], False), ([[0, 1], [1, 5]], False),
                        ([[0, 0], [0, 2]], True), ([[-1]], False)):  # fmt: skip
        assert la.is_psd([[fmpq(e) for e in row] for row in matrix]) is psd


@pytest.mark.parametrize(("bits", "dtype"), [(24, np.float32), (11, np.float16), (8, ml_dtypes.bfloat16)])
def test_rounding_is_that_of_the_formats(bits: int, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for value in [
        *rng.standard_normal(200),
        1 + 2.0**-bits,
        1 - 2.0 ** -(bits + 1),
        1 + 3 * 2.0**-bits,
        -0.75,
    ]:
        found = to_nearest(Fraction(value), bits)
        assert float(found) == float(dtype(value))
        assert to_nearest(fmpq(found.numerator, found.denominator), bits) == fmpq(
            found.numerator, found.denominator
        )
        assert abs(towards_zero(Fraction(value), bits)) <= abs(Fraction(value))
    assert to_nearest(fmpq(0), bits) == 0


def test_a_wrong_rule_is_seen_by_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws evaluate the rules: a rule broken on purpose breaks them."""
    right = rules.unprojected_step

    def doubled(d: Any, s: Any, eta: Any, *rest: Any) -> Any:
        return right(d, s, 2 * eta, *rest)

    monkeypatch.setattr(rules, "unprojected_step", doubled)
    broken = [law.name for law in exact.LAWS if exact.check_law(law, count=48).verdict == "failed"]
    assert {"hypergradient", "interpolating regret", "calibration is a delta rule", "the APF step",
            "mean calibration step"} <= set(broken)  # fmt: skip


def test_regret_needs_the_projection_to_be_one() -> None:
    x = next(iter(instances(regret_laws.PROJECTION, 1, 0)))
    assert regret_laws.to_faces(x.u, x.low, x.high) != x.u
