"""Parts of a run lie in folders of their own, and never take the place of the whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.report.fake_verification import good
from support.report.report_cases import no_packaged_results as no_packaged_results

from osdn_theory.bounds import bound_ids
from osdn_theory.report import write_report
from osdn_theory.report.writer import ensure_replaceable
from osdn_theory.verification.run import LONGEST_NAME, select
from osdn_theory.verification.suite import stream_names


def test_everything_is_complete_however_it_was_asked_for() -> None:
    named = select(streams=list(stream_names()), bounds=list(bound_ids()))
    assert select().complete
    assert named.complete
    assert select(streams=list(stream_names()), file="mine.npz").complete
    assert select().folder() == named.folder() == Path("report")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"streams": ["scalar"]}, "scalar"),
        ({"streams": ["scalar", "gated writes"]}, "scalar+gated-writes"),
        ({"streams": ["minilm/layer0/unit"]}, "minilm-layer0-unit"),
        ({"bounds": ["T5", "T6"]}, "T5+T6"),
        ({"streams": ["scalar"], "bounds": ["T5"]}, "scalar+T5"),
    ],
)
def test_a_part_has_a_folder_named_after_it(asked: dict[str, list[str]], name: str) -> None:
    selection = select(**asked)
    assert not selection.complete
    assert selection.folder() == Path("report/partial") / name
    assert selection.folder(Path("there")) == Path("there/partial") / name


def test_files_of_one_name_have_different_folders(tmp_path: Path) -> None:
    first, second = (select(file=tmp_path / folder / "run.npz") for folder in "ab")
    assert not first.complete
    assert first.name.startswith("run-")
    assert first.folder() != second.folder()


def test_long_lists_make_short_names_that_differ() -> None:
    names = list(stream_names())
    first, second = select(streams=names[:-1]), select(streams=names[:-2])
    assert len(first.name) <= LONGEST_NAME + 7
    assert first.name != second.name


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="streams: unknown 'scala'; did you mean scalar"):
        select(streams=["scala"])
    with pytest.raises(ValueError, match="bounds: unknown 'T2'"):
        select(bounds=["T2"])


def test_a_part_never_takes_the_place_of_a_full_report(tmp_path: Path) -> None:
    part = replace(good(), selection=select(streams=["scalar"]))
    page = write_report(good(), tmp_path)
    before = page.read_bytes()
    with pytest.raises(ValueError, match=r"holds a full report.*report/partial/scalar"):
        write_report(part, tmp_path)
    assert page.read_bytes() == before
    assert json.loads((tmp_path / "report.json").read_text())["complete"] is True


def test_a_part_replaces_a_part_and_the_whole_replaces_both(tmp_path: Path) -> None:
    part = replace(good(), selection=select(streams=["scalar"]))
    for each in (part, part, good(), good()):
        write_report(each, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["complete"] is True


@pytest.mark.parametrize("left", ["", "{}", "[]", '{"complete": true}', '{"complete": null}'])
def test_a_report_that_does_not_say_that_it_is_a_part_is_kept(tmp_path: Path, left: str) -> None:
    (tmp_path / "report.json").write_text(left)
    with pytest.raises(ValueError, match="holds a full report"):
        ensure_replaceable(tmp_path, select(streams=["scalar"]))
    assert ensure_replaceable(tmp_path, select()) == tmp_path


def test_a_page_without_its_data_is_kept_too(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("somebody's page")
    with pytest.raises(ValueError, match="holds a full report"):
        ensure_replaceable(tmp_path, select(bounds=["T5"]))
