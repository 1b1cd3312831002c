"""The command ``osdn-theory train`` from end to end on a small text, going on, and every wrong input in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from osdn_kernels.experiments.language import entry, sources
from support.kernels.language_cases import write_folder
from typer.testing import CliRunner

from osdn_theory.base.folders import hold_folder
from osdn_theory.commands import recall as shared
from osdn_theory.commands.main import app
from osdn_theory.streams.activations import load_activations

QUICK = [
    "--steps",
    "3",
    "--context",
    "32",
    "--hidden",
    "16",
    "--seeds",
    "2",
    "--model",
    "deltanet,apf_bounded",
]


@pytest.fixture(autouse=True)
def on_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    from osdn_kernels.experiments.language import plan
    from osdn_kernels.launch import runtime
    from osdn_kernels.layers import operator as layer_operator

    monkeypatch.setattr(runtime, "INTERPRETED", False)
    monkeypatch.setattr(layer_operator, "_warned", True)
    monkeypatch.setitem(plan.PRESETS, "smoke", plan.preset("smoke", least=1, windows=2))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["train", *arguments])


@pytest.fixture
def texts(tmp_path: Path) -> str:
    return str(write_folder(tmp_path / "texts"))


def test_a_run_ends_in_a_table_a_figure_and_streams_and_a_second_one_computes_nothing(
    tmp_path: Path, texts: str
) -> None:
    out = tmp_path / "train"
    first = run("--out", str(out), "--corpus", texts, *QUICK)
    assert first.exit_code == 0, first.output
    document = json.loads((out / "train.json").read_text())
    assert document["complete"]
    assert document["corpus"]["sources"] == {
        "texts": {"licence": "not recorded", "documents": 60, "bytes": document["corpus"]["bytes"]}
    }
    values = {
        (r["model"], s["seed"], r["measure"], r["place"]) for r in document["rows"] for s in r["by_seed"]
    }
    for model in ("deltanet", "apf_bounded"):
        for seed in (0, 1):
            assert {
                (model, seed, "loss at", "96 to 127"),
                (model, seed, "token residual ratio", "all layers"),
            } <= values
    assert "No claim is made from a smoke run." in first.output
    assert (out / "train.png").stat().st_size > 1000
    streams = load_activations(out / "streams" / "apf_bounded_streams.safetensors")
    assert streams[0].metadata["license"] == "texts: not recorded"
    assert streams[0].metadata["command"] == document["command"]
    results = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    assert len(results) == 6
    second = run("--out", str(out), "--corpus", texts, *QUICK, "--json")
    assert second.exit_code == 0, second.output
    assert {path: path.stat().st_mtime_ns for path in out.rglob("result.json")} == results
    assert json.loads(second.stdout)["rows"] == document["rows"]


def test_what_is_finished_is_summed_up_without_training(tmp_path: Path, texts: str) -> None:
    out = tmp_path / "train"
    assert run("--out", str(out), "--corpus", texts, *QUICK).exit_code == 0
    whole = (out / "train.csv").read_text()
    last = out / "runs" / "apf_bounded" / "lr0.004-seed1" / "result.json"
    for path in (out / "train.csv", out / "train.json", last):
        path.unlink()
    told = run("--out", str(out), "--summary")
    assert told.exit_code == 0, told.output
    assert not last.exists()
    assert "of 2 seeds all models have 1" in " ".join(told.output.split())
    left = [line for line in whole.splitlines() if not line.startswith("apf_bounded,0.004,1,")]
    assert (out / "train.csv").read_text().splitlines() == left
    nothing = run("--out", str(tmp_path / "nowhere"), "--summary")
    assert nothing.exit_code == 2
    assert "plan.json" in nothing.output


def test_text_is_gathered_into_a_file_that_trains(
    tmp_path: Path, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up = sources.TextSource(
        "made up", "CC0", "none", lambda: sources.read_folder("made up", Path(texts), ("*",))
    )
    monkeypatch.setattr(sources, "SOURCES", (made_up,))
    file = tmp_path / "corpus"
    gathered = run("--gather", str(file))
    assert gathered.exit_code == 0, gathered.output
    assert "CC0" in gathered.output
    assert f"written: {file}" in " ".join(gathered.output.split())
    trained = run("--out", str(tmp_path / "train"), "--corpus", str(file), *QUICK, "--json")
    assert json.loads(trained.stdout)["corpus"]["sources"]["made up"]["licence"] == "CC0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "huge"], "preset: expected smoke or cpu or gpu or gpu-large, got huge"),
        (["--model", "gpt"], "models: expected names among deltanet"),
        (["--learning-rate", "fast"], "--learning-rate: expected numbers, got fast"),
        (["--heads", "5"], "heads: expected a divisor of hidden = 32, got 5"),
        (["--micro-batch", "3"], "micro_batch: expected a divisor of batch = 4, got 3"),
        (["--device", "tpu"], "device: expected cpu or cuda"),
        (["--seeds", "2000"], "seeds: expected 0 to 999, got [1000]"),
        (["--gather", "/dev/null"], "gather: expected a file, got /dev/null"),
        (["--corpus", "nowhere"], "corpus: 'nowhere' is not there"),
    ],
)
def test_wrong_options_are_one_line_and_start_nothing(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = (
        arguments if "--corpus" in arguments else ["--corpus", str(write_folder(tmp_path / "t")), *arguments]
    )
    result = run("--out", str(tmp_path / "train"), *given)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("plan.json"))


def test_too_little_text_is_one_line(tmp_path: Path, texts: str) -> None:
    result = run("--preset", "gpu", "--out", str(tmp_path / "train"), "--corpus", texts)
    assert result.exit_code == 2
    assert (
        "corpus: expected at least 50 MB of text (give a larger --corpus, or a smaller preset)"
        in result.stderr
    )
    assert result.stderr.count("\n") == 1


def test_a_folder_where_another_command_is_at_work_is_refused(tmp_path: Path, texts: str) -> None:
    out = tmp_path / "train"
    with hold_folder(out, "experiment"):
        result = run("--out", str(out), "--corpus", texts, *QUICK)
    assert result.exit_code == 2
    assert result.stderr == f"error: another experiment is at work in '{out}' (process {os.getpid()})\n"
    assert not (out / "plan.json").exists()


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (
            "256",
            "corpus: expected documents of 1024 tokens in the test split (or a",
        ),
        (
            "1024",
            "corpus: expected documents of 1024 tokens in the validation split (or a",
        ),
        ("65536", "corpus: expected more than 65536 tokens to train on, got "),
    ],
)
def test_texts_that_are_too_short_are_told_before_anything_is_trained(
    tmp_path: Path, texts: str, context: str, message: str
) -> None:
    result = run("--out", str(tmp_path / "train"), "--corpus", texts, *QUICK, "--context", context)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "train" / "runs").exists()


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*given: Any, **options: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "run", interrupt)
    result = run("--out", str(tmp_path), *QUICK)
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr


def test_without_a_trainer_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "entry_points", lambda **selection: ())
    result = run("--out", str(tmp_path))
    assert result.exit_code == 2
    assert "pip install -e '.[kernels]'" in result.stderr
