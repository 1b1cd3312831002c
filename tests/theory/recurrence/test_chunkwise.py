"""The chunk form against the token-by-token recurrence (T12), gates included."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from support.streams import GATES, NAMES, RULES, SOLVERS, make

from osdn_theory.recurrence import chunk_loops as chunk_kernel
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC
from osdn_theory.recurrence.solve import gated_delta_net, osdn
from osdn_theory.streams.stream import Stream


def disagreement(first, second):
    worst = 0.0
    for name in NAMES:
        a, b = getattr(first, name), getattr(second, name)
        assert a.shape == b.shape
        worst = max(worst, np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-300))
    return worst


def compare(solver, stream, rule=BOUNDED, chunk_size=16, **options):
    token = solver(stream, rule, **options)
    chunk = solver(stream, rule, method="chunk", chunk_size=chunk_size, **options)
    return disagreement(token, chunk)


@given(
    st.integers(0, 2**31),
    st.sampled_from(sorted(SOLVERS)),
    st.sampled_from(sorted(RULES)),
    st.sampled_from([(), (1,), (3,), (2, 2)]),
    st.tuples(st.integers(0, 45), st.integers(1, 7), st.integers(1, 7)),
    st.integers(1, 50),
)
@settings(max_examples=150, deadline=None)
def test_chunks_are_the_recurrence(seed, solver, rule, lead, shape, chunk_size):
    rng = np.random.default_rng(seed)
    stream = make(rng, lead, *shape, gate=GATES.get(solver))
    options = {"initial_state": rng.normal(size=(*lead, shape[2], shape[1])), "scale": 0.3}
    if solver != "preconditioned_delta_net":
        options["initial_preconditioner"] = rng.uniform(0.9, 1.1, size=(*lead, shape[1]))
    # Relative to results that may cancel: with one feature a state of 1e-4 is left of terms of size 1.
    assert compare(SOLVERS[solver], stream, RULES[rule], chunk_size, **options) < 1e-11


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("stream", ["ill-conditioned", "repeated", "negative eigenvalues"])
def test_hard_streams(rule, stream):
    rng = np.random.default_rng(0)
    made = {
        "ill-conditioned": lambda: make(rng, (2,), 300, 16, 8, condition=1e6),
        "repeated": lambda: repeated(make(rng, (2,), 300, 16, 8)),
        "negative eigenvalues": lambda: make(rng, (2,), 300, 16, 8, beta_max=1.9),
    }[stream]()
    d1 = 1.0 if stream == "negative eigenvalues" else 1.05
    assert compare(osdn, made, RULES[rule], 64, initial_preconditioner=d1) < 1e-12


def repeated(stream):
    keys = np.array(stream.keys)
    keys[..., 50:250, :] = keys[..., :1, :]
    return Stream(keys=keys, values=stream.values, beta=stream.beta, forget_gate=stream.forget_gate)


@pytest.mark.parametrize("solver", ["gated_delta_net", "kda"])
@pytest.mark.parametrize("gate", [0.0, 1e-300, 0.5, 1.0])
def test_constant_gates(solver, gate):
    rng = np.random.default_rng(1)
    stream = make(rng, (), 70, 8, 4)
    shape = stream.keys.shape if solver == "kda" else stream.keys.shape[:-1]
    gated = Stream(
        keys=stream.keys, values=stream.values, queries=stream.queries, state_gate=np.full(shape, gate)
    )
    assert compare(SOLVERS[solver], gated, BOUNDED, 32) < 1e-12


def test_large_groups_and_threads_leave_the_bits_alone():
    rng = np.random.default_rng(2)
    stream = make(rng, (5, 3), 100, 8, 8)
    together = osdn(stream, HISTORIC, method="chunk", chunk_size=32)
    alone = osdn(stream.at((3, 1)), HISTORIC, method="chunk", chunk_size=32)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(together, name)[3, 1], getattr(alone, name))


def test_values_and_gates_broadcast_over_leading_axes():
    rng = np.random.default_rng(3)
    keys = rng.normal(size=(3, 1, 20, 4)) / 2
    stream = Stream(keys=keys, values=rng.normal(size=(2, 20, 3)), beta=0.5, state_gate=np.full(20, 0.9))
    assert stream.lead == (3, 2)
    assert compare(gated_delta_net, stream, HISTORIC, 8) < 1e-12


@pytest.mark.parametrize("solver", ["osdn", "gated_delta_net"])
def test_a_solve_without_the_coupling_is_noticed(monkeypatch, solver):
    rng = np.random.default_rng(4)
    stream = make(rng, gate=GATES.get(solver))
    original = chunk_kernel.solve_unit_lower

    def untied(matrix, beta, right, gated):
        original(np.zeros_like(matrix), beta, right, gated)

    monkeypatch.setattr(chunk_kernel, "run_chunks", chunk_kernel.run_chunks.py_func)
    assert compare(SOLVERS[solver], stream) < 1e-12
    monkeypatch.setattr(chunk_kernel, "solve_unit_lower", untied)
    assert compare(SOLVERS[solver], stream) > 1e-3


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (7, 1), (16, 3), (33, 20), (64, 128)])
def test_the_triangular_solve_reads_below_the_diagonal_only(rows, columns):
    rng = np.random.default_rng(0)
    matrix = 0.3 * rng.normal(size=(rows, rows))
    matrix[np.triu_indices(rows)] = np.nan
    beta = rng.uniform(size=rows)
    solution = rng.normal(size=(rows, columns))
    right = np.tril(np.nan_to_num(matrix), -1) @ (beta[:, np.newaxis] * solution) + solution
    gated = np.full_like(right, np.nan)
    chunk_kernel.solve_unit_lower(matrix, beta, right, gated)
    np.testing.assert_allclose(right, solution, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(gated, beta[:, np.newaxis] * right)


def test_only_chunks_compile():
    """Importing the package and running token by token must not wait for the compiler."""
    code = """
import sys
import numpy as np
from osdn_theory import Stream, osdn
stream = Stream(keys=np.eye(4), values=np.eye(4))
osdn(stream)
assert "numba" not in sys.modules
osdn(stream, method="chunk")
assert "numba" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
