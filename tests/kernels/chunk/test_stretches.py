"""The memory's path in stretches of time: the same bits as in one, forward and backward."""

from itertools import pairwise

import pytest
import torch
from osdn_kernels import chunk_osdn, chunk_osgdn, chunk_oskda
from osdn_kernels.chunk import stretches
from osdn_kernels.chunk.write_keys import FIXED, LEARNED
from osdn_kernels.launch.recurrence import Inputs
from osdn_kernels.launch.sequences import cut
from support.kernels.reference_cases import differentiated, draw, draw_gated

SIZES = {
    "length": 40,
    "batch": 2,
    "heads": 1,
    "key_dim": 6,
    "value_dim": 5,
    "dtype": torch.float32,
    "chunk_size": 16,
}
CALLS = {
    "calibrated": (chunk_osdn, draw("some clip", "to anchor", **SIZES)),
    "from nothing": (chunk_osdn, draw("fast", **SIZES, start=False)),
    "d = 1": (chunk_osdn, draw("one point", **SIZES, start=False)),
    "shared keys": (chunk_osdn, draw("fast", **SIZES, value_heads=2)),
    "gated": (chunk_osgdn, draw_gated("fast", "to zero", state_gate="head", **SIZES)),
    "gated by feature": (chunk_oskda, draw_gated("fast", "to zero", state_gate="feature", **SIZES)),
    "fixed": (chunk_osdn, draw("frozen", **SIZES)),
}
STRETCHED = [kind for kind in CALLS if kind not in {"gated by feature", "fixed"}]
RESULTS = ("o", "state", "preconditioner")


def cut_into(monkeypatch, stretches_, pieces):
    """Stretches, and pieces of each, of calls however small they are."""
    monkeypatch.setattr(stretches, "LARGE", 0)
    monkeypatch.setattr(stretches, "SHORTEST", 1)
    monkeypatch.setattr(stretches, "MOST", stretches_)
    monkeypatch.setattr(stretches, "CROWD", 2 * 2 * pieces)


def differences(before, after):
    return [
        name for kind in (0, 1) for name, x in before[kind].items() if not torch.equal(x, after[kind][name])
    ]


def cut_without_a_difference(monkeypatch, operator, call, stretches_, pieces):
    """Chunks and cuts of each stretch whose states are formed again, of a call that is cut; no bit differs."""
    whole = differentiated(call, operator, RESULTS)
    cut_into(monkeypatch, stretches_, pieces)
    entered = []
    keep = stretches.keep_states
    monkeypatch.setattr(
        stretches,
        "keep_states",
        lambda *given: entered.append((given[7].slots, len(given[8]))) or keep(*given),
    )
    assert differences(whole, differentiated(call, operator, RESULTS)) == []
    return entered


@pytest.mark.parametrize("kind", STRETCHED)
def test_stretches_change_no_bit(kind, monkeypatch):
    assert cut_without_a_difference(monkeypatch, *CALLS[kind], 3, 0) == [(2, 0)] * 3


@pytest.mark.parametrize("kind", CALLS)
def test_pieces_change_no_bit(kind, monkeypatch):
    entered = cut_without_a_difference(monkeypatch, *CALLS[kind], 1, 2)
    assert [slots for slots, _ in entered] == [6]
    assert entered[0][1] > 0


def test_pieces_of_stretches_change_no_bit(monkeypatch):
    call = draw_gated("fast", "to zero", state_gate="head", **{**SIZES, "length": 70})
    assert cut_without_a_difference(monkeypatch, chunk_osgdn, call, 2, 2) == [(2, 0), (8, 1)]


@pytest.mark.parametrize(("name", "place"), [("keep_states", 6), ("keep_states", 8), ("read_backward", 9)])
def test_a_stretch_that_starts_from_nothing_is_seen(name, place, monkeypatch):
    operator, call = CALLS["calibrated"]
    whole = differentiated(call, operator, RESULTS)
    cut_into(monkeypatch, *((1, 3) if place == 8 else (3, 0)))
    run = getattr(stretches, name)

    def forget(*given, **options):
        given = list(given)
        given[place] = torch.zeros_like(given[place])
        return run(*given, **options)

    monkeypatch.setattr(stretches, name, forget)
    assert differences(whole, differentiated(call, operator, RESULTS))


def test_only_calls_with_much_to_hold_are_cut():
    def cuts(batch, length, heads=16, mode=LEARNED, needed=True, **more):
        with torch.device("meta"):
            x = torch.empty(batch, length, heads, 128, dtype=torch.bfloat16)
            given = {name: torch.empty(shape) for name, shape in more.items()}
        return stretches.count_cuts(Inputs(x, x, x, x[..., 0], **given), 64, mode, needed=needed)

    assert cuts(8, 8192) == 2
    assert cuts(16, 4096) == 0  # by walks
    assert cuts(4, 16384) == 2
    assert cuts(1, 65536) == 5
    assert cuts(1, 4096, heads=8) == 3
    assert cuts(4, 4096, heads=8) == 2
    assert cuts(2, 4096, heads=8) == 1  # one stretch of two pieces
    assert cuts(64, 1024) == cuts(1, 1024) == 0
    assert cuts(1, 65536, needed=False) == cuts(1, 65536, cu_seqlens=(3,)) == 0
    assert cuts(1, 65536, mode=FIXED) == cuts(1, 65536, state_gate=(1, 65536, 16, 128)) == 1
    assert cuts(1, 65536, state_gate=(1, 65536, 16)) == 5


def test_stretches_have_every_chunk_once():
    chunks = cut(3, 16 * 130 + 5, 16, None)
    parts = chunks.cut_time(17)
    assert [span.start % 16 for span, _ in parts] == [0] * 8
    assert parts[0][0].start == 0
    assert parts[-1][0].stop == chunks.length
    assert all(one[0].stop == other[0].start for one, other in pairwise(parts))
    assert sum(part.slots for _, part in parts) == chunks.slots
    assert {part.stride for _, part in parts} == {chunks.length}
    assert chunks.cut_time(131) == [(None, chunks)]
