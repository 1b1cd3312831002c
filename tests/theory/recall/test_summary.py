"""Summaries of written folders: every number against SciPy or by hand, and what wrong folders are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from support.recall.cases import (
    CELLS,
    GAINS,
    LEVELS,
    SEEDS,
    run_folder,
    write_experiment,
    write_json,
    write_measures,
    write_plan,
    write_result,
    write_test_run,
    write_tuning,
)

from osdn_theory.base.documents import convert
from osdn_theory.base.jsonable import jsonable
from osdn_theory.commands.recall import print_summary
from osdn_theory.recall import summary as recall_summary
from osdn_theory.recall.data import load
from osdn_theory.recall.document import RecallSummary


def summarise(folder: Path) -> Any:
    """The summary as JSON-ready values."""
    return jsonable(recall_summary.summarise(folder))


NOTHING = {0: 0.002, 1: -0.004, 2: 0.003, 3: -0.002, 4: 0.001}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_experiment(tmp_path, {"osdn_eta1": GAINS, "static": NOTHING})


def overall(summary: dict[str, Any], model: str, measure: str) -> dict[str, Any]:
    rows = [row for row in summary["overall"] if (row["model"], row["measure"]) == (model, measure)]
    assert len(rows) == 1
    return rows[0]


def test_the_form_is_that_of_the_readers(folder: Path) -> None:
    written = recall_summary.write_summary(folder)
    assert load(folder) == written
    summary = jsonable(written)
    assert summary.items() <= json.loads((folder / "recall.json").read_text()).items()
    assert summary["complete"]
    assert summary["seconds"] == pytest.approx(2.5 * 18)
    assert summary["seeds"] == SEEDS
    assert [model["name"] for model in summary["models"]] == ["deltanet", "osdn_eta1", "static"]
    assert summary["models"][1]["rule"]["eta"] == 1.0


def test_overall_rows_are_scipys(folder: Path) -> None:
    summary = summarise(folder)
    levels = np.array([LEVELS[seed] for seed in SEEDS]) + 0.015
    gains = np.array([GAINS[seed] for seed in SEEDS])
    row = overall(summary, "osdn_eta1", "accuracy")
    low, high = stats.t.interval(0.95, 4, loc=np.mean(levels + gains), scale=stats.sem(levels + gains))
    np.testing.assert_allclose([row["mean"], row["low"], row["high"]], [np.mean(levels + gains), low, high])
    test = stats.ttest_rel(levels + gains, levels)
    assert row["difference"]["mean"] == pytest.approx(0.03)
    assert row["difference"]["p"] == pytest.approx(test.pvalue, rel=1e-6)
    # Two models are compared: the smaller p is doubled.
    assert row["difference"]["p_adjusted"] == pytest.approx(2 * test.pvalue, rel=1e-6)
    assert row["difference"]["significant"]
    assert not overall(summary, "static", "accuracy")["difference"]["significant"]
    assert overall(summary, "deltanet", "accuracy")["difference"] is None
    for measure, shift in {
        "accuracy_once": 0.01,
        "accuracy_twice": 0.02,
        "accuracy_anisotropic": 0.025,
    }.items():
        assert overall(summary, "deltanet", measure)["mean"] == pytest.approx(
            np.mean(list(LEVELS.values())) + shift
        )
    assert overall(summary, "deltanet", "loss")["mean"] == pytest.approx(1 - levels.mean())
    assert overall(summary, "osdn_eta1", "token_residual_ratio")["mean"] == pytest.approx(0.22)
    assert overall(summary, "osdn_eta1", "token_residual_ratio")["difference"]["significant"]


def test_the_authors_measure_is_over_contexts_read_twice_alone(folder: Path) -> None:
    once, twice = {"token_residual_ratio": 0.9}, {"repeats": 2, "token_residual_ratio": 0.1}
    for seed in SEEDS:
        write_measures(
            run_folder(folder, "static", seed),
            once,
            twice,
            {**twice, "replaced": {"ones": 0.6, "reversed": 0.4}},
        )
    summary = summarise(folder)
    assert overall(summary, "static", "read_twice_ratio")["mean"] == pytest.approx(0.1)
    assert overall(summary, "static", "read_twice_ratio_ones")["mean"] == pytest.approx(np.sqrt(0.3 * 0.6))
    # The others read nothing twice.
    assert not [
        row for row in summary["overall"] if row["model"] != "static" and "twice_ratio" in row["measure"]
    ]


def test_every_value_of_every_seed_is_in_the_file_and_the_tests_are_redone(folder: Path) -> None:
    recall_summary.write_summary(folder)
    path = folder / "recall.json"
    document = json.loads(path.read_text())
    for part in ("accuracy", "overall"):
        assert all([entry["seed"] for entry in row["by_seed"]] == SEEDS for row in document[part])
    row = overall(document, "static", "accuracy_twice")
    assert np.mean([entry["value"] for entry in row["by_seed"]]) == pytest.approx(row["mean"])
    place = document["overall"].index(row)
    row["by_seed"][2]["value"] += 1e-4
    write_json(path, document)
    with pytest.raises(
        ValueError, match=rf"recall.json: overall\[{place}\].mean: .* does not follow from its seeds"
    ):
        load(folder)
    row["by_seed"][2]["value"] -= 1e-4
    row["difference"]["p_adjusted"] *= 0.9
    write_json(path, document)
    with pytest.raises(ValueError, match=rf"overall\[{place}\].difference: .* does not follow"):
        load(folder)


def test_swapped_seeds_lose_the_pairing(folder: Path, tmp_path: Path) -> None:
    """The same accuracies under other seeds: the mean difference stays, its certainty goes."""
    paired = overall(summarise(folder), "osdn_eta1", "accuracy")["difference"]
    order = [2, 0, 3, 4, 1]
    swapped = {
        seed: LEVELS[other] + GAINS[other] - LEVELS[seed] for seed, other in zip(SEEDS, order, strict=True)
    }
    other = write_experiment(tmp_path / "swapped", {"osdn_eta1": swapped, "static": NOTHING})
    unpaired = overall(summarise(other), "osdn_eta1", "accuracy")["difference"]
    assert unpaired["mean"] == pytest.approx(paired["mean"])
    assert paired["p_adjusted"] < 1e-4
    assert unpaired["p"] > 0.3
    assert not unpaired["significant"]


def test_cells_are_one_family(folder: Path) -> None:
    rows = summarise(folder)["accuracy"]
    assert len(rows) == 3 * len(CELLS)
    row = next(
        row for row in rows if row["model"] == "osdn_eta1" and row["pairs"] == 8 and row["repeats"] == 2
    )
    assert row["mean"] == pytest.approx(np.mean(list(LEVELS.values())) + 0.03 + 0.03)
    # Two models in four cells; the four of osdn_eta1 are the smallest, with p values equal up to rounding.
    assert 5 * row["difference"]["p"] <= row["difference"]["p_adjusted"] * 1.001
    assert row["difference"]["p_adjusted"] <= 8.001 * row["difference"]["p"]


def test_cells_and_layers_become_one_number(tmp_path: Path) -> None:
    write_plan(tmp_path, ["deltanet"], [0])
    write_tuning(tmp_path, "deltanet", {0.003: 0.5})
    where = write_test_run(tmp_path, "deltanet", 0, {CELLS[0]: 0.5})
    write_measures(
        where,
        {
            "token_residual_ratio": 0.1,
            "d_low": 0.7,
            "d_high": 1.2,
            "drift_from_one": 0.3,
            "output_error": 1e-7,
        },
        {
            "token_residual_ratio": 0.4,
            "d_low": 0.9,
            "d_high": 1.4,
            "drift_from_one": 0.4,
            "output_error": 1e-3,
        },
    )
    summary = summarise(tmp_path)
    expected = {
        "token_residual_ratio": 0.2, "d_low": 0.7, "d_high": 1.4, "drift_from_one": np.sqrt(0.125), "output_error": 1e-3
    }  # fmt: skip
    for measure, value in expected.items():
        row = overall(summary, "deltanet", measure)
        assert row["mean"] == pytest.approx(value)
        assert row["low"] is None


def test_the_learning_rate_is_chosen_by_validation_and_never_by_test(tmp_path: Path) -> None:
    write_plan(tmp_path, ["deltanet"], [0, 1], rates=(0.01, 0.001, 0.003))
    write_tuning(tmp_path, "deltanet", {0.001: 0.4, 0.003: 0.8, 0.01: 0.8})
    for rate, accuracy in {0.003: 0.6, 0.01: 0.9}.items():
        for seed in (0, 1):
            cells = [{"statistic": "isotropic", "repeats": 1, "pairs": 4, "accuracy": accuracy, "loss": 1.0}]
            where = run_folder(tmp_path, "deltanet", seed, rate)
            write_result(where, "deltanet", seed, learning_rate=rate, cells=cells)
            write_measures(where, {})
    summary = summarise(tmp_path)
    assert summary["models"][0]["learning_rate"] == 0.003  # the smaller of equals, although 0.01 tests better
    assert overall(summary, "deltanet", "accuracy")["mean"] == pytest.approx(0.6)
    assert [row["validation"] for row in summary["models"][0]["tuning"]] == [0.4, 0.8, 0.8]
    assert summary["complete"]


def test_distances_pool_the_queries_of_all_statistics(folder: Path) -> None:
    entry = {"repeats": 1, "low": 8, "high": 16}
    for seed in SEEDS:
        where = run_folder(folder, "deltanet", seed)
        result = json.loads((where / "result.json").read_text())
        result["distances"] = [
            {**entry, "statistic": "isotropic", "correct": 10 + seed, "queries": 20},
            {**entry, "statistic": "anisotropic", "correct": 10, "queries": 60},
        ]
        write_json(where / "result.json", result)
    (row,) = summarise(folder)["distance"]
    shares = (20 + np.arange(5)) / 80
    low, high = stats.t.interval(0.95, 4, loc=shares.mean(), scale=stats.sem(shares))
    assert (row["nearest"], row["farthest"], row["repeats"]) == (8, 16, 1)
    np.testing.assert_allclose([row["mean"], row["low"], row["high"]], [shares.mean(), low, high])


def test_ablations_are_against_the_models_own(folder: Path) -> None:
    change = {0: -0.30, 1: -0.31, 2: -0.29, 3: -0.32, 4: -0.28}
    for seed in SEEDS:
        where = run_folder(folder, "osdn_eta1", seed)
        result = json.loads((where / "result.json").read_text())
        result["ablations"] = [
            {"ablation": name, "statistic": "isotropic", "repeats": 1, "pairs": 4, "accuracy": 0.6 + gain}
            for name, gain in {"none": 0.01 * seed, "ones": 0.01 * seed + change[seed]}.items()
        ]
        write_json(where / "result.json", result)
    rows = {row["ablation"]: row for row in summarise(folder)["ablations"]}
    assert rows["none"]["difference"] is None
    difference = rows["ones"]["difference"]
    assert difference["mean"] == pytest.approx(-0.30)
    assert difference["p"] == pytest.approx(stats.ttest_1samp(list(change.values()), 0).pvalue)
    assert difference["significant"]


def test_an_unfinished_experiment_is_summed_up_as_such(folder: Path) -> None:
    (run_folder(folder, "static", 4) / "result.json").unlink()
    (run_folder(folder, "osdn_eta1", 4) / "measures.json").unlink()
    summary = summarise(folder)
    assert not summary["complete"]
    assert summary["sentences"][0].startswith("The experiment is not complete")
    levels = [LEVELS[seed] + NOTHING[seed] + 0.015 for seed in SEEDS[:4]]
    assert overall(summary, "static", "accuracy")["mean"] == pytest.approx(np.mean(levels))
    changes = [NOTHING[seed] for seed in SEEDS[:4]]
    assert overall(summary, "static", "accuracy")["difference"]["mean"] == pytest.approx(np.mean(changes))
    ratios = [0.25 - GAINS[seed] for seed in SEEDS[:4]]
    assert overall(summary, "osdn_eta1", "token_residual_ratio")["mean"] == pytest.approx(np.mean(ratios))


def test_a_plan_alone_and_a_single_seed_are_summed_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plan(tmp_path, ["deltanet", "osdn"], [0, 1])
    empty = summarise(tmp_path)
    assert not empty["complete"]
    assert (empty["overall"], empty["accuracy"], empty["predictions"]) == ([], [], [])
    assert empty["models"][1] == {
        "name": "osdn", "label": "osdn", "parameters": None, "rule": None, "learning_rate": None, "tuning": [],
    }  # fmt: skip
    single = summarise(write_experiment(tmp_path / "single", {"osdn": {0: 0.1}}, levels={0: 0.5}))
    row = overall(single, "osdn", "accuracy")
    assert (row["low"], row["difference"]["p"], row["difference"]["significant"]) == (None, None, False)
    assert any("Fewer than 3 seeds allow no test" in sentence for sentence in single["sentences"])
    for summary in (empty, single):
        print_summary(convert(summary, RecallSummary))
    assert "Fewer than 3 seeds allow no test" in capsys.readouterr().out


def test_a_ratio_that_is_not_finite_is_said(folder: Path) -> None:
    write_measures(run_folder(folder, "osdn_eta1", 3), {"token_residual_ratio": "nan"})
    summary = summarise(folder)
    row = overall(summary, "osdn_eta1", "token_residual_ratio")
    assert row["mean"] is None
    assert not row["difference"]["significant"]
    assert any("No mean token residual ratio of OSDN eta 1" in line for line in summary["sentences"])


def test_sentences_tell_what_is_significant_and_what_is_not(folder: Path) -> None:
    lines = summarise(folder)["sentences"]
    (better,) = [
        line for line in lines if line.startswith("OSDN eta 1 has") and "higher accuracy than" in line
    ]
    assert "70.0 % against" not in better
    assert "difference +3.00 points [+2.80, +3.20] (adjusted p < 0.001)" in better
    (ratio,) = [line for line in lines if "token residual ratio than" in line]
    assert ratio.startswith(
        "OSDN eta 1 has a significantly lower token residual ratio than DeltaNet: 0.22 against 0.25"
    )
    (null,) = [line for line in lines if "different from DeltaNet in accuracy at" in line]
    assert null.startswith("Not significantly different from DeltaNet in accuracy at 5 seeds: static d: ")
    (same,) = [line for line in lines if "in missing share (" in line]
    assert same.startswith("Not tested against DeltaNet")


def test_a_seed_that_fails_to_train_is_named(folder: Path) -> None:
    before = summarise(folder)
    assert not any("fail to train" in line for line in before["sentences"])
    path = run_folder(folder, "static", 3) / "result.json"
    result = json.loads(path.read_text())
    for cell in result["cells"]:
        cell["accuracy"] = 0.1
    write_json(path, result)
    summary = summarise(folder)
    (line,) = [line for line in summary["sentences"] if "fail to train" in line]
    assert "two kinds of runs: static d 10.0 % (seed 3) to 8" in line
    row = overall(summary, "static", "accuracy")
    by_seed = {entry["seed"]: entry["value"] for entry in row["by_seed"]}
    assert list(by_seed) == SEEDS
    assert by_seed[3] == pytest.approx(0.1)
    assert np.mean(list(by_seed.values())) == pytest.approx(row["mean"])


def test_two_seeds_claim_nothing(tmp_path: Path) -> None:
    """The same gain twice is certain to a t test of two pairs."""
    steady = {0: 0.10000001, 1: 0.1}
    two = summarise(write_experiment(tmp_path / "two", {"osdn": steady}, levels={0: 0.4, 1: 0.6}))
    assert overall(two, "osdn", "accuracy")["difference"]["p"] is None
    assert any("Fewer than 3 seeds allow no test" in line for line in two["sentences"])
    assert not any("significant" in line for line in two["sentences"])
    three = {**steady, 2: 0.10000002}
    levels = {0: 0.4, 1: 0.6, 2: 0.5}
    more = summarise(write_experiment(tmp_path / "three", {"osdn": three}, levels=levels))
    assert overall(more, "osdn", "accuracy")["difference"]["significant"]


def test_a_rate_at_the_edge_of_its_grid_is_said(folder: Path) -> None:
    write_plan(folder, ["deltanet", "osdn_eta1", "static"], SEEDS, rates=(0.001, 0.003, 0.01))
    for model, best in {"deltanet": 0.003, "osdn_eta1": 0.003, "static": 0.003}.items():
        write_tuning(folder, model, {rate: 0.9 if rate == best else 0.5 for rate in (0.001, 0.003, 0.01)})
    assert not any("edge of the grid" in line for line in summarise(folder)["sentences"])
    write_plan(folder, ["deltanet", "osdn_eta1", "static"], SEEDS, rates=(0.001, 0.003))
    (line,) = [line for line in summarise(folder)["sentences"] if "edge of the grid" in line]
    assert line.endswith("a better one may lie beyond: DeltaNet 0.003; OSDN eta 1 0.003; static d 0.003.")


def test_a_null_result_is_told_as_one(tmp_path: Path) -> None:
    lines = summarise(write_experiment(tmp_path, {"osdn": NOTHING}))["sentences"]
    assert any(
        line.startswith("No difference from DeltaNet in accuracy is significant at 5 seeds: OSDN: ")
        for line in lines
    )
    assert not any("significantly" in line for line in lines)


def test_the_printed_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = summarise(folder)
    print_summary(convert(summary, RecallSummary))
    printed = capsys.readouterr().out
    for text in ("OSDN eta 1", "1,000", "0.003", "What T15 and T19 predict", *summary["sentences"]):
        assert text in printed


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("plan.json", None, "plan.json: no such file"),
        ("plan.json", "{}", "plan.json: preset: is missing"),
        ("runs/static/lr0.003-seed2/result.json", "{", "result.json: not a JSON document"),
        ("runs/static/lr0.003-seed2/measures.json", "{}", "measures.json: cells: is missing"),
        (
            "runs/static/lr0.003-seed2/measures.json",
            '{"cells": [{}]}',
            "measures.json: cells[0].statistic: is missing",
        ),
    ],
)
def test_wrong_files_are_named_in_one_line(
    folder: Path, path: str, content: str | None, message: str
) -> None:
    if content is None:
        (folder / path).unlink()
    elif path == "plan.json":
        write_json(folder / path, {"models": [], "learning_rates": [0.1]})
    else:
        (folder / path).write_text(content)
    with pytest.raises((ValueError, OSError)) as caught:
        summarise(folder)
    assert message in str(caught.value)
    assert str(folder / path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_accuracy_above_one_and_a_doubled_seed_are_refused(folder: Path) -> None:
    where = write_test_run(folder, "static", 2, {CELLS[0]: 1.5})
    with pytest.raises(ValueError, match=r"seed2/result.json: cells\[0\].accuracy: Expected `float` <= 1.0"):
        summarise(folder)
    write_test_run(folder, "static", 2, {CELLS[0]: 0.5})
    write_result(where.with_name("copy"), "static", 2)
    with pytest.raises(ValueError, match="another test run of static has seed 2"):
        summarise(folder)
