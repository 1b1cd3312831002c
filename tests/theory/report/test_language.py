"""Language models on the page: what they show stands beside the claims, and judges those that no theorem bears on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from support.language_cases import write_experiment
from support.report.report_cases import no_packaged_results as no_packaged_results, written

from osdn_theory.language.measures import Q
from osdn_theory.language.summary import write_language_summary

NAMES = {"deltanet": "DeltaNet", "apf_historic": "OSDN-APF, historic", "osdn_historic": "OSDN, historic"}


def values(model: str, seed: int) -> dict[tuple[str, str], float]:
    wiggle = 0.01 * ((seed + len(model)) % 3) + 0.1 * seed
    lower = 0.1 if model == "apf_historic" else 0.0
    return {("loss", ""): 2 + 0.01 * wiggle, (Q, "all layers"): 0.4 + 0.1 * wiggle - lower}


def experiment(folder: Path) -> Path:
    write_experiment(folder, values, models=NAMES, ratio=False)
    write_language_summary(folder)
    return folder / "train.json"


def claims(twin: Any) -> dict[str, Any]:
    return {each["id"]: each for each in twin["paper_claims"]}


def test_claims_stand_as_the_models_have_it(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    shutil.copy(experiment(tmp_path / "train"), tmp_path / "report")
    page, twin = written(tmp_path / "report")
    found = claims(twin)
    assert found["C1c"]["judgement"] == "reproduced in part at this scale"
    assert found["C4"]["judgement"] == "reproduced at this scale"
    assert found["C3b"]["judgement"] == "not tested"
    assert "Language models: Writes leave less" in page.text
    (sentence,) = found["C1c"]["trained"]
    assert sentence in page.text
    # A claim with theorems is judged by these.
    assert found["APF"]["judgement"] == "undecided"
    assert len(found["APF"]["trained"]) == 1
    assert any(each["file"] == "train.json" for each in twin["documents"])
    assert "osdn-theory train" in twin["commands"]


def test_the_result_of_the_package_is_shown_where_there_is_no_other(
    tmp_path: Path, no_packaged_results: Path
) -> None:
    _, twin = written(tmp_path / "report")
    assert not any(each["trained"] for each in twin["paper_claims"])
    shutil.copy(experiment(tmp_path / "train"), no_packaged_results / "train_gpu.json")
    _, twin = written(tmp_path / "report")
    assert claims(twin)["C4"]["judgement"] == "reproduced at this scale"
    assert "osdn-theory train" not in twin["commands"]
