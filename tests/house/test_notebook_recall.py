"""Notebook 08 shows whatever a summary of the recall experiment says, and answers with its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import IPython.display
import pytest
from matplotlib.figure import Figure
from support.report.recall_summaries import recall_summary

from osdn_theory.plotting import Table
from osdn_theory.recall import data as recall_data

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "08_in_context_recall.ipynb"


def shown(folder: Path, monkeypatch: pytest.MonkeyPatch, summary: dict[str, Any]) -> list[Any]:
    """Everything that the notebook displays when this summary is the packaged one."""
    (folder / "recall_cpu.json").write_text(json.dumps(summary))
    found: list[Any] = []
    monkeypatch.setattr(recall_data, "PACKAGED", folder)
    monkeypatch.setattr(IPython.display, "display", found.append)
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    exec("\n".join(code).replace("%matplotlib inline", ""), {})
    return found


def test_it_shows_tables_figures_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown(tmp_path, monkeypatch, recall_summary())
    kinds = [type(each) for each in found]
    assert kinds.count(Table) == 4
    assert kinds.count(Figure) == 3
    answer = found[-1].data
    assert answer.startswith("**Answer.** ")
    assert (
        "of 5 models with a preconditioner 2 recall significantly better than DeltaNet and 1 significantly worse"
        in answer
    )
    assert "the best being OSDN-APF (eta 1, forgetting towards d_1) with +5.5" in answer
    assert "of 2 predictions of theory on where OSDN can differ, 1 came out" in answer


def test_one_seed_makes_nothing_significant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = shown(tmp_path, monkeypatch, recall_summary(seeds=1))[-1].data
    assert "1 seed), of 5 models with a preconditioner 0 recall significantly better" in answer
    assert "not tested" in answer


def test_without_a_packaged_result_it_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall_data, "PACKAGED", tmp_path)
    with pytest.raises(FileNotFoundError, match="osdn-theory recall --preset cpu"):
        recall_data.load()
