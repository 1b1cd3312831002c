"""Every result that a user can get is one short line in a session, with shapes for its arrays."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import pytest

import osdn_theory as ot
from osdn_theory.base.brief import LONGEST_LINE, describe
from osdn_theory.rounding import RECURRENT_FP32, error_bounds, residual_floor

PUBLIC = (
    "osdn_theory",
    "osdn_theory.bounds",
    "osdn_theory.crosscheck",
    "osdn_theory.rounding",
    "osdn_theory.streams",
)
# Inputs that a user writes: their own fields, none of them an array.
PLAIN = {"KernelModel", "Format", "Bound", "CalibrationProblem", "Sides"}


def public_results() -> dict[str, Any]:
    modules = [importlib.import_module(name) for name in PUBLIC]
    found = {name: getattr(module, name) for module in modules for name in module.__all__}
    return {name: cls for name, cls in found.items() if inspect.isclass(cls) and is_dataclass(cls)}


@pytest.mark.parametrize("name", sorted(set(public_results()) - PLAIN))
def test_every_public_result_describes_itself_briefly(name: str) -> None:
    assert public_results()[name].__repr__ is describe


def test_what_is_plain_exists_and_is_short() -> None:
    assert set(public_results()) >= {
        "KernelModel",
        "Trajectory",
        "ErrorBounds",
    }
    for plain in (ot.BOUNDED, RECURRENT_FP32, ot.CalibrationRule(d_min=np.full(200, 0.5))):
        assert "\n" not in repr(plain)


def test_real_results_are_one_line_with_shapes() -> None:
    stream = ot.isotropic(np.random.default_rng(0), lead=(2,), length=32, key_dim=8, value_dim=4)
    run = ot.osdn(stream, return_states=True)
    one = ot.osdn(stream.at((0,)))
    results = [
        stream,
        run,
        run.carry,
        ot.recursive_least_squares(stream),
        ot.calibration_times(stream, ot.BOUNDED),
        ot.context_osdn(stream.keys, stream.values, steps=3),
        ot.convergence_rates(np.random.default_rng(0), steps=3),
        ot.token_curves(stream),
        ot.analyze([stream])[0],
        ot.check_bounds(one, ["T5"])[0],
        ot.verify(streams=["scalar"], bounds=["T5"]),
        error_bounds(one.stream, ot.BOUNDED, RECURRENT_FP32),
        residual_floor(error_bounds(one.stream, ot.BOUNDED, RECURRENT_FP32)),
    ]
    for result in results:
        line = repr(result)
        assert line.startswith(f"{type(result).__name__}(")
        assert "\n" not in line
        assert len(line) <= LONGEST_LINE
        assert "array(" not in line
    assert "keys=float64(2, 32, 8)" in repr(stream)
    assert "outputs=float64(2, 32, 4)" in repr(run)
    assert "checks=[" in repr(results[10])
