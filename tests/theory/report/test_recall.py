"""The recall experiment on the page: found in the folder or the package, shown whole, and never more than it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.report.fake_documents import leave
from support.report.fake_verification import good
from support.report.html_page import Page
from support.report.page_rules import raw_labels
from support.report.recall_summaries import MODELS, recall_summary, summary_of
from support.report.report_cases import SCHEMA, no_packaged_results as no_packaged_results, strict, written

from osdn_theory.base.jsonable import jsonable
from osdn_theory.plotting.recall import FIGURES
from osdn_theory.report import write_report
from osdn_theory.report.page.wording import RECALL
from osdn_theory.report.reading import facts


def claim(twin: Any, name: str) -> Any:
    return next(each for each in twin["paper_claims"] if each["id"] == name)


def test_without_a_result_the_page_says_so_and_how_to_make_one(tmp_path: Path) -> None:
    page, twin = written(tmp_path)
    assert "? No in-context recall experiment is at hand" in page.text
    assert "There is no result: neither in the report folder nor with the package" in page.text
    assert "osdn-theory recall --preset cpu --out DIR/recall" in page.text
    assert twin["recall"] == []
    for name in ("C1c", "C3b"):
        assert claim(twin, name)["judgement"] == "not tested"
        (sentence,) = claim(twin, name)["measured"]
        assert "nothing was measured" in sentence
    assert claim(twin, "C4")["measured"] == []


def test_a_result_is_shown_with_its_table_sentences_predictions_and_provenance(tmp_path: Path) -> None:
    leave(tmp_path / "recall", "recall.json", recall_summary())
    page, twin = written(tmp_path)
    for shown in (
        "Preset cpu: 7 models, 5 seeds",
        "66,432",
        "OSDN (η 1, learned d1)",
        "recalls better than DeltaNet",
        "✓ as predicted",
        "✗ not as predicted",
        "d replaced: shuffled",
        "a made-up processor",
        "3,022 s",
        "1, 2, 3, 4, 5",
        "4, 8, 16, 32, 64",
    ):
        assert shown in page.text, shown
    assert "not complete" not in page.text
    assert "? one seed" not in page.text
    assert "osdn-theory recall --preset cpu --out report/recall" in twin["commands"][:-1]
    (run,) = twin["recall"]
    assert run == {"file": "recall/recall.json", "packaged": False, "summary": jsonable(summary_of())}
    assert {"file": "recall/recall.json", "state": "read"}.items() <= twin["documents"][-1].items()


def test_every_figure_is_on_the_page_and_in_the_folder(tmp_path: Path) -> None:
    leave(tmp_path, "recall.json", recall_summary())
    page, _ = written(tmp_path)
    images = [attrs["alt"] or "" for tag, attrs in page.tags if tag == "img"]
    assert images[2:] == [f"In-context recall, preset cpu: {name.replace('-', ' ')}" for name in FIGURES]
    for name in FIGURES:
        assert (tmp_path / "figures" / f"recall-1-{name}.png").read_bytes().startswith(b"\x89PNG")
        assert RECALL[name] in page.text
    assert list(RECALL) == list(FIGURES)


def test_claims_cite_the_numbers_of_the_summary(tmp_path: Path) -> None:
    summary = recall_summary()
    row = next(
        row for row in summary["overall"] if (row["model"], row["measure"]) == ("osdn", "read_twice_ratio")
    )
    row.update(mean=0.0123456, low=0.01, high=0.02)
    leave(tmp_path, "recall.json", summary)
    page, twin = written(tmp_path)
    found = claim(twin, "C1c")
    assert found["judgement"] == "not tested at this scale"
    (sentence,) = found["measured"]
    assert "OSDN (eta 0.003, learned d_1) 0.012 (−" in sentence
    assert "0.0123" in page.text
    # What is missing at the end is no measure of theirs.
    assert "token residual ratio read twice" in sentence
    assert "missing share" not in sentence
    once, twice = claim(twin, "C3b")["measured"]
    assert "accuracy read once: DeltaNet" in once
    assert "accuracy read twice: DeltaNet" in twice
    assert "scale is out of reach" in found["left_out"]
    assert claim(twin, "C4")["judgement"] == "not tested"


def test_the_packaged_result_is_shown_and_gives_way_to_one_in_the_folder(
    tmp_path: Path, no_packaged_results: Path
) -> None:
    for name, preset in (("cpu", "smaller"), ("h200", "delivered")):
        (no_packaged_results / f"recall_{name}.json").write_text(json.dumps(recall_summary(preset=preset)))
    page, twin = written(tmp_path)
    assert "Preset delivered" in page.text
    assert "Preset smaller" not in page.text
    assert "delivered with the package" in page.text
    assert [run["file"] for run in twin["recall"]] == ["osdn_theory/data/recall_h200.json"]
    assert twin["documents"][-1]["written"] == ""
    assert not any("recall" in command for command in twin["commands"])
    leave(tmp_path / "recall", "recall.json", recall_summary(preset="own"))
    page, twin = written(tmp_path)
    assert "Preset own" in page.text
    assert "Preset delivered" not in page.text


def test_two_results_stand_side_by_side(tmp_path: Path) -> None:
    for preset in ("cpu", "h200"):
        leave(tmp_path / preset, "recall.json", recall_summary(preset=preset))
    page, twin = written(tmp_path)
    assert [run["summary"]["preset"] for run in twin["recall"]] == ["cpu", "h200"]
    assert len(claim(twin, "C3b")["measured"]) == 4
    ids = [attrs["id"] for tag, attrs in page.tags if "id" in attrs and tag != "path"]
    assert len(ids) == len(set(ids))
    assert (tmp_path / "figures" / "recall-2-accuracy.png").is_file()


def test_an_old_result_still_counts(tmp_path: Path) -> None:
    leave(tmp_path, "recall.json", recall_summary(osdn="0.0.1", code={}))
    page, twin = written(tmp_path)
    assert twin["documents"][-1]["state"] == "read"
    assert "recall.json was made by other code (osdn 0.0.1, another osdn_theory.recall" in page.text
    assert not raw_labels((tmp_path / "index.html").read_text())


def test_an_incomplete_result_of_one_seed_is_said_to_be_so(tmp_path: Path) -> None:
    summary = recall_summary(seeds=1, complete=False, models=("deltanet", "osdn"), distance=[])
    leave(tmp_path, "recall.json", summary)
    page, twin = written(tmp_path)
    assert "? In-context recall, 2 small trained models (preset cpu, 1 seed): not complete" in page.text
    assert "? not complete: some of the planned runs are not finished" in page.text
    assert "? one seed: there are no intervals" in page.text
    assert "95 % intervals over 1 seed" not in page.text
    assert "not complete" in claim(twin, "C1c")["measured"][0]
    assert not (tmp_path / "figures" / "recall-1-distance.png").exists()


@pytest.mark.parametrize(
    ("outcomes", "headline"),
    [
        (
            ("as predicted", "as predicted"),
            "✓ In-context recall, 7 small trained models (preset cpu, 5 seeds): 2 of 2",
        ),
        (("as predicted", "not as predicted"), "5 seeds): 1 of 2 predictions did not come out"),
        ((), "· In-context recall"),
    ],
)
def test_the_headline_counts_predictions(tmp_path: Path, outcomes: tuple[str, ...], headline: str) -> None:
    summary = recall_summary()
    made = zip(summary["predictions"], outcomes, strict=False)
    summary["predictions"] = [{**row, "outcome": outcome} for row, outcome in made]
    leave(tmp_path, "recall.json", summary)
    assert headline in written(tmp_path)[0].text


@pytest.mark.parametrize(
    ("document", "state", "reason"),
    [
        (
            recall_summary(format="osdn-recall/7"),
            "stale",
            "format: expected 'osdn-recall/3', got 'osdn-recall/7'",
        ),
        (recall_summary(models=()), "corrupt", "models: expected at least one"),
        ({**recall_summary(), "complete": None}, "corrupt", "complete: Expected bool, got null"),
        ("{", "corrupt", "recall.json is corrupt"),
    ],
)
def test_a_broken_result_counts_for_nothing_and_is_not_replaced(
    tmp_path: Path, no_packaged_results: Path, document: Any, state: str, reason: str
) -> None:
    (no_packaged_results / "recall_cpu.json").write_text(json.dumps(recall_summary()))
    leave(tmp_path, "recall.json", document)
    page, twin = written(tmp_path)
    assert "✗ A recall experiment counts for nothing on this page" in page.text
    assert reason in page.text
    assert twin["recall"] == []
    assert twin["documents"][-1]["state"] == state
    assert claim(twin, "C1c")["judgement"] == "not tested"


def test_the_schema_refuses_a_summary_that_says_something_else(tmp_path: Path) -> None:
    leave(tmp_path, "recall.json", recall_summary())
    write_report(good(), tmp_path)
    twin = strict(tmp_path / "report.json")
    for part, broken in (
        ("overall", {"mean": "high"}),
        ("models", {"parameters": "many"}),
        ("predictions", {"outcome": "proved"}),
        ("ablations", {"difference": {"mean": 1}}),
    ):
        changed = json.loads(json.dumps(twin))
        changed["recall"][0]["summary"][part][1].update(broken)
        with pytest.raises(jsonschema.ValidationError):
            SCHEMA.validate(changed)


def test_hostile_texts_are_escaped(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    summary = recall_summary(
        sentences=[hostile],
        command=hostile,
        preset=hostile,
        environment={hostile: hostile},
        task={hostile: [hostile]},
    )
    summary["models"][0]["label"] = hostile
    summary["predictions"][0].update(theorem=hostile, statement=hostile, measured=hostile)
    leave(tmp_path, "recall.json", summary)
    source = write_report(good(), tmp_path).read_text()
    assert "<script" not in source
    assert Page(source).text.count(hostile) > 8


def test_tables_have_captions_and_scopes(tmp_path: Path) -> None:
    leave(tmp_path, "recall.json", recall_summary())
    page, _ = written(tmp_path)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption")
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    assert page.text.count(MODELS["gated_deltanet"]) >= 2


def test_facts_put_any_json_into_words() -> None:
    value = {"a": [1, [2, 3]], "b": {"c": True, "d": None}, "e": [], "f": "x"}
    assert facts(value) == {"a": "1, 2, 3", "b": "c yes, d –", "e": "–", "f": "x"}
