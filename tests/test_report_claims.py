"""Streams, kernels and the claims of the paper on the page: every verdict follows from the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_documents import crosscheck_document, leave, proofs_document
from fake_verification import FakeVerification, bad, check, good
from report_cases import model, no_packaged_results as no_packaged_results, written

from osdn_theory.digest import digest
from osdn_theory.report.crosschecks import parse_crosscheck
from osdn_theory.report.evidence import judge
from osdn_theory.report.model import ReportModel
from osdn_theory.report.paper_claims import PAPER_CLAIMS
from osdn_theory.report.writer import MAX_FIGURES
from osdn_theory.theorems import THEOREMS


def test_a_violated_bound_is_seen_in_the_headline_the_row_and_the_claims(tmp_path: Path) -> None:
    violated = replace(good(), checks=[*good().checks, check("T5", "mqar", "violated")])
    page, twin = written(tmp_path, violated)
    assert "✗ 1 check is violated" in page.text
    assert "violated on 1: mqar" in page.text
    row = next(each for each in twin["theorems"] if each["id"] == "T5")["streams"]
    assert row["by_outcome"] == {"violated": ["mqar"], "holds": ["isotropic"]}
    assert row["log10_smallest_slack"] < 0
    assert next(each for each in twin["paper_claims"] if each["id"] == "C1a")["judgement"] == "contradicted"


def test_a_theorem_without_checks_says_why(tmp_path: Path) -> None:
    _, twin = written(tmp_path)
    reasons = {each["id"]: each["streams"]["reason"] for each in twin["theorems"]}
    assert reasons["T1"] == "has no bound to check on streams"
    assert reasons["T8"] == "not checked in this run"
    assert reasons["T5"] == ""


def test_without_cross_checks_the_page_says_so_and_how_to_make_them(tmp_path: Path) -> None:
    page, _ = written(tmp_path)
    assert "No kernel was cross-checked here" in page.text
    assert "osdn-theory crosscheck --kernel chunk_osdn --out" in page.text


def test_a_kernel_within_its_bounds_is_shown_with_numbers_and_a_figure(tmp_path: Path) -> None:
    leave(tmp_path, "crosscheck.json", crosscheck_document())
    page, twin = written(tmp_path)
    assert "✓ 1 kernel run against the exact trajectory: all within their error bounds" in page.text
    assert "confirmed on 1 kernel run" in page.text
    assert "no bound claimed" in page.text
    assert "5e-08" in page.text
    assert "nothing else was looked at" in page.text
    assert (tmp_path / "figures" / "kernel-1-errors.png").read_bytes().startswith(b"\x89PNG")
    assert "osdn-theory crosscheck --kernel chunk_osdn --out report" in twin["commands"]
    (run,) = twin["kernel_runs"]
    assert run["outcome"] == "confirmed"
    assert run["comparisons"][0]["median_slack"] == pytest.approx(2)
    assert next(each for each in twin["theorems"] if each["id"] == "T6")["kernels"] == {
        "confirmed": ["chunk_osdn, interpolating, fast, float32"]
    }


def test_a_kernel_out_of_its_bounds_is_seen(tmp_path: Path) -> None:
    leave(tmp_path, "crosscheck.json", crosscheck_document(excess=3, verdict="contradicted"))
    leave(tmp_path, "proofs.json", proofs_document())
    page, twin = written(tmp_path)
    assert "✗ 1 kernel run against the exact trajectory: 1 out of bound or contradicted" in page.text
    assert "d is stored in bfloat16" in page.text
    assert next(each for each in twin["paper_claims"] if each["id"] == "C1a")["judgement"] == "contradicted"


def test_kernels_may_have_folders_of_their_own(tmp_path: Path) -> None:
    leave(tmp_path / "crosscheck" / "first", "crosscheck.json", crosscheck_document())
    leave(tmp_path / "crosscheck" / "second", "crosscheck.json", crosscheck_document(excess=3))
    page, twin = written(tmp_path)
    assert [each["file"] for each in twin["documents"][1:]] == [
        "crosscheck/first/crosscheck.json",
        "crosscheck/second/crosscheck.json",
    ]
    assert "2 kernel runs against the exact trajectory: 1 out of bound" in page.text


def test_a_run_without_anything_to_draw_has_tables_only(tmp_path: Path) -> None:
    document = crosscheck_document()
    document["checks"][0].update(curve=None, comparisons=document["checks"][0]["comparisons"][1:])
    leave(tmp_path, "crosscheck.json", document)
    page, twin = written(tmp_path)
    assert "grad k" in page.text
    assert twin["kernel_runs"][0]["decades"] is None
    assert not (tmp_path / "figures").exists()


def test_what_a_kernel_cannot_show_is_not_confirmed(tmp_path: Path) -> None:
    leave(tmp_path, "crosscheck.json", crosscheck_document(verdict="not observable"))
    page, _ = written(tmp_path)
    assert "1 with something that cannot be observed" in page.text


def altered(**changes: Any) -> dict[str, Any]:
    document = crosscheck_document()
    document["checks"][0].update(changes)
    return document


def compared(**changes: Any) -> dict[str, Any]:
    document = crosscheck_document()
    document["checks"][0]["comparisons"][0].update(changes)
    return document


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({**crosscheck_document(), "checks": []}, "expected at least one"),
        (altered(comparisons=[]), "nothing was compared"),
        (altered(exit_code=1), "exit_code: 1 does not follow"),
        (compared(within_bound=False), "do not fit together"),
        (compared(first_outside=3), "do not fit together"),
        (compared(bound=None), "do not fit together"),
        (compared(worst_error=0.0), "worst_error is not the largest error"),
        (compared(tokens=[1]), "8 errors at 1 tokens"),
        (compared(error=[[[0.0], [0.0, 0.0]]]), "expected lists of one length"),
        (compared(error=[1.0]), "expected lists nested 3 deep, got 1"),
        (compared(error=[[["x"]]]), "expected a number, got 'x'"),
        (compared(worst_error="big"), "expected a number, got 'big'"),
        ({**crosscheck_document(), "format": "x"}, "crosscheck.json is stale: its format is 'x'"),
        ({**crosscheck_document(), "osdn": "0.0.1"}, "crosscheck.json is stale: it was made by osdn 0.0.1"),
        ("{", "crosscheck.json is corrupt"),
    ],
)
def test_a_cross_check_that_cannot_be_trusted_counts_for_nothing(
    tmp_path: Path, document: Any, reason: str
) -> None:
    leave(tmp_path, "crosscheck.json", document)
    page, twin = written(tmp_path)
    assert "✗ A kernel cross-check counts for nothing on this page" in page.text
    assert reason in page.text
    assert twin["kernel_runs"] == []


def test_infinite_errors_are_read_and_drawn(tmp_path: Path) -> None:
    document = crosscheck_document(excess=3)
    outputs = document["checks"][0]["comparisons"][0]
    outputs["error"][0][1][7] = outputs["worst_error"] = "inf"
    assert parse_crosscheck(document).checks[0].comparisons[0].error[0, 1, 7] == float("inf")
    leave(tmp_path, "crosscheck.json", document)
    _, twin = written(tmp_path)
    assert twin["kernel_runs"][0]["comparisons"][0]["worst_error"] == "inf"


def test_many_kernel_runs_leave_out_figures_and_say_so(tmp_path: Path) -> None:
    document = crosscheck_document()
    document["checks"] *= MAX_FIGURES + 2
    document["checks"][-1] = crosscheck_document(excess=3)["checks"][0]
    leave(tmp_path, "crosscheck-many.json", document)
    page, _ = written(tmp_path)
    assert "Runs without figures: 1" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 2 * (MAX_FIGURES + 1)


def everything_holds() -> FakeVerification:
    names = ("T3", "T5", "T6", "T7", "T8", "T10", "T13", "T14", "T16", "T17", "T19")
    return replace(
        good(), checks=[check(name, stream) for name in names for stream in ("isotropic", "drifting")]
    )


def judgements(found: ReportModel) -> dict[str, str]:
    return {judged.claim.id: judged.judgement for judged in found.paper}


def test_claims_are_judged_by_the_run_and_not_by_their_texts(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document())
    leave(tmp_path, "crosscheck.json", crosscheck_document())
    assert judgements(model(tmp_path, everything_holds())) == {
        "C1a": "supported",
        "C1b": "supported",
        "C1c": "not tested",
        "C2": "supported",
        "C3": "supported",
        "C3b": "not tested",
        "C4": "not tested",
        "APF": "supported",
    }
    assert set(judgements(model(tmp_path / "empty")).values()) == {
        "undecided",
        "supported in part",
        "not tested",
    }


def test_a_claim_about_changing_contexts_needs_such_streams(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document())
    elsewhere = replace(good(), checks=[check("T13"), check("T14")])
    assert judgements(model(tmp_path, elsewhere))["APF"] == "supported in part"
    repeated = replace(good(), checks=[check(name, "switching #2") for name in ("T13", "T14")])
    assert judgements(model(tmp_path, repeated))["APF"] == "supported"


def test_an_undecided_check_leaves_its_claim_undecided(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document())
    unsure = replace(
        everything_holds(), checks=[*everything_holds().checks, check("T7", outcome="undecided")]
    )
    assert judgements(model(tmp_path, unsure))["C1b"] == "undecided"


def test_a_contradiction_outweighs_everything_else(tmp_path: Path) -> None:
    found = model(tmp_path, bad("violated"))
    claim = replace(PAPER_CLAIMS[0], theorems=("T8", "T5"))
    assert judge(claim, found.rows, digest(bad("violated").checks)).judgement == "contradicted"


def test_every_claim_says_what_is_left_out_and_names_known_theorems() -> None:
    for claim in PAPER_CLAIMS:
        assert len(claim.left_out) > 15
        assert claim.tested
        assert set(claim.theorems) <= set(THEOREMS)
