"""The report folder: valid data, a page that says everything and loads nothing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from support.report.fake_verification import HOSTILE, FakeVerification, bad, check, good
from support.report.html_page import Page
from support.report.report_cases import no_packaged_results as no_packaged_results

from osdn_theory.base import folders as _folders
from osdn_theory.base.folders import ensure_writable
from osdn_theory.base.jsonable import jsonable, to_json
from osdn_theory.plotting._formula import formula_svg
from osdn_theory.report import Exhibit, write_report
from osdn_theory.report.evidence import stream_status
from osdn_theory.report.page.wording import SUMMARY
from osdn_theory.verification.digest import count_outcomes, digest, format_slack, theorem_order


def figure() -> Figure:
    fig = Figure(figsize=(1, 1))
    fig.add_subplot().plot([0, 1])
    return fig


EXHIBITS = (
    Exhibit("slack", "Slack per bound", "What <is> left.", figure(), data={"smallest": 0.125}),
    Exhibit(
        "times", "Calibration times", "Tokens.", header=("stream", "tokens"), rows=[("isotropic", "41000")]
    ),
)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(write_report(good(), tmp_path / "report", exhibits=EXHIBITS).read_text())


def test_page_names_every_theorem_and_stream(page: Page) -> None:
    for name in ("T5", "T10", "T15", "T16", "Title of T10", "isotropic", "mqar", "unit keys", "recall pairs"):
        assert name in page.text
    assert page.text.index("T5") < page.text.index("T10")


def test_page_states_verdict_reasons_methods_environment_and_source(page: Page) -> None:
    assert "Every bound that applies holds" in page.text
    assert "4 checks hold, 0 violated, 0 undecided. 0 hold vacuously: " in page.text
    assert "2 are not applicable: why. Neither counts as holding." in page.text
    assert "keys are not exactly normalised: 0.3" in page.text
    assert "exact rationals" in page.text
    assert "osdn-theory verify --seed 7" in page.text
    assert "2.4.6" in page.text
    assert "not the paper's theorems" in page.text
    assert "0.125" in page.text
    assert "∞" in page.text


def test_page_loads_nothing_from_elsewhere_and_runs_nothing(page: Page) -> None:
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags
    assert "link" not in tags
    assert "iframe" not in tags
    loaded = [
        attrs[name] or "" for _, attrs in page.tags for name in ("src", "href", "xlink:href") if name in attrs
    ]
    assert any(url.startswith("data:image/png;base64,") for url in loaded)
    own = {"results.json", "report.json"}
    assert all(url.startswith(("data:image/png;base64,", "#")) or url in own for url in loaded)
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)


def test_style_sheet_has_dark_and_print_and_no_urls(tmp_path: Path) -> None:
    source = write_report(good(), tmp_path).read_text()
    assert "prefers-color-scheme: dark" in source
    assert "@media print" in source
    assert "url(" not in source
    assert "@import" not in source


def test_images_and_tables_are_accessible(page: Page) -> None:
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [attrs["alt"] for attrs in images] == [SUMMARY["contraction"], SUMMARY["slack"], "Slack per bound"]
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    ids = [attrs["id"] for tag, attrs in page.tags if "id" in attrs and tag != "path"]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert all(target[1:] in ids for target in targets if target and target.startswith("#"))


def test_hostile_names_are_escaped_everywhere(tmp_path: Path) -> None:
    hostile = FakeVerification(
        [
            check(HOSTILE, HOSTILE, title=HOSTILE, statement=HOSTILE + "$", rule=HOSTILE, method=HOSTILE),
            check(HOSTILE, HOSTILE, "violated", title=HOSTILE, rule=HOSTILE, reason=HOSTILE),
            check(HOSTILE, HOSTILE, "not applicable", rule=HOSTILE, reason=HOSTILE),
            check(HOSTILE, HOSTILE, "not applicable", rule=HOSTILE, reason=HOSTILE + "2"),
        ],
        streams={HOSTILE: HOSTILE},
        environment={HOSTILE: HOSTILE},
        command=HOSTILE,
    )
    exhibit = Exhibit("x", HOSTILE, HOSTILE, figure(), header=(HOSTILE,), rows=[(HOSTILE,)])
    source = write_report(hostile, tmp_path, exhibits=[exhibit]).read_text()
    page = Page(source)
    assert "<script" not in source
    assert page.text.count(HOSTILE) > 10


@pytest.mark.parametrize(
    ("outcome", "headline"),
    [("violated", "1 check is violated"), ("undecided", "No bound is violated, and 1 check is undecided")],
)
def test_page_lists_problems(tmp_path: Path, outcome: str, headline: str) -> None:
    page = Page(write_report(bad(outcome), tmp_path).read_text())
    assert headline in page.text
    assert "Every bound that applies holds" not in page.text
    assert "too wide: 10−3" in page.text
    assert "mqar, batch row 0, head 3" in page.text


def test_nothing_applicable_is_not_called_holding(tmp_path: Path) -> None:
    page = Page(write_report(FakeVerification([check(outcome="not applicable")]), tmp_path).read_text())
    assert "Nothing was decided: no bound applies" in page.text


def test_results_are_strict_json_with_every_number(tmp_path: Path) -> None:
    write_report(good(), tmp_path, exhibits=EXHIBITS)

    def refuse(literal: str) -> float:
        raise AssertionError(f"{literal} in JSON")

    results = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert results["seed"] == 7
    assert results["command"] == "osdn-theory verify --seed 7"
    assert len(results["checks"]) == 6
    assert results["checks"][0]["log10_slack"] == "inf"
    assert results["checks"][0]["lhs"] == "-inf"
    assert results["exhibits"]["slack"] == {"smallest": 0.125}


def test_figures_are_written_and_no_temporary_file_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_report(good(), tmp_path, exhibits=EXHIBITS)
    write_report(good(), tmp_path, exhibits=EXHIBITS)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    figures = ["figures/slack.png", "figures/summary-contraction.png", "figures/summary-slack.png"]
    assert files == [*figures, "index.html", "notes.txt", "report.json", "results.json"]
    assert (tmp_path / "figures/slack.png").read_bytes().startswith(b"\x89PNG")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "index.html").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = write_report(good(), tmp_path)
    before = page.read_text()

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(_folders.os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        write_report(bad("violated"), tmp_path)
    assert page.read_text() == before
    assert not list(tmp_path.rglob(".*"))


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OSError, match=r"cannot write to the folder .*file"):
        ensure_writable(file)


def test_exhibits_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name: expected letters"):
        Exhibit("../up", "t", "c")
    with pytest.raises(ValueError, match="rows: expected 2 cells, got 1"):
        Exhibit("x", "t", "c", header=("a", "b"), rows=[("1",)])
    with pytest.raises(ValueError, match="expected different names"):
        write_report(good(), tmp_path, exhibits=[EXHIBITS[0], EXHIBITS[0]])


def test_digest_takes_the_gravest_outcome_and_the_smallest_slack() -> None:
    result = digest(replace(bad("violated"), checks=[*bad("violated").checks, check("T8", "mqar")]).checks)
    assert [theorem.name for theorem in result.theorems] == ["T5", "T8", "T10", "T15", "T16"]
    assert result.cells["T8", "mqar"].outcome == "violated"
    assert result.cells["T5", "isotropic"].log10_slack == 0.125
    assert result.cells["T16", "isotropic"].log10_slack is None
    assert result.counts == {
        "holds": 5,
        "holds, vacuously": 0,
        "violated": 1,
        "undecided": 0,
        "not applicable": 2,
    }
    (exclusion,) = result.exclusions
    assert (exclusion.count, exclusion.streams) == (2, ("isotropic",))
    # Another value of the same hypothesis is no other reason.
    assert exclusion.reason == "keys are not exactly normalised: 0.3"
    assert exclusion.statements == ("T15 Title of T15",)
    assert digest([]).counts["holds"] == 0


def test_what_holds_vacuously_is_counted_apart_and_confirms_nothing(tmp_path: Path) -> None:
    empty = check("T6", "mqar", "holds, vacuously", log10_slack=None, reason="known without it: at most 0")
    found = digest([check("T6"), empty, check("T6", index=(1,)), check("T8", "mqar", "holds, vacuously")])
    assert found.cells["T6", "mqar"].outcome == found.cells["T8", "mqar"].outcome == "holds, vacuously"
    assert stream_status(found, "T6").streams == {"holds": ("isotropic",), "holds, vacuously": ("mqar",)}
    assert stream_status(found, "T8").outcome == "holds, vacuously"
    assert count_outcomes(found) == "2 hold, 2 hold vacuously, 0 violated, 0 undecided, 0 not applicable"
    told = replace(good(), checks=[*good().checks, empty])
    out = write_report(told, tmp_path).parent
    assert json.loads((out / "report.json").read_text())["checks"]["holds, vacuously"] == 1
    page = " ".join((out / "index.html").read_text().split())
    assert "4 checks hold, 0 violated, 0 undecided. 1 hold vacuously: " in page
    assert "7 checks, 1 of them vacuously." in page
    only = write_report(replace(good(), checks=[empty]), tmp_path / "only").read_text()
    assert "No bound that applies says anything" in only


def test_statements_of_one_theorem_stay_apart_and_exclusions_merge() -> None:
    checks = [
        check("T13", title="Stability"),
        check("T13", title="Bias", outcome="not applicable", reason="same key"),
        check("T5", outcome="not applicable", reason="same key"),
    ]
    result = digest(checks)
    assert [statement.title for statement in result.theorems[1].statements] == ["Stability", "Bias"]
    (exclusion,) = result.exclusions
    assert exclusion.statements == ("T5 Title of T5", "T13 Bias")
    assert exclusion.count == 2


def test_theorem_order_is_by_number() -> None:
    assert sorted(["T10", "T9", "T13b", "T13a"], key=theorem_order) == ["T9", "T10", "T13a", "T13b"]


@pytest.mark.parametrize(
    ("slack", "text"), [(None, "–"), (float("inf"), "∞"), (0.0, "0"), (1234.5, "1.23e+03")]
)
def test_format_slack(slack: float | None, text: str) -> None:
    assert format_slack(slack) == text


def test_formula_is_svg_in_the_text_colour_or_escaped_source() -> None:
    svg = formula_svg(r"\sum_{t \le T} \tfrac{1}{2} \lVert d_t \rVert^2")
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert formula_svg(r"\nonsense{<b>}") == r"<code>\nonsense{&lt;b&gt;}</code>"
    assert formula_svg("a$b") == "<code>a$b</code>"


def test_jsonable_covers_numpy_and_refuses_the_unknown() -> None:
    import numpy as np

    value = {
        "array": np.array([1.0, np.inf, -np.inf, np.nan]),
        "scalar": np.float64(2.5),
        "int": np.int64(3),
        "path": Path("a/b"),
        "set": {2, 1},
        "flag": True,
        "check": check(),
        5: None,
    }
    plain = jsonable(value)
    assert plain["array"] == [1.0, "inf", "-inf", "nan"]
    assert plain["scalar"] == 2.5
    assert plain["int"] == 3
    assert plain["path"] == "a/b"
    assert plain["set"] == [1, 2]
    assert plain["flag"] is True
    assert plain["check"]["theorem"] == "T5"
    assert plain["5"] is None
    assert json.loads(to_json(value)) == plain
    with pytest.raises(TypeError, match="object"):
        jsonable(object())
