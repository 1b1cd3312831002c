"""Results in one line: shapes for arrays, names for what is nested, never more than fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from osdn_theory.base.brief import LONGEST_LINE, describe, show_briefly


@show_briefly
@dataclass(frozen=True, eq=False)
class Named:
    name: str
    numbers: Any = None
    other: Any = None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.zeros((2, 64, 16)), "float64(2, 64, 16)"),
        (np.float64(0.25), "0.25"),
        (np.array(3), "3"),
        (True, "True"),
        ("two\nlines", "'two lines'"),
        ("x" * 40, "'" + "x" * 31 + "…'"),
        ({"a": np.zeros(3)}, "{1 entries}"),
        ((1, 2), "(1, 2)"),
        ((1,) * 9, "(9 entries)"),
        ([np.zeros(2)], "[1 entries]"),
        (Named("inner"), "Named('inner')"),
        (object(), "object"),
    ],
)
def test_every_kind_of_field_is_short(value: object, shown: str) -> None:
    assert repr(Named("a", value)) == f"Named(name='a', numbers={shown})"


def test_what_does_not_fit_is_left_out_whole() -> None:
    @show_briefly
    @dataclass
    class Wide:
        first: str = "x" * 32
        second: str = "y" * 32
        third: str = "z" * 32
        fourth: str = "u" * 32
        fifth: str = "v" * 32
        sixth: str = "w" * 32

    line = repr(Wide())
    assert len(line) <= LONGEST_LINE
    assert "fourth='" + "u" * 32 + "', …)" in line
    assert describe(Named("a")) == "Named(name='a')"
