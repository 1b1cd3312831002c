"""The figures of OSDN beside DeltaNet show the numbers they were given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from osdn_theory import plotting
from osdn_theory.measures.gated_feedback import FeedbackShares


def test_gated_feedback() -> None:
    shares = FeedbackShares(
        gated={"plain": np.array([[-1.0, -2.0], [-1.5, -2.5]]), "aware": np.array([[-3.0, -4.0], [-3.5, -4.5]])},
        ungated=np.array([[-0.1, -0.2], [-0.3, -0.4]]), beta=0.5, gates=(1.0, 0.5),
    )  # fmt: skip
    _, (ours, theirs) = plotting.gated_feedback(shares)
    *curves, kept = ours.lines
    assert_array_equal([line.get_ydata() for line in curves], np.concatenate(list(shares.gated.values())))
    assert [line.get_label() for line in curves] == [
        f"{name} feedback, gate {gate}" for name in ("plain", "beta-aware") for gate in ("1", "0.5")
    ]
    assert_allclose(kept.get_ydata(), np.log10([0.25, 0.0625]))
    assert_array_equal([line.get_ydata() for line in theirs.lines], shares.ungated)
    assert_array_equal(theirs.lines[0].get_xdata(), [1, 2])


def test_recall_by_reads() -> None:
    shares = {"delta_net": np.array([0.5, 0.25]), "osdn": np.array([0.5, 0.125])}
    _, ax = plotting.recall_by_reads(shares, (1, 2))
    for line, (label, share) in zip(
        ax.lines, (("DeltaNet", shares["delta_net"]), ("OSDN", shares["osdn"])), strict=True
    ):
        assert line.get_label() == label
        assert_array_equal(line.get_xdata(), [1, 2])
        assert_array_equal(line.get_ydata(), share)
    assert ax.get_yscale() == "log"


def test_blindness() -> None:
    _, ax = plotting.blindness({"delta_net": 2.0, "osdn": 1.5, "static": 0.0})
    assert [bar.get_width() for bar in ax.patches] == [2.0, 1.5, 0.0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["DeltaNet", "OSDN", "static $u$"]
    assert [text.get_text() for text in ax.texts] == ["2", "1.5", "0"]


def test_difference_from_delta_net() -> None:
    pairs = {"a": (np.array([0.1, 0.2]), np.array([1.0, 4.0])), "b": (np.array([0.5]), np.array([8.0]))}
    _, ax = plotting.difference_from_delta_net(pairs)
    first, second, attained = ax.lines
    assert (first.get_label(), second.get_label()) == ("a", "b")
    assert_array_equal(first.get_xdata(), [1.0, 4.0])
    assert_array_equal(first.get_ydata(), [0.1, 0.2])
    assert_array_equal(attained.get_xdata(), attained.get_ydata())
    assert_array_equal(attained.get_xdata(), [1.0, 8.0])


def test_error_growth() -> None:
    _, ax = plotting.error_growth(np.array([0.0, 1.0, 2.0]))
    assert_array_equal(ax.lines[0].get_xdata(), [1, 2, 3])
    assert_array_equal(ax.lines[0].get_ydata(), [0, 1, 2])


def test_newton_approach() -> None:
    curves = SimpleNamespace(
        conditions=np.array([1.0, 50.0]),
        tokens=np.array([8, 64]),
        distances={
            "delta_net": np.array([[0.1, 0.01], [0.5, 0.4]]),
            "osdn": np.array([[0.2, 0.02], [0.6, 0.3]]),
        },
    )
    _, ax = plotting.newton_approach(curves)
    assert_allclose(
        [line.get_ydata() for line in ax.lines], [[0.1, 0.01], [0.2, 0.02], [0.5, 0.4], [0.6, 0.3]]
    )
    assert [text.get_text() for text in ax.texts] == ["1", "50"]
    assert {line.get_label() for line in ax.lines} >= {"DeltaNet", "OSDN, $\\eta$ = 1"}
