"""One long sequence in pieces: the same bits as in one, whether something clips or not."""

import pytest
import torch
from osdn_kernels import chunk_osdn, chunk_osgdn
from osdn_kernels.chunk import pieces, stretches
from osdn_kernels.launch import conditions
from osdn_kernels.launch.recurrence import Inputs
from osdn_kernels.launch.sequences import cut
from osdn_kernels.scan import forward as scan
from osdn_kernels.selftest.runs import poisoned
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import draw, draw_gated

SIZES = {
    "length": 150,
    "batch": 1,
    "heads": 2,
    "key_dim": 6,
    "value_dim": 5,
    "dtype": torch.float32,
    "chunk_size": 16,
}
CALLS = {
    "nothing clips": (chunk_osdn, draw("fast", **SIZES)),
    "from nothing": (chunk_osdn, draw("fast", **SIZES, start=False)),
    "some clip": (chunk_osdn, draw("some clip", **SIZES)),
    "most clip": (chunk_osdn, draw("most clip", **SIZES)),
    "forgetting": (chunk_osdn, draw("fast", "to zero", **SIZES)),
    "clipping and forgetting": (chunk_osdn, draw("some clip", "to anchor", **SIZES)),
    "d = 1": (chunk_osdn, draw("one point", **SIZES, start=False)),
    "fixed": (chunk_osdn, draw("frozen", **SIZES)),
    "shared keys": (chunk_osdn, draw("fast", **SIZES, value_heads=4)),
    "gated": (chunk_osgdn, draw_gated("fast", state_gate="head", **SIZES)),
    "gated and forgetting": (chunk_osgdn, draw_gated("some clip", "to zero", state_gate="head", **SIZES)),
}


def late(heads):
    """Of a call by sweeps: d lies on its bound, and is pressed against it from token 100 on, in these heads alone."""
    call = draw("bounded", **SIZES)
    keys = call.tensors["k"]
    quiet = torch.ones(2, dtype=torch.bool)
    quiet[heads] = False
    keys[:, :100] = 0.0
    keys[:, :, quiet] = 0.0
    call.tensors["initial_preconditioner"][:] = 0.9
    call.options["d_max"] = 0.9
    return chunk_osdn, call


CALLS |= {
    "swept, nothing clips": (chunk_osdn, draw("bounded", **SIZES)),
    "swept and forgetting": (chunk_osdn, draw("bounded", "to zero", **SIZES)),
    "late": late([0, 1]),
    "late in one head": late([1]),
}


def in_pieces(monkeypatch, count=3):
    """Calls of one sequence in so many pieces, however short they are; the pieces of each."""
    monkeypatch.setattr(pieces, "LONG", 1)
    for name, value in {"LARGE": 0, "SHORTEST": 1, "MOST": count, "CROWD": 4}.items():
        monkeypatch.setattr(stretches, name, value)
    seen = []
    launch = pieces.launch_memory
    monkeypatch.setattr(
        pieces,
        "launch_memory",
        lambda *given, **how: seen.append(how["condition"].when) or launch(*given, **how),
    )
    return seen


def found_by(operator, call):
    """Results and the gradients of all inputs."""
    leaves = call.leaves()
    o, state = leaves(operator, output_final_state=True)
    (o.square().sum() + state.state.sum() + state.preconditioner.square().sum()).backward()
    return {
        "o": o.detach(), "state": state.state.detach(), "preconditioner": state.preconditioner.detach(),
        **{name: x.grad for name, x in leaves.tensors.items() if x.grad is not None},
    }  # fmt: skip


def differences(before, after):
    return [name for name, x in before.items() if not torch.equal(x, after[name])]


def both(monkeypatch, kind):
    """What the pieces of a call change, and under which conditions the memory was launched; what nothing has written is
    NaN."""
    whole = found_by(*CALLS[kind])
    seen = in_pieces(monkeypatch)
    with poisoned():
        return differences(whole, found_by(*CALLS[kind])), seen


@pytest.mark.parametrize("kind", CALLS)
def test_pieces_change_no_bit(kind, monkeypatch):
    changed, seen = both(monkeypatch, kind)
    assert changed == []
    speculates = kind in {"swept, nothing clips", "late", "late in one head"}
    assert len(seen) > 1
    assert seen == [1] * (len(seen) - 1) + [2] if speculates else set(seen) == {0}


@pytest.mark.parametrize("kind", ["late", "late in one head"])
def test_what_was_begun_ahead_is_done_again_where_something_clips(kind, monkeypatch):
    monkeypatch.setattr(pieces, "where", conditions.unless)
    assert "o" in both(monkeypatch, kind)[0]


def test_a_memory_that_starts_every_piece_from_nothing_is_seen(monkeypatch):
    seen = in_pieces(monkeypatch)
    operator, call = CALLS["swept, nothing clips"]
    launch = pieces.launch_memory
    monkeypatch.setattr(
        pieces, "launch_memory",
        lambda *given, **how: launch(*given[:12], torch.zeros_like(given[12]), *given[13:], **how),
    )  # fmt: skip
    found = found_by(operator, call)
    monkeypatch.setattr(pieces, "LONG", 1000)
    assert seen
    assert "o" in differences(found_by(operator, call), found)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("late", "(ended == tl.cdiv(before, BLOCK))", "(ended == ended)"),
        ("late", "passed = before + part", "passed = 2 * before + part"),
    ],
)
def test_a_chain_that_goes_on_after_it_has_ended_is_seen(kind, old, new, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, scan, "chain_kernel", old, new)
    assert both(monkeypatch, kind)[0]


def test_only_one_long_sequence_of_few_heads_goes_in_pieces():
    def long(batch, length, heads=16, **more):
        with torch.device("meta"):
            x = torch.empty(batch, length, heads, 128)
        inputs = Inputs(x, x, x, x[..., 0], **more)
        return pieces.is_long(inputs, cut(batch, length, 64, None))

    assert long(1, 65536)
    assert long(1, 100000, heads=32)
    assert not any([long(1, 65536 - 64), long(2, 65536), long(1, 65536, heads=64)])


@pytest.mark.parametrize("options", [{"return_trajectory": True}, {"return_intermediate_states": True}])
def test_what_only_all_chunks_at_once_give_is_not_asked_of_pieces(options, monkeypatch):
    operator, call = CALLS["swept, nothing clips"]
    seen = in_pieces(monkeypatch)
    call(operator, output_final_state=True, **options)
    assert seen == []
