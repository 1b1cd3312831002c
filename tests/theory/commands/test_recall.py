"""The command ``osdn-theory recall``: the smoke run from end to end, going on, and every wrong input in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from osdn_theory.commands import recall as cli
from osdn_theory.commands.main import app

QUICK = ["--steps", "4", "--batch", "3", "--model", "deltanet,osdn_eta1", "--seeds", "2"]


@pytest.fixture(autouse=True)
def on_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    from osdn_kernels.launch import runtime
    from osdn_kernels.layers import operator as layer_operator

    monkeypatch.setattr(runtime, "INTERPRETED", False)
    monkeypatch.setattr(layer_operator, "_warned", True)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["recall", *arguments])


def test_the_smoke_run_ends_in_a_summary_and_figures(tmp_path: Path) -> None:
    out = tmp_path / "recall"
    result = run("--out", str(out), "--workers", "1")
    assert result.exit_code == 0, result.output
    summary = json.loads((out / "recall.json").read_text())
    assert summary["complete"]
    assert summary["preset"] == "smoke"
    assert [model["name"] for model in summary["models"]] == [
        "deltanet",
        "osdn_eta1",
        "anchored_apf",
        "gated_deltanet",
    ]
    assert len(summary["seeds"]) == 2
    overall = {(row["model"], row["measure"]): row for row in summary["overall"]}
    for model in ("deltanet", "osdn_eta1", "anchored_apf", "gated_deltanet"):
        assert overall[model, "output_error"]["mean"] < 1e-5
        assert 0 < overall[model, "token_residual_ratio"]["mean"] < 1
    assert overall["deltanet", "d_high"]["mean"] == 1.0
    assert overall["osdn_eta1", "d_high"]["mean"] > 1.0
    assert (out / "accuracy.png").stat().st_size > 1000
    for sentence in summary["sentences"]:
        assert sentence.split()[0] in result.output


def test_a_second_call_computes_nothing_and_prints_the_same(tmp_path: Path) -> None:
    first = run("--out", str(tmp_path), *QUICK, "--json")
    assert first.exit_code == 0, first.output
    results = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert len(results) == 6
    second = run("--out", str(tmp_path), *QUICK, "--json")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")} == results
    assert json.loads(first.stdout) == json.loads(second.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "gpu"], "preset: expected smoke or cpu or h200, got gpu"),
        (["--model", "gpt"], "models: expected names among deltanet"),
        (["--pairs", "40"], "pairs: expected at most the 16 distinct keys of a context, got 40"),
        (["--pairs", "many"], "--pairs: expected numbers, got many"),
        (["--learning-rate", "2"], "learning_rates: expected between 0 and 1"),
        (["--heads", "5"], "heads: expected a divisor of features = 32, got 5"),
        (["--device", "tpu"], "device"),
    ],
)
def test_wrong_options_are_one_line_and_start_nothing(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run("--out", str(tmp_path / "recall"), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("plan.json"))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("--out", str(tmp_path / "file"), *QUICK)
    assert result.exit_code == 2
    assert "cannot write to the folder" in result.stderr


def test_a_damaged_checkpoint_is_one_line_and_nothing_is_lost(tmp_path: Path) -> None:
    assert run("--out", str(tmp_path), *QUICK).exit_code == 0
    place = tmp_path / "runs" / "osdn_eta1" / "lr0.01-seed1"
    (place / "result.json").unlink()
    (place / "checkpoint.pt").write_bytes(b"damaged")
    results = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    result = run("--out", str(tmp_path), *QUICK)
    assert result.exit_code == 2
    assert "checkpoint.pt' is damaged" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")} == results


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*given: Any, **options: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.load_trainer("recall"), "run", interrupt)
    result = run("--out", str(tmp_path), *QUICK)
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr


def test_without_a_trainer_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda **selection: ())
    result = run("--out", str(tmp_path))
    assert result.exit_code == 2
    assert "pip install -e '.[kernels]'" in result.stderr
