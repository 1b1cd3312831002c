"""Writing a report page and reading it back, with its JSON twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.report.fake_verification import good
from support.report.html_page import Page

from osdn_theory.recall import data as recall_data
from osdn_theory.report import Exhibit, write_report
from osdn_theory.report.document import REPORT
from osdn_theory.report.model import ReportModel, build_model

SCHEMA = jsonschema.validators.validator_for(REPORT.schema())(REPORT.schema())
"""Of the JSON twin; the schema itself is checked once, not with every document, where it takes most of the time."""


@pytest.fixture(autouse=True)
def no_packaged_results(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test puts the results that are delivered with the package: none, unless it does."""
    folder = tmp_path_factory.mktemp("package")
    monkeypatch.setattr(recall_data, "PACKAGED", folder)
    return folder


def strict(path: Path) -> Any:
    def refuse(literal: str) -> float:
        raise AssertionError(f"{literal} in JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def written(folder: Path, verification: Any = None, exhibits: tuple[Exhibit, ...] = ()) -> tuple[Page, Any]:
    """The page and its JSON twin, which must fit the schema."""
    page = Page(write_report(verification or good(), folder, exhibits=exhibits).read_text())
    twin = strict(folder / "report.json")
    SCHEMA.validate(twin)
    return page, twin


def model(folder: Path, verification: Any = None) -> ReportModel:
    return build_model(verification or good(), folder, ())


def standing(twin: Any, theorem: str) -> str:
    found: str = next(each for each in twin["theorems"] if each["id"] == theorem)["proof"]["standing"]
    return found
