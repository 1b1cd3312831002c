"""What SymPy integrates and solves, and that it sees a wrong constant."""

from __future__ import annotations

import pytest

from proofs_check.exact.integrals import INTEGRALS, Integral, check, check_variant, unequal


@pytest.mark.parametrize("integral", INTEGRALS, ids=lambda integral: integral.name)
def test_an_integral_stands_and_its_variant_falls(integral: Integral) -> None:
    assert check(integral).verdict == "passed"
    assert check_variant(integral).verdict == "passed"


def test_a_wrong_constant_is_named_and_a_true_variant_is_none() -> None:
    moments = INTEGRALS[0]
    assert unequal(moments.false()) == ["E[k_i^4], Gaussian", "E[k_i^4], Beta"]
    swapped = Integral(moments.claim, "", "", moments.false, "", moments.equations)
    assert check(swapped).detail == "not equal: E[k_i^4], Gaussian, E[k_i^4], Beta"
    assert check_variant(swapped).verdict == "failed"
