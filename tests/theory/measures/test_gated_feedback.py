"""T17 in numbers: what either feedback leaves of losses, for every gate, and against which memory."""

import numpy as np
import pytest

from osdn_theory.measures.gated_feedback import FeedbackShares, feedback_shares


@pytest.fixture(scope="module")
def shares() -> FeedbackShares:
    return feedback_shares()


def test_against_the_gated_memory_no_gate_is_seen(shares: FeedbackShares) -> None:
    for curves in shares.gated.values():
        assert curves.shape == (3, 48)
        assert np.array_equal(curves, np.broadcast_to(curves[:1], curves.shape))


def test_plain_feedback_ends_at_what_the_write_gate_leaves(shares: FeedbackShares) -> None:
    """Each late token keeps (1 - beta)^2 by plain feedback, and next to nothing by the other."""
    plain, aware = (np.diff(shares.gated[name][0])[-8:] for name in ("plain", "aware"))
    assert plain == pytest.approx(2 * np.log10(0.5), abs=0.06)
    assert np.all(aware < 2 * plain)


def test_another_beta_leaves_another_share() -> None:
    found = feedback_shares(beta=0.25, gates=(0.9,))
    assert np.diff(found.gated["plain"][0])[-1] == pytest.approx(2 * np.log10(0.75), abs=0.06)


def test_against_the_memory_before_its_gate_values_count(shares: FeedbackShares) -> None:
    """The same d, and shares that differ; where nothing fades they do not."""
    assert np.max(np.abs(np.diff(shares.ungated, axis=0))) > 0.3
    still = feedback_shares(gates=(1.0,))
    np.testing.assert_allclose(still.ungated[0], still.ungated[1], atol=1e-9)
    np.testing.assert_allclose(np.cumsum(still.ungated[0]), still.gated["aware"][0], atol=1e-6)
