"""Coq's terms: read as Coq prints them, evaluated as MathComp means them, refused where they mean nothing here."""

from __future__ import annotations

from typing import Any

import pytest
from flint import fmpq

from proofs_check.exact.draw import Finite, Instance
from proofs_check.exact.law import Law
from proofs_check.exact.numbers import Items, array, zeros
from proofs_check.exact.propositions import (
    Compares,
    difference,
    either,
    eq,
    every,
    iff,
    implies,
    le,
    lt,
    same,
    true,
)
from proofs_check.gallina.evaluate import Definitions, Evaluator
from proofs_check.gallina.parse import Apply, Binder, Match, Name, parse_body, parse_type
from proofs_check.gallina.primitives import PRIMITIVES, Matrices, inverse, magnitude, nearest, predecessor
from proofs_check.gallina.tie import as_coq, untied

R = "Num.RealField.sort R"


def evaluated(text: str, definitions: dict[str, str] | None = None, **instance: Any) -> Any:
    """What a statement says of an instance; natural numbers are 0, 1 and 2."""
    evaluator = Evaluator(Definitions(definitions or {}), {"nat": range(3)})
    named = {name: as_coq(value) for name, value in instance.items()}
    return evaluator.statement(parse_type(f"name\n     : {text}"), {"R": "number", **named})


def test_terms_are_read() -> None:
    term = parse_type(
        f"x\n     : forall (a b : {R}) (_ : is_true a), let c := a in @eq R (fun x : nat => x) b"
    )
    assert isinstance(term, Binder)
    assert (term.name, term.body.name, term.body.body.name) == ("a", "b", "_")  # type: ignore[union-attr]
    inner = term.body.body.body  # type: ignore[union-attr]
    assert isinstance(inner, Binder)
    assert inner.body == Apply(Name("eq"), (Name("R"), Binder("fun", "x", Name("nat"), Name("x")), Name("b")))
    body = parse_body("f =\nfun n : nat => match n return nat with | O => n | S m => m end\n     : nat\n")
    assert isinstance(body, Binder)
    assert isinstance(body.body, Match)
    assert [(name, names) for name, (names, _) in body.body.cases.items()] == [("O", ()), ("S", ("m",))]


@pytest.mark.parametrize(
    "text", ["(a", "a)", "forall a : nat a", "fun : nat => a", "a ; b", "let a = b in c", ""]
)
def test_what_is_no_term_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|grammar|before"):
        parse_type(f"x\n     : {text}")


def test_premises_and_quantifiers_become_facts() -> None:
    text = f"forall (T : nat) (f : forall _ : nat, {R}) (_ : forall (t : nat) (_ : is_true (leq (S t) T)), " \
           "is_true (@Order.lt ring_display R (GRing.zero R) (f t))), @eq R (f O) (GRing.one R)"  # fmt: skip
    found = evaluated(text, T=2, f=[fmpq(1), fmpq(2), fmpq(3)])
    assert difference(found, implies([lt(0, 1), lt(0, 2)], eq(1, 1))) == ""
    # One token more is one fact more.
    more = evaluated(text, T=3, f=[fmpq(1), fmpq(2), fmpq(3)])
    assert difference(more, found) == "premise: 3 facts instead of 2"


def test_definitions_fixpoints_and_sums() -> None:
    definitions = {
        "file.double": "file.double = fun (R : T) (x : T) => @GRing.add R x x\n     : T",
        "file.power": "file.power = fun (R : T) (x : T) => fix power (n : nat) : T := match n return T with "
        "| O => GRing.one R | S m => @GRing.mul R x (power m) end\n     : T",
    }
    total = (
        "@BigOp.bigop R nat (GRing.zero R) (index_enum (ordinal_finType n)) (fun i : ordinal n => "
        "@BigBody R nat i (@GRing.add R) true (@LIB.file.power R (@file.double R x) (@nat_of_ord n i)))"
    )
    found = evaluated(f"forall (n : nat) (x : {R}), @eq R ({total}) x", definitions, n=3, x=fmpq(1))
    assert isinstance(found, Compares)
    assert found.lhs == 1 + 2 + 4


def test_matrices() -> None:
    text = (
        f"forall (n : nat) (u : matrix ({R}) (S O) n), @eq R (@mulmx R (S O) n (S O) u (@trmx R (S O) n u)) "
        "(@const_mx R (S O) (S O) (@fun_of_matrix R (S O) n u (GRing.zero (Zp_zmodType O)) O))"
    )
    found = evaluated(text, n=2, u=array([fmpq(3), fmpq(4)]))
    assert (found.lhs.tolist(), found.rhs.tolist()) == ([[25]], [[3]])
    zero = evaluated(f"forall n : nat, @eq R (GRing.zero (matrix_zmodType ({R}) n (S n))) O", n=1)
    assert same(zero.lhs, zeros(1, 2))


def test_what_exists_is_what_the_instance_names() -> None:
    text = f"@ex ({R}) (fun q : {R} => is_true (@Order.le ring_display R q (GRing.one R)))"
    assert true(evaluated(text, q=fmpq(1, 2)))
    with pytest.raises(LookupError, match="no domain for q"):
        evaluated(text)


def test_what_exists_among_finitely_many_is_any_of_them() -> None:
    some = "@ex (ordinal N) (fun i : ordinal N => is_true (leq (@nat_of_ord N i) m))"
    text = f"forall N m : nat, iff ({some}) (@eq nat O O)"
    found = evaluated(text, N=2, m=0)
    assert difference(found, iff(either(le(0, 0), le(1, 0)), eq(0, 0))) == ""
    assert true(evaluated(text, N=2, m=0))
    assert not true(evaluated(text, N=2, m=-1))


def test_truth_values_are_counted_and_joined() -> None:
    both = "forall m : nat, is_true (andb (leq O O) (andb (leq m O) true))"
    assert difference(evaluated(both, m=1), every(le(0, 0), le(1, 0))) == ""
    assert evaluated("forall m : nat, @eq nat (nat_of_bool (leq m O)) O", m=1).lhs == 0
    assert evaluated("forall m : nat, @eq nat (nat_of_bool (leq m O)) O", m=0).lhs == 1
    assert (
        evaluated(
            "forall m : nat, @eq nat (match odd m return nat with | true => double m | false => O end) O", m=3
        ).lhs
        == 6
    )


def test_what_has_no_meaning_here_is_refused() -> None:
    with pytest.raises(LookupError, match=r"no value for unheard\.of"):
        evaluated("@eq R (unheard.of R) (GRing.one R)")
    with pytest.raises(LookupError, match="no domain for x"):
        evaluated(f"forall x : {R}, @eq R x x")
    with pytest.raises(KeyError, match="O"):
        evaluated("@eq R (match O return nat with | S m => m end) O")


def test_mathcomp_divides_by_zero_and_floors_at_zero() -> None:
    assert inverse(fmpq(0)) == 0
    assert evaluated("@eq nat (subn (S O) (S (S O))) O").lhs == 0
    assert evaluated("@eq R (@GRing.inv R (GRing.zero R)) O").lhs == 0


def test_formats_of_flocq() -> None:
    def exponent(e: int) -> int:
        return e - 8

    assert (magnitude(fmpq(1)), magnitude(fmpq(3, 4)), magnitude(fmpq(-5))) == (1, 0, 3)
    assert PRIMITIVES["succ"].function(2, exponent, fmpq(1)) == 1 + fmpq(1, 128)
    assert predecessor(2, exponent, fmpq(1)) == 1 - fmpq(1, 256)
    assert predecessor(2, exponent, fmpq(3, 2)) == fmpq(3, 2) - fmpq(1, 128)
    to_even = nearest(lambda below: below % 2 == 1)
    assert [to_even(fmpq(a, 4)) for a in (1, 2, 3, 6, -2, -6)] == [0, 0, 1, 2, 0, -2]


def test_values_of_an_instance_in_coq() -> None:
    over_tokens = as_coq([fmpq(1), fmpq(2)])
    assert [over_tokens(t) for t in range(4)] == [1, 2, 1, 2]
    assert as_coq(Items([fmpq(1)])) == [1]
    assert as_coq(array([fmpq(1), fmpq(2)])).shape == (1, 2)
    assert Matrices(1, 2) == Matrices(1, 2)
    assert Finite((1, 2)).elements == (1, 2)


STATEMENT = (
    "T1_small\n     : forall (x : Num.RealField.sort R) (_ : is_true (@Order.le ring_display R (GRing.zero R) x)), "
    "is_true (@Order.le ring_display R x (@GRing.add R x (GRing.one R)))"
)


def small(draw: Any) -> Instance:
    return Instance(x=draw.number(0, 2))


@pytest.mark.parametrize(
    ("says", "report"),
    [
        (lambda x: implies(le(0, x.x), le(x.x, x.x + 1)), ""),
        (lambda x: implies(le(0, x.x), le(x.x, x.x + 2)), "Coq's statement is not the law"),
        (lambda x: le(x.x, x.x + 1), "Coq's statement is not the law: something under the premise"),
        (lambda x: implies(lt(0, x.x + 1), le(x.x, x.x + 1)), "Coq's statement is not the law: premise:"),
        (lambda x: implies(le(0, x.x), every(le(x.x, x.x + 1), le(0, 1))), "Coq's statement is not the law"),
    ],
)
def test_a_law_that_says_something_else_is_told(says: Any, report: str) -> None:
    found = untied(Law("T1_small", small, says), STATEMENT, Definitions({}))
    assert found.startswith(report)
    assert bool(found) == bool(report)


def test_a_law_that_is_false_with_coq_is_told() -> None:
    text = STATEMENT.replace("@GRing.add R x (GRing.one R)", "@GRing.opp R x")
    found = untied(
        Law("T1_small", small, lambda x: implies(le(0, x.x), le(x.x, -x.x))), text, Definitions({})
    )
    assert found.startswith("the law: ")
