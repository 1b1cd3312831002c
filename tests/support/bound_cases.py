"""Small streams and look-ups that the tests of the bounds share."""

from __future__ import annotations

import numpy as np

from osdn_theory.bounds import BoundCheck, check_bounds
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import constant_key, interpolating, isotropic

FAST = CalibrationRule(eta=0.5)


def one(checks: list[BoundCheck], theorem: str, title: str = "") -> BoundCheck:
    found = [c for c in checks if c.theorem == theorem and title in c.title]
    assert len(found) == 1, found
    return found[0]


def stream_of(kind: str = "interpolating", **changes: object) -> Stream:
    sizes = {"length": 24, "key_dim": 6, "value_dim": 3, **changes}
    maker = {"interpolating": interpolating, "isotropic": isotropic, "constant": constant_key}[kind]
    return maker(np.random.default_rng(1), **sizes)  # type: ignore[operator]


def checked(stream: Stream, rule: CalibrationRule = FAST, *bounds: str, **kwargs: object) -> list[BoundCheck]:
    return check_bounds(osdn(stream, rule, **kwargs), bounds or None)  # type: ignore[arg-type]
