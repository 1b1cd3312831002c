"""A chain over ranks: solved to the bit whatever the slopes, in fewer rounds where they are good."""

import pytest
import torch
from osdn_kernels.parallel.settle import settle
from support.kernels.thread_ranks import on_threads

RANKS = 5


def chain(slope: float, monkeypatch, *, backwards: bool = False, keep: float = 0.9, bend: float = 0.0):
    """Maps x -> clip(keep x + r + bend sin x) of float32 numbers: entries, ends and rounds of each rank."""
    first = torch.linspace(-3, 3, 7)

    def map_of(rank: int, x: torch.Tensor) -> torch.Tensor:
        return (keep * x + 0.1 * rank + bend * x.sin()).clamp(-2.5, 2.5)

    def call(group):
        rounds = []

        def run(x):
            rounds.append(x)
            return map_of(group.rank(), x), torch.full_like(x, slope)

        project = lambda x: x.clamp(-2.5, 2.5)  # noqa: E731
        return *settle(run, first, group, project, backwards=backwards), len(rounds)

    order = range(RANKS)[:: -1 if backwards else 1]
    expected, x = {}, first
    for rank in order:
        expected[rank], x = x, map_of(rank, x)
    found = on_threads(RANKS, call, monkeypatch)
    for rank, (entry, end, _) in enumerate(found):
        assert torch.equal(entry, expected[rank])
        assert torch.equal(end, x)
    (rounds,) = {each[2] for each in found}
    return rounds


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("slope", [0.9, 0.0, 1.0, -7.0])
def test_the_chain_is_solved_to_the_bit_whatever_the_slopes(slope, backwards, monkeypatch):
    assert chain(slope, monkeypatch, backwards=backwards, bend=0.3) <= RANKS


def test_slopes_that_are_right_take_fewer_rounds(monkeypatch):
    """Exactly so where the maps have no rounding: what a power of two times x is."""
    assert chain(0.25, monkeypatch, keep=0.25) < chain(-7.0, monkeypatch, keep=0.25) == RANKS


def test_maps_that_keep_nothing_take_two_rounds(monkeypatch):
    assert chain(0.0, monkeypatch, keep=0.0) == 2
