"""The scan by sweeps: its maps, its gains, its certificate and its adjoint, against the recurrence (T29)."""

from __future__ import annotations

from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from osdn_theory.bounds.numbers import Rationals
from osdn_theory.bounds.problem import problem
from osdn_theory.bounds.runs.exact import ExactRun
from osdn_theory.measures import sweep_counts
from osdn_theory.measures.sweep_counts import SweepCount, count_sweeps, draw_keys
from osdn_theory.plotting import sweep_counts as draw_counts
from osdn_theory.recurrence import sweeps
from osdn_theory.recurrence.calibrate import calibration_scan
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.recurrence.sweeps import (
    ClipMaps,
    GainDrivenScan,
    SweptScan,
    block_gains,
    compose_prefixes,
    coupling,
    drive,
    error_bound,
    gain_driven,
    run_maps,
    sweep_adjoint,
    sweep_scan,
    token_maps,
    wanted_gains,
)
from osdn_theory.streams.stream import Stream

RULES = {
    "plain": CalibrationRule(eta=0.5),
    "gates": CalibrationRule(eta=0.3, forgetting="token"),
    "anchored, normalised": CalibrationRule(
        eta=0.3, forgetting="token", anchor="initial", normalize_feedback=True
    ),
    "beta-aware, open box": CalibrationRule(
        eta=0.4, beta_aware=True, forgetting=0.9, d_min=-np.inf, d_max=np.inf
    ),
    "beta-aware, half a box": CalibrationRule(eta=0.4, beta_aware=True, d_min=0.9, d_max=np.inf),
}


def stream_for(
    rule: CalibrationRule, *, lead: tuple[int, ...] = (), length: int = 37, key_dim: int = 5, seed: int = 0
) -> Stream:
    rng = np.random.default_rng(seed)
    keys = rng.standard_normal((*lead, length, key_dim))
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    gate = 1 / (1 + np.exp(-3 - rng.standard_normal((*lead, length))))
    return Stream(
        keys=keys,
        values=keys,
        beta=rng.uniform(-1, 2, (*lead, length)),
        forget_gate=gate if rule.forgetting == "token" else None,
        initial_preconditioner=rng.uniform(0.8, 1.2, (*lead, key_dim)),
    )


def recurrence(stream: Stream, rule: CalibrationRule) -> np.ndarray:
    """d_1 ... d_{T+1}, token by token."""
    path, final = calibration_scan(
        stream.keys,
        rule,
        beta=stream.beta,
        gamma=stream.forget_gate,
        initial_preconditioner=stream.initial_preconditioner,
        method="sequential",
    )
    return np.concatenate([path, final[..., None, :]], axis=-2)


def whole(swept: SweptScan) -> np.ndarray:
    return np.concatenate([swept.preconditioner, swept.final_preconditioner[..., None, :]], axis=-2)


def token_by_token(scan: GainDrivenScan, gains: np.ndarray) -> np.ndarray:
    """The clipped recurrence with given gains, as the theory page has it."""
    d = np.broadcast_to(scan.initial, (*gains.shape[:-1], scan.initial.shape[-1]))
    path = [d]
    for t in range(scan.length):
        moved = scan.anchor + scan.gamma[..., t, None] * (d - scan.anchor)
        d = np.clip(moved + gains[..., t, None] * scan.features[..., t, :], scan.lower, scan.upper)
        path.append(d)
    return np.stack(path, axis=-2)


# --- maps --------------------------------------------------------------------------------------------------------


def some_maps(rng: np.random.Generator, shape: tuple[int, ...]) -> ClipMaps:
    """Maps of quarters: compositions of a few are exact in float64. Faces may be infinite, slopes zero."""
    faces = np.sort(rng.integers(-8, 8, (2, *shape)) / 4, axis=0)
    low = np.where(rng.random(shape) < 0.2, -np.inf, faces[0])
    high = np.where(rng.random(shape) < 0.2, np.inf, faces[1])
    return ClipMaps(rng.integers(0, 5, shape) / 4, rng.integers(-8, 8, shape) / 4, low, high)


def equal_maps(first: ClipMaps, second: ClipMaps) -> None:
    for part in ("slope", "offset", "low", "high"):
        assert_array_equal(getattr(first, part), getattr(second, part))


def test_maps_compose_as_functions_and_associatively() -> None:
    rng = np.random.default_rng(0)
    f, g, h = (some_maps(rng, (400,)) for _ in range(3))
    x = rng.integers(-40, 40, 400) / 4
    assert_array_equal(g.after(f)(x), g(f(x)))
    equal_maps(h.after(g.after(f)), h.after(g).after(f))


def test_slopes_below_zero_do_not_compose() -> None:
    falling = ClipMaps(*(np.array([a]) for a in (-1.0, 0.0, 0.0, 1.0)))
    inner = ClipMaps(*(np.array([a]) for a in (1.0, 0.0, -2.0, 2.0)))
    at = np.array([-0.5])
    assert falling(inner(at)) == 0.5
    assert falling.after(inner)(at) != 0.5


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 13])
def test_prefixes_are_those_of_any_bracketing(length: int) -> None:
    maps = some_maps(np.random.default_rng(length), (2, length, 3))
    found = compose_prefixes(maps)
    one_by_one = maps[..., 0, :]
    equal_maps(found[..., 0, :], one_by_one)
    for t in range(1, length):
        one_by_one = maps[..., t, :].after(one_by_one)
        for part in ("slope", "offset", "low", "high"):
            assert_allclose(
                getattr(found[..., t, :], part), getattr(one_by_one, part), rtol=1e-13, atol=1e-13
            )


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 64])
@pytest.mark.parametrize("length", [0, 1, 8, 29])
def test_running_maps_is_applying_them_in_order(length: int, chunk_size: int) -> None:
    rng = np.random.default_rng(1)
    maps, start = some_maps(rng, (2, length, 3)), rng.integers(-8, 8, (2, 3)) / 4
    d, path = start, [start]
    for t in range(length):
        d = maps[..., t, :](d)
        path.append(d)
    assert_allclose(run_maps(maps, start, chunk_size), np.stack(path, axis=-2), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", RULES)
def test_driving_all_tokens_at_once_is_the_clipped_recurrence(name: str) -> None:
    stream = stream_for(RULES[name], lead=(2, 3), length=150)
    scan = gain_driven(stream, RULES[name])
    gains = np.random.default_rng(2).standard_normal((2, 3, 150))
    expected = token_by_token(scan, gains)
    assert_allclose(drive(scan, gains), expected, rtol=1e-12, atol=1e-12)
    if np.isfinite(RULES[name].d_max).all():
        assert np.mean((expected == RULES[name].d_min) | (expected == RULES[name].d_max)) > 0.05


# --- sweeps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 4, 37])
@pytest.mark.parametrize("name", RULES)
def test_sweeps_find_the_scan_and_certify_every_stage(name: str, block: int) -> None:
    rule = RULES[name]
    stream = stream_for(rule, lead=(3,))
    expected, scan = recurrence(stream, rule), gain_driven(stream, rule)
    for most in (1, 2, 4, 8, 64):
        found = sweep_scan(scan, most=most, block=block)
        error = np.abs(whole(found) - expected)
        assert np.all(error <= found.error + 1e-14)
        exact = min(found.sweeps * block - block + 1, 38)
        assert_allclose(whole(found)[:, :exact], expected[:, :exact], rtol=0, atol=1e-14)
    assert_allclose(whole(found), expected, rtol=0, atol=1e-13)
    assert found.error.max() < 1e-11


def test_one_block_is_the_scan() -> None:
    rule = RULES["plain"]
    stream = stream_for(rule)
    found = sweep_scan(gain_driven(stream, rule), block=37)
    assert found.sweeps == 2
    assert_allclose(whole(found), recurrence(stream, rule), rtol=0, atol=1e-15)


def test_blocks_settle_in_fewer_sweeps() -> None:
    rule = CalibrationRule(eta=0.5)
    scan = gain_driven(stream_for(rule, length=150), rule)
    counts = [sweep_scan(scan, block=block, tolerance=1e-12).sweeps for block in (1, 8, 32)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0]


def test_a_block_starts_from_where_the_path_enters_it() -> None:
    rule = RULES["gates"]
    stream = stream_for(rule)
    scan, expected = gain_driven(stream, rule), recurrence(stream, rule)
    for block in (1, 5, 37, 50):
        assert_allclose(block_gains(scan, expected, block), wanted_gains(scan, expected), rtol=0, atol=1e-15)


def test_a_start_at_the_gains_of_the_scan_settles_at_once() -> None:
    rule = RULES["gates"]
    stream = stream_for(rule)
    scan = gain_driven(stream, rule)
    own = wanted_gains(scan, recurrence(stream, rule))
    assert sweep_scan(scan, start=own, tolerance=1e-15).sweeps == 1


@pytest.mark.parametrize("name", RULES)
def test_the_comparison_and_what_breaks_it(name: str) -> None:
    rng = np.random.default_rng(3)
    scan = gain_driven(stream_for(RULES[name], lead=(20,)), RULES[name])
    u, v = rng.standard_normal((2, 20, 37))
    moved = np.abs(wanted_gains(scan, drive(scan, u)) - wanted_gains(scan, drive(scan, v)))
    bound = np.squeeze(coupling(scan) @ np.abs(u - v)[..., None], -1)
    assert np.all(moved <= bound + 1e-12)


def test_coupling_takes_features_without_their_signs() -> None:
    """With write gates of both signs the inner products themselves bound nothing."""
    rule = RULES["beta-aware, open box"]
    stream = replace(stream_for(rule, length=2), beta=np.array([1.0, -1.0]))
    scan = gain_driven(stream, rule)
    signed = scan.rates[1] * float(scan.features[1] @ scan.features[0])
    assert signed < 0 < coupling(scan)[1, 0] == pytest.approx(-signed)
    moved = wanted_gains(scan, drive(scan, np.array([1.0, 0.0]))) - wanted_gains(
        scan, drive(scan, np.zeros(2))
    )
    assert abs(moved[1]) == pytest.approx(coupling(scan)[1, 0])


def one_feature(length: int, eta: float, key: float = 1.0, **rule: Any) -> GainDrivenScan:
    keys = np.full((length, 1), key)
    open_box = CalibrationRule(eta=eta, d_min=-1e9, d_max=1e9, **rule)
    return gain_driven(Stream(keys=keys, values=keys, beta=rule.get("beta", 1.0)), open_box)


def test_the_factorial_bound_is_a_binomial_that_is_attained() -> None:
    """(eta T)^m / m! is loose: at the token with t before it, eta^m (t choose m) is left, to equality."""
    eta, length = 0.25, 12
    scan = one_feature(length, eta)
    own = sweep_scan(scan, most=64).gains
    for m in range(1, 5):
        left = sweep_scan(scan, most=m + 1, start=own + 1.0).gains - own
        binomial = np.array([eta**m * comb(t, m) for t in range(length)])
        assert_allclose(np.abs(left), binomial, rtol=1e-12, atol=1e-13)
        assert binomial.max() < (eta * length) ** m / np.prod(np.arange(1, m + 1))


@pytest.mark.parametrize("case", ["long keys", "write gates of 2", "weights above 1"])
def test_the_factorial_bound_needs_its_hypotheses(case: str) -> None:
    eta, length = 0.25, 12
    keys = np.ones((length, 1))
    rule = CalibrationRule(eta=eta, d_min=-1e9, d_max=1e9)
    stream = Stream(keys=keys, values=keys)
    if case == "long keys":
        stream = Stream(keys=2 * keys, values=keys)
    elif case == "write gates of 2":
        stream, rule = replace(stream, beta=2.0), replace(rule, beta_aware=True)
    scan = gain_driven(stream, rule)
    if case == "weights above 1":
        scan = replace(scan, rates=4 * scan.rates)
    own = wanted_gains(scan, token_by_token(scan, sweep_scan(scan, most=64).gains))
    left = np.abs(sweep_scan(scan, most=3, start=own + 1.0).gains - own)
    assert left.max() > (eta * length) ** 2 / 2


def test_forgetting_makes_the_rate_geometric_however_long_the_stream() -> None:
    """Rows of N sum to at most eta max <s, s'> / (1 - gamma): here 1/4, for any T."""
    gamma, eta = 0.9, 0.025
    for length in (50, 400):
        scan = one_feature(length, eta, forgetting=gamma)
        assert coupling(scan).sum(-1).max() <= eta / (1 - gamma) * (1 + 1e-12)
        own = sweep_scan(scan, most=64).gains
        for m in (1, 4, 8):
            left = np.abs(sweep_scan(scan, most=m + 1, start=own + 1.0).gains - own)
            assert left.max() <= (eta / (1 - gamma)) ** m + 1e-15


# --- the certificate -----------------------------------------------------------------------------------------------


def test_the_bound_is_that_of_the_inverse(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = RULES["gates"]
    scan = gain_driven(stream_for(rule), rule)
    # A stretch of no use leaves the entrywise bound alone.
    monkeypatch.setattr(sweeps, "_stretch", lambda scan: np.full(scan.rates.shape, np.inf))
    found = sweep_scan(scan, most=3)
    defect = np.abs(wanted_gains(scan, whole(found)) - found.gains)
    gain_error = np.linalg.solve(np.eye(37) - coupling(scan), defect)
    y = np.zeros(5)
    for t in range(37):
        assert_allclose(found.error[t], y, rtol=3e-6, atol=1e-13)
        y = scan.gamma[t] * y + gain_error[t] * scan.features[t]
    assert found.error.max() > 1e-8


def test_the_norm_certifies_where_the_inverse_explodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """(I - N)^-1 is about (1 + eta)^T for keys that meet; the projected step does not stretch the norm at all."""
    rule = CalibrationRule(eta=1.0)
    stream = stream_for(rule, length=400, key_dim=3)
    scan = gain_driven(stream, rule)
    found = sweep_scan(scan, block=400)
    assert np.abs(whole(found) - recurrence(stream, rule)).max() < found.error.max() < 1e-11
    monkeypatch.setattr(sweeps, "_stretch", lambda scan: np.full(scan.rates.shape, np.inf))
    assert sweep_scan(scan, block=400).error.max() > 1e6


def test_a_stretch_that_is_too_small_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a step above 2 gamma / |x|^2 the norm does grow: a stretch of gamma alone bounds nothing."""
    scan, elsewhere = (replace(one_feature(12, 2.5), initial=np.full(1, start)) for start in (1.25, 1.35))
    own, other = (sweep_scan(each, most=14) for each in (scan, elsewhere))
    apart = np.abs(whole(own) - whole(other))
    assert apart[-1, 0] == pytest.approx(0.1 * 1.5**12)
    assert np.all(apart <= error_bound(scan, other.gains, whole(other)))
    monkeypatch.setattr(sweeps, "_stretch", lambda scan: scan.gamma)
    assert not np.all(apart <= error_bound(scan, other.gains, whole(other)))


def test_a_path_that_is_off_is_not_certified() -> None:
    """A start, a step or a gain that is wrong shows in the bound, wherever it came from."""
    rule = RULES["gates"]
    stream = stream_for(rule)
    scan, path = gain_driven(stream, rule), recurrence(stream, rule)
    gains = wanted_gains(scan, path)
    assert error_bound(scan, gains, path).max() < 1e-12
    for token in (0, 7, 37):
        wrong = path.copy()
        wrong[token, 2] += 1e-3
        assert error_bound(scan, gains, wrong)[token, 2] >= 1e-3 * 0.999
    wrong = gains.copy()
    wrong[5] += 1e-3
    assert error_bound(scan, wrong, path)[6].max() > 1e-5


def test_the_certificate_holds_of_the_exact_scan_only_with_its_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against exact rationals, on keys so short that their squares are exact."""
    rule = CalibrationRule(eta=0.3, forgetting="token", anchor="initial")
    stream = stream_for(rule, length=9)
    stream = replace(stream, keys=np.round(np.asarray(stream.keys) * 64) / 64)
    exact = ExactRun(problem(osdn(stream, rule), ()), Rationals())
    scan = gain_driven(stream, rule)

    def certified() -> bool:
        found = sweep_scan(scan)
        pairs = zip(whole(found).tolist(), exact.preconditioners, found.error.tolist(), strict=True)
        return all(
            abs(exact.field.of(d) - e) <= exact.field.of(bound)
            for row in pairs
            for d, e, bound in zip(*row, strict=True)
        )

    assert certified()
    monkeypatch.setattr(sweeps, "_UNIT", 0.0)
    assert not certified()


def test_too_few_sweeps_are_seen_in_the_certificate() -> None:
    rule = CalibrationRule(eta=0.5)
    stream = stream_for(rule, length=150)
    found = sweep_scan(gain_driven(stream, rule), most=7)
    off = np.abs(whole(found) - recurrence(stream, rule)).max()
    assert 0.1 < off < found.error.max()


def test_a_certificate_that_overflows_is_infinite() -> None:
    scan = one_feature(3000, 3.0)
    found = sweep_scan(scan, most=2, start=np.ones(3000))
    assert np.isinf(found.error[-1]).all()
    assert not np.isnan(found.error).any()


# --- the adjoint ---------------------------------------------------------------------------------------------------


def loss_of(scan: GainDrivenScan, weight: np.ndarray) -> float:
    return float(np.sum(weight * whole(sweep_scan(scan, most=scan.length + 1))))


@pytest.mark.parametrize("name", RULES)
def test_the_adjoint_is_the_gradient(name: str) -> None:
    rule, rng = RULES[name], np.random.default_rng(4)
    stream = stream_for(rule, length=11, key_dim=3)
    scan = gain_driven(stream, rule)
    weight = rng.standard_normal((12, 3))
    run = sweep_scan(scan, most=12)
    found = sweep_adjoint(scan, run, weight[:-1], weight[-1])
    for part in ("initial", "anchor", "features", "rates", "gamma"):
        value = getattr(scan, part)
        direction = rng.standard_normal(value.shape)
        step = 1e-6
        up, down = (replace(scan, **{part: value + sign * step * direction}) for sign in (1, -1))
        slope = (loss_of(up, weight) - loss_of(down, weight)) / (2 * step)
        assert float(np.sum(getattr(found, part) * direction)) == pytest.approx(slope, rel=1e-6, abs=1e-7), (
            part
        )


def test_the_adjoint_without_the_clip_pattern_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = RULES["gates"]
    scan = gain_driven(stream_for(rule, length=40), rule)
    run, weight = sweep_scan(scan, most=64), np.ones((41, 5))
    right = sweep_adjoint(scan, run, weight[:-1], weight[-1])
    monkeypatch.setattr(sweeps, "clip_pattern", lambda scan, gains, path: np.ones(scan.features.shape))
    wrong = sweep_adjoint(scan, run, weight[:-1], weight[-1])
    assert np.abs(right.initial - wrong.initial).max() > 1e-2


def test_adjoint_sweeps_make_the_last_gains_exact_and_the_others_converge() -> None:
    rule, rng = RULES["beta-aware, half a box"], np.random.default_rng(5)
    scan = gain_driven(stream_for(rule, lead=(2,)), rule)
    run, weight = sweep_scan(scan, most=64), rng.standard_normal((2, 38, 5))
    full = sweep_adjoint(scan, run, weight[:, :-1], weight[:, -1], most=64)
    n = np.swapaxes(coupling(scan), -1, -2)
    left = np.abs(full.gains)[..., None]
    for m in range(1, 6):
        part = sweep_adjoint(scan, run, weight[:, :-1], weight[:, -1], most=m)
        assert part.sweeps == m
        assert_allclose(part.gains[:, -m:], full.gains[:, -m:], rtol=0, atol=1e-13)
        left = n @ left
        assert np.all(np.abs(part.gains - full.gains) <= left[..., 0] + 1e-13)
    assert (
        np.abs(sweep_adjoint(scan, run, weight[:, :-1], weight[:, -1], most=1).gains - full.gains).max()
        > 1e-3
    )


# --- the boundary --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"most": 0}, "most: expected >= 1"),
        ({"block": 0}, "block: expected >= 1"),
        ({"tolerance": -1.0}, "tolerance: expected >= 0"),
        ({"start": np.zeros(3)}, "start: shape"),
        ({"start": np.full(37, np.nan)}, "start: expected finite"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    scan = gain_driven(stream_for(RULES["plain"]), RULES["plain"])
    with pytest.raises(ValueError, match=message):
        sweep_scan(scan, **options)


@pytest.mark.parametrize("length", [0, 1])
def test_short_streams(length: int) -> None:
    rule = RULES["plain"]
    stream = stream_for(rule, lead=(2,), length=length)
    found = sweep_scan(gain_driven(stream, rule))
    assert_allclose(whole(found), recurrence(stream, rule), rtol=0, atol=1e-15)
    assert found.error.shape == (2, length + 1, 5)


def test_token_maps_are_the_steps() -> None:
    rule = RULES["gates"]
    scan = gain_driven(stream_for(rule), rule)
    gains = np.linspace(-1, 1, 37)
    maps = token_maps(scan, gains)
    path = token_by_token(scan, gains)
    assert_allclose(maps(path[:-1]), path[1:], rtol=0, atol=1e-15)


# --- counts --------------------------------------------------------------------------------------------------------


def test_counts_of_the_bounded_step_are_few_and_of_a_large_one_many() -> None:
    """As measured at T = 16384, K = 128: 2 to 6 with forgetting, 6 to 11 without; eta = 1 does not settle."""
    counts = count_sweeps(
        np.random.default_rng(0), length=1024, key_dim=64, keys=KEYS[:4], boxes=("bounded",), most=25
    )
    by = {(c.keys, c.eta, c.forgetting): c.sweeps for c in counts}
    for kind in KEYS[:4]:
        forgetting = [by[kind, 0.003, pace] for pace in ("slow", "fast")]
        without = by[kind, 0.003, "none"]
        assert without is not None
        assert all(count is not None and 2 <= count <= 6 for count in forgetting)
        assert forgetting[1] <= forgetting[0] <= without <= 11  # type: ignore[operator]
        assert by[kind, 1.0, "none"] is None
    assert all(0 <= c.clipped <= 1 for c in counts)


KEYS = sweep_counts.KEYS


@pytest.mark.parametrize("kind", KEYS)
def test_keys_have_unit_length_and_repeat_as_they_say(kind: str) -> None:
    keys = draw_keys(kind, np.random.default_rng(0), 40, 12)
    assert_allclose(np.linalg.norm(keys, axis=-1), 1, rtol=1e-12)
    inner = float(np.mean((keys**2) @ (keys**2).T))
    assert inner > 1 / 12
    assert (np.ptp(keys, axis=0).max() < 1e-12) == (kind == "one repeated")
    assert len(np.unique(keys.round(12), axis=0)) == (1 if kind == "one repeated" else 40)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="kind: expected one of isotropic"):
        draw_keys("other", np.random.default_rng(0), 4, 2)


def test_more_alike_keys_take_more_sweeps() -> None:
    counts = count_sweeps(
        np.random.default_rng(1),
        length=256,
        key_dim=16,
        etas=(0.03,),
        forgetting=("none",),
        boxes=("bounded",),
    )
    found = {c.keys: c.sweeps for c in counts}
    assert found["isotropic"] is not None
    assert found["one repeated"] is None or found["isotropic"] < found["one repeated"]


def test_the_first_sweep_counts_as_one_and_the_last_is_tried() -> None:
    """Gains of zero are those of a step of zero."""
    (count,) = count_sweeps(
        np.random.default_rng(0), length=4, key_dim=2, etas=(0.0,), keys=("isotropic",),
        forgetting=("fast",), boxes=("bounded",), most=1,
    )  # fmt: skip
    assert count.sweeps == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_step_far_too_long_ends_on_a_face(seed: int) -> None:
    """On the upper one from below 1, on the lower one from above; the start is no clip."""
    (count,) = count_sweeps(
        np.random.default_rng(seed), length=1, key_dim=1, etas=(100.0,), keys=("isotropic",),
        forgetting=("none",), boxes=("bounded",),
    )  # fmt: skip
    assert count.clipped == 1.0


def test_a_tolerance_of_nothing_is_not_met() -> None:
    (count,) = count_sweeps(
        np.random.default_rng(0), length=64, key_dim=8, etas=(1.0,), keys=("isotropic",),
        forgetting=("none",), boxes=("historic",), most=3,
    )  # fmt: skip
    assert count.sweeps is None
    assert count.box == "historic"


def test_the_figure_shows_counts_by_forgetting_and_marks_what_does_not_settle() -> None:
    counts = [
        SweepCount("isotropic", "none", "bounded", 1.0, 0.0, None),
        SweepCount("isotropic", "none", "bounded", 0.1, 0.0, 7),
        SweepCount("isotropic", "fast", "bounded", 0.1, 0.0, 3),
    ]
    _, (none, fast) = draw_counts(counts, most=9, title="seen")
    curve, unsettled = none.lines[0], none.lines[1]
    assert_array_equal(curve.get_xdata(), [0.1, 1.0])
    assert_array_equal(curve.get_ydata(), [7.0, np.nan])
    assert_array_equal(unsettled.get_xdata(), [1.0])
    assert_array_equal(unsettled.get_ydata(), [9])
    assert none.get_title() == "forgetting: none"
    assert_array_equal(fast.lines[0].get_ydata(), [3])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], "counts: expected at least one"),
        (
            [SweepCount("a", "none", box, 1.0, 0.0, 1) for box in ("bounded", "historic")],
            "one box, got bounded, historic",
        ),
    ],
)
def test_the_figure_refuses_nothing_and_mixed_boxes(counts: list[SweepCount], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_counts(counts, most=9)
