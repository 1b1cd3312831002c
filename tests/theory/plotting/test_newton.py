"""The figure of the distance to exact Newton shows the numbers it was given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from osdn_theory import plotting


def test_newton_distance_is_the_mean_over_heads() -> None:
    distances = SimpleNamespace(
        tokens=np.array([1, 4]),
        kernel=np.array([[[1.0, 0.5], [3.0, 0.7]]]),
        exact=np.array([[[1.0, 0.4], [3.0, 0.9]]]),
    )
    _, ax = plotting.newton_distance(distances, title="seen")
    exact, kernel = ax.lines
    assert (exact.get_label(), kernel.get_label()) == ("exact arithmetic", "kernel")
    for line in (exact, kernel):
        assert_array_equal(line.get_xdata(), [1, 4])
    assert_allclose(exact.get_ydata(), [2.0, 0.65])
    assert_allclose(kernel.get_ydata(), [2.0, 0.6])
    assert kernel.get_linestyle() == "None"
    assert ax.get_ylim()[0] == 0
    assert ax.get_xscale() == "log"
    assert ax.get_title() == "seen"
