"""The symbolic checker: true identities pass, false ones do not, and neither can its parts be fooled."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from functools import partial

import pytest
import sympy as sp
from flint import fmpq
from sympy import HadamardProduct, Identity, MatMul, MatrixSymbol, OneMatrix, Trace, ZeroMatrix
from sympy.matrices.expressions.diagonal import DiagMatrix, DiagonalOf

from osdn_theory.symbolic import Names, gram, inner, norm_sq
from proofs_check import symbolic
from proofs_check.exact import linear as la
from proofs_check.symbolic import context_theorems, gated_theorems, token_theorems
from proofs_check.symbolic.convert import expand
from proofs_check.symbolic.evaluate import Point, evaluate
from proofs_check.symbolic.hypotheses import Hypothesis, Mean, invertible
from proofs_check.symbolic.points import Source, random_point
from proofs_check.symbolic.terms import Index, Term, canonical, combine, identify, is_zero, rewritten
from proofs_check.symbolic.theorem import Equation, Theorem, check, check_mutants, examine

N = Names()
K = N.K
A, B, M = (N.preconditioner_like(name) for name in "ABM")
X, Y = N.state_like("X"), N.state_like("Y")
u, w, h = (N.key_like(name) for name in "uwh")
ONES = OneMatrix(K, 1)
SIZES = {"V": 2, "K": 3, "T": 4}


def vanishes(expression, *hypotheses):
    return not rewritten(expand(expression), [each.rewrite() for each in hypotheses])


IDENTITIES = {
    "distributes": (A * (B + M) - A * B - A * M),
    "transpose of a product": (A * B).T - B.T * A.T,
    "trace is cyclic": Trace(A * B * M) - Trace(M * A * B),
    "trace of a transpose": Trace(A.T * B) - Trace(B.T * A),
    "inner products are scalars": u * (w.T * u) * w.T - Trace(w.T * u) * u * w.T,
    "identity": A * Identity(K) * B - A * B,
    "trace of the identity": Trace(Identity(K)) - K,
    "ones": ONES * ONES.T * ONES - K * ONES,
    "trace of ones": Trace(ONES * ONES.T) - K,
    "empty sum": Trace(A) * Trace(Identity(N.V)) - N.V * Trace(A),
    "entrywise commutes": HadamardProduct(A, B) - HadamardProduct(B, A),
    "entrywise is diagonal scaling": HadamardProduct(u, w) - DiagMatrix(u) * w,
    "diagonals commute": DiagMatrix(u) * DiagMatrix(w) - DiagMatrix(w) * DiagMatrix(u),
    "ones are neutral": DiagMatrix(ONES) - Identity(K),
    "entrywise with the identity": HadamardProduct(A, Identity(K)) - DiagMatrix(DiagonalOf(A)),
    "diagonal of a product": DiagonalOf(A * B) - HadamardProduct(A, B.T) * ONES,
    "entrywise form": inner(u, HadamardProduct(A, B) * w) - Trace(DiagMatrix(u) * A * DiagMatrix(w) * B.T),
    "Lagrange": norm_sq(u) * norm_sq(w) - inner(u, w) ** 2 - norm_sq(u * w.T - w * u.T) / 2,
    "power": (A + B) ** 2 - A * A - A * B - B * A - B * B,
    "entrywise power": sp.HadamardPower(u, 3) - DiagMatrix(u) ** 2 * u,
    "square of a sum": norm_sq(X + Y) - norm_sq(X) - 2 * inner(X, Y) - norm_sq(Y),
    "equal denominators": (inner(X, Y) + norm_sq(X)) / norm_sq(Y) - inner(X, X + Y) / Trace(Y * Y.T),
    "zero": A * ZeroMatrix(K, K) + ZeroMatrix(K, K),
    "scalar coefficients": (N.eta + 1) ** 2 * A - N.eta**2 * A - 2 * N.eta * A - A,
}  # fmt: skip

FALSE = {
    "products do not commute": A * B - B * A,
    "transpose keeps the order": (A * B).T - A.T * B.T,
    "trace in another cycle": Trace(A * B * M) - Trace(A * M * B),
    "trace of a product": Trace(A * B) - Trace(A) * Trace(B),
    "no transpose": Trace(A * B) - Trace(A.T * B),
    "symmetric": A - A.T,
    "inner and outer": u * u.T * w - norm_sq(u) * w,
    "diagonal commutes with all": DiagMatrix(u) * A - A * DiagMatrix(u),
    "entrywise is a product": HadamardProduct(A, B) - A * B,
    "Cauchy-Schwarz is tight": norm_sq(u) * norm_sq(w) - inner(u, w) ** 2,
    "wrong coefficient": (A + B) * (A + B) - A * A - 3 * A * B - B * B,
    "trace of the identity is one": Trace(Identity(K)) - 1,
    "sizes are the same": Trace(Identity(K)) - Trace(Identity(N.V)),
    "powers": inner(u, w) ** 2 - inner(u, w),
    "denominators": 1 / norm_sq(X) - 1 / norm_sq(Y),
    "one term": A,
    "diagonal of a product": DiagonalOf(A * B) - HadamardProduct(DiagonalOf(A), DiagonalOf(B)),
}


def value(expression, seed):
    return evaluate(expression, random_point(Source(str(seed)), SIZES, [expression], {}))


@pytest.mark.parametrize("name", IDENTITIES)
def test_normal_form_accepts_what_is_true(name):
    assert vanishes(IDENTITIES[name])
    assert all(entry == 0 for seed in range(3) for row in value(IDENTITIES[name], seed) for entry in row)


@pytest.mark.parametrize("name", FALSE)
def test_normal_form_rejects_what_is_false(name):
    assert not vanishes(FALSE[name])
    assert any(entry != 0 for seed in range(3) for row in value(FALSE[name], seed) for entry in row)


@pytest.mark.parametrize("seed", range(6))
def test_normal_form_and_evaluation_agree_on_random_polynomials(seed):
    """Two random products differ in normal form exactly if they differ at a random point."""
    source = Source(f"words {seed}")
    letters = [A, B, A.T, DiagMatrix(u), DiagMatrix(w), u * w.T]
    words = [MatMul(*(source.rng.choice(letters) for _ in range(3))) for _ in range(8)]
    for left, right in itertools.combinations(words, 2):
        for wrap in (lambda word: word, Trace, DiagonalOf):
            difference = wrap(left) - wrap(right)
            different = any(entry != 0 for row in value(difference, seed) for entry in row)
            assert vanishes(difference) != different


def test_terms_are_equal_up_to_names_and_order_only():
    i, j, k = (Index(K) for _ in range(3))
    chain = Term((("A", (i, j)), ("B", (j, k))), i, k)
    shuffled = Term((("B", (j, k)), ("A", (i, j))), i, k)
    assert canonical(chain) == canonical(shuffled) == canonical(chain.freshened())
    assert canonical(chain) != canonical(Term(chain.factors, k, i))
    assert canonical(chain) != canonical(Term((("A", (i, j)), ("B", (k, j))), i, k))
    assert canonical(chain) != canonical(Term((("A", (i, j)), ("B", (i, k))), i, k))


def test_the_size_of_an_index_tells_terms_apart():
    (i, a), (j, b) = (tuple(Index(size) for _ in range(2)) for size in (K, N.V))
    assert canonical(Term((("A", (i, a)),))) != canonical(Term((("A", (j, b)),)))


def test_indices_that_look_alike_are_told_apart_by_trying_all():
    """Two triangles against a hexagon: every index has the same surroundings."""
    i = [Index(K) for _ in range(6)]
    hexagon = Term(tuple(("A", (i[n], i[(n + 1) % 6])) for n in range(6)))
    triangles = Term(tuple(("A", (i[n], i[n - n % 3 + (n + 1) % 3])) for n in range(6)))
    turned = Term(tuple(("A", (i[5 * n % 6], i[5 * (n + 1) % 6])) for n in range(6)))
    assert canonical(hexagon) != canonical(triangles)
    assert canonical(hexagon) == canonical(turned)
    assert vanishes(Trace((A * B) ** 3) - Trace(MatMul(B, A, B, A, B, A)))
    assert not vanishes(Trace(A**6) - Trace(A**3) ** 2)


def test_an_index_of_range_one_meets_no_other():
    (_, vector), *_ = expand(u)
    with pytest.raises(ValueError, match="range one"):
        identify(vector, vector.row, vector.column)


@pytest.mark.parametrize(
    "expression",
    [
        sp.KroneckerProduct(A, B), A**-2, Trace(A) ** sp.Rational(1, 2), sp.exp(Trace(A)), sp.Determinant(A),
        sp.HadamardPower(A, -1), A[0, 1],
    ],
    ids=str,
)  # fmt: skip
def test_nothing_is_guessed_about_an_unknown_node(expression):
    with pytest.raises(TypeError):
        expand(expression)
    with pytest.raises((TypeError, KeyError)):
        value(expression, 0)


def test_scalars_vanish_exactly_or_not_at_all():
    x = sp.Symbol("x", positive=True)
    assert is_zero((x**2 - 1) / (x - 1) - x - 1)
    assert is_zero(sp.exp(sp.log(x) / 2) - sp.sqrt(x))
    assert not is_zero(1 / x - x)
    assert not is_zero(sp.sqrt(x) - x)


ROOT = Hypothesis("u w = 1", HadamardProduct(u, w), ONES)
UNIT = Hypothesis("<u, w> = 1", Trace(u.T * w), sp.S.One)
ORTHOGONAL = Hypothesis("A^T A = I", A.T * A, Identity(K))


def test_hypotheses_are_used_where_they_apply():
    assert vanishes(inner(u, w) - K, ROOT)
    assert vanishes(DiagMatrix(u) * A * DiagMatrix(w) * u - DiagMatrix(u) * A * ONES, ROOT)
    assert vanishes(A * u * w.T * u - A * u, UNIT)
    assert vanishes(norm_sq(A * u) - norm_sq(u), ORTHOGONAL)
    assert vanishes(Trace(A.T * A) - K, ORTHOGONAL)


def test_hypotheses_are_not_used_where_they_do_not_apply():
    assert not vanishes(HadamardProduct(u, w) - ONES, UNIT)
    # The index that the hypothesis sums over is used once more here.
    assert not vanishes(Trace(HadamardProduct(u, u).T * w) - Trace(ONES.T * u), UNIT)
    assert not vanishes(A * A.T - Identity(K), ORTHOGONAL)
    assert not vanishes(Trace(A * A) - K, ORTHOGONAL)
    assert not vanishes(DiagonalOf(A) - ONES, ORTHOGONAL)


def test_a_hypothesis_on_one_size_says_nothing_about_another():
    square = MatrixSymbol("X", K, K)
    hypothesis = Hypothesis("X^T X = I", X.T * X, Identity(K))
    assert vanishes(X.T * X - Identity(K), hypothesis)
    assert not vanishes(square.T * square - Identity(K), hypothesis)


def test_both_sides_of_an_inverse():
    g = gram(N.keys)
    assert vanishes(MatMul(sp.Inverse(g), g) - Identity(K), *invertible(g))
    assert vanishes(MatMul(g, sp.Inverse(g)) - Identity(K), *invertible(g))
    # SymPy cancels an inverse whenever it adds matrices; the normal form itself only where it is told to.
    separately = expand(MatMul(g, sp.Inverse(g))) + [(-c, term) for c, term in expand(Identity(K))]
    assert rewritten(separately, [])
    assert not rewritten(separately, [each.rewrite() for each in invertible(g)])
    assert not vanishes(MatMul(A, sp.Inverse(g)) - Identity(K), *invertible(g))


def test_a_hypothesis_is_one_term():
    for left in (A + B, 2 * A, Identity(K)):
        with pytest.raises(ValueError, match="one term"):
            Hypothesis("sum", left, ZeroMatrix(K, K)).rewrite()


def test_hypotheses_that_do_not_end_are_stopped():
    loop = Hypothesis("A = A B", A, A * B)
    with pytest.raises(RuntimeError, match="do not end"):
        rewritten(expand(A), [loop.rewrite()], limit=10)


def mean(expression):
    second = A * A.T
    return Mean(expression, h, u, second)


def test_means_replace_moments():
    assert not combine(mean(h * h.T).expand() + expand(-A * A.T))
    assert not combine(mean(norm_sq(h)).expand() + expand(-norm_sq(A)))
    assert not combine(mean(HadamardProduct(h, h)).expand() + expand(-DiagonalOf(A * A.T)))
    assert not combine(mean(B * h + w).expand() + expand(-B * u - w))
    assert combine(mean(h * h.T).expand() + expand(-u * u.T))


def test_means_refuse_moments_that_are_not_given():
    with pytest.raises(ValueError, match="order 3"):
        mean(norm_sq(h) * h).expand()
    for expression in (1 / norm_sq(h), Trace(sp.Inverse(h * h.T))):
        with pytest.raises(ValueError, match="denominator"):
            mean(expression).expand()


def rational(nested):
    return [rational(part) for part in nested] if isinstance(nested, list) else fmpq(nested)


def test_evaluation_by_hand():
    matrices = {"A": rational([[1, 2], [3, 4]]), "u": rational([[5], [6]])}
    samples = {"h": rational([[[1], [1]], [[3], [5]]])}
    point = Point({"K": 2}, {"eta": fmpq(1, 2)}, matrices, samples)
    assert evaluate(N.eta * A * u + u, point) == [[fmpq(27, 2)], [fmpq(51, 2)]]
    assert evaluate(Trace(A) * K, point) == [[10]]
    assert evaluate(MatMul(sp.Inverse(A), A), point) == la.identity(2, fmpq(1))
    assert evaluate(DiagMatrix(u) * DiagonalOf(A), point) == [[5], [24]]
    assert evaluate(Mean(h, h, u, A), point) == [[2], [3]]


@pytest.mark.parametrize("theorem", symbolic.THEOREMS, ids=lambda theorem: theorem.name)
def test_every_proof_passes(theorem):
    evidence = check(theorem)
    assert evidence.verdict == "passed", evidence


@pytest.mark.parametrize("theorem", symbolic.THEOREMS, ids=lambda theorem: theorem.name)
def test_every_mutant_is_refuted(theorem):
    evidence = check_mutants(theorem)
    assert evidence.verdict == "passed", evidence.detail
    assert evidence.data["killed"] == len(theorem.mutants) >= 3
    json.dumps(dict(evidence.data))
    for row in evidence.data["mutants"]:
        assert row["counterexample"]["lhs"] != row["counterexample"]["rhs"]


def test_claims_and_their_mutants():
    claims = {"T1", "T2", "T3", "T4", "T9", "T11", "T12", "T13", "T16", "T17", "T19"}
    assert set(symbolic.PROOFS) == set(symbolic.MUTANTS) == claims
    assert all(proof.claim == claim for claim, proofs in symbolic.PROOFS.items() for proof in proofs)
    names = [(proof.method, proof.name) for proofs in symbolic.PROOFS.values() for proof in proofs]
    assert len(names) == len(set(names))


def false_equation():
    return [*token_theorems.key_scaling(), Equation("extra", N.S, 2 * N.S)]


def test_a_tampered_identity_fails():
    evidence = check(replace(token_theorems.KEY_SCALING, equations=false_equation))
    assert evidence.verdict == "failed"
    assert "extra" in evidence.detail
    assert evidence.data["counterexample"]["equation"] == "extra"


def test_a_theorem_that_lost_its_hypothesis_fails():
    assert check(replace(token_theorems.NEWTON, hypotheses=())).verdict == "failed"


def test_points_must_satisfy_the_hypotheses():
    with pytest.raises(ValueError, match="breaks the hypothesis"):
        check(replace(token_theorems.NEWTON, point=lambda source, sizes: {}))


def test_a_contradictory_hypothesis_proves_nothing():
    absurd = Hypothesis("S = 2 S", N.S, 2 * N.S + N.S)
    with pytest.raises((ValueError, RuntimeError)):
        check(replace(token_theorems.KEY_SCALING, hypotheses=(absurd,)))


def test_a_theorem_without_equations_is_not_proved():
    assert not examine(replace(token_theorems.KEY_SCALING, equations=list)).proved


def test_sides_of_different_shapes_are_an_error():
    with pytest.raises(ValueError, match="against"):
        examine(replace(token_theorems.KEY_SCALING, equations=lambda: [Equation("shape", N.S, N.S.T)]))


def test_a_normal_form_that_is_wrong_is_caught_by_evaluation(monkeypatch):
    monkeypatch.setattr("proofs_check.symbolic.theorem.rewritten", lambda terms, rewrites: {})
    evidence = check(replace(token_theorems.KEY_SCALING, equations=false_equation))
    assert evidence.verdict == "failed"
    assert "disagree" in evidence.detail


def test_a_true_variant_is_reported_as_a_survivor():
    theorem = token_theorems.KEY_SCALING.mutant("flipped sign", "nothing changed", token_theorems.key_scaling)
    evidence = check_mutants(theorem)
    assert evidence.verdict == "failed"
    assert "nothing changed: survives in normal form" in evidence.detail
    assert theorem.mutants[-1].accepted()


def test_a_mutant_without_counterexample_is_not_refuted():
    """V + K = 5 on every point, though not in every dimension."""
    small = Theorem("T1", "sizes", "", lambda: [Equation("V + K", N.V + N.K, sp.Integer(6))])
    theorem = small.mutant("wrong constant", "5", lambda: [Equation("V + K", N.V + N.K, sp.Integer(5))])
    assert theorem.mutants[0].problem() == "no counterexample was found"
    assert check_mutants(theorem).verdict == "failed"


def test_only_known_hypotheses_can_be_dropped():
    with pytest.raises(KeyError):
        token_theorems.KEY_SCALING.mutant("dropped hypothesis", "none", without=["no such"])


def test_the_context_quadratic_holds_with_a_singular_gram_matrix_too():
    def fewer_tokens(source, sizes):
        keys, minimizer = source.matrix(2, 3), source.matrix(2, 3)
        return {"K_rows": keys, "S_star": minimizer, "V_rows": la.matmul(keys, la.transpose(minimizer))}

    singular = replace(context_theorems.QUADRATIC, point=fewer_tokens, sizes={"V": 2, "K": 3, "T": 2})
    assert check(singular).verdict == "passed"


def test_the_plain_frobenius_norm_can_grow():
    mutant = next(m for m in gated_theorems.LYAPUNOV.mutants if m.change == "the plain Frobenius norm")
    assert mutant.counterexample() is not None


def test_square_symbols_do_not_mix_with_others():
    other = MatrixSymbol("X", K, K)
    assert not vanishes(norm_sq(other) - norm_sq(X))


def test_partial_equations_are_rebuilt_each_time():
    theorem = replace(token_theorems.KEY_SCALING, equations=partial(token_theorems.key_scaling, power=2))
    assert not examine(theorem).proved
