"""Every value of every seed is kept, rows follow from them, and sentences say no more than the tests allow."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import pytest
from support.language_cases import write_experiment

from osdn_theory.language.document import LANGUAGE, LanguageSummary
from osdn_theory.language.summary import summarise_language, write_language_summary
from osdn_theory.language.tables import overview
from osdn_theory.plotting import language_figure, language_layers
from osdn_theory.recall.statistics import holm_adjusted, paired_test, t_interval

NOISE = (0.0, 0.11, -0.07, 0.04)
WIGGLE = (0.0, 0.004, -0.003, 0.001)
PLACES = ("0 to 31", "32 to 63", "64 to 127")


def values(model: str, seed: int) -> dict[tuple[str, str], float]:
    """The historic model is worse by 0.1 and a little noise, the other one no different but for noise."""
    better = {"osdn_historic": 0.1 + WIGGLE[seed], "apf_bounded": 2 * WIGGLE[seed]}.get(model, 0.0)
    found = {("loss", ""): 2.0 + NOISE[seed] + better}
    found |= {("loss at", place): 2.0 + n + NOISE[seed] + better for n, place in enumerate(PLACES)}
    found |= {("passage loss", f"16 tokens, read {n} times before"): 2.0 - n + better for n in range(3)}
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_experiment(tmp_path / "train", values)


def row(summary: LanguageSummary, model: str, measure: str, place: str = ""):
    return next(r for r in summary.rows if (r.model, r.measure, r.place) == (model, measure, place))


def test_rows_are_the_statistics_of_the_values_that_ship(folder: Path) -> None:
    summary = summarise_language(folder)
    assert summary.complete
    series: dict[tuple[str, str, str], list[float]] = {}
    for each in summary.rows:
        series[each.model, each.measure, each.place] = list(each.series.values())
    assert all(len(found) == 4 for found in series.values())
    for measure, places in (("loss", ("",)), ("loss at", PLACES)):
        keys = [(m, measure, place) for m in ("osdn_historic", "apf_bounded") for place in places]
        tests = [paired_test(series[key], series["deltanet", measure, key[2]]) for key in keys]
        for key, test, p in zip(keys, tests, holm_adjusted([test.p for test in tests]), strict=True):
            found = row(summary, *key)
            assert found.mean == t_interval(series[key]).mean
            assert found.difference is not None
            assert found.difference.mean == test.difference.mean
            assert found.difference.p == test.p
            assert found.difference.p_adjusted == pytest.approx(p)
    worse, same = (row(summary, model, "loss").difference for model in ("osdn_historic", "apf_bounded"))
    assert worse is not None
    assert same is not None
    assert (worse.significant, same.significant) == (True, False)


def test_sentences_say_what_came_to_nothing_too(folder: Path) -> None:
    told = summarise_language(folder).sentences
    loss = next(each for each in told if each.startswith("Loss within the training context"))
    assert "DeltaNet 2.02" in loss
    assert "OSDN, historic 2.12 (+0.1, significant" in loss
    assert "OSDN-APF, bounded 2.021 (+0.001, not significant" in loss
    passage = next(each for each in told if each.startswith("Loss of a passage"))
    assert "(16 tokens, read 2 times before), 4 seeds" in passage
    assert not any("No claim" in each or "edge" in each for each in told)


@pytest.mark.parametrize(
    ("changes", "reason"), [({"preset": "smoke"}, "a smoke run"), ({"seeds": 2}, "these runs yet")]
)
def test_no_claim_is_made_from_too_little(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    told = summarise_language(write_experiment(tmp_path / "train", values, **changes)).sentences  # type: ignore[arg-type]
    assert told == (f"No claim is made from {reason}.",)


def test_no_claim_is_made_from_what_is_not_complete(folder: Path) -> None:
    place = folder / "runs" / "apf_bounded"
    (place / "lr0.002-seed3" / "measures.json").unlink()
    summary = summarise_language(folder)
    assert not summary.complete
    told = "Not all planned runs are finished: of 4 seeds all models have"
    assert summary.sentences[0] == f"{told} 3."
    assert "4 seeds: DeltaNet" in summary.sentences[1]
    shutil.rmtree(place / "lr0.002-seed2")
    assert "2 to 4 seeds: DeltaNet" not in " ".join(summarise_language(folder).sentences)
    assert summarise_language(folder).sentences == (f"{told} 2.", "No claim is made from these runs yet.")


def test_a_run_that_failed_is_told_and_counts_as_done(folder: Path) -> None:
    place = folder / "runs" / "apf_bounded"
    about = {
        "model": "apf_bounded",
        "learning_rate": 0.002,
        "seed": 3,
        "role": "test",
        "reason": "the loss is nan",
    }
    (place / "lr0.002-seed3" / "result.json").unlink()
    (place / "lr0.002-seed3" / "failed.json").write_text(json.dumps(about))
    # Rates beyond the grid count, and those at which a run failed are not chosen.
    wider = place / "lr0.008-seed1000"
    wider.mkdir()
    tried = {**about, "learning_rate": 0.008, "seed": 1000, "role": "tune"}
    (wider / "failed.json").write_text(json.dumps(tried))
    summary = summarise_language(folder)
    assert summary.complete
    record = next(model for model in summary.models if model.name == "apf_bounded")
    assert record.failed == {"3": "the loss is nan"}
    assert (record.tuning[-1].learning_rate, record.tuning[-1].validation) == (0.008, math.inf)
    assert summary.sentences[0] == "OSDN-APF, bounded: the test run of seed 3 failed: the loss is nan."
    (row,) = (row for row in summary.rows if (row.model, row.measure) == ("apf_bounded", "loss"))
    assert set(row.series) == {0, 1, 2}
    (folder / "runs" / "deltanet" / "lr0.004-seed1000" / "result.json").unlink()
    assert not summarise_language(folder).complete


@pytest.mark.parametrize(("best", "edge"), [(0.001, True), (0.002, False), (0.004, True)])
def test_a_grid_whose_edge_wins_is_told(tmp_path: Path, best: float, edge: bool) -> None:
    summary = summarise_language(write_experiment(tmp_path / "train", values, best=best))
    assert {(model.learning_rate, model.edge) for model in summary.models} == {(best, edge)}
    told = [each for each in summary.sentences if "edge of its grid" in each]
    assert len(told) == (3 if edge else 0)
    assert ("(edge)" in str(overview(summary))) == edge


def test_the_table_holds_every_value(folder: Path) -> None:
    summary = write_language_summary(folder)
    assert LANGUAGE.read(folder / "train.json")[1] == summary
    rows = list(csv.DictReader((folder / "train.csv").open()))
    assert [(r["model"], int(r["seed"]), r["measure"], r["place"], float(r["value"])) for r in rows] == [
        (r.model, seed, r.measure, r.place, value) for r in summary.rows for seed, value in r.series.items()
    ]
    assert {r["learning_rate"] for r in rows} == {"0.002"}
    assert len(rows) == 3 * 4 * 8


def test_tests_at_another_rate_or_seed_do_not_count(folder: Path) -> None:
    before = summarise_language(folder)
    other = folder / "runs" / "deltanet" / "lr0.004-seed7"
    other.mkdir()
    text = (folder / "runs" / "deltanet" / "lr0.002-seed1" / "result.json").read_text()
    (other / "result.json").write_text(text.replace("0.002", "0.004"))
    assert summarise_language(folder).rows == before.rows


@pytest.mark.parametrize("name", ["result.json", "measures.json"])
def test_a_damaged_file_is_named(folder: Path, name: str) -> None:
    path = folder / "runs" / "deltanet" / "lr0.002-seed1" / name
    path.write_text("{")
    with pytest.raises(ValueError, match=str(path)):
        summarise_language(folder)


def test_a_document_that_contradicts_itself_is_refused(folder: Path) -> None:
    write_language_summary(folder)
    path = folder / "train.json"
    document = json.loads(path.read_text())
    was = document["rows"][3]["by_seed"][0]
    for changed, message in (
        ({"seed": 9}, r"rows\[3\]\.by_seed: \[9\] are not among the seeds"),
        ({"value": was["value"] + 1}, r"rows\[3\]\..* does not follow from its seeds"),
    ):
        document["rows"][3]["by_seed"][0] = {**was, **changed}
        path.write_text(json.dumps(document))
        with pytest.raises(ValueError, match=message):
            LANGUAGE.read(path)
    document["rows"][3]["model"] = "gpt"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"rows\[3\]\.model: 'gpt' is not among the models"):
        LANGUAGE.read(path)


def test_an_experiment_that_has_not_begun_has_a_summary(tmp_path: Path) -> None:
    write_experiment(tmp_path / "train", values)
    for path in (tmp_path / "train" / "runs").rglob("*.json"):
        path.unlink()
    summary = summarise_language(tmp_path / "train")
    assert [model.label for model in summary.models] == ["deltanet", "osdn_historic", "apf_bounded"]
    assert summary.rows == ()
    language_figure(summary)
    assert "–" in str(overview(summary))


def test_the_figure_shows_means_where_they_are(folder: Path) -> None:
    summary = summarise_language(folder)
    positions, passages = language_figure(summary).axes
    lines = {line.get_label(): line for line in positions.containers for line in [line]}
    assert set(lines) == {"DeltaNet", "OSDN, historic", "OSDN-APF, bounded"}
    drawn = lines["OSDN, historic"].lines[0]  # type: ignore[attr-defined]
    assert list(drawn.get_xdata()) == [16, 48, 96]
    assert list(drawn.get_ydata()) == [
        row(summary, "osdn_historic", "loss at", place).mean for place in PLACES
    ]
    read = passages.containers[0].lines[0]  # type: ignore[attr-defined]
    assert list(read.get_xdata()) == [0, 1, 2]
    assert list(read.get_ydata()) == [2.0, 1.0, 0.0]


def test_the_figure_of_layers_goes_from_the_first_to_the_last(tmp_path: Path) -> None:
    def layers(model: str, seed: int) -> dict[tuple[str, str], float]:
        return {("token residual ratio", f"layer{n}"): 0.1 * n + 0.01 * seed for n in (10, 2, 0)}

    panels = language_layers(summarise_language(write_experiment(tmp_path / "train", layers, seeds=2))).axes
    drawn = panels[0].containers[0].lines[0]  # type: ignore[attr-defined]
    assert list(drawn.get_xdata()) == [0, 2, 10]
    assert list(drawn.get_ydata()) == pytest.approx([0.005, 0.205, 1.005])
    assert len(panels[0].containers) == 3


def test_a_damaged_description_of_the_text_is_named(folder: Path) -> None:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "corpus.json").write_text("{")
    with pytest.raises(ValueError, match=r"corpus\.json: not a JSON document"):
        summarise_language(folder)
