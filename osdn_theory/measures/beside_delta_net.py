"""Where OSDN beats DeltaNet, where it cannot, and how near the two are: T22, T24, T25 and T26 in numbers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.measures.analysis import missing_share
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, SETTINGS, CalibrationRule
from osdn_theory.recurrence.solve import delta_net, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.activations import KeyDtype, load_activations
from osdn_theory.streams.exhibits import disjoint, growing, overlapping

OPEN = CalibrationRule(eta=1.0, d_min=-np.inf, d_max=np.inf)
GROWING = CalibrationRule(eta=1.9, forgetting=1 / 64, anchor="initial")
"""Rule under which the error of :func:`osdn_theory.streams.exhibits.growing` grows."""


def recall_by_reads(
    reads: Sequence[int] = (1, 2, 4, 8), *, rule: CalibrationRule = OPEN, seed: int = 0
) -> dict[str, Array]:
    """Missing share of pairs that do not overlap, each read so many times (T22).

    Returns for "delta_net" and "osdn" (len(reads),) float64.
    """
    streams = [disjoint(np.random.default_rng(seed), reads=(count,) * 4) for count in reads]
    return {
        "delta_net": np.array([missing_share(delta_net(stream)) for stream in streams]),
        "osdn": np.array([missing_share(osdn(stream, rule)) for stream in streams]),
    }


def blindness(seed: int = 0) -> dict[str, float]:
    """Missing share on keys whose overlap the surrogate does not see: DeltaNet, OSDN, and a static d (T24)."""
    stream = overlapping(np.random.default_rng(seed))
    static = replace(OPEN, eta=0.0)
    return {
        "delta_net": float(missing_share(delta_net(stream))),
        "osdn": float(missing_share(osdn(stream, BOUNDED))),
        "static": float(missing_share(osdn(stream, static, initial_preconditioner=stream.comparator))),
    }


def speed_factor(keys: Array, d: Array) -> float:
    """lambda_min(W_d) / lambda_min(W_1) for beta = 1 and keys (T, K) drawn alike: the gain of a static d (T25)."""

    def rate(scale: Array) -> float:
        weights = 2 - keys**2 @ scale
        scaled = keys * np.sqrt(scale)
        return float(np.linalg.eigvalsh(np.einsum("t,ti,tj->ij", weights, scaled, scaled))[0])

    return rate(d) / rate(np.ones_like(d))


def fastest_corner(
    tilts: Sequence[float] = (1.0, 0.3, 0.1, 0.03), *, box: tuple[float, float] = (2 / 3, 3 / 2)
) -> Array:
    """Gains of d = (high, low) on unit keys (+-tilt, 1): they come near high (2 - low) as the tilt vanishes (T25)."""
    low, high = box
    found = []
    for tilt in tilts:
        keys = np.array([[tilt, 1.0], [-tilt, 1.0]]) / np.hypot(tilt, 1.0)
        found.append(speed_factor(keys, np.array([high, low])))
    return np.array(found)


def difference_from_delta_net(run: Trajectory) -> tuple[Array, Array]:
    """||S_T - S_T^DeltaNet|| and the bound of T26 on it, both over ||S_T^DeltaNet||, (...); DeltaNet's d is 1."""
    plain = delta_net(run.stream, initial_preconditioner=1.0).final_state
    size = np.linalg.norm(plain, axis=(-2, -1))
    residual = np.linalg.norm(run.residuals, axis=-1)
    moved = np.linalg.norm((run.preconditioner - 1) * run.stream.keys, axis=-1)
    limit: Array = np.sum(np.abs(run.stream.beta) * residual * moved, axis=-1) / size
    apart: Array = np.linalg.norm(run.final_state - plain, axis=(-2, -1)) / size
    return apart, limit


def captured_differences() -> dict[str, tuple[Array, Array]]:
    """:func:`difference_from_delta_net` of every captured head in both settings; (heads,) each.

    From d_1 = 1 on keys normalised in float64 OSDN is DeltaNet to the bit: there is nothing to compare.
    """
    cases: tuple[tuple[str, KeyDtype, CalibrationRule, float], ...] = (
        ("historic, keys in bfloat16", "bfloat16", HISTORIC, 1.0),
        *(
            (f"{name}, $d_1$ = {start}", "float64", rule, start)
            for name, rule in SETTINGS.items()
            for start in (1.01, 1.25)
        ),
    )
    found = {}
    for label, dtype, rule, start in cases:
        layers = load_activations(normalize_dtype=dtype)
        runs = [osdn(layer, rule, initial_preconditioner=np.full(layer.key_dim, start)) for layer in layers]
        sides = zip(*map(difference_from_delta_net, runs), strict=True)
        apart, limit = (np.concatenate([np.ravel(part) for part in side]) for side in sides)
        found[label] = (apart, limit)
    return found


def growth(length: int = 6000) -> Array:
    """log10 of ||S_t - S*|| / ||S*|| along T27's exhibit, (length,), each write contracting its own metric."""
    run = osdn(growing(length=length), GROWING, return_states=True)
    error = np.linalg.norm(np.asarray(run.states) - np.eye(2), axis=(-2, -1))
    found: Array = np.log10(error / np.sqrt(2))
    return found
