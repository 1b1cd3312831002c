"""The central figure: every line, band, bound and note is that of its data, wide and narrow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from numpy.testing import assert_allclose, assert_array_equal

from osdn_theory import plotting
from osdn_theory.measures.central import central_contexts, central_labels, central_streams
from osdn_theory.measures.token_curves import LABELS, TokenCurves, token_curves
from osdn_theory.plotting.central import STYLES, TITLES, save_small
from osdn_theory.plotting.convergence import draw_band


@pytest.fixture(scope="module")
def curves() -> dict[str, TokenCurves]:
    streams = central_streams(0, key_dim=8, value_dim=2, length=400, seeds=3)
    captured = streams["captured"].at((0, 0)).tokens(0, 30)
    return {"isotropic": token_curves(streams["isotropic"]), "captured": token_curves(captured)}


def line(ax: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    (found,) = [each for each in ax.lines if each.get_label() == label]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


def notes(ax: Axes) -> str:
    return " | ".join(text.get_text() for text in ax.texts)


def test_lines_are_the_medians_of_their_data(curves: dict[str, TokenCurves]) -> None:
    _, axes = plotting.token_by_token(curves, labels=LABELS)
    data = curves["isotropic"]
    for ax, expected in ((axes[0], data.log10_product), (axes[2], data.log10_suboptimality)):
        for name, y in expected.items():
            x, drawn = line(ax, LABELS[name])
            assert_array_equal(x, np.arange(1, 401))
            assert_array_equal(drawn, np.median(y, axis=0))
    assert [ax.get_title() for ax in axes[:2]] == list(curves)
    assert axes[0].get_ylabel() != axes[2].get_ylabel() != ""


def test_a_bound_is_drawn_above_its_curve_and_only_where_it_says_something(
    curves: dict[str, TokenCurves],
) -> None:
    _, (ax, *_) = plotting.token_by_token(curves, labels=LABELS)
    data = curves["isotropic"]
    for name in ("osdn", "osdn_bounded"):
        weakest = data.log10_bound[name].max(axis=0)
        x, drawn = line(ax, f"T6 bound on {LABELS[name]}")
        assert_array_equal(drawn, weakest[weakest < 0])
        assert np.all(drawn >= data.log10_product[name][:, x.astype(int) - 1])
        colours = {each.get_color() for each in ax.lines if LABELS[name] in str(each.get_label())}
        assert colours == {STYLES[name]["color"]}
        assert f"T6 bound on {LABELS[name]}:\nvacuous until token {x[0]:.0f}" in notes(ax) or x[0] == 1
    assert x[0] > 1


def test_a_vacuous_bound_and_a_product_of_zero_are_said(curves: dict[str, TokenCurves]) -> None:
    _, axes = plotting.token_by_token({"captured": curves["captured"]}, labels=LABELS)
    assert f"T6 bound on {LABELS['osdn_bounded']}:\nvacuous throughout" in notes(axes[0])
    assert not [
        each for each in axes[0].lines if str(each.get_label()) == f"T6 bound on {LABELS['osdn_bounded']}"
    ]
    assert "DeltaNet: exactly 0 from token 1" in notes(axes[0])
    assert "exactly 0" not in notes(axes[1])


@pytest.mark.parametrize("narrow", [False, True])
def test_the_central_figure_has_three_panels(
    curves: dict[str, TokenCurves], narrow: bool, tmp_path: Path
) -> None:
    contexts = central_contexts(key_dim=4, steps=60, seeds=2)
    fig, axes = plotting.central_figure(curves["isotropic"], contexts, labels=central_labels(), narrow=narrow)
    assert [ax.get_title() for ax in axes] == list(TITLES)
    assert_array_equal(
        line(axes[0], "OSDN, η = 1/M")[1], np.median(curves["isotropic"].log10_product["osdn"], axis=0)
    )
    full = np.median(
        [each.log_suboptimality["full"] - each.log_suboptimality["full"][0] for each in contexts], axis=0
    )
    x, drawn = line(axes[2], "OSDN, full P")
    assert_allclose(drawn[:-1], full[: len(x) - 1] / np.log(10))
    assert line(axes[2], "exact Newton")[1][-1] == axes[2].get_ylim()[0]
    (file,) = save_small(fig, tmp_path / "figure.png")
    places = [ax.get_position() for ax in axes]
    assert (abs(places[0].x0 - places[2].x0) < 0.1) == narrow
    assert 0 < file.stat().st_size < 150_000


def test_a_band_reaches_from_the_lowest_to_the_highest() -> None:
    _, axes = plotting._style.new_figure()
    data = np.array([[0.0, -1.0, -9.0], [0.0, -2.0, -9.0], [0.0, -5.0, -9.0]])
    draw_band(axes[0], np.arange(3), data, "a", STYLES["osdn"], floor=-4.0)
    (band,) = axes[0].collections
    corners = np.asarray(band.get_paths()[0].vertices)
    assert {(1.0, -4.0), (1.0, -1.0)} <= {tuple(corner) for corner in corners}
    assert_array_equal(line(axes[0], "a")[1], [0, -2, -4])
    with pytest.raises(ValueError, match="at least one stream"):
        plotting.token_by_token({})
