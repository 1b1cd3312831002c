"""The figures of a cross-check: what they show, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.crosscheck.cases import FAST, interpolating
from support.crosscheck.faulty_kernels import correct, faulty

from osdn_theory import plotting
from osdn_theory.crosscheck import crosscheck


def test_errors_are_drawn_beside_their_bounds(tmp_path: Path) -> None:
    found = crosscheck(faulty("drops the last partial chunk"), interpolating(24), FAST, device="cpu")
    figure, axes = plotting.crosscheck_errors(found)
    assert [ax.get_title() for ax in axes] == [
        "output $o$",
        "state $S$",
        "preconditioner $d$",
        "alignment $a$",
    ]
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    np.testing.assert_allclose(lines["kernel"].get_ydata(), found["o"].error.max(axis=(0, 1)))
    assert any("leaves it at token 17" in text.get_text() for text in axes[0].texts)
    (path,) = plotting.save_figure(figure, tmp_path / "errors.png")
    assert path.stat().st_size > 10_000


def test_the_curve_shows_kernel_exact_and_bound() -> None:
    found = crosscheck(correct, interpolating(24), FAST, device="cpu")
    assert found.curve is not None
    _, (products, ratios) = plotting.crosscheck_curve(found)
    lines = {line.get_label(): line for line in products.get_lines()}
    np.testing.assert_allclose(lines["exact product"].get_ydata(), found.curve.exact)
    assert any(label.startswith("T6") for label in lines)
    assert "decades" in products.get_title()
    assert ratios.get_legend() or ratios.get_figure().legends


def test_what_cannot_be_drawn_is_refused() -> None:
    found = crosscheck(correct, interpolating(12), FAST, device="cpu")
    with pytest.raises(ValueError, match="no curve"):
        plotting.crosscheck_curve(replace(found, curve=None))
    with pytest.raises(ValueError, match="nothing was compared"):
        plotting.crosscheck_errors(replace(found, comparisons=()))
