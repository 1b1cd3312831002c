"""Kernels broken on purpose: the comparisons of the chunk operator see each."""

import pytest
from support.kernels.agreement import assert_agrees
from support.kernels.faults import FAULTS, break_kernel
from support.kernels.reference_cases import draw


def compare() -> None:
    """With chunks that clip and with chunks that do not; forgetting; a partial last chunk."""
    for rule in ("fast", "most clip"):
        assert_agrees(draw(rule, "to anchor", length=40, chunk_size=16, batch=1))


def test_whole_kernels_agree():
    compare()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_kernel_is_caught(fault, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, *FAULTS[fault])
    with pytest.raises(AssertionError) as caught:
        compare()
    assert "is not there" not in str(caught.value)
