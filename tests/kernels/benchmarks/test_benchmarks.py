"""The benchmark's arithmetic, what it writes, and what it does about providers that fail or are not there."""

import csv
import importlib
import json
import math
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
import torch
from osdn_kernels import osdn_reference, osgdn_reference, oskda_reference
from osdn_kernels.benchmarks import cli, names, plan, shapes
from osdn_kernels.benchmarks.measuring import measure
from osdn_kernels.benchmarks.measuring.measure import Task
from osdn_kernels.benchmarks.operators import floors, osla
from osdn_kernels.benchmarks.operators.calls import Call
from osdn_kernels.benchmarks.operators.floors import Ceilings, Work
from osdn_kernels.benchmarks.operators.inputs import draw, in_regime
from osdn_kernels.benchmarks.operators.providers import chunkwise
from osdn_kernels.benchmarks.operators.regimes import CLIPPING, FORGETTING, MIXED, NOTHING, REGIMES
from osdn_kernels.benchmarks.output import tables
from osdn_kernels.benchmarks.output.records import Record, Results, Sample, combine
from osdn_kernels.benchmarks.output.verdicts import GOALS, Goal, judge
from osdn_kernels.benchmarks.run import TimeUp, deadline, run, verdicts_of
from osdn_kernels.benchmarks.shapes import Shape
from rich.console import Console
from typer.testing import CliRunner

SHAPE = Shape(tokens=64, length=64, heads=2, key_dim=16, value_dim=32)
CPU = torch.device("cpu")


def record(provider, value, measure=names.FORWARD, shape=SHAPE, **more):
    return Record(measure, provider, shape, value=value, low=value, high=value, **more)


def test_floors_count_every_byte_and_operation_once():
    """One head, one chunk of 64, K = 64, V = 128, by hand."""
    shape = Shape(64, 64, 1, 64, 128)
    products = (
        2 * 64**2 * 64 // 2 * 3 + 2 * 64**2 * 128 // 2 * 2 + 2 * 64 * 64 * 128 * 3
    )  # three with K, two with V
    forward = floors.forward(shape, 2, gates=0, started=False)
    assert forward.operations == pytest.approx(products + 64**3 / 3)
    assert forward.bytes == 2 * 64 * (64 + 64 + 128 + 128 + 1)
    both = floors.forward_backward(shape, 2, gates=1, started=True)
    assert both.operations == pytest.approx(3 * forward.operations)
    assert both.bytes == 2 * 64 * (4 * 64 + 4 * 128 + 2) + 2 * 4 * (64 + 64)
    (kda,) = (provider for provider in chunkwise() if provider.name == names.OURS_KDA)
    assert floors.forward(shape, 2, gates=kda.gates(64), started=False).bytes == forward.bytes + 4 * 64 * 64


def test_the_larger_floor_counts():
    ceilings = Ceilings(bandwidth=1e12, matrix_rate=1e15)
    assert Work(bytes=2e9, operations=1e12).floor_ms(ceilings) == pytest.approx(2.0)
    assert Work(bytes=2e8, operations=1e12).floor_ms(ceilings) == pytest.approx(1.0)
    line = record(names.OURS, 4.0, work=Work(2e9, 1e12)).fields(ceilings)
    assert line["over_floor"] == pytest.approx(2.0)
    assert line["bytes_per_second"] == pytest.approx(5e11)
    assert line["operations_per_second"] == pytest.approx(2.5e14)


def rows_of(ours, **bases):
    """Records of rows of 64, 128, ... tokens."""
    rows = [Shape(64 * (i + 1), 64 * (i + 1), 2, 16, 32) for i in range(len(ours))]
    return [
        record(provider, value, shape=row)
        for provider, values in {names.OURS: ours, **bases}.items()
        for row, value in zip(rows, values, strict=True)
    ]


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [([1.0, 1.10], "met"), ([1.0, 1.15], "missed"), ([1.15, 1.0], "missed"), ([], "not measured")],
)
def test_a_goal_is_met_in_every_row_or_missed(ours, outcome):
    goal = Goal("forward", names.FORWARD, names.OURS, (names.DELTA,), 1.10)
    (verdict,) = judge(rows_of(ours, **{names.DELTA: [1.0] * len(ours)}), [goal])
    assert verdict.outcome == outcome
    assert [ratio.value for ratio in verdict.ratios] == ours


def test_a_goal_is_judged_by_the_fastest_base_and_by_the_limit_of_its_length():
    goal = Goal("forward", names.FORWARD, names.OURS, (names.DELTA, names.PINNED), 1.0, {128: 3.0})
    bases = {names.DELTA: [1.0, 2.0], names.PINNED: [4.0, 1.0]}
    (verdict,) = judge(rows_of([2.0, 2.0], **bases), [goal])
    assert [(ratio.value, ratio.met) for ratio in verdict.ratios] == [(2.0, False), (2.0, True)]
    assert verdict.outcome == "missed"
    (verdict,) = judge(rows_of([2.0, 2.0], **{names.DELTA: [4.0, 4.0]}), [goal])
    assert verdict.outcome == "not measured"  # one of the bases is missing


def test_the_goals_are_those_that_were_set():
    text = {(goal.name, goal.measure): (goal.limit, goal.longer) for goal in GOALS}
    assert text["forward", names.FORWARD] == (0.60, {65536: 0.75})
    assert text["forward and backward", names.BACKWARD] == (0.85, {65536: 0.90})
    assert text["peak memory", names.MEMORY][0] == 0.80
    for regime in REGIMES[1:]:
        limits = (2.0, 2.0) if regime is MIXED else (1.25, 1.3)
        assert text[f"{regime.name}, forward", names.FORWARD][0] == limits[0]
        assert text[f"{regime.name}, forward+backward", names.BACKWARD][0] == limits[1]


def test_providers_are_compared_within_a_row_only():
    other = Shape(128, 64, 2, 16, 32)
    records = [record(names.OURS, 3.0), record(names.DELTA, 1.0, shape=other)]
    assert all(verdict.outcome == "not measured" for verdict in judge(records))


def clipping(regime, length=1500, skip=700):
    """Shares of clipped steps, [H, K], after the first tokens; and of steps that move d, likewise."""
    drawn = draw(Shape(length, length, 2, 64, 16), CPU, torch.float64)
    given = regime.arguments(in_regime(regime, drawn))
    *_, path = osdn_reference(**given, **regime.options, return_trajectory=True)
    d = path.preconditioner[0]
    on_bound = (d == regime.d_min) | (d == regime.d_max)
    moves = d[1:] != d[:-1]
    return on_bound[skip:].double().mean(0), moves[skip:].double().mean(0)


def test_regimes_clip_where_their_names_say():
    for regime in REGIMES:
        clipped, moves = clipping(regime)
        half = clipped.shape[-1] // 2
        if regime is FORGETTING:
            assert clipped.mean() > 0.9
        elif regime is CLIPPING:
            assert clipped.mean() > 0.99
        elif regime is MIXED:
            assert ((clipped > 0.2) & (clipped < 0.8))[:, :half].all(), "the first half oscillates"
            assert moves[:, :half].min() > 0.5
            assert clipped[:, half:].mean() < 0.05, "the second half is free"
        else:
            assert not clipped.any(), regime.name


def test_a_smoke_run_decides_nothing(tmp_path):
    records = [record(names.OURS, 1.0), record(names.DELTA, 1.0)]
    results = Results(tmp_path, "", {}, smoke=True, records=records)
    assert {verdict.outcome for verdict in verdicts_of(results)} == {"not measured"}
    results.smoke = False
    assert verdicts_of(results)[1].outcome == "missed"


def test_the_grid_holds_what_was_asked_for():
    grid = shapes.full()
    assert {shape.length for shape in grid} == {2048, 4096, 8192, 16384, 32768, 65536}
    assert {shape.tokens for shape in grid} == {16 * 1024, 64 * 1024, 128 * 1024}
    assert {shape.heads for shape in grid} == {8, 16}
    assert {(shape.key_dim, shape.value_dim) for shape in grid} == {(128, 128), (64, 64), (128, 256)}
    rows = plan.tasks({"decode"}, "full", smoke=False, graphs=True)
    assert {task.shape.batch for task in rows} == {1, 64, 256}
    assert {goal.measure for goal in GOALS} == set(names.BASES) - {names.DECODE_EAGER}


def test_the_goals_have_their_rows_first():
    tasks = plan.tasks(set(plan.PARTS), "full", smoke=False, graphs=True)
    assert {task.shape for task in tasks[:8]} == set(shapes.small())
    assert {task.measure for task in tasks[8:14]} == set(plan.PARTS["decode"])
    by_length = [(s.batch, s.length, s.heads, s.key_dim) for s in shapes.small()]
    assert by_length == [(16, 4096, 16, 128), (4, 16384, 16, 128), (1, 65536, 16, 128), (4, 4096, 8, 128)]
    assert len(set(tasks)) == len(tasks)


def test_repetitions_are_combined_by_their_median_and_extremes():
    found = combine([Sample(3.0, 2.0, 4.0), Sample(1.0, 0.5, 5.0), Sample(2.0, 1.5, 2.5)])
    assert found == {"value": 2.0, "low": 0.5, "high": 5.0, "repetitions": 3}


def test_a_provider_that_fails_leaves_the_others_alone():
    def fail():
        raise RuntimeError("out of registers\nmore")

    def broken():
        return lambda: (torch.tensor(float("nan")),)

    calls = [
        Call("fails", fail, None),
        Call("gives NaN", broken, None),
        Call("works", lambda: lambda: (torch.ones(1),), None),
    ]
    found = measure.timed_records(
        Task(names.FORWARD, SHAPE), calls, lambda run, repeats: Sample(1.0, 1.0, 1.0)
    )
    assert [r.status for r in found] == [
        "failed: RuntimeError: out of registers",
        "failed: FloatingPointError: an output is not finite",
        "measured",
    ]
    assert found[2].value == 1.0
    assert math.isnan(found[0].value)


def test_every_provider_computes_what_its_name_says():
    """In the interpreter: each is what the reference makes of it, and d = 1 differs from all."""
    found = {
        call.provider: call.prepare()()[0].float()
        for call in measure.calls_of(Task(names.FORWARD, SHAPE), CPU)
        if not call.gpu
    }
    fading = {names.OURS_GDN: osgdn_reference, names.OURS_KDA: oskda_reference}
    assert set(found) == {regime.provider for regime in REGIMES} | {names.PINNED} | set(fading)
    drawn = draw(SHAPE, CPU)
    for provider in chunkwise():
        if provider.name in fading:
            given = {name: x.float() for name, x in provider.arguments(in_regime(NOTHING, drawn)).items()}
            expected = fading[provider.name](**given)[0]
            assert apart(found[provider.name], expected) < 0.02, provider.name
    for regime in REGIMES:
        given = {name: x.float() for name, x in regime.arguments(in_regime(regime, drawn)).items()}
        expected = osdn_reference(**given, **regime.options)[0]
        assert apart(found[regime.provider], expected) < 0.02, regime.name
        if regime is NOTHING:
            assert apart(found[names.PINNED], expected) > 0.05


def apart(found, expected):
    return (found - expected).norm() / expected.norm()


def test_peers_that_are_not_there_leave_no_row():
    assert measure.run_task(Task(names.FORWARD, SHAPE, peers=True), CPU) == []


@mock.patch.dict(sys.modules)
def test_the_authors_stand_beside_an_installed_package(tmp_path, monkeypatch):
    """Two packages of one name in one process: theirs is loaded, and the other still there."""
    for where, text in (
        ("theirs", "def chunk_delta_rule_osgm(*a, **k):\n    return k['eta'], None"),
        ("installed", ""),
    ):
        folder = tmp_path / where / "fla" / "ops" / "os_delta_rule"
        folder.mkdir(parents=True)
        for package in (folder, folder.parent, folder.parent.parent):
            (package / "__init__.py").touch()
        (folder / "chunk_osgm.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "installed")
    for name in [name for name in sys.modules if name.split(".")[0] == "fla"]:
        del sys.modules[name]
    here = importlib.import_module(osla.MODULE)
    operator = osla.operator(tmp_path / "theirs", False, eta=0.25)
    q = torch.ones(1, 2, 1, 4)
    assert operator(q, q, q, q[..., 0])[0] == 0.25
    assert sys.modules[osla.MODULE] is here
    with pytest.raises(AttributeError):  # a checkout without it
        osla.operator(tmp_path / "nothing", False)
    assert sys.modules[osla.MODULE] is here


def fake(task, device):
    if task.measure == names.SCAN:
        return [Record(task.measure, names.SCAN_ALONE, task.shape, status="failed: RuntimeError: no")]
    return [
        record(names.OURS, 2.0, task.measure, task.shape),
        record(names.DELTA, 1.0, task.measure, task.shape),
    ]


def test_files_and_figures(tmp_path):
    run(
        tmp_path,
        {"forward", "decode"},
        "full",
        1e9,
        smoke=True,
        profile=False,
        console=Console(quiet=True),
        measure=fake,
    )
    document = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert document["smoke"] is True
    assert [line["provider"] for line in document["records"][:2]] == [names.OURS, names.DELTA]
    text = (tmp_path / "results.csv").read_text().splitlines()
    assert text[0].startswith("# SMOKE RUN")
    lines = list(csv.DictReader(text[1:]))
    assert len(lines) == len(document["records"])
    assert lines[0]["value"] == "2.0"
    table = (tmp_path / "table.md").read_text()
    assert "SMOKE RUN" in table
    assert "| 2.000 |" in table  # the ratio
    assert f"| {names.OURS} | 2 |" in table
    assert {path.name for path in tmp_path.glob("*.png")} == {"forward.png", "decode.png"}
    assert not list(tmp_path.glob("*.part"))


def test_a_failure_is_brief_in_the_table_of_times_and_told_in_full_below():
    failed = Record(names.FORWARD, names.DELTA, SHAPE, status="failed: RuntimeError: no such instruction")
    header, ours, delta = tables.times([record(names.OURS, 0.12345), failed], names.FORWARD)
    assert header == ["forward, ms", SHAPE.label]
    assert ours == [names.OURS, "0.1235"]
    assert delta == [names.DELTA, "failed"]
    assert failed.status in tables.lines(Results(Path(), "", {}, records=[failed]))[0]


def test_a_killed_run_keeps_its_rows(tmp_path):
    rows = []

    def dies(task, device):
        if rows:
            raise KeyboardInterrupt
        rows.append(task)
        return fake(task, device)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {"forward", "memory"}, "small", 1e9, smoke=True, profile=False, console=Console(quiet=True),
            measure=dies)  # fmt: skip
    document = json.loads((tmp_path / "results.json").read_text())
    assert len(document["records"]) == 2
    label = shapes.SMOKE[0].label
    assert document["not_run"] == [f"memory: {label}", f"forward: {label}, other operators"]


def test_the_time_is_kept_to(tmp_path):
    """A row that would never end is given up, and those before it are kept."""

    def endless(task, device):
        if task.measure == names.MEMORY:
            time.sleep(600)
        return fake(task, device)

    started = time.monotonic()
    results = run(tmp_path, {"forward", "memory"}, "small", 2.0, smoke=True, profile=False,
                  console=Console(quiet=True), measure=endless)  # fmt: skip
    assert time.monotonic() - started < 60
    assert len(results.records) == 2
    assert results.not_run[0] == f"memory: {shapes.SMOKE[0].label}"
    table = (tmp_path / "table.md").read_text()
    assert "memory" in table[table.index("Not run") :]


def test_no_time_measures_nothing(tmp_path):
    results = run(tmp_path, {"forward"}, "small", 0.0, smoke=True, profile=False, console=Console(quiet=True),
                  measure=fake)  # fmt: skip
    assert results.records == []
    assert len(results.not_run) == 2


def sleep_through(seconds):
    """As code that takes every exception for a failure of something else."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        with suppress(Exception):
            time.sleep(seconds)


def test_a_deadline_is_not_stopped_by_handlers_of_exceptions():
    with pytest.raises(TimeUp), deadline(0.05):
        sleep_through(60)
    with deadline(0.05):
        pass
    time.sleep(0.1)  # one that was kept does not strike later


KILLED = """
import sys
import time
from pathlib import Path

import torch
from osdn_kernels.benchmarks import names, run
from osdn_kernels.benchmarks.output.records import Record
from rich.console import Console


def measure(task, device):
    if task.measure == names.BACKWARD:
        print("stuck", flush=True)
        time.sleep(600)
    return [Record(task.measure, names.OURS, task.shape, value=1.5, low=1.0, high=2.0)]


run.run(Path(sys.argv[1]), {"forward", "backward"}, "small", 1e9, smoke=True, profile=False,
        console=Console(quiet=True), measure=measure)
"""


def test_a_run_that_is_killed_outright_leaves_a_table(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "stuck\n"
        process.kill()
    table = (tmp_path / "table.md").read_text()
    assert f"| {names.OURS} | 1.5 |" in table
    assert f"- forward+backward: {shapes.SMOKE[0].label}" in table
    assert json.loads((tmp_path / "results.json").read_text())["records"][0]["value"] == 1.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no CUDA device is present"),
        (["--smoke", "--only", "forward,nothing"], "'nothing' is none of"),
        (["--smoke", "--out", __file__], "is not a folder"),
        (["--smoke", "--osla", "."], "has no folder fla"),
        (["--seconds", "-1"], "seconds"),
    ],
)
def test_bad_usage(arguments, message):
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_a_failure_of_ours_is_the_exit_code(monkeypatch, tmp_path):
    monkeypatch.setattr("osdn_kernels.benchmarks.run.run_task", fake)
    monkeypatch.setattr("osdn_kernels.benchmarks.run.run.__kwdefaults__", {"measure": fake})
    result = CliRunner().invoke(cli.app, ["--smoke", "--only", "scan", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "failed: RuntimeError: no" in result.output


@pytest.mark.slow
def test_a_smoke_run_goes_through_every_part(tmp_path):
    result = CliRunner().invoke(cli.app, ["--smoke", "--profile", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "results.json").read_text())
    measured = {line["measure"] for line in document["records"] if line["status"] == "measured"}
    assert measured == {names.FORWARD, names.BACKWARD, names.SCAN, names.DECODE_EAGER}
    assert (tmp_path / "kernels.md").exists()
