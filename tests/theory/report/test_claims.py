"""Streams, kernels and the claims of the paper on the page: every verdict follows from the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.report.fake_crosschecks import crosscheck_document
from support.report.fake_documents import leave, proofs_document
from support.report.fake_verification import FakeVerification, bad, check, good
from support.report.report_cases import model, no_packaged_results as no_packaged_results, written

from osdn_theory.report.claims import PAPER_CLAIMS
from osdn_theory.report.evidence import judge
from osdn_theory.report.model import ReportModel
from osdn_theory.theorems import THEOREMS
from osdn_theory.verification.digest import digest


def test_a_violated_bound_is_seen_in_the_headline_the_row_and_the_claims(tmp_path: Path) -> None:
    violated = replace(good(), checks=[*good().checks, check("T5", "mqar", "violated")])
    page, twin = written(tmp_path, violated)
    assert "✗ 1 check is violated" in page.text
    assert "✗ 1 of 2" in page.text
    row = next(each for each in twin["theorems"] if each["id"] == "T5")["streams"]
    assert row["by_outcome"] == {"violated": ["mqar"], "holds": ["isotropic"]}
    assert row["log10_smallest_slack"] < 0
    assert next(each for each in twin["paper_claims"] if each["id"] == "C1a")["judgement"] == "contradicted"


def test_a_theorem_without_checks_says_why(tmp_path: Path) -> None:
    _, twin = written(tmp_path)
    reasons = {each["id"]: each["streams"]["reason"] for each in twin["theorems"]}
    assert reasons["T1"] == "no bound to check on streams"
    assert reasons["T8"] == "not checked in this run"
    assert reasons["T5"] == ""


def test_without_cross_checks_the_page_says_so_and_how_to_make_them(tmp_path: Path) -> None:
    page, _ = written(tmp_path)
    assert "No kernel was cross-checked here" in page.text
    assert "osdn-theory crosscheck --kernel chunk_osdn --out" in page.text


def everything_holds() -> FakeVerification:
    names = ("T3", "T5", "T6", "T7", "T8", "T10", "T13", "T14", "T16", "T17", "T19", "T20")
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
