"""How many sweeps the scan takes, by step, forgetting and kind of key: an experiment on T29."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from osdn_theory.base.validation import Array, require, require_generator
from osdn_theory.recurrence.calibrate import calibration_scan
from osdn_theory.recurrence.rules import SETTINGS, CalibrationRule
from osdn_theory.recurrence.sweeps import GainDrivenScan, drive, gain_driven, wanted_gains
from osdn_theory.streams.stream import Stream

KEYS: tuple[str, ...] = ("isotropic", "SiLU", "anisotropic", "16 repeated", "one repeated")
"""Kinds of unit keys, from those that meet least to those that meet most."""

FORGETTING: Mapping[str, float | None] = {"none": None, "slow": 6.9, "fast": 3.0}
"""Mean of the logit of gamma, drawn per token with unit variance; None for gamma = 1."""


@dataclass(frozen=True)
class SweepCount:
    """Sweeps that one scan took.

    - `keys`, `forgetting`, `box`: See `KEYS` and `FORGETTING`; the box is that of one of the `SETTINGS`.
    - `clipped`: Fraction of (token, feature) pairs that end on a face of the box.
    - `sweeps`: Until no iterate is further than the tolerance from the scan's; None if that took more than were tried.
    """

    keys: str
    forgetting: str
    box: str
    eta: float
    clipped: float
    sweeps: int | None


def draw_keys(kind: str, rng: np.random.Generator, length: int, key_dim: int) -> Array:
    """Unit keys (T, K) of one of the `KEYS`."""
    require_generator(rng)
    require(kind in KEYS, f"kind: expected one of {', '.join(KEYS)}, got {kind!r}")
    normal = rng.standard_normal((length, key_dim))
    if kind == "SiLU":
        shifted = normal + 0.3 * rng.standard_normal(key_dim)
        normal = shifted * expit(shifted)
    elif kind == "anisotropic":
        normal = normal * np.geomspace(1, 30, key_dim)
    elif kind == "16 repeated":
        centres = rng.standard_normal((16, key_dim)) ** 3
        normal = centres[rng.integers(0, 16, length)] + 0.05 * normal
    elif kind == "one repeated":
        normal = np.tile(normal[:1] ** 3, (length, 1))
    keys: Array = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    return keys


def count_sweeps(
    rng: np.random.Generator,
    *,
    length: int = 16384,
    key_dim: int = 128,
    etas: Sequence[float] = (0.003, 1.0),
    keys: Sequence[str] = KEYS,
    forgetting: Sequence[str] = tuple(FORGETTING),
    boxes: Sequence[str] = tuple(SETTINGS),
    most: int = 60,
    tolerance: float = 1e-7,
) -> list[SweepCount]:
    """Count sweeps from gains of zero, with d_1 uniform in [0.8, 1.2] and the anchor 0.

    The defaults are the setting of the counts that the design of the kernels rests on; they take some minutes.

    - `length`, `key_dim`: T and K.
    - `etas`, `keys`, `forgetting`, `boxes`: What to combine.
    - `most`: Sweeps tried.
    - `tolerance`: Largest distance of an iterate from the scan's, over all tokens and features.
    """
    require_generator(rng)
    return list(_count(rng, length, key_dim, etas, keys, forgetting, boxes, most, tolerance))


def _count(
    rng: np.random.Generator,
    length: int,
    key_dim: int,
    etas: Sequence[float],
    keys: Sequence[str],
    forgetting: Sequence[str],
    boxes: Sequence[str],
    most: int,
    tolerance: float,
) -> Iterator[SweepCount]:
    for kind in keys:
        drawn = draw_keys(kind, rng, length, key_dim)
        for pace in forgetting:
            mean = FORGETTING[pace]
            gamma = np.ones(length) if mean is None else expit(mean + rng.standard_normal(length))
            initial = rng.uniform(0.8, 1.2, key_dim)
            stream = Stream(
                keys=drawn, values=drawn[:, :1], forget_gate=gamma, initial_preconditioner=initial
            )
            for box in boxes:
                for eta in etas:
                    rule = replace(SETTINGS[box], eta=eta, forgetting="token")
                    exact = _exact_path(stream, rule)
                    faces = (exact == rule.d_min) | (exact == rule.d_max)
                    sweeps = _sweeps_until(gain_driven(stream, rule), exact, most, tolerance)
                    yield SweepCount(kind, pace, box, eta, float(faces[1:].mean()), sweeps)


def _exact_path(stream: Stream, rule: CalibrationRule) -> Array:
    path, final = calibration_scan(
        stream.keys, rule, gamma=stream.forget_gate, initial_preconditioner=stream.initial_preconditioner
    )
    return np.concatenate([path, final[None]])


def _sweeps_until(scan: GainDrivenScan, exact: Array, most: int, tolerance: float) -> int | None:
    gains = np.zeros(scan.length)
    for count in range(1, most + 1):
        path = drive(scan, gains)
        if float(np.max(np.abs(path - exact))) <= tolerance:
            return count
        gains = wanted_gains(scan, path)
    return None
