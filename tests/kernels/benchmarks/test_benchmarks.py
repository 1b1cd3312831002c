"""The benchmark's arithmetic, what it writes, and what it does about providers that fail or are not there."""

import csv
import json
import math

import pytest
import torch
from osdn_kernels.benchmarks import cli, floors, measure, names, plan, shapes
from osdn_kernels.benchmarks.calls import Call
from osdn_kernels.benchmarks.floors import Ceilings, Work
from osdn_kernels.benchmarks.inputs import draw
from osdn_kernels.benchmarks.measure import Task
from osdn_kernels.benchmarks.records import Record, Results, Sample, combine
from osdn_kernels.benchmarks.run import run, verdicts_of
from osdn_kernels.benchmarks.shapes import Shape
from osdn_kernels.benchmarks.verdicts import GOALS, Goal, judge
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
    forward = floors.forward(shape, 2, gated=False, started=False)
    assert forward.operations == pytest.approx(products + 64**3 / 3)
    assert forward.bytes == 2 * 64 * (64 + 64 + 128 + 128 + 1)
    both = floors.forward_backward(shape, 2, gated=True, started=True)
    assert both.operations == pytest.approx(3 * forward.operations)
    assert both.bytes == 2 * 64 * (4 * 64 + 4 * 128 + 2) + 2 * 4 * (64 + 64)


def test_the_larger_floor_counts():
    ceilings = Ceilings(bandwidth=1e12, matrix_rate=1e15)
    assert Work(bytes=2e9, operations=1e12).floor_ms(ceilings) == pytest.approx(2.0)
    assert Work(bytes=2e8, operations=1e12).floor_ms(ceilings) == pytest.approx(1.0)
    line = record(names.OURS, 4.0, work=Work(2e9, 1e12)).fields(ceilings)
    assert line["over_floor"] == pytest.approx(2.0)
    assert line["bytes_per_second"] == pytest.approx(5e11)
    assert line["operations_per_second"] == pytest.approx(2.5e14)


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [([1.0, 1.05], "met"), ([1.0, 1.15], "met on average"), ([1.2, 1.15], "missed"), ([], "not measured")],
)
def test_verdicts(ours, outcome):
    goal = Goal("forward", names.FORWARD, names.OURS, names.DELTA, 1.10)
    rows = [Shape(64 * (i + 1), 64, 2, 16, 32) for i in range(len(ours))]
    records = [
        x
        for row, value in zip(rows, ours, strict=True)
        for x in (record(names.OURS, value, shape=row), record(names.DELTA, 1.0, shape=row))
    ]
    (verdict,) = judge(records, [goal])
    assert verdict.outcome == outcome
    if ours:
        assert verdict.mean == pytest.approx(math.prod(ours) ** (1 / len(ours)))


def test_providers_are_compared_within_a_row_only():
    other = Shape(128, 64, 2, 16, 32)
    records = [record(names.OURS, 3.0), record(names.DELTA, 1.0, shape=other)]
    assert all(verdict.outcome == "not measured" for verdict in judge(records))


def test_a_smoke_run_decides_nothing(tmp_path):
    records = [record(names.OURS, 1.0), record(names.DELTA, 1.0)]
    results = Results(tmp_path, "", {}, smoke=True, records=records)
    assert {verdict.outcome for verdict in verdicts_of(results)} == {"not measured"}
    results.smoke = False
    assert verdicts_of(results)[1].outcome == "met"


def test_the_grid_holds_what_was_asked_for():
    grid = shapes.full()
    assert {shape.length for shape in grid} == {2048, 4096, 8192, 16384, 32768, 65536}
    assert {shape.tokens for shape in grid} == {64 * 1024, 128 * 1024}
    assert {shape.heads for shape in grid} == {8, 16}
    assert {(shape.key_dim, shape.value_dim) for shape in grid} == {(128, 128), (64, 64), (128, 256)}
    rows = plan.tasks({"decode"}, "full", smoke=False, graphs=True)
    assert {task.shape.batch for task in rows} == {1, 64, 256}
    assert {goal.measure for goal in GOALS} == set(names.BASES)


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
    """In the interpreter: ours and the sequential scan agree, and d = 1 differs from both."""
    drawn = draw(SHAPE, CPU, torch.float32)
    found = {}
    for call in measure.calls_of(Task(names.FORWARD, SHAPE), CPU):
        if call.provider in (names.OURS, names.SEQUENTIAL, names.PINNED):
            found[call.provider] = call.prepare()()[0].float()
    assert drawn.start.min() >= 2 / 3
    apart = (found[names.OURS] - found[names.SEQUENTIAL]).norm() / found[names.OURS].norm()
    assert apart < 0.01
    assert (found[names.OURS] - found[names.PINNED]).norm() / found[names.OURS].norm() > 0.05


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
    assert {path.name for path in tmp_path.glob("*.png")} == {"forward.png", "decode.png"}
    assert not list(tmp_path.glob("*.part"))


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
    assert document["not_run"] == [f"memory: {shapes.SMOKE[0].label}"]


def test_no_row_is_started_after_the_time(tmp_path):
    results = run(tmp_path, {"forward"}, "small", 0.0, smoke=True, profile=False, console=Console(quiet=True),
                  measure=fake)  # fmt: skip
    assert results.records == []
    assert len(results.not_run) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no CUDA device is present"),
        (["--smoke", "--only", "forward,nothing"], "'nothing' is none of"),
        (["--smoke", "--out", __file__], "is not a folder"),
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
