"""Every figure shows the numbers it was given, and refuses what it cannot show."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from numpy.testing import assert_allclose, assert_array_equal
from support.full_disk import full_disk
from support.report.fake_verification import check

from osdn_theory import plotting
from osdn_theory.measures.calibration_times import half_life, isotropic_alignment
from osdn_theory.plotting._style import curve_styles
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import delta_net, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import interpolating


@pytest.fixture(scope="module")
def run() -> Trajectory:
    stream = interpolating(np.random.default_rng(0), length=40, key_dim=6, beta="random")
    return osdn(stream, CalibrationRule(eta=0.5))


def labels(ax: Axes) -> list[str]:
    fig = ax.get_figure(root=True)
    assert fig is not None
    (legend,) = fig.legends
    return [text.get_text() for text in legend.get_texts()]


def curve(ax: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    (line,) = [line for line in ax.lines if label in str(line.get_label())]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def texts(ax: Axes) -> str:
    return " | ".join(text.get_text() for text in ax.texts)


def rates(**changes: object) -> SimpleNamespace:
    steps = np.arange(101.0)
    data = {
        "log_suboptimality": {
            "gradient": 3 - 0.1 * steps,
            "full": 3 - 0.05 * steps**1.5,
            "newton": np.r_[3.0, np.full(100, -np.inf)],
        },
        "log_bound": 3 + steps * np.log(20 / np.maximum(steps, 1)),
        "bound_rules": ("full",),
        "vacuous_until": 21,
    }
    return SimpleNamespace(**{**data, **changes})


def test_convergence_rates_draws_every_rule_relative_to_the_start() -> None:
    _, ax = plotting.convergence_rates(rates(), labels={"gradient": "gradient descent"}, title="K = 8")
    assert ax.get_title() == "K = 8"
    x, y = curve(ax, "gradient descent")
    assert_allclose(y, -0.1 * x / np.log(10), atol=1e-12)
    assert set(labels(ax)) == {"gradient descent", "full", "newton", "T10 bound on full"}
    assert "suboptimality" not in ax.get_ylabel()
    assert "log" in ax.get_ylabel()


def test_convergence_rates_stops_minus_infinity_at_a_triangle() -> None:
    _, ax = plotting.convergence_rates(rates(), floor=-30)
    x, y = curve(ax, "newton")
    assert_array_equal(x, [0, 1])
    assert_array_equal(y, [0, -30])
    triangles = [line for line in ax.lines if line.get_marker() == "v" and line.get_linestyle() == "None"]
    assert any(list(line.get_xdata()) == [1] for line in triangles)
    assert ax.get_ylim()[0] == -30


def test_convergence_rates_marks_where_the_bound_is_vacuous() -> None:
    _, ax = plotting.convergence_rates(rates())
    assert "T10 vacuous until step 21" in texts(ax)
    x, y = curve(ax, "T10 bound on full")
    assert x.min() == 21
    assert y.max() < 0
    (band,) = ax.patches
    assert band.get_x() + band.get_width() == 21  # type: ignore[attr-defined]
    _, ax = plotting.convergence_rates(rates(vacuous_until=None))
    assert "vacuous throughout" in texts(ax)


def test_convergence_rates_without_a_bound_and_with_nothing() -> None:
    _, ax = plotting.convergence_rates(rates(log_bound=None, vacuous_until=None))
    assert "T10 bound on full" not in labels(ax)
    assert not ax.patches
    with pytest.raises(ValueError, match="at least one curve"):
        plotting.convergence_rates(rates(log_suboptimality={}))
    with pytest.raises(ValueError, match="floor: expected < 0"):
        plotting.convergence_rates(rates(), floor=0)


def test_convergence_rates_end_where_the_curves_end() -> None:
    steps = np.arange(101.0)
    shallow = {"gradient": -0.01 * steps, "newton": np.r_[0.0, np.full(100, -np.inf)]}
    _, ax = plotting.convergence_rates(rates(log_suboptimality=shallow, log_bound=None))
    assert -1.2 < ax.get_ylim()[0] < -0.01 * 100 / np.log(10)
    assert ax.get_xlim() == (0, 100)
    assert curve(ax, "newton")[1][-1] < curve(ax, "gradient")[1][-1]
    _, ax = plotting.convergence_rates(rates(log_suboptimality={"gradient": -10 * steps}, log_bound=None))
    assert ax.get_ylim()[0] == -40


def test_convergence_rates_of_several_seeds_are_bands_with_the_weakest_bound() -> None:
    first, second = rates(), rates(log_bound=rates().log_bound + 0.1 * np.arange(101.0), vacuous_until=23)
    second.log_suboptimality = {name: y - 1 for name, y in second.log_suboptimality.items()}
    second.log_suboptimality["full"] = 2 * second.log_suboptimality["full"]
    _, ax = plotting.convergence_rates([first, second])
    x, y = curve(ax, "gradient")
    assert_allclose(y, -0.1 * x / np.log(10), atol=1e-12)
    (full,) = [line for line in ax.lines if line.get_label() == "full"]
    assert_allclose(np.asarray(full.get_ydata())[1], 1.5 * -0.05 / np.log(10))
    assert len(ax.collections) == 3
    assert "T10 vacuous until step 23" in texts(ax)
    x, y = curve(ax, "T10 bound on full")
    assert_allclose(y, (second.log_bound - second.log_bound[0])[x.astype(int)] / np.log(10))
    with pytest.raises(ValueError, match="the same rules and steps"):
        plotting.convergence_rates([first, rates(log_suboptimality={"gradient": np.zeros(101)})])
    with pytest.raises(ValueError, match="at least one curve"):
        plotting.convergence_rates([])


def test_super_geometric_shows_both_logarithms(run: Trajectory) -> None:
    _, ax = plotting.super_geometric(run, 5.0)
    t = np.arange(1, 41)
    beta = np.asarray(run.stream.beta)
    assert_allclose(curve(ax, "prod")[1], np.cumsum(2 * np.log10(np.abs(1 - beta * run.alignment))))
    assert_allclose(curve(ax, "T6")[1], t * np.log10(5.0 / t))
    assert "vacuous until token 6" in texts(ax)


def test_super_geometric_marks_a_product_that_vanishes() -> None:
    keys = np.array([[0.9, 0.1], [1.0, 0.0], [0.5, 0.5]])
    trajectory = delta_net(Stream(keys=keys, values=np.ones((3, 1)), name="hit"))
    _, ax = plotting.super_geometric(trajectory, 0.5)
    y = curve(ax, "prod")[1]
    assert np.isfinite(y).all()
    assert y[1] == y[2] == min(y)
    assert "exactly 0 from token 2" in ax.get_title()
    assert not ax.patches


@pytest.mark.parametrize("constant", [0.0, -1.0, math.inf, math.nan])
def test_super_geometric_refuses_a_constant(run: Trajectory, constant: float) -> None:
    with pytest.raises(ValueError, match="constant: expected finite and > 0"):
        plotting.super_geometric(run, constant)


def test_heatmap_is_the_preconditioner_centred_at_one(run: Trajectory) -> None:
    _, ax = plotting.preconditioner_heatmap(run)
    (image,) = ax.images
    assert_array_equal(image.get_array(), run.preconditioner.T)
    norm = image.norm
    assert norm(1.0) == pytest.approx(0.5)
    assert norm.vmax - 1 == pytest.approx(np.abs(run.preconditioner - 1).max())
    assert ax.get_xlabel() == "token $t$"


def test_heatmap_of_delta_net_is_blank_and_says_zero() -> None:
    stream = interpolating(np.random.default_rng(0), lead=(2, 3), length=5, key_dim=6)
    _, ax = plotting.preconditioner_heatmap(delta_net(stream), index=(1, 2))
    assert ax.get_title().endswith("= 0")
    assert "batch row 1, head 2" in ax.get_title()


def test_leading_axes_must_be_chosen() -> None:
    stream = interpolating(np.random.default_rng(0), lead=(2,), length=5, key_dim=6)
    trajectory = delta_net(stream)
    for index, message in (
        ((), "leading axes"),
        ((0, 0), "expected 1 integers"),
        ((2,), "outside the leading"),
    ):
        with pytest.raises(ValueError, match=message):
            plotting.preconditioner_heatmap(trajectory, index=index)
    assert plotting.regret(trajectory, 1.0, index=(1,))[1].lines


def test_no_tokens_is_an_error() -> None:
    empty = delta_net(Stream(keys=np.zeros((0, 2)), values=np.zeros((0, 1))))
    for draw in (
        lambda: plotting.preconditioner_heatmap(empty),
        lambda: plotting.regret(empty, 1.0),
        lambda: plotting.super_geometric(empty, 1.0),
    ):
        with pytest.raises(ValueError, match="at least one token"):
            draw()


def test_regret_accumulates_the_loss_of_its_theorem(run: Trajectory) -> None:
    _, ax = plotting.regret(run, 3.0)
    assert_allclose(curve(ax, "sum")[1], np.cumsum((1 - run.alignment) ** 2))
    assert_array_equal(curve(ax, "bound (T5)")[1], np.full(40, 3.0))
    _, ax = plotting.regret(run, np.linspace(1, 2, 40), theorem="T8")
    assert_allclose(curve(ax, "sum")[1], np.cumsum(0.5 * (1 - run.alignment) ** 2))
    assert curve(ax, "bound (T8)")[1][-1] == 2
    with pytest.raises(ValueError, match="bound: expected a number or shape"):
        plotting.regret(run, np.ones(3))
    assert "the bound is 0" in plotting.regret(run, 0.0)[1].get_title()


def test_regret_with_beta_aware_feedback_uses_the_gated_alignment() -> None:
    stream = interpolating(np.random.default_rng(0), length=20, key_dim=6, beta="random")
    trajectory = osdn(stream, CalibrationRule(eta=0.1, beta_aware=True))
    _, ax = plotting.regret(trajectory, 3.0)
    gated = np.asarray(stream.beta) * trajectory.alignment
    assert_allclose(curve(ax, "sum")[1], np.cumsum((1 - gated) ** 2))


def test_forgetting_draws_the_formulas_and_the_points() -> None:
    gammas = np.array([0.9, 0.99, 0.999])
    measured = {"measured": (gammas, np.array([0.1, 0.2, 0.3]))}
    _, (left, right) = plotting.forgetting(eta=0.1, key_dim=16, gammas=gammas, measured=measured)
    assert_allclose(left.lines[0].get_xdata(), 1 - gammas)
    assert_allclose(left.lines[0].get_ydata(), half_life(gammas))
    assert_allclose(curve(right, "isotropic")[1], isotropic_alignment(16, eta=0.1, gamma=gammas))
    assert_allclose(curve(right, "anchored")[1], 1.0)
    assert_array_equal(curve(right, "measured")[1], [0.1, 0.2, 0.3])
    assert left.get_xscale() == right.get_xscale() == "log"
    # THEORY.md, T13: K = 128, gamma = 0.999, eta = 0.003 give about 0.07 and 0.023.
    _, (_, right) = plotting.forgetting(gammas=[0.999])
    assert curve(right, "constant")[1][0] == pytest.approx(0.065, abs=0.005)
    assert curve(right, "isotropic")[1][0] == pytest.approx(0.023, abs=0.001)


@pytest.mark.parametrize(
    "bad", [{"gammas": [1.0]}, {"gammas": [0.0]}, {"eta": 0.0}, {"eta": -1.0}, {"key_dim": 0}]
)
def test_forgetting_refuses_parameters_out_of_range(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        plotting.forgetting(**bad)  # type: ignore[arg-type]


def test_identity_fixed_point_clips_exact_zeros_and_says_so() -> None:
    drifts = {"bfloat16": np.array([0.0, 1e-4, 2e-4]), "exact": np.zeros(3)}
    _, ax = plotting.identity_fixed_point(drifts)
    assert ax.get_yscale() == "log"
    assert_array_equal(curve(ax, "bfloat16")[1], [1e-18, 1e-4, 2e-4])
    assert_array_equal(curve(ax, "exact")[1], [1e-18] * 3)
    assert "exact: exactly 0 throughout" in labels(ax)
    assert r"bfloat16: ends at $2.0 \times 10^{-4}$" in labels(ax)
    with pytest.raises(ValueError, match="at least one curve"):
        plotting.identity_fixed_point({})


def test_slack_has_a_row_per_statement_with_its_points_and_counts() -> None:
    checks = [
        check("T10", log10_slack=4.0),
        check("T5", log10_slack=0.5),
        check("T5", log10_slack=2.0),
        check("T5", log10_slack=math.inf),
        check("T5", outcome="not applicable"),
        check("T16", log10_slack=None),
    ]
    _, ax = plotting.slack_per_bound(checks)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "T16 Title of T16",
        "T10 Title of T10",
        "T5 Title of T5",
    ]
    points = sorted(x for line in ax.lines if line.get_marker() == "o" for x in line.get_xdata())
    assert points == [0.5, 2.0, 4.0]
    edges = [x for line in ax.lines if line.get_marker() == ">" for x in line.get_xdata()]
    assert edges == [10.0]
    assert "holds 3 of 4" in texts(ax)
    smallest = [
        line.get_xdata()[0] for line in ax.lines if line.get_linewidth() == 2 and len(line.get_xdata())
    ]
    assert sorted(smallest) == [0.5, 4.0]


def test_slack_shows_a_violation_left_of_zero() -> None:
    _, ax = plotting.slack_per_bound(
        [check(log10_slack=1.0), check(outcome="violated", log10_slack=-math.inf)]
    )
    left, right = ax.get_xlim()
    assert left < 0 < right
    crosses = [x for line in ax.lines if line.get_marker() == "X" for x in line.get_xdata()]
    assert crosses == [left]
    with pytest.raises(ValueError, match="at least one"):
        plotting.slack_per_bound([])


def test_curves_differ_in_colour_and_in_line_or_marker() -> None:
    styles = curve_styles(7)
    assert len({style["color"] for style in styles}) == 7
    assert len({(str(style["linestyle"]), style["marker"]) for style in styles}) == 7


def test_save_figure_writes_png_and_svg(tmp_path: Path) -> None:
    fig, _ = plotting.identity_fixed_point({"a": np.ones(2)})
    files = plotting.save_figure(fig, tmp_path / "deep" / "figure", svg=True)
    assert [file.name for file in files] == ["figure.png", "figure.svg"]
    assert files[0].read_bytes()[:4] == b"\x89PNG"
    assert ElementTree.parse(files[1]).getroot().tag.endswith("svg")
    assert len(plotting.save_figure(fig, tmp_path / "only.png")) == 1
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OSError, match="file"):
        plotting.save_figure(fig, blocked / "figure.png")
    before = files[0].read_bytes()
    with full_disk(), pytest.raises(OSError, match="File too large") as caught:
        plotting.save_figure(fig, files[0])
    assert caught.value.filename == str(files[0])
    assert files[0].read_bytes() == before
