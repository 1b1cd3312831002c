"""analyze: says where T15 makes its columns equal, explains each column, writes what it prints, refuses the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from osdn_theory.commands.analysis_tables import COLUMNS
from osdn_theory.commands.main import app
from osdn_theory.measures.analysis import trajectory_measures
from osdn_theory.recurrence.rules import FROZEN, CalibrationRule
from osdn_theory.recurrence.solve import gated_delta_net, kda
from osdn_theory.streams.activations import load_activations
from osdn_theory.verification.suite import activation_entries, trajectories

T15 = "T15 makes OSDN equal to DeltaNet on"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["analyze", *arguments])


def heads(*arguments: str) -> list[dict[str, Any]]:
    result = run(*arguments, "--no-bounds", "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["heads"]
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "tiny.npz"
    np.savez(path, **{f"layer{n}.{x}": rng.normal(size=(1, 12, 2, 6)) for n in (0, 2) for x in "qkv"})
    return path


def test_it_says_where_t15_makes_every_column_equal(file: Path) -> None:
    assert f"{T15} every head" in run(str(file), "--no-bounds").stdout
    for head in heads(str(file)):
        osdn, plain = head["measures"]["osdn"], head["measures"]["delta_net"]
        assert head["identity"]
        assert osdn == pytest.approx(plain)
    for moved in (
        ["--d1", "1.25"],
        ["--forgetting", "0.9"],
        ["--no-normalize"],
        ["--beta-aware", "--beta", "0.5"],
    ):
        assert "T15" not in run(str(file), "--no-bounds", *moved).stdout
        assert not any(head["identity"] for head in heads(str(file), *moved))


def test_it_counts_the_heads_where_t15_holds(tmp_path: Path) -> None:
    keys = np.random.default_rng(0).normal(size=(1, 9, 3, 4))
    start = np.ones((3, 4))
    start[1] = 1.25
    np.savez(tmp_path / "mixed.npz", q=keys, k=keys, v=keys, d0=start)
    assert f"{T15} 2 of 3 heads" in run(str(tmp_path / "mixed.npz"), "--no-bounds").stdout


def test_d1_starts_every_head_and_goes_before_the_file(file: Path, tmp_path: Path) -> None:
    for head in heads(str(file), "--d1", "1.25", "--eta", "0"):
        assert head["measures"]["osdn"]["preconditioner_min"] == 1.25
        assert head["measures"]["delta_net"]["preconditioner_max"] == 1.0
    keys = np.random.default_rng(0).normal(size=(1, 9, 1, 4))
    np.savez(tmp_path / "own.npz", q=keys, k=keys, v=keys, d0=np.full((1, 4), 0.75))
    own = str(tmp_path / "own.npz")
    (head,) = heads(own, "--eta", "0")
    assert head["measures"]["osdn"]["preconditioner_max"] == 0.75
    (head,) = heads(own, "--eta", "0", "--d1", "1")
    assert head["measures"]["osdn"]["preconditioner_max"] == 1.0


@pytest.mark.parametrize("outside", [0.5, 9.0])
def test_a_start_of_the_file_outside_the_box_is_refused_unless_d1_takes_its_place(
    tmp_path: Path, outside: float
) -> None:
    keys, start = np.random.default_rng(0).normal(size=(1, 9, 1, 4)), np.ones((1, 4))
    start[0, 2] = outside
    path = str(tmp_path / "own.npz")
    np.savez(path, q=keys, k=keys, v=keys, d0=start)
    refused = run(path, "--no-bounds")
    message = f"layer0.d0: {outside:g} is outside the box [0.666667, 1.5]; widen --d-min or --d-max"
    assert (refused.exit_code, message in refused.stderr) == (2, True)
    for option in (["--d1", "1"], ["--d-min", "0.25", "--d-max", "9"]):
        assert heads(path, *option)


def test_a_start_on_a_face_may_be_rounded_to_float32(tmp_path: Path) -> None:
    keys, faces = np.random.default_rng(0).normal(size=(1, 9, 1, 2)), np.array([[0.9, 1.1]], np.float32)
    assert float(faces[0, 0]) < 0.9
    assert float(faces[0, 1]) > 1.1
    path = str(tmp_path / "own.npz")
    np.savez(path, q=keys, k=keys, v=keys, d0=faces)
    assert heads(path, "--d-min", "0.9", "--d-max", "1.1")


def test_a_setting_is_a_step_and_a_box_by_name(file: Path) -> None:
    (bounded, *_), (historic, *_) = heads(str(file)), heads(str(file), "--setting", "historic", "--d1", "3")
    assert bounded["fastest_calibration"] == pytest.approx(historic["fastest_calibration"] / 0.003)
    assert historic["measures"]["osdn"]["preconditioner_max"] > 1.5
    (slower, *_) = heads(str(file), "--setting", "historic", "--eta", "0.5")
    assert slower["fastest_calibration"] == pytest.approx(2 * historic["fastest_calibration"])


@pytest.mark.parametrize(("rank", "solve"), [(3, gated_delta_net), (4, kda)])
def test_state_gates_of_a_file_make_it_the_gated_form(tmp_path: Path, rank: int, solve: Any) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(1, 9, 1, 4)) for _ in range(3))
    log_gate = -rng.random((1, 9, 1, 4)[:rank])
    np.savez(tmp_path / "own.npz", q=q, k=k, v=v, state_gate=log_gate)
    own = str(tmp_path / "own.npz")
    (head,) = heads(own, "--d1", "1.25", "--beta-aware")
    (stream,) = load_activations(own)
    rule = CalibrationRule(beta_aware=True)
    for name, run_of in (
        ("osdn", solve(stream, rule, initial_preconditioner=1.25)),
        ("delta_net", solve(stream, FROZEN)),
    ):
        measures = trajectory_measures(run_of, None)
        for measure in ("missing_share", "residual_ratio", "preconditioner_max"):
            found = head["measures"][name][measure]
            assert found == pytest.approx(measures[measure].item(), rel=1e-13), (name, measure)
    names = "OS-KDA and KDA" if rank == 4 else "OS-GDN and Gated DeltaNet"
    assert f"OSDN and DN are {names} (T17)" in " ".join(run(own, "--no-bounds").stdout.split())
    for options, plain in ((), True), (("--beta-aware",), False), (("--eta", "0"), False):
        assert ("Feedback is plain here" in run(own, "--no-bounds", *options).stdout) == plain
    (entry,) = activation_entries(Path(own))
    runs = dict(trajectories(entry))
    assert "beta-aware" in runs
    assert {each.recurrence for each in runs.values()} == {solve.__name__}
    np.savez(tmp_path / "own.npz", q=q, k=k, v=v, state_gate=-log_gate)
    refused = run(own)
    assert (refused.exit_code, "state_gate: expected log gates <= 0" in " ".join(refused.stderr.split())) == (
        2,
        True,
    )
    np.savez(tmp_path / "own.npz", q=q, k=k, v=v)
    said = run(own, "--no-bounds").stdout
    assert "(T17)" not in said
    assert "Feedback" not in said


def test_every_column_is_explained_and_is_its_measure(file: Path) -> None:
    text = run(str(file), "--no-bounds", "--d1", "1.25").stdout
    for name, (meaning, _) in COLUMNS.items():
        assert f"  {name:<11}{meaning}\n" in text
    (row,) = (line for line in text.splitlines() if "tiny/layer0[0,1]" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")][1:]
    head = heads(str(file), "--d1", "1.25")[1]
    osdn, plain = head["measures"]["osdn"], head["measures"]["delta_net"]
    expected = [
        osdn["residual_ratio"], plain["residual_ratio"], osdn["missing_share"], plain["missing_share"],
        osdn["preconditioner_min"], osdn["preconditioner_max"], osdn["drift_max"], osdn["newton_distance"],
        head["key_condition"], head["effective_rank"], head["fastest_calibration"], 12,
    ]  # fmt: skip
    assert cells == [f"{value:.3g}" for value in expected]
    assert len(set(cells)) > 8


def test_out_writes_figures_and_prints_their_paths(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(str(file), "--no-bounds", "--out", str(out))
    assert result.exit_code == 0, result.output
    names = [
        "analysis.json",
        "calibration-times.png",
        "preconditioner-layer0.png",
        "preconditioner-layer2.png",
    ]
    assert sorted(path.name for path in out.iterdir()) == names
    for name in names:
        assert f"written: {out / name}\n" in result.stdout
        assert (out / name).stat().st_size > 0
    silent = run(str(file), "--no-bounds", "--out", str(out), "--json")
    assert json.loads(silent.stdout) == json.loads((out / "analysis.json").read_text())


def test_a_layer_is_taken_as_it_is_printed(file: Path) -> None:
    for name in ("tiny/layer2", "layer2", "2"):
        assert {head["stream"] for head in heads(str(file), "--layer", name)} == {"tiny/layer2"}
    assert len(heads(str(file), "--layer", "tiny/layer2,2", "--layer", "layer2")) == 2


def test_what_is_not_read_is_named(file: Path, tmp_path: Path) -> None:
    with np.load(file) as arrays:
        np.savez(tmp_path / "more.npz", **arrays, **{"layer0.bta": np.ones(1), "zzz": np.ones(1)})
    result = run(str(tmp_path / "more.npz"), "--no-bounds")
    assert result.exit_code == 0
    assert "tensor 'layer0.bta' is not read; did you mean 'beta'?" in result.stderr
    assert "tensor 'zzz' is not read; those that are: q, k, v, beta, g, state_gate, d0" in result.stderr
    assert run(str(file), "--no-bounds").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--d1", "0"], "--d1: expected a finite number > 0, got 0"),
        (["--d1", "nan"], "--d1: expected a finite number > 0, got nan"),
        (["--d1", "1.75"], "--d1: 1.75 is outside the box [0.666667, 1.5]"),
        (["--beta", "2.5"], "beta: expected a write gate in [0, 2], got 2.5"),
        (["--layer", ","], "--layer: expected at least one name, got ','"),
        (["--setting", "published"], "setting: expected one of bounded, historic, got 'published'"),
        (["--layer", "7"], "no layer7; the layers are layer0, layer2"),
        (["--layer", "other/layer0"], "no other/layer0"),
        (
            ["--forgetting", "token"],
            "--forgetting: 'token' takes the gates of the file, and there is no layer0.g in",
        ),
    ],
)
def test_wrong_options_are_one_line(file: Path, arguments: list[str], message: str) -> None:
    result = run(str(file), *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
