"""Kernels broken on purpose: the comparisons of the chunk operators see each."""

import pytest
from osdn_kernels import chunk_osgdn, chunk_oskda, osgdn_reference, oskda_reference
from osdn_kernels.chunk.feature import pairs, pairs_backward
from support.kernels.agreement import assert_agrees
from support.kernels.faults import (
    FAULTS,
    FEATURE_FAULTS,
    GATED_FAULTS,
    PAIR_FAULTS,
    PAIR_GRADIENT_FAULTS,
    WALK_FAULTS,
    break_kernel,
    read_kernel,
)
from support.kernels.reference_cases import draw, draw_gated

PLACES = [
    *FAULTS.values(),
    *WALK_FAULTS.values(),
    *FEATURE_FAULTS.values(),
    *(place for _, *place in GATED_FAULTS.values()),
    *((pairs, *place) for _, *place in PAIR_FAULTS.values()),
    *((pairs_backward, "differentiate_within", *change) for change in PAIR_GRADIENT_FAULTS.values()),
]


def compare() -> None:
    """With chunks that clip and with chunks that do not; forgetting; a partial last chunk."""
    for rule in ("fast", "most clip"):
        assert_agrees(draw(rule, "to anchor", length=40, chunk_size=16, batch=1))


def compare_gated(kind: str) -> None:
    """Chunks that do not clip, that do, that are swept; and tokens that empty the memory."""
    rule, more = ("most clip", {"eta": 0.05}) if kind == "swept" else (kind.replace("strong", "fast"), {})
    gates = "to anchor" if kind == "swept" else "none"
    call = draw_gated(
        rule,
        gates,
        state_gate="head",
        length=40,
        chunk_size=32,
        batch=1,
        heads=1,
        key_dim=4,
        value_dim=3,
        **more,
    )
    if kind == "strong":
        call.tensors["g"][:, 5:7] = -1000.0
    assert_agrees(call, chunk_osgdn, osgdn_reference)


def compare_per_feature() -> None:
    """A chunk of three blocks, the last of which still meets the first; then a chunk for each."""
    sizes = {"length": 36, "batch": 1, "heads": 1, "key_dim": 4, "value_dim": 3}
    for more in ({}, {"chunk_size": 16}):
        call = draw_gated("fast", state_gate="feature", **sizes, **more)
        call.tensors["g"] *= 0.2
        assert_agrees(call, chunk_oskda, oskda_reference)


def assert_caught(comparison, *given) -> None:
    """A comparison fails, and not since the fault could not be put in."""
    with pytest.raises(AssertionError) as caught:
        comparison(*given)
    assert "is not there" not in str(caught.value)


def test_what_is_broken_on_purpose_is_there_once():
    """Most of it is broken by slow tests, which would say so an hour later."""
    assert [old for home, name, old, _ in PLACES if read_kernel(home, name)[0].count(old) != 1] == []


def test_whole_kernels_agree():
    compare()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_kernel_is_caught(fault, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, *FAULTS[fault])
    assert_caught(compare)


@pytest.mark.parametrize(
    "kind", ["fast", "most clip", pytest.param("swept", marks=pytest.mark.slow), "strong"]
)
def test_whole_gated_kernels_agree(kind):
    compare_gated(kind)


@pytest.mark.slow
@pytest.mark.parametrize("fault", GATED_FAULTS)
def test_a_broken_gated_kernel_is_caught(fault, monkeypatch, tmp_path):
    kind, *what = GATED_FAULTS[fault]
    break_kernel(monkeypatch, tmp_path, *what)
    assert_caught(compare_gated, kind)


def test_whole_kernels_with_gates_per_feature_agree():
    compare_per_feature()


@pytest.mark.slow
@pytest.mark.parametrize("fault", FEATURE_FAULTS)
def test_a_broken_kernel_with_gates_per_feature_is_caught(fault, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, *FEATURE_FAULTS[fault])
    assert_caught(compare_per_feature)
