"""Summaries of the recall experiment: read whole or refused, and put into words that follow from their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.report.recall_summaries import MODELS, recall_summary, summary_of

from osdn_theory.recall import data as recall_data
from osdn_theory.recall.document import RECALL, Mean, PairedDifference
from osdn_theory.recall.tables import (
    ablation_table,
    against_baseline,
    model_table,
    percent,
    points,
    prediction_table,
)


def test_a_summary_is_loaded_from_a_file_a_folder_or_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = summary_of()
    (tmp_path / "recall.json").write_text(json.dumps(recall_summary()))
    assert recall_data.load(tmp_path / "recall.json") == recall_data.load(tmp_path) == summary
    (tmp_path / "recall.json").rename(tmp_path / "recall_h200.json")
    (tmp_path / "recall_cpu.json").write_text("{}")
    monkeypatch.setattr(recall_data, "PACKAGED", tmp_path)
    assert recall_data.load() == summary
    assert [path.name for path in recall_data.packaged_files()] == ["recall_cpu.json", "recall_h200.json"]


def test_a_missing_summary_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"recall\.json"):
        recall_data.load(tmp_path)
    monkeypatch.setattr(recall_data, "PACKAGED", tmp_path)
    with pytest.raises(FileNotFoundError, match="no recall result is delivered"):
        recall_data.load()


def test_whatever_lies_in_the_package_is_whole() -> None:
    for path in recall_data.packaged_files():
        assert recall_data.load(path).complete


def altered(part: str, place: int, **fields: Any) -> dict[str, Any]:
    summary = recall_summary(seeds=3)
    summary[part][place].update(fields)
    return summary


SIGNIFICANT = {"mean": 0.1, "low": 0.0, "high": 0.2, "p": 0.01, "p_adjusted": 0.06, "significant": True}


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        ([], "document: Expected `object`, got `array`"),
        (
            recall_summary(format="osdn-recall/1"),
            "format: expected 'osdn-recall/3', got 'osdn-recall/1'; make it",
        ),
        ({"schema": 1}, "format: expected 'osdn-recall/3', got None; make it anew by `osdn-theory recall"),
        (recall_summary(models=()), r"models: expected at least one"),
        (altered("models", 1, name="deltanet"), "models: expected different names"),
        (altered("accuracy", 0, model="rwkv"), r"accuracy\[0\]\.model: 'rwkv' is not among the models"),
        (altered("accuracy", 2, low=0.99), r"accuracy\[2\]: mean: the interval 0\.99 to .* does not hold"),
        (altered("accuracy", 2, low=None), r"accuracy\[2\]: low, high: expected both or none"),
        (altered("accuracy", 2, mean=None), r"accuracy\[2\]: mean: an interval without a mean"),
        (altered("distance", 0, high=-1), r"distance\[0\]: mean: the interval"),
        (
            altered("predictions", 0, outcome="proved"),
            r"predictions\[0\]\.outcome: Invalid enum value 'proved'",
        ),
        (
            altered("overall", 1, difference=SIGNIFICANT),
            r"overall\[1\]\.difference\.significant: True does not follow from the rest",
        ),
        (
            altered("overall", 1, difference={**SIGNIFICANT, "p": None, "p_adjusted": None}),
            r"overall\[1\]\.difference\.significant: True does not follow",
        ),
        (altered("overall", 1, difference={**SIGNIFICANT, "low": 0.15}), "does not hold 0.1"),
    ],
)
def test_a_broken_summary_is_refused_with_the_place(tmp_path: Path, summary: Any, reason: str) -> None:
    (tmp_path / "recall.json").write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=rf"recall\.json: .*{reason}"):
        recall_data.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "NaN", "[" * 100_000])
def test_what_is_no_json_is_refused_with_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "recall.json").write_text(text)
    with pytest.raises(ValueError, match=r"recall\.json: "):
        recall_data.load(tmp_path)


def test_a_model_without_a_finished_run_is_read_and_shown_empty() -> None:
    summary = recall_summary()
    summary["models"][1].update(parameters=None, rule=None, learning_rate=None, tuning=[])
    for row in summary["overall"]:
        if row["model"] == "osdn":
            nothing = {"mean": None, "low": None, "high": None}
            row.update(nothing, difference={**nothing, "p": None, "p_adjusted": None, "significant": False})
    _, found = RECALL.decode(json.dumps(summary))
    _, rows = model_table(found)
    assert rows[1] == (MODELS["osdn"], *["–"] * 7)
    assert recall_data.overall(found, "osdn", "accuracy") is None
    assert MODELS["osdn"] not in against_baseline(found, "accuracy")


def test_the_table_of_models_states_intervals_and_what_the_test_says() -> None:
    header, rows = model_table(summary_of())
    assert len(header) == len(rows[0]) == 8
    assert [row[0] for row in rows] == list(MODELS.values())
    assert rows[0][1:3] == ("66,432", "0.003")
    assert rows[0][4] == "–"
    assert rows[2][4].endswith(", significant (p < 0.001)")
    assert "not significant (p = " in rows[1][4]
    _, rows = model_table(summary_of(seeds=1))
    assert all("[" not in cell for row in rows for cell in row)
    assert rows[1][4].endswith(", not tested")


def test_numbers_are_shown_as_they_are() -> None:
    assert percent(Mean(mean=0.6123, low=0.6, high=0.6246)) == (
        "61.2\N{NO-BREAK SPACE}[60.0,\N{NO-BREAK SPACE}62.5]"
    )
    assert percent(None) == points(None) == "–"
    difference = PairedDifference(mean=-0.004, low=None, high=None, p=None, p_adjusted=None)
    assert points(difference) == "−0.40, not tested"


def test_ablations_are_changes_of_the_models_that_have_a_d() -> None:
    header, rows = ablation_table(summary_of())
    assert header[2:] == tuple(f"d replaced: {name}" for name in ("ones", "mean", "shuffled", "initial"))
    assert [row[0] for row in rows] == [MODELS[name] for name in ("osdn", "osdn_eta1", "static")]
    assert ablation_table(summary_of(ablations=[]))[1] == []


def test_predictions_keep_their_outcomes() -> None:
    _, rows = prediction_table(summary_of())
    assert [row[3] for row in rows] == ["as predicted", "not as predicted"]


def test_a_sentence_compares_every_model_with_deltanet() -> None:
    summary = summary_of()
    base, other = (recall_data.overall(summary, name, "missing_share") for name in ("deltanet", "osdn_eta1"))
    assert base is not None
    assert other is not None
    sentence = against_baseline(summary, "missing_share")
    assert sentence.startswith("At small scale (preset cpu, 5 seeds), missing share: DeltaNet (d = 1) 0.4")
    change = f"{100 * (other.value / base.value - 1):.1f}".replace("-", "−")
    assert f"OSDN (eta 1, learned d_1) {other.value:.3f} ({change} %, significant)" in sentence
    assert "not complete" in against_baseline(summary_of(complete=False), "accuracy")
    assert "DeltaNet was not measured" in against_baseline(summary_of(overall=[]), "accuracy")
