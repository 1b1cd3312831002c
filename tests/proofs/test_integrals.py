"""What SymPy integrates and solves, and that it sees a wrong constant."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from proofs_check.exact.integrals import INTEGRALS, Integral, check, check_variant, unequal


@pytest.mark.parametrize("integral", INTEGRALS, ids=lambda integral: integral.name)
def test_an_integral_stands_and_its_variant_falls(integral: Integral) -> None:
    assert check(integral).verdict == "passed"
    assert check_variant(integral).verdict == "passed"


def test_a_wrong_constant_is_named_and_a_true_variant_is_none() -> None:
    moments = INTEGRALS[0]
    assert unequal(moments.equations(2)) == ["E[k_i^4], Gaussian", "E[k_i^4], Beta"]
    assert check(replace(moments, equations=partial(moments.equations, 2))).detail == (
        "not equal: E[k_i^4], Gaussian, E[k_i^4], Beta"
    )
    assert check_variant(replace(moments, wrong=3)).verdict == "failed"
