"""Small streams and look-ups that the tests of the bounds share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osdn_theory.bounds import BOUNDS, BoundCheck, check_bounds
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.recurrence.trajectory import Trajectory
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


def outcome(run: Trajectory, theorem: str, title: str = "") -> str:
    """Of the one bound of `theorem` whose title contains `title`."""
    return one(check_bounds(run, [theorem]), theorem, title).outcome


def unguarded(patch: pytest.MonkeyPatch, title: str, name: str) -> None:
    """Leave out of the bound called `title` the hypothesis whose function is called `name`."""
    (guarded,) = [each for each in BOUNDS if each.title == title]
    kept = tuple(each for each in guarded.hypotheses if each.__name__ != name)
    assert len(kept) == len(guarded.hypotheses) - 1
    patch.setattr("osdn_theory.bounds.checking.BOUNDS", [replace(guarded, hypotheses=kept)])
