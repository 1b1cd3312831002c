"""The SymPy objects: differentiated right, displayed, and equal to the NumPy functions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import sympy as sp
from sympy import HadamardProduct, Trace
from sympy.matrices.expressions.diagonal import DiagMatrix

from osdn_theory import objective, symbolic
from osdn_theory.context import newton
from osdn_theory.recurrence.calibrate import calibrate_step
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.symbolic import Names, entries, entry_gradient, gradient, inner, norm_sq, numpy_function

N = Names()
SIZED = Names.sized(V=2, K=3, T=4)
FORMS = pytest.mark.parametrize("n", [N, SIZED], ids=["dimension-free", "sized"])
FORMS_AND_ENTRIES = pytest.mark.parametrize(
    ("n", "written"),
    [(N, False), (SIZED, False), (SIZED, True)],
    ids=["dimension-free", "sized", "entries"],
)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def token(rng):
    """State, key, value, preconditioner."""
    return rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=2), rng.uniform(0.5, 1.5, size=3)


@pytest.fixture
def context(rng):
    """State, keys, values."""
    return rng.normal(size=(2, 3)), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def compiled(arguments, expression, written):
    """The expression as it stands, or written out entry by entry first."""
    return numpy_function(arguments, entries(expression) if written else expression)


@FORMS_AND_ENTRIES
def test_token_objects_equal_the_numpy_functions(n, written, token):
    state, key, value, d = token
    of_token = [n.S, n.k, n.v]
    loss = compiled(of_token, symbolic.token_loss(*of_token), written)
    close(loss(state, key, value), objective.token_loss(state, key, value))
    slope = compiled(of_token, symbolic.token_gradient(*of_token), written)
    close(slope(state, key, value), objective.token_gradient(state, key, value))
    write = compiled([*of_token, n.d, n.beta], symbolic.write(*of_token, n.d, n.beta), written)
    close(write(state, key, value, d, 0.7), objective.write(state, key, value, d, 0.7))


@FORMS_AND_ENTRIES
def test_calibration_objects_equal_the_numpy_functions(n, written, rng):
    d, s, c = rng.normal(size=(3, 3))
    close(compiled([n.d, n.s], symbolic.surrogate(n.d, n.s), written)(d, s), objective.surrogate(d, s))
    slope = compiled([n.d, n.s], symbolic.hypergradient(n.d, n.s), written)
    close(slope(d, s), objective.hypergradient(d, s))
    arguments = [n.d, n.s, n.c, n.eta, n.gamma, n.weight]
    step = symbolic.calibrate_step(n.d, n.s, n.eta, gamma=n.gamma, weight=n.weight, anchor=n.c)
    delta = symbolic.delta_rule_step(n.d - n.c, n.s, n.c, n.eta, gamma=n.gamma, weight=n.weight)
    free = CalibrationRule(eta=0.3, d_min=-np.inf, d_max=np.inf)
    expected = calibrate_step(d, s, np.array(0.8), np.array(0.9), c, free)
    close(compiled(arguments, step, written)(d, s, c, 0.3, 0.9, 0.8), expected)
    close(compiled(arguments, delta, written)(d, s, c, 0.3, 0.9, 0.8), expected - c)


def test_calibrate_step_without_an_anchor_forgets_towards_zero(rng):
    d, s = rng.normal(size=(2, 3))
    step = numpy_function(
        [N.d, N.s, N.eta], symbolic.calibrate_step(N.d, N.s, N.eta, gamma=sp.Rational(1, 2))
    )
    free = CalibrationRule(eta=0.3, d_min=-np.inf, d_max=np.inf)
    close(step(d, s, 0.3), calibrate_step(d, s, 1.0, np.array(0.5), np.zeros(3), free))


@FORMS_AND_ENTRIES
def test_context_objects_equal_the_numpy_functions(n, written, context):
    state, keys, values = context
    arguments = [n.S, n.keys, n.values]
    loss = compiled(arguments, symbolic.context_loss(*arguments), written)
    close(loss(*context), objective.context_loss(*context))
    slope = compiled(arguments, symbolic.context_gradient(*arguments), written)
    close(slope(*context), objective.context_gradient(*context))
    hessian = compiled([n.keys], symbolic.right_hessian(n.keys, n.values), written)
    close(hessian(keys), objective.gram(keys))
    gap = compiled([n.S, n.keys], symbolic.context_gap(n.S, n.keys), written)
    minimizer = objective.context_minimizer(keys, values)
    close(gap(state - minimizer, keys) / 2, objective.suboptimality(*context))
    error = numpy_function([n.S, n.minimizer], n.S - n.minimizer)
    close(error(state, minimizer), state - minimizer)


def test_newton_step_is_the_minimiser_and_the_numpy_newton_step(context):
    _, keys, values = context
    step = numpy_function([N.S, N.keys, N.values], symbolic.newton_step(N.S, N.keys, N.values))
    close(step(*context), objective.context_minimizer(keys, values))
    run = newton.right_newton(keys, values, steps=1, initial_state=context[0])
    close(step(*context), run.states[1])


@FORMS
@pytest.mark.parametrize("form", ["full", "diagonal"])
def test_context_ratio_equals_the_numpy_functions(n, form, context, rng):
    state, keys, values = context
    symbol = n.P if form == "full" else n.d
    p = 0.1 * rng.normal(size=(3, 3) if form == "full" else 3)
    error = state - objective.context_minimizer(keys, values)
    full = symbol if form == "full" else DiagMatrix(symbol)
    ratio = numpy_function([n.S, symbol, n.keys], symbolic.context_ratio(n.S, full, n.keys))
    close(ratio(error, p, keys), newton.context_ratio(state, p, keys, values, form=form))
    slope = symbolic.context_ratio_gradient(n.S, symbol, n.keys, diagonal=form == "diagonal")
    expected = newton.context_hypergradient(state, p, keys, values, form=form)
    close(numpy_function([n.S, symbol, n.keys], slope)(error, p, keys), expected)


def test_hessian_of_the_ratio_entry_by_entry_equals_the_numpy_function(rng):
    n = Names.sized(V=1, K=2, T=3)
    keys, values, state = rng.normal(size=(3, 2)), rng.normal(size=(3, 1)), rng.normal(size=(1, 2))
    error = state - objective.context_minimizer(keys, values)
    # Keys and error as numbers: only the preconditioner is differentiated.
    known = dict(zip([n.keys, n.S], [sp.Matrix(keys), sp.Matrix(error)], strict=True))
    ratio = entries(symbolic.context_ratio(n.S, DiagMatrix(n.d), n.keys).subs(known).doit())
    variables = [n.d[i, 0] for i in range(2)]
    hessian = np.array(sp.hessian(sp.expand(ratio), variables).evalf(), dtype=float)
    close(hessian, newton.context_hessian(state, keys, values))


def test_residual_ratio_is_that_of_the_numpy_function_and_of_a_write(token):
    state, key, value, d = token
    a, beta = sp.Symbol("a"), N.beta
    ratio = numpy_function([a, beta], symbolic.residual_ratio(a, beta))
    aligned = numpy_function([N.d, N.k], symbolic.alignment(N.d, N.k))(d, key)
    close(aligned, d @ key**2)
    close(numpy_function([N.d, N.k], inner(N.d, symbolic.squared(N.k)))(d, key), aligned)
    close(ratio(aligned, 0.7), objective.residual_ratio(aligned, 0.7))
    after = objective.token_loss(objective.write(state, key, value, d, 0.7), key, value)
    close(ratio(aligned, 0.7), after / objective.token_loss(state, key, value))


MATRIX = SIZED.P
FUNCTIONS = {
    "trace": Trace(MATRIX * SIZED.preconditioner_like("B")),
    "square": norm_sq(MATRIX) ** 2,
    "cubic": Trace(MATRIX * MATRIX.T * MATRIX),
    "power": Trace(MATRIX**2),
    "entrywise": inner(HadamardProduct(MATRIX, MATRIX, SIZED.preconditioner_like("B")), MATRIX.T),
    "entrywise power": Trace(sp.HadamardPower(MATRIX, 2) * MATRIX),
    "quotient": Trace(MATRIX) / norm_sq(MATRIX - SIZED.preconditioner_like("B")),
    "scalar inside": Trace(Trace(MATRIX) * MATRIX * SIZED.preconditioner_like("B")),
    "diagonal": norm_sq(DiagMatrix(MATRIX * SIZED.k) * SIZED.preconditioner_like("B")),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_equals_the_derivative_of_every_entry(name):
    difference = entries(gradient(FUNCTIONS[name], MATRIX)) - entry_gradient(FUNCTIONS[name], MATRIX)
    assert difference.applyfunc(lambda entry: sp.cancel(entry)) == sp.zeros(3, 3)


def test_gradient_of_another_function_is_told_apart():
    found = entries(gradient(FUNCTIONS["cubic"], MATRIX)) - entry_gradient(FUNCTIONS["square"], MATRIX)
    assert found.applyfunc(sp.cancel) != sp.zeros(3, 3)


def test_gradient_by_what_does_not_occur_is_zero():
    assert gradient(norm_sq(N.S), N.P) == sp.ZeroMatrix(N.K, N.K)


@pytest.mark.parametrize(
    "function",
    [sp.exp(Trace(N.P)), Trace(sp.Inverse(N.P)), Trace(sp.KroneckerProduct(N.P, N.P))],
    ids=["exp", "inverse", "kronecker"],
)
def test_gradient_refuses_what_it_does_not_know(function):
    with pytest.raises(TypeError, match="cannot differentiate"):
        gradient(function, N.P)


def test_right_factor_needs_the_given_left_factor():
    assert symbolic.right_factor(2 * N.S * N.P, N.S) == 2 * N.P
    for product in (N.S * N.P * N.P, N.S):
        with pytest.raises(ValueError, match="product"):
            symbolic.right_factor(product, N.state_like("Delta"))


def test_hessian_acts_on_the_right_by_the_gram_matrix():
    assert symbolic.right_hessian(N.keys, N.values) == symbolic.gram(N.keys)


def test_objects_print_as_latex():
    text = sp.latex(symbolic.token_gradient(N.S, N.k, N.v))
    assert text == r"\left(S k - v\right) k^{T}"
    assert symbolic.write(N.S, N.k, N.v, N.d, N.beta)._repr_latex_().startswith("$")


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        (([1.0, 2.0], [1.0, 2.0, 3.0]), "s: expected K = 2"),
        (([[1.0, 2.0]], [1.0, 2.0]), "d: expected"),
        ((1.0, [1.0, 2.0]), "d: expected a matrix"),
        (([1.0, 2.0],), "expected 2 arrays"),
        (([1.0, np.nan], [1.0, 2.0]), "d"),
    ],
    ids=["sizes", "row", "number", "count", "nan"],
)
def test_numpy_function_rejects_what_does_not_fit(arrays, match):
    with pytest.raises(ValueError, match=match):
        numpy_function([N.d, N.s], symbolic.surrogate(N.d, N.s))(*arrays)


def test_numpy_function_rejects_an_array_for_a_scalar():
    with pytest.raises(ValueError, match="eta: expected a number"):
        numpy_function([N.eta], N.eta**2)([1.0, 2.0])


def test_importing_the_package_does_not_import_sympy():
    code = "import sys, osdn_theory, osdn_theory.objective; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
