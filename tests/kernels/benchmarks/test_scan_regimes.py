"""The calls whose kernels are timed in every regime."""

import json
import os
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import typer
from osdn_kernels.benchmarks import names, scan_regimes
from osdn_kernels.benchmarks.measuring import machine
from osdn_kernels.benchmarks.operators.providers import Missing
from osdn_kernels.benchmarks.scan_regimes import BOXES, draw
from osdn_kernels.launch import tuning

SIZES = (1, 20, 1, 16)


@pytest.mark.parametrize("regime", BOXES)
def test_every_regime_is_a_call(regime):
    call, both = draw(regime, *SIZES, grad=False, device="cpu")
    o = call()
    assert both is None
    assert o.shape == (1, 20, 1, 16)
    assert o.isfinite().all()
    assert o.abs().max() > 0


@pytest.mark.parametrize("regime", ["OS-GDN", "OS-KDA"])
def test_a_form_is_its_operator_differentiated_by_its_gate(regime, monkeypatch):
    form = BOXES[regime]["form"]
    seen = []

    def watched(**given):
        seen.append(given)
        return operator(**given)

    operator = scan_regimes.FORMS[form]
    monkeypatch.setitem(scan_regimes.FORMS, form, watched)
    _, both = draw(regime, *SIZES, grad=True, device="cpu")
    both()
    (given,) = seen
    assert operator.__name__ == f"chunk_{form}"
    assert given["g"].dim() == (4 if form == "oskda" else 3)
    assert given["g"].requires_grad


def test_gates_of_d_are_no_gates_of_the_memory(monkeypatch):
    seen = {}
    monkeypatch.setitem(scan_regimes.FORMS, "osgdn", lambda **given: seen.update(given) or (torch.zeros(1),))
    draw("OS-GDN, forgetting to 0", *SIZES, grad=False, device="cpu")[0]()
    assert {"g", "g_d"} <= set(seen)
    assert not torch.equal(seen["g"], seen["g_d"])


@pytest.mark.parametrize(
    "text", ["no_kernel=0", "pair_kernel=99", "pair_kernel=-1", "pair_kernel", "pair_kernel=x"]
)
def test_places_that_are_not_there_are_named(text):
    assert scan_regimes.read_place("pair_kernel=0") == ("pair_kernel", 0)
    with pytest.raises(typer.BadParameter, match="--choose: expected"):
        scan_regimes.read_place(text)


def test_regimes_that_are_not_there_are_named():
    with pytest.raises(typer.BadParameter, match="--regimes: expected"):
        scan_regimes.run(regimes="nothing clips;clips")


def test_no_configuration_is_asked_for_where_tuned_ones_are_taken():
    with pytest.raises(typer.BadParameter, match="--choose: expected nothing with --tuned"):
        scan_regimes.run(choose="pair_kernel=0", tuned=True)


def test_kernels_are_told_as_they_begin():
    def ran(name, begin, end, where="CUDA"):
        return SimpleNamespace(
            name=name,
            device_type=SimpleNamespace(name=where),
            time_range=SimpleNamespace(start=begin, end=end),
        )

    events = [
        ran("late", 1005.04, 1050.0),
        ran("launch", 990.0, 991.0, "CPU"),
        ran("x" * 50, 1000.0, 1030.0),
    ]
    assert scan_regimes.spans(events) == [("x" * 40, 0.0, 30.0), ("late", 5.0, 50.0)]
    assert scan_regimes.spans([]) == []


@pytest.mark.parametrize(("left", "told"), [(True, (1455.0, 690.25)), (False, None)])
def test_the_clock_is_that_of_a_gpu_that_still_replays(left, told, monkeypatch):
    """On a GPU that is not there."""
    graph = SimpleNamespace(replays=0)
    graph.replay = lambda: setattr(graph, "replays", graph.replays + 1)
    event = SimpleNamespace(record=lambda: None, query=lambda: not left)
    monkeypatch.setattr(scan_regimes, "read_clock", lambda: (1455.0, 690.25))
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert scan_regimes.clock_of(graph.replay, 0.5, seconds=0.01) == told
    assert graph.replays == 21


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ('test "$1" = --id=GPU-abc && echo "1455, 690.25"', (1455.0, 690.25)),
        ("echo '[N/A], [N/A]'", None),
        ("exit 9", None),
    ],
)
def test_the_clock_is_what_the_driver_says(script, found, monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(uuid="abc"))
    assert machine.read_clock() == found


def test_d_alone_needs_no_memory_and_forgets_where_that_is_asked_for(monkeypatch):
    seen = []
    monkeypatch.setitem(scan_regimes.FORMS, "d", lambda **given: seen.append(given) or (0, 0))
    for regime in ("d alone", "d alone, forgetting to 0"):
        draw(regime, *SIZES, grad=False, device="cpu")[0]()
    assert [{"q", "v", "beta"} & set(given) for given in seen] == [set(), set()]
    assert ["g" in given for given in seen] == [False, True]


def test_what_is_asked_for_of_every_shape_is_measured(monkeypatch, capsys, tmp_path):
    """On a GPU that is not there: of what would be timed, and with what."""
    compiled, measured = [], []

    class Pool:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, *given, **options):
            compiled.append(given[:2])
            assert function is scan_regimes.compile_one
            return SimpleNamespace(result=lambda: {"pair_kernel": 1})

    def measure(call, both, rep, *, profiled, timeline=False):
        assert (both, profiled, timeline) == (None, False, True)
        measured.append(tuning.TUNED["pair_kernel"].run.__name__)
        return {"forward": 1.0, "timeline": [("pair_kernel", 0.0, 2.5)], "clock": (1454.6, 690.2)}

    monkeypatch.setattr(scan_regimes, "pool_of", lambda workers, device: Pool())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "none")
    monkeypatch.setattr(scan_regimes, "peers", lambda *sizes: {})
    monkeypatch.setattr(scan_regimes, "measure", measure)
    monkeypatch.setattr(scan_regimes, "draw", partial(draw, device="cpu"))
    for tuned, run in ((False, "launch"), (True, "run")):
        scan_regimes.run(
            "1x16,2x8", "OS-GDN;OS-KDA", heads=1, dim=16, backward=False, profiled=False, timeline=True, tuned=tuned,
            out=tmp_path / "rows.json",
        )  # fmt: skip
        assert measured == [run] * 4
        measured.clear()
    assert compiled[:4] == [(name, shape) for shape in ("1x16", "2x8") for name in ("OS-GDN", "OS-KDA")]
    told = capsys.readouterr().out
    assert "0.0       2.5  pair_kernel" in told
    assert "1455 MHz, 690 W" in told
    assert [row["shape"] for row in json.loads((tmp_path / "rows.json").read_text())] == ["1x16"] * 2 + [
        "2x8"
    ] * 2


def test_peers_get_the_gates_that_are_theirs(monkeypatch):
    seen = {}

    def installed(module, operator):
        if module == "flash_qla":
            return lambda: (_ for _ in ()).throw(Missing())
        return lambda: lambda *given: seen.update({module: [x.dim() for x in given]}) or (given[2],)

    monkeypatch.setattr(scan_regimes, "installed", installed)
    found = scan_regimes.peers(*SIZES, device="cpu")
    for call, _ in found.values():
        call()
    assert names.FLASH_QLA not in found
    assert seen == {
        "fla.ops.delta_rule": [4, 4, 4, 3],
        "fla.ops.gated_delta_rule": [4, 4, 4, 3, 3],
        "fla.ops.kda": [4, 4, 4, 4, 3],
    }


def test_a_peer_may_refuse_but_no_failure_of_ours_is_hidden(monkeypatch):
    def refuse():
        raise RuntimeError("another version of Triton")

    def overflow():
        raise torch.OutOfMemoryError

    assert scan_regimes.refuses(refuse)
    assert not scan_regimes.refuses(lambda: None)
    with pytest.raises(torch.OutOfMemoryError):
        scan_regimes.refuses(overflow)
    monkeypatch.setattr(scan_regimes, "milliseconds", lambda call, rep: 1.0)
    with pytest.raises(RuntimeError, match="another version"):
        scan_regimes.measure(lambda: None, refuse, 1, profiled=False)
