"""Systems and memory behind a chain that is at work: the same bits as after it, whether something clips or not."""

import weakref
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
import triton.language as tl
from osdn_kernels import chunk as modules, chunk_osdn, chunk_osgdn, chunk_oskda, sequential_scan
from osdn_kernels.chunk import decays, stages, state, wy
from osdn_kernels.launch import following
from osdn_kernels.launch.recurrence import Inputs
from osdn_kernels.launch.sequences import cut
from osdn_kernels.scan import chain, forward, operator, series
from osdn_kernels.selftest.runs import poisoned
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import draw, draw_gated

SIZES = {
    "length": 110,
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
    "shared keys": (chunk_osdn, draw("fast", **SIZES, value_heads=4)),
    "gated": (chunk_osgdn, draw_gated("fast", state_gate="head", **SIZES)),
    "gated and forgetting": (chunk_osgdn, draw_gated("some clip", "to zero", state_gate="head", **SIZES)),
    "by feature": (chunk_oskda, draw_gated("fast", state_gate="feature", **SIZES)),
    "by feature and forgetting": (
        chunk_oskda,
        draw_gated("some clip", "to zero", state_gate="feature", **SIZES),
    ),
    "by feature, shared keys": (
        chunk_oskda,
        draw_gated("fast", state_gate="feature", **SIZES, value_heads=4),
    ),
    "by feature, two sequences": (
        chunk_oskda,
        draw_gated("fast", state_gate="feature", **SIZES | {"batch": 2, "length": 50}),
    ),
}


def late(heads, call):
    """Of a call by sweeps: d lies on its bound, and is pressed against it from token 70 on, in these heads alone."""
    keys = call.tensors["k"]
    quiet = torch.ones(2, dtype=torch.bool)
    quiet[heads] = False
    keys[:, :70] = 0.0
    keys[:, :, quiet] = 0.0
    call.tensors["initial_preconditioner"][:] = 0.9
    call.options["d_max"] = 0.9
    return call


CALLS |= {
    "swept, nothing clips": (chunk_osdn, draw("bounded", **SIZES)),
    "late": (chunk_osdn, late([0, 1], draw("bounded", **SIZES))),
    "late in one head": (chunk_osdn, late([1], draw("bounded", **SIZES))),
    "by feature, late": (chunk_oskda, late([0, 1], draw_gated("bounded", state_gate="feature", **SIZES))),
}


def in_order(monkeypatch):
    """Launches one after the other, none of which waits."""
    monkeypatch.setattr(stages, "launches_behind", lambda *_: 0)
    monkeypatch.setattr(stages, "leaves_room", lambda *_: False)


def behind(monkeypatch, *, waits=False, room=True):
    """Calls whose memory, if there is room, goes beside their systems, two chunks at a time, behind segments of three
    of a chain's, which may itself wait for its operators.

    Returns what was launched of systems and memory, and how.
    """
    monkeypatch.setattr(modules.behind, "LONG", 1)
    monkeypatch.setattr(modules.behind, "VERY_LONG", 1 if room else 1000)
    monkeypatch.setattr(forward, "is_large", lambda _: waits)
    monkeypatch.setattr(state, "GROUP", tl.constexpr(2))
    monkeypatch.setattr(chain, "SEGMENT", tl.constexpr(3))
    seen = []
    watch(monkeypatch, lambda name, how, launch: seen.append((name, *how)) or launch())
    return seen


def watch(monkeypatch, act):
    """Have ``act(name, how, launch)`` in the place of what launches folding, systems and memory."""
    for name in ("fold", "solve", "launch_memory"):
        launch = getattr(stages, name)
        monkeypatch.setattr(
            stages, name,
            lambda *given, name=name, launch=launch, **how: act(name, how, lambda: launch(*given, **how)),
        )  # fmt: skip


def never_again(monkeypatch):
    """What came to nothing is not done again."""
    watch(monkeypatch, lambda _, how, launch: None if "again" in how else launch())


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


def both(monkeypatch, kind, *, waits=False, room=True):
    """What changes of a call whose launches run behind others, and these; what nothing has written is NaN."""
    with monkeypatch.context() as plain:
        in_order(plain)
        expected = found_by(*CALLS[kind])
    seen = behind(monkeypatch, waits=waits, room=room)
    with poisoned():
        return differences(expected, found_by(*CALLS[kind])), seen


UNCHAINED = {
    "d = 1": (chunk_osdn, draw("one point", **SIZES, start=False)),
    "fixed": (chunk_osdn, draw("frozen", **SIZES)),
    "swept and forgetting": (chunk_osdn, draw("bounded", "to zero", **SIZES)),
    "gated, d = 1": (chunk_osgdn, draw_gated("one point", state_gate="head", **SIZES)),
}
CALLS |= UNCHAINED
BEHIND = [(name, how) for how in ("signals", "again") for name in ("solve", "launch_memory")]
FOLDED = [("fold", "signals"), ("fold", "again")]
BESIDE = [("solve", "signals"), ("launch_memory", "signals"), ("launch_memory", "again")]


def launches(kind):
    if kind in UNCHAINED:
        return BESIDE
    return FOLDED + BESIDE if CALLS[kind][0] is chunk_oskda else BEHIND


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("kind", CALLS)
def test_running_behind_changes_no_bit(kind, waits, monkeypatch):
    changed, seen = both(monkeypatch, kind, waits=waits)
    assert changed == []
    assert seen == launches(kind)


@pytest.mark.parametrize("kind", ["some clip", "gated", "late"])
def test_systems_alone_behind_a_chain_change_no_bit(kind, monkeypatch):
    changed, seen = both(monkeypatch, kind, room=False)
    assert changed == []
    assert seen == [("solve", "signals"), ("solve", "again"), ("launch_memory",)]


@pytest.mark.parametrize("kind", UNCHAINED)
def test_without_a_chain_there_is_nothing_to_run_behind(kind, monkeypatch):
    changed, seen = both(monkeypatch, kind, room=False)
    assert changed == []
    assert seen == [("solve",), ("launch_memory",)]


SUMMED = {
    "per head": ("fast", {"state_gate": "head"}, True),
    "per feature": ("fast", {"state_gate": "feature"}, True),
    "swept from the start": ("bounded", {"state_gate": "feature", "gates": "to zero"}, False),
    "sequential": ("fast", {"state_gate": "head"}, False),
}


@pytest.mark.parametrize("kind", SUMMED)
def test_gates_are_summed_beside_a_chain(kind, monkeypatch):
    """Once, after the chain has been launched, which is told; before everything else where there is none."""
    rule, drawn, beside = SUMMED[kind]
    call = draw_gated(rule, **drawn, **SIZES)
    operator = chunk_osgdn if drawn["state_gate"] == "head" else chunk_oskda
    seen = []
    add, run = stages.sum_gates, chain.chain_kernel.run
    monkeypatch.setattr(
        stages, "sum_gates", lambda *x, **how: seen.append(how.get("follows", False)) or add(*x, **how)
    )
    monkeypatch.setattr(
        chain.chain_kernel, "run", lambda *x, **how: seen.append(("chain", how["LED"])) or run(*x, **how)
    )
    with sequential_scan() if kind == "sequential" else nullcontext():
        call(operator)
    assert seen == ([("chain", 1), True] if beside else [False])


@pytest.mark.parametrize("kind", ["late", "late in one head", "by feature, late"])
def test_what_was_begun_ahead_is_done_again_where_something_clips(kind, monkeypatch):
    never_again(monkeypatch)
    assert "o" in both(monkeypatch, kind)[0]


CHAIN = (
    chain,
    "chain_kernel",
    "report(progress + program * APART, done",
    "report(progress + program, 0 * done",
)
SYSTEMS = (wy, "solve_kernel", "report_one(done + key_item)", "pass")
NEVER = {
    "chain": ("swept, nothing clips", CHAIN),
    "systems": ("swept, nothing clips", SYSTEMS),
    "chain, by feature": ("by feature", CHAIN),
    "systems, no chain": ("fixed", SYSTEMS),
    "sums of gates": (
        "by feature",
        (decays, "sum_gates_kernel", "        report_one(summed + slot)\n", "        pass\n"),
    ),
}


def never_comes(monkeypatch, tmp_path, place):
    """Launches that wait in vain, briefly."""
    break_kernel(monkeypatch, tmp_path, *place)
    monkeypatch.setattr(following, "PATIENCE", tl.constexpr(3 * following.SHORTEST.value))


@pytest.mark.parametrize("what", NEVER)
def test_what_does_not_come_is_given_up_and_all_done_in_order(what, monkeypatch, tmp_path):
    kind, place = NEVER[what]
    never_comes(monkeypatch, tmp_path, place)
    changed, seen = both(monkeypatch, kind)
    assert changed == []
    assert seen == launches(kind)


@pytest.mark.parametrize("what", NEVER)
def test_going_on_without_what_does_not_come_is_seen(what, monkeypatch, tmp_path):
    kind, place = NEVER[what]
    never_comes(monkeypatch, tmp_path, place)
    never_again(monkeypatch)
    assert both(monkeypatch, kind)[0]


def repeated_keys():
    """Of a call whose series takes some chunks, and leaves those of one head, whose keys are all alike."""
    call = draw("bounded", **SIZES)
    keys = call.tensors["k"]
    keys[:, :, 1] = torch.eye(6)[0]
    return call


COME = {
    "by series": (chunk_osdn, draw("bounded", **SIZES)),
    "some by series": (chunk_osdn, repeated_keys()),
    "all at eta 1": (chunk_osdn, draw("fast", **SIZES)),
    "beside sums of gates": (chunk_oskda, draw_gated("fast", state_gate="feature", **SIZES)),
    "two sequences": (chunk_osdn, draw("bounded", **SIZES | {"batch": 2})),
}


def come_late(monkeypatch, kind):
    """What changes where a chain waits for its operators, and its launches: (whether it waits, its turn)."""
    expected = found_by(*COME[kind])
    monkeypatch.setattr(forward, "is_large", lambda _: True)
    turns, run = [], chain.chain_kernel.run
    name = chain.chain_kernel.fn.arg_names.index("turn")
    monkeypatch.setattr(
        chain.chain_kernel, "run", lambda *x, **how: turns.append((how["WAITS"], x[name])) or run(*x, **how)
    )
    with poisoned():
        return differences(expected, found_by(*COME[kind])), turns


TURNS = [(True, chain.FIRST), (True, chain.AGAIN)]


@pytest.mark.parametrize("kind", COME)
def test_a_chain_that_waits_for_its_operators_changes_no_bit(kind, monkeypatch):
    assert come_late(monkeypatch, kind) == ([], TURNS)


LOST = (
    operator,
    "operator_kernel",
    "report(operators + program, THERE)",
    "report(operators + program, LEFT)",
)


def lose_operators(monkeypatch, tmp_path):
    never_comes(monkeypatch, tmp_path, LOST)
    monkeypatch.setattr(series, "operator_kernel", operator.operator_kernel)


def test_a_chain_whose_operators_are_not_reported_begins_anew(monkeypatch, tmp_path):
    lose_operators(monkeypatch, tmp_path)
    assert come_late(monkeypatch, "all at eta 1") == ([], TURNS)


def test_a_chain_that_does_not_begin_anew_is_seen(monkeypatch, tmp_path):
    lose_operators(monkeypatch, tmp_path)
    monkeypatch.setattr(forward, "AGAIN", chain.FIRST)
    assert "o" in come_late(monkeypatch, "all at eta 1")[0]


def test_a_chain_that_goes_on_before_its_operators_are_there_is_seen(monkeypatch, tmp_path):
    """In the interpreter whoever waits is launched last; launched first, as on a GPU, it finds nothing there."""
    break_kernel(
        monkeypatch,
        tmp_path,
        chain,
        "chain_kernel",
        "wait_until(operators + item + near * H, THERE, stuck)",
        "pass",
    )
    monkeypatch.setattr(forward, "INTERPRETED", False)
    changed, _ = come_late(monkeypatch, "by series")
    assert "o" in changed


def test_operators_that_come_after_their_chain_has_given_up(monkeypatch):
    """As under tools that let one launch begin when the one before has ended."""
    monkeypatch.setattr(following, "PATIENCE", tl.constexpr(3 * following.SHORTEST.value))
    monkeypatch.setattr(forward, "INTERPRETED", False)
    assert come_late(monkeypatch, "by series") == ([], TURNS)


def test_few_chains_wait_on_a_whole_gpu(monkeypatch):
    monkeypatch.setattr(forward, "is_large", lambda _: True)
    cpu = torch.device("cpu")
    assert forward.waits_pay(cut(4, 16384, 64, None), 16, cpu)
    assert not forward.waits_pay(cut(5, 16384, 64, None), 16, cpu)
    assert not forward.waits_pay(cut(1, 16384, 64, torch.tensor([0, 16384])), 16, cpu)
    monkeypatch.setattr(forward, "is_large", lambda _: False)
    assert not forward.waits_pay(cut(1, 16384, 64, None), 16, cpu)


def count(batch, length, heads=16, dim=128, cu_seqlens=None, *, by_feature=False, dtype=None):
    with torch.device("meta"):
        x = torch.empty(batch, length, heads, dim, dtype=dtype)
    gate = x if by_feature else None
    inputs = Inputs(x, x, x, x[..., 0], state_gate=gate)
    return modules.behind.count_behind(inputs, cut(batch, length, 64, cu_seqlens))


def test_only_few_very_long_sequences_of_few_heads_leave_room():
    assert count(1, 65536) == count(2, 65536) == count(1, 100000, heads=32) == 2
    assert (
        count(1, 65536 - 64) == count(3, 65536) == count(1, 65536, heads=64) == count(1, 65536, dim=256) == 1
    )


def test_behind_few_long_chains_only():
    assert count(4, 16384) == count(4, 16384, by_feature=True) == count(1, 65536, by_feature=True) == 1
    assert count(4, 16384 - 64) == count(5, 16384) == 0
    assert count(1, 65536, cu_seqlens=torch.tensor([0, 65536])) == 0


@pytest.mark.parametrize(
    ("generation", "multiprocessors", "large"),
    [(9, 132, True), (9, 60, False), (8, 132, False), (10, 148, False)],
)
def test_only_a_whole_hopper_gpu_is_large(generation, multiprocessors, large, monkeypatch):
    """On a part of one, launches would wait for others that have no place."""
    properties = SimpleNamespace(multi_processor_count=multiprocessors)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (generation, 0))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    assert modules.behind.is_large(torch.device("cuda")) is large


@pytest.mark.parametrize(("dtype", "launches"), [(torch.bfloat16, 2), (torch.float16, 2), (torch.float32, 1)])
def test_on_a_gpu_rows_have_16_bits(dtype, launches, monkeypatch):
    monkeypatch.setattr(modules.behind, "INTERPRETED", False)
    monkeypatch.setattr(modules.behind, "is_large", lambda _: True)
    assert count(1, 65536, dtype=dtype) == launches


@pytest.mark.parametrize(
    "options",
    [{"return_intermediate_states": True}, {"return_trajectory": True}],
    ids=lambda options: next(iter(options)),
)
def test_what_else_is_asked_for(options, monkeypatch):
    operator, call = CALLS["swept, nothing clips"]
    with monkeypatch.context() as plain:
        in_order(plain)
        expected = call(operator, output_final_state=True, **options)
    seen = behind(monkeypatch)
    found = call(operator, output_final_state=True, **options)
    assert (seen == BEHIND) == ("return_trajectory" in options)
    assert len(leaves_of(expected)) > 3
    for before, after in zip(leaves_of(expected), leaves_of(found), strict=True):
        assert torch.equal(before, after)


def leaves_of(found):
    """Tensors of results and of what they are made of."""
    if isinstance(found, torch.Tensor):
        return [found]
    return [x for part in found for x in leaves_of(part)] if isinstance(found, tuple) else []


def test_what_a_chain_reads_is_kept_until_all_is_launched(monkeypatch):
    """Memory that is let go is given to the next who asks, who runs at the same time here."""
    kept = []
    operators = forward.new_operators
    monkeypatch.setattr(
        forward, "new_operators", lambda *given, **how: note_of(operators(*given, **how), kept)
    )
    there = []
    watch(monkeypatch, lambda _, how, launch: there.append(kept[0]() is not None) or launch())
    seen = behind(monkeypatch)
    found_by(*CALLS["swept, nothing clips"])
    assert seen == BEHIND
    # What is launched again begins when all before has ended.
    assert there[:2] == [True, True]


def note_of(found, kept):
    kept.append(weakref.ref(found.matrix))
    return found
