"""Triangular systems solved by substitution, apart from the chunk's entry: what that loses, and who does it (T18)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from osdn_kernels import chunk_osdn_reference

from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.rounding import CHUNK_ANY_ORDER, CHUNK_SUBSTITUTED, error_bounds
from osdn_theory.rounding.errors.enclosed import Enclosed
from osdn_theory.rounding.errors.error_set import ErrorSet
from osdn_theory.rounding.errors.lemmas import UNIT, relative
from osdn_theory.rounding.memory.solve import Solve
from osdn_theory.rounding.memory.substitution import Substituted
from osdn_theory.rounding.overflow import Watch
from osdn_theory.rounding.preconditioner.chunk_system import System, _apart, _decays, _exponent_error
from osdn_theory.rounding.preconditioner.formed import Formed
from osdn_theory.rounding.setup import Setup
from osdn_theory.streams.stream import Stream


def system(a: float = 3.0, **errors):
    """x_2 = b_2 - a x_1, for a column b = (1, 5) of weight 1 and one b = (2, 0) of weight 7."""
    lower = Enclosed(np.array([[[0.0, 0.0], [a, 0.0]]]), **errors)
    columns = (Enclosed(np.array([[[1.0], [5.0]]])), Enclosed(np.array([[[2.0], [0.0]]])))
    return lower, columns, (np.ones((1, 1, 1)), np.full((1, 1, 1), 7.0))


def test_columns_add_up_by_their_magnitudes():
    """x = (1, 2) and 7 (2, -6), which exact arithmetic may cancel; their sums before that are 5 + 3 and 6."""
    found = Substituted.of(*system())
    assert found.size[0, :, 0] == pytest.approx([1 + 14, 2 + 42], rel=1e-5)
    assert found.exact[0] == pytest.approx([2, 6])
    assert found.met[0] == pytest.approx([15, 44], rel=1e-5)
    assert found.rounded(2)[0, :, 0] == pytest.approx(relative(3) * found.size[0, :, 0])


def test_equations_are_missed_by_every_sum():
    """|I + A| |x| for both columns, of two terms each; and what the right sides err by."""
    lower, columns, weights = system()
    found = Substituted.of(lower, columns, weights)
    expected = relative(2) * np.array([1 + 7 * 2, 3 + 2 + 7 * (6 + 6)])
    assert found.missed[0, :, 0] == pytest.approx(expected, rel=1e-5)
    erring = tuple(replace(x, error=np.full((1, 2, 1), 0.5)) for x in columns)
    assert np.all(Substituted.of(lower, erring, weights).missed >= found.missed + 0.5 * (1 + 7))


@pytest.mark.parametrize("name", ["slack", "error"])
def test_sizes_hold_for_every_matrix_that_is_met(name):
    """a between 2 and 4: x_2 between 1 and 3 in the one column, 4 and 8 in the other."""
    found = Substituted.of(*system(**{name: np.array([[[0.0, 0.0], [1.0, 0.0]]])}))
    assert found.size[0, 1, 0] == pytest.approx(3 + 7 * 8, rel=1e-5)
    assert found.met[0, 1] >= 8 + 4 * 2


def test_float32_substitution_stays_inside():
    rng = np.random.default_rng(0)
    for _ in range(50):
        size = int(rng.integers(2, 20))
        a = np.tril(rng.normal(size=(size, size)) * 2, -1).astype(np.float32)
        b, m = (rng.normal(size=(size, n)).astype(np.float32) for n in (1, 3))
        d = rng.normal(size=(3, 1)).astype(np.float32)
        solved = [torch.linalg.solve_triangular(*map(torch.tensor, (a, x)), upper=False, unitriangular=True).numpy()
                  for x in (b, m)]  # fmt: skip
        found = Substituted.of(
            Enclosed(a[None].astype(float)), (Enclosed(b[None].astype(float)), Enclosed(m[None].astype(float))),
            (np.ones((1, 1, 1)), np.abs(d[None]).astype(float)),
        )  # fmt: skip
        x, w = (y.astype(float) for y in solved)
        combined = x - w @ d
        missed = np.abs((np.eye(size) + a) @ combined - (b.astype(float) - m.astype(float) @ d))
        assert np.all(missed <= found.missed[0])
        assert np.all(np.abs(x) + np.abs(w) @ np.abs(d) <= found.size[0])
        assert np.all(np.abs(solved[0] - solved[1] @ d - combined) <= found.rounded(3)[0])


def scan(keys, eta: float, gate=None, model=CHUNK_SUBSTITUTED, **rule):
    keys = np.array(keys, dtype=float)
    gates = None if gate is None else np.full(keys.shape[:-1], gate)
    stream = Stream(keys=keys, values=np.ones((*keys.shape[:-1], 1)), forget_gate=gates)
    forgets = {} if gate is None else {"forgetting": "token"}
    rule = CalibrationRule(eta=eta, **{"d_min": 0.0, "d_max": 3.0} | forgets | rule)
    bounds = error_bounds(stream, rule, model, chunk_size=8)
    return bounds, Setup.of(bounds.trajectory, bounds.rule, model, 8)


def test_the_scan_solves_for_the_anchor_and_for_every_feature():
    """Keys (1, 1), eta 1/2, anchor 1/4, d_1 = 1: gains for c of 1/4 and 0, less 3/4 (1/2, 1/2), 3/4 (0, 0)."""
    _, setup = scan([[1.0, 1.0], [1.0, 1.0]], 0.5, gate=1.0, anchor=0.25)
    entry, chunk = ErrorSet.zero(1, 2), slice(0, 2)
    _, before = _decays(setup, chunk)
    found = _apart(setup, chunk, entry, before, System(setup, chunk, entry).lower)
    assert found.size[0, :, 0] == pytest.approx([0.25 + 0.75, 0.0], abs=1e-5)
    # Its own roundings: of 1/2 (1 + 1/2) for c, K = 2 sums; of 1/2 for each feature, with gates.
    fixed = relative(2 + 2 + 3) * 0.5 * 1.5
    moving = 2 * 0.75 * relative(2 + 3 + 4 + 2) * 0.5
    missed = fixed + moving + relative(2) * 1.0
    assert found.missed[0, 0, 0] == pytest.approx(missed, rel=1e-3)
    system = System(setup, chunk, entry)
    assert np.array_equal(system.right_error, found.missed[..., 0])
    assert np.array_equal(system.summed, found.rounded(2)[..., 0])


def test_the_entry_of_a_chunk_may_err():
    _, setup = scan([[1.0, 1.0]], 0.5)
    entry = ErrorSet.zero(1, 2)
    entry.add_ball(np.ones(1))
    lower = Enclosed(np.zeros((1, 1, 1)))
    found = _apart(setup, slice(0, 1), entry, np.ones((1, 1)), lower)
    assert found.size[0, 0, 0] == pytest.approx(0.5 + 2 * 0.5 * (1 + 1), rel=1e-5)


def test_sums_of_log_gates_round_at_every_addition():
    for model, roundings in ((CHUNK_ANY_ORDER, 1), (CHUNK_SUBSTITUTED, 4)):
        _, setup = scan(np.ones((4, 1)), 0.1, gate=np.exp(-2.0), model=model)
        decay, _ = _decays(setup, slice(0, 4))
        error = _exponent_error(setup, decay)
        assert error[0, 3, 0] == pytest.approx(relative(roundings) * 4)
        assert Formed(setup).iterate(0, np.ones((1, 1)), np.zeros((1, 1)), UNIT)[0, 0] == pytest.approx(
            relative(4 + roundings) + UNIT, rel=1e-3
        )


def test_the_memory_is_solved_for_values_and_keys_apart():
    """One token, k = 2, v = 1, beta 1, S = 3: 1 and 2 x 3, whose difference is 5."""
    stream = Stream(keys=np.full((1, 1), 2.0), values=np.ones((1, 1)))
    rule = CalibrationRule(eta=0.0, d_min=0.0, d_max=3.0)
    bounds = error_bounds(stream, rule, CHUNK_SUBSTITUTED, chunk_size=8, initial_state=np.full((1, 1), 3.0))
    setup = Setup.of(bounds.trajectory, rule, CHUNK_SUBSTITUTED, 8)
    solve = Solve(
        setup, slice(0, 1), ErrorSet.zero(1, 1), np.full((1, 1, 1), 3.0), Enclosed(np.full((1, 1, 1), 2.0)),
        Watch(1),
    )  # fmt: skip
    assert solve.lost[0, 0] == pytest.approx(relative(2) * 7, rel=1e-4)
    # Products with beta, by half a spacing of 1 and of 2, and the solution's own.
    assert solve.missed[0, 0] == pytest.approx(relative(1) * 7 + UNIT + 2 * UNIT * 3, rel=1e-4)


def test_columns_that_overflow_are_seen():
    """Two keys of 1e15: a product of columns that is no float32 number, though the gains are."""
    bounds, _ = scan([[1.0], [1e10]], 1e20, d_min=-np.inf, d_max=np.inf)
    assert bounds.overflows


def test_one_head_that_clips_has_all_stepped():
    quiet, loud = np.full((6, 1), 2.0**-4), np.full((6, 1), 2.0)
    both, _ = scan(np.stack([quiet, loud]), 1.0, d_max=1.5)
    alone, _ = scan(quiet[None], 1.0, d_max=1.5)
    assert np.all(both.final_preconditioner[0] > 1.5 * alone.final_preconditioner[0])
    each, _ = scan(np.stack([quiet, loud]), 1.0, d_max=1.5, model=CHUNK_ANY_ORDER)
    single, _ = scan(quiet[None], 1.0, d_max=1.5, model=CHUNK_ANY_ORDER)
    assert np.array_equal(each.final_preconditioner[0], single.final_preconditioner[0])


def test_the_plain_kernel_cancels_by_more_than_an_inverse_and_less_than_is_declared():
    """Long steps whose gains are small by what d takes off: found by drawing cases at random."""
    ratios = {CHUNK_ANY_ORDER: [], CHUNK_SUBSTITUTED: []}
    for seed in range(24):
        rng = np.random.default_rng(seed)
        keys = rng.normal(size=(4, 12))
        keys = (keys / np.linalg.norm(keys, axis=-1, keepdims=True)).astype(np.float32)
        k = torch.tensor(keys)[None, :, None]
        _, _, path = chunk_osdn_reference(
            k, k, k[..., :1], torch.ones(1, 4, 1), eta=53.0, d_min=-1e9, d_max=1e9, chunk_size=16,
            return_trajectory=True,
        )  # fmt: skip
        stream = Stream(keys=keys.astype(float), values=keys[:, :1].astype(float))
        rule = CalibrationRule(eta=53.0, d_min=-1e9, d_max=1e9)
        for model, found in ratios.items():
            bounds = error_bounds(stream, rule, model, chunk_size=16)
            error = np.abs(path.preconditioner[0, :, 0].double().numpy() - bounds.trajectory.preconditioner)
            found.append(np.max(error[1:] / bounds.preconditioner[1:]))
    assert max(ratios[CHUNK_ANY_ORDER]) > 1
    assert 0.01 < max(ratios[CHUNK_SUBSTITUTED]) < 1
