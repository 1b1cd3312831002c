"""What T15 and T19 predict, on layers that follow the rule and on numbers that contradict it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.recall.cases import (
    SEEDS,
    run_folder,
    write_activations,
    write_json,
    write_measures,
    write_plan,
    write_test_run,
    write_tuning,
)

from osdn_theory.base.jsonable import jsonable
from osdn_theory.recall import measure_run, summarise

MODELS = ["deltanet", "osdn", "osdn_eta1", "static"]
CELL = ("isotropic", 2, 8)
INITIAL = {0: 0.0002, 1: -0.0003, 2: 0.0001, 3: 0.0004, 4: -0.0001}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four models, three seeds, measured."""
    folder = tmp_path_factory.mktemp("recall")
    write_plan(folder, MODELS, SEEDS)
    for model in MODELS:
        write_tuning(folder, model, {0.003: 0.5})
        for seed in SEEDS:
            accuracy = 0.5 + 0.05 * seed + {"static": INITIAL[seed]}.get(model, 0.0)
            ablations = [
                {"ablation": name, "statistic": "isotropic", "repeats": 2, "pairs": 8, "accuracy": value}
                for name, value in {
                    "none": accuracy,
                    "initial": accuracy + INITIAL[seed],
                    "ones": accuracy - 0.01,
                }.items()
            ]
            where = write_test_run(folder, model, seed, {CELL: accuracy}, ablations=ablations)
            write_activations(where, model, CELL, seed)
            measure_run(where)
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    for path in template.rglob("*.json"):
        write_json(tmp_path / path.relative_to(template), json.loads(path.read_text()))
    return tmp_path


def predicted(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["statement"]: row for row in jsonable(summarise(folder).predictions)}


def the(rows: dict[str, dict[str, Any]], words: str) -> dict[str, Any]:
    found = [row for statement, row in rows.items() if words in statement]
    assert len(found) == 1, list(rows)
    return found[0]


STATEMENTS = {
    "d stays at 1 on the keys of every model at the step of bounded, 0.003": "T15",
    "d stays at 1 on the keys of every model at the step of historic, 1": "T15",
    "OSDN: with keys of norm 1": "T15",
    "OSDN eta 1: with keys of norm 1": "T15",
    "OSDN: the context ends before": "T19",
    "calibrates within K tokens": "T19",
    "d hardly leaves": "T19",
    "farther than the step of bounded could take it": "T19",
    "holding d at d_1 changes": "T19",
    "is as accurate as static d": "T19",
}


def test_layers_that_follow_the_rule_do_as_predicted(folder: Path) -> None:
    rows = predicted(folder)
    assert len(rows) == len(STATEMENTS)
    for words, theorem in STATEMENTS.items():
        row = the(rows, words)
        assert (row["theorem"], row["outcome"]) == (theorem, "as predicted"), row
    assert "All 10 predictions of T15 and T19 came out as predicted." in summarise(folder).sentences


def test_the_limits_are_the_theorys(folder: Path) -> None:
    """From the files alone: tau = 1/(eta lambda) with lambda of the captured keys, and d by the measures."""
    row = the(predicted(folder), "d hardly leaves")
    shares = []
    for seed in SEEDS:
        cell = json.loads((run_folder(folder, "osdn", seed) / "measures.json").read_text())["cells"][0]
        limit = np.sqrt(cell["context"] / cell["calibration_tokens"] / (2 - 0.003))
        shares.append((cell["drift_from_start"] / cell["start_from_one"], limit))
    value, limit = max(shares, key=lambda pair: pair[0] / pair[1])
    assert (row["value"], row["limit"]) == (pytest.approx(value), pytest.approx(limit))
    identity = the(predicted(folder), "every model at the step of historic, 1")
    assert identity["limit"] == pytest.approx(41 * (16 + 2) * 2.0**-52)


@pytest.mark.parametrize(
    ("model", "words", "change"),
    [
        (
            "static",
            "every model at the step of bounded, 0.003",
            {"identity_drift": {"0.003": 1e-9, "1": 0.0}},
        ),
        ("deltanet", "every model at the step of historic, 1", {"identity_drift": {"0.003": 0.0, "1": 1e-9}}),
        ("osdn", "OSDN: with keys of norm 1", {"drift_from_one": 0.101}),
        ("osdn_eta1", "OSDN eta 1: with keys", {"drift_from_one": 0.101}),
        ("osdn", "the context ends before", {"calibration_tokens": 12.0}),
        ("osdn_eta1", "within K tokens", {"calibration_tokens": 4.01}),
        ("osdn", "d hardly leaves", {"drift_from_start": 0.01, "calibration_tokens": 1000.0}),
        ("osdn", "d hardly leaves", {"drift_from_start": "nan", "calibration_tokens": 1000.0}),
        ("osdn_eta1", "farther than", {"drift_from_start": 1e-3}),
        ("osdn_eta1", "farther than", {"drift_from_start": "nan"}),
    ],
)
def test_one_cell_that_contradicts_the_theory_is_seen(
    model: str, words: str, change: dict[str, Any], folder: Path
) -> None:
    base = {"start_from_one": 0.1, "drift_from_one": 0.1, "drift_from_start": 0.05, "calibration_tokens": 3.5}
    write_measures(run_folder(folder, model, 2), {**base, **change})
    summary = jsonable(summarise(folder))
    row = the({row["statement"]: row for row in summary["predictions"]}, words)
    assert row["outcome"] == "not as predicted"
    assert any(line.startswith(f"Not as predicted by {row['theorem']}: ") for line in summary["sentences"])


def shift(folder: Path, names: set[str], change: float) -> None:
    """Move the accuracy of these ablations of OSDN, and with "none" that of its cells."""
    for seed in SEEDS:
        path = run_folder(folder, "osdn", seed) / "result.json"
        result = json.loads(path.read_text())
        cells = result["cells"] if "none" in names else []
        for entry in [*cells, *(e for e in result["ablations"] if e["ablation"] in names)]:
            entry["accuracy"] += change
        write_json(path, result)


def test_a_difference_that_the_seeds_show_is_seen(folder: Path) -> None:
    shift(folder, {"none", "initial", "ones"}, 0.02)
    row = the(predicted(folder), "is as accurate as static d")
    assert row["outcome"] == "not as predicted"
    assert row["value"] < row["limit"] == 0.05


def test_a_d_that_matters_beyond_its_start_is_seen(folder: Path) -> None:
    before = the(predicted(folder), "holding d at d_1 changes")
    assert before["value"] == pytest.approx(abs(np.mean([INITIAL[seed] for seed in SEEDS])) / 0.01)
    shift(folder, {"initial"}, -0.008)
    row = the(predicted(folder), "holding d at d_1 changes")
    assert row["limit"] == before["limit"] < 0.75
    assert row["value"] == pytest.approx(0.8, rel=0.02)
    assert row["outcome"] == "not as predicted"


def test_without_an_effect_of_d_there_is_nothing_to_hold_its_share_against(folder: Path) -> None:
    shift(folder, {"ones"}, 0.01)
    assert the(predicted(folder), "holding d at d_1 changes")["outcome"] == "not as predicted"


def test_a_start_at_one_has_no_share_to_cover(folder: Path) -> None:
    for seed in SEEDS:
        write_measures(run_folder(folder, "osdn", seed), {"calibration_tokens": 2000.0})
    rows = predicted(folder)
    assert not any("d hardly leaves" in statement for statement in rows)
    assert the(rows, "the context ends before")["value"] == pytest.approx(16 / 2000)
