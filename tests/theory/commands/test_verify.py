"""What `verify` prints, and where it writes: a screenful, with what was not run last; parts apart from the whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.report.fake_documents import leave, proofs_document
from support.report.fake_verification import FakeVerification, bad, check, good
from support.report.report_cases import no_packaged_results as no_packaged_results
from typer.testing import CliRunner

from osdn_theory.commands.main import app
from osdn_theory.commands.verification_tables import LINES
from osdn_theory.report import gallery
from osdn_theory.theorems import THEOREMS
from osdn_theory.verification import run as verification
from osdn_theory.verification.run import select


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["verify", *arguments])


def give(monkeypatch: pytest.MonkeyPatch, result: FakeVerification) -> None:
    """Let the command find `result` at once, for what it was asked."""

    def fake(*, streams: Any, file: Any, bounds: Any, **_: Any) -> FakeVerification:
        return replace(result, selection=select(streams=streams, file=file, bounds=bounds))

    monkeypatch.setattr(verification, "verify", fake)
    monkeypatch.setattr(gallery, "exhibits", lambda *_, **__: [])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def everything_is_wrong() -> FakeVerification:
    """Violated and undecided checks of every theorem on five streams."""
    kinds = ("violated", "undecided", "holds")
    checks = [
        check(name, stream, kind)
        for name in THEOREMS
        for stream in ("a", "b", "c", "d", "e")
        for kind in kinds
    ]
    return replace(good(), checks=[*checks, check("float64")])


@pytest.mark.parametrize("result", [good(), bad("violated"), everything_is_wrong()])
def test_it_prints_one_screen_and_last_what_was_not_run(
    monkeypatch: pytest.MonkeyPatch, result: FakeVerification
) -> None:
    give(monkeypatch, result)
    for number in range(9):
        leave(Path("report"), f"crosscheck-{number}.json", "not one")
    lines = run("--no-report").stdout.splitlines()
    assert len(lines) <= LINES
    assert lines[-1].startswith(
        "Not run: proofs (proofs.json is not in the report folder); a kernel cross-check"
    )
    assert lines[-1].count("a kernel cross-check") == 9
    assert all(any(f"│ {name} " in line for line in lines) for name in THEOREMS)


def test_details_are_printed_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, everything_is_wrong())
    short, long = (run("--no-report", *more).stdout for more in ((), ("--details",)))
    assert len(long.splitlines()) > 200 > LINES
    assert long.endswith(short)
    assert long.count("violated: T5") == 5 > short.count("violated: T5")
    assert f"and {10 * len(THEOREMS) - 2} more: --details, or the report" in short
    assert "Title of T5" in long
    document = json.loads(run("--no-report", "--json").stdout)
    assert len(document["checks"]) == 15 * len(THEOREMS) + 1


def test_a_complete_run_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, good())
    leave(Path("report"), "proofs.json", proofs_document())
    found = run()
    assert found.exit_code == 0
    assert " 29 theorems: " in found.stdout
    assert found.stdout.splitlines()[-2] == f"report: {Path('report/index.html')}"


@pytest.mark.parametrize(
    ("asked", "folder"),
    [
        (["--stream", "scalar"], "scalar"),
        (["--stream", "scalar,long", "--bounds", "T5"], "scalar+long+T5"),
        (["--bounds", "T5"], "T5"),
    ],
)
def test_a_part_is_written_beside_the_whole_and_says_so(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], folder: str
) -> None:
    give(monkeypatch, good())
    assert run().exit_code == 0
    whole = {path: path.read_bytes() for path in Path("report").glob("*.*")}
    assert len(whole) == 3
    found = run(*asked)
    assert found.exit_code == 0
    assert f"report: report/partial/{folder}/index.html" in found.stdout
    assert "of the" in found.stdout.splitlines()[-1]
    assert (Path("report/partial") / folder / "index.html").is_file()
    assert whole == {path: path.read_bytes() for path in whole}


def test_a_part_is_refused_where_a_full_report_lies_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, good())
    assert run("--out", "there").exit_code == 0
    monkeypatch.setattr(verification, "verify", None)
    found = run("--stream", "scalar", "--out", "there")
    assert found.exit_code == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: out: 'there' holds a full report")
    assert "report/partial/scalar" in found.stderr


def test_make_verify_adds_little_to_what_this_command_prints() -> None:
    makefile = Path(__file__).parents[3] / "Makefile"
    recipe = makefile.read_text().split("\nverify:")[1].split("\n\n")[0]
    steps = [line for line in recipe.splitlines() if "osdn-theory" in line]
    assert [" >$" in line for line in steps] == [True, True, False]
