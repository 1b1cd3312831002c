"""What counts as an array of numbers: everything that converts exactly, and nothing else without its name."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

import osdn_theory as ot
from osdn_theory.base.validation import as_float64

VALUES = [1.0, -2.5, 0.0078125]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64", "float8_e5m2"])
def test_tensors_of_every_format_convert_exactly(dtype: str) -> None:
    tensor = torch.tensor(VALUES).to(getattr(torch, dtype))
    found = as_float64("x", tensor)
    assert found.dtype == np.float64
    assert_array_equal(found, VALUES)


def test_a_tensor_with_a_gradient_is_only_read() -> None:
    tensor = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    found = as_float64("x", tensor)
    found[0] = 7.0
    assert tensor[0] == 1.0
    assert_array_equal(as_float64("x", torch.tensor([1, 2])), [1.0, 2.0])
    assert_array_equal(as_float64("x", np.array(VALUES, dtype=ml_dtypes.bfloat16)), VALUES)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (torch.ones(2, dtype=torch.complex64), TypeError, "expected real numbers, got dtype complex64"),
        ([torch.ones(2, dtype=torch.bfloat16)] * 2, TypeError, "expected an array of real numbers"),
        ([[1.0], [1.0, 2.0]], ValueError, "expected an array of real numbers"),
        ("1", TypeError, "expected real numbers, got dtype"),
        (None, TypeError, "expected real numbers, got dtype object"),
        (torch.tensor([1.0, float("nan")]), ValueError, "expected finite numbers, got nan at index"),
        (float("inf"), ValueError, "expected finite numbers, got inf$"),
    ],
)
def test_anything_else_is_named(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^x: {message}"):
        as_float64("x", value)


def test_public_functions_take_bfloat16_tensors() -> None:
    draw = torch.Generator().manual_seed(0)
    keys: Any = torch.randn(6, 3, generator=draw).bfloat16()
    values: Any = torch.randn(6, 2, generator=draw).bfloat16()
    start: Any = torch.full((3,), 1.25).bfloat16()
    arrays: Any = keys.double().numpy(), values.double().numpy()
    given: Any = {
        "eta": torch.tensor(0.125).bfloat16(),
        "d_min": torch.zeros(3).bfloat16(),
        "d_max": [2.0] * 3,
    }
    plain = ot.CalibrationRule(eta=0.125, d_min=0.0, d_max=2.0)
    stream = ot.Stream(keys=keys, values=values)
    run = ot.osdn(stream, ot.CalibrationRule(**given), initial_preconditioner=start)
    assert_array_equal(run.outputs, ot.osdn(ot.Stream(*arrays), plain, initial_preconditioner=1.25).outputs)
    assert_array_equal(ot.ridge_solution(keys, values, 1e-3), ot.ridge_solution(arrays[0], arrays[1], 1e-3))
    assert_array_equal(ot.round_to(keys, ot.BFLOAT16), arrays[0])
    assert ot.path_length(keys) == ot.path_length(arrays[0])


@pytest.mark.parametrize(
    "wrong", [{"eta": "x"}, {"eta": [0.1, 0.2]}, {"epsilon": "x"}, {"d_min": None}, {"eta": 1j}]
)
def test_a_rule_names_what_is_no_number(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
        ot.CalibrationRule(**wrong)
