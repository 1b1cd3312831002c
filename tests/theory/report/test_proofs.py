"""Proofs on the page: what another command left in the folder counts only if it can be trusted."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from support.report.fake_crosschecks import crosscheck_document
from support.report.fake_documents import NOT_RUN, failed_proof, leave, proofs_document, restated
from support.report.fake_verification import HOSTILE, good
from support.report.html_page import Page
from support.report.report_cases import no_packaged_results as no_packaged_results, standing, written

from osdn_theory.base.documents import convert
from osdn_theory.crosscheck.document import CROSSCHECK
from osdn_theory.crosscheck.examination.results import Examination
from osdn_theory.report import write_report
from proofs_check.claims import CLAIMS


def test_without_proofs_the_page_says_so_and_how_to_make_them(tmp_path: Path) -> None:
    page, twin = written(tmp_path)
    assert "Proofs count for nothing on this page: proofs.json is not in the report folder" in page.text
    assert "osdn-theory prove --out" in page.text
    assert {each["proof"]["standing"] for each in twin["theorems"]} == {"not run here"}
    assert "proved in all" not in page.text


def test_proofs_of_this_version_are_shown_with_method_scope_and_counts(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document())
    page, twin = written(tmp_path)
    assert f"✓ {len(CLAIMS)} theorems: " in page.text
    assert "87 proofs passed, 0 failed, 0 were not run" in page.text
    assert "in all dimensions by Coq (1)" in page.text
    assert "7 exact instances; 3 false variants refuted" in page.text
    assert standing(twin, "T5") == "proved"
    # T15 and T18 name something as missing.
    assert standing(twin, "T18") == "proved in part"
    missing = re.sub(r"\W", "", CLAIMS["T18"].missing)
    assert missing[:60] in re.sub(r"\W", "", page.text)


def test_a_failed_proof_is_seen_in_the_headline_the_row_and_the_details(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document({"T5": failed_proof()}))
    page, twin = written(tmp_path)
    assert f"✗ {len(CLAIMS)} theorems:" in page.text
    assert "T5 with a failed proof" in page.text
    assert "axioms: a_made_up_axiom" in page.text
    assert standing(twin, "T5") == "failed"
    assert ("details", {"id": "T5", "class": "theorem", "open": None}) in page.tags
    judged = {each["id"]: each["judgement"] for each in twin["paper_claims"]}
    assert judged["C1a"] == "contradicted"
    assert judged["C1b"] != "contradicted"


def test_a_proof_that_was_not_run_is_not_a_proof(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document({"T5": NOT_RUN}))
    page, twin = written(tmp_path)
    assert "T5 with a general proof not run; 1 proof not run." in page.text
    assert "1 proof of T5 (coqc is not installed)" in twin["not_run"]
    assert "coqc is not installed" in page.text
    assert standing(twin, "T5") == "not run"
    assert "no general proof passed; the best that did: exact instances" in page.text


def test_problems_of_the_collection_are_failures(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", restated(proofs_document(problems=["T3: no proof at all"])))
    page, _ = written(tmp_path)
    assert "; problems of the collection of proofs itself: 1." in page.text
    assert "Problem of the collection of proofs: T3: no proof at all" in page.text


def test_a_part_of_the_proofs_is_called_a_part(tmp_path: Path) -> None:
    document = proofs_document(complete=False)
    document["claims"] = [claim for claim in document["claims"] if claim["id"] == "T3"]
    leave(tmp_path, "proofs.json", restated(document))
    page, twin = written(tmp_path)
    assert "only a part of the proofs was asked for" in page.text
    assert standing(twin, "T3") == "proved"
    assert standing(twin, "T5") == "not run here"


def claim_with(**changes: Any) -> dict[str, Any]:
    document = proofs_document({"T5": changes.pop("evidence", failed_proof())})
    next(claim for claim in document["claims"] if claim["id"] == "T5").update(changes)
    return document


def missing_but_proved() -> dict[str, Any]:
    document = proofs_document()
    document["claims"][0]["missing"] = "half of it"
    return document


def reworded() -> dict[str, Any]:
    document = proofs_document()
    document["claims"][4]["latex"] += " + 1"
    return document


def with_proof(**changes: Any) -> dict[str, Any]:
    document = proofs_document()
    document["claims"][0]["proofs"][0].update(changes)
    return document


CORRUPT: dict[str, tuple[Any, str]] = {
    "cut off": ('{"format": "osdn-proo', "not a JSON document, or a truncated one"),
    "empty": ("", "not a JSON document, or a truncated one"),
    "not an object": ([], "document: Expected object, got array"),
    "NaN": ('{"seconds": NaN}', "not a JSON document"),
    "nested without end": ("[" * 100_000, "not a JSON document"),
    "an unknown verdict": (
        with_proof(verdict="fine"),
        "claims[0].proofs[0].verdict: Invalid enum value 'fine'",
    ),
    "failed, called proved": (claim_with(standing="proved"), "claims[4].standing: 'proved' does not follow"),
    "not run, called proved": (
        claim_with(evidence=NOT_RUN, standing="proved"),
        "claims[4].standing: 'proved'",
    ),
    "missing, called proved": (missing_but_proved(), "claims[0].standing: 'proved' does not follow"),
    "general by instances": (with_proof(method="link"), "claims[0].proofs[0]: general: no proof by link is"),
    "too few general proofs": (claim_with(general_known=0), "claims[4]: general_known: 0 are fewer"),
    "wrong counts": (
        proofs_document(counts={"passed": 99, "failed": 0, "not run": 0}),
        "counts.passed: 99 does not follow",
    ),
    "wrong exit code": (proofs_document(exit_code=1), "exit_code: 1 does not follow from the rest"),
    "called complete": (restated(proofs_document(claims=[])), "called complete with 0 of 29 theorems"),
    "a theorem twice": (restated(proofs_document(claims=proofs_document()["claims"] * 2)), "appears twice"),
    "other words": (reworded(), "claims[4]: it is not the statement T5 of this version"),
    "versions of no kind": (
        proofs_document(versions={"osdn": 1}),
        "versions.osdn: Expected str, got int",
    ),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_document_counts_for_nothing_and_is_named(tmp_path: Path, name: str) -> None:
    document, reason = CORRUPT[name]
    leave(tmp_path, "proofs.json", document)
    page, twin = written(tmp_path)
    assert "✗ Proofs count for nothing on this page: proofs.json is corrupt:" in page.text
    assert reason in page.text
    assert {each["proof"]["standing"] for each in twin["theorems"]} == {"not usable"}
    assert twin["documents"][0]["state"] == "corrupt"
    assert "✓ proved" not in page.text


def test_a_folder_in_the_place_of_the_document_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "proofs.json").mkdir()
    page, _ = written(tmp_path)
    assert "proofs.json cannot be read: Is a directory" in page.text


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (
            proofs_document(osdn="0.0.1", code={"proofs_check": "0"}),
            "made by other code (osdn 0.0.1, another",
        ),
        (proofs_document(code={}), "made by other code (osdn 0.1.0, another proofs_check)"),
        (
            proofs_document(format="osdn-proofs/1"),
            "format: expected 'osdn-proofs/3', got 'osdn-proofs/1'; make it",
        ),
        ({"seconds": 1}, "format: expected 'osdn-proofs/3', got None; make it anew by osdn-theory prove"),
    ],
)
def test_a_stale_document_counts_for_nothing(tmp_path: Path, document: Any, reason: str) -> None:
    leave(tmp_path, "proofs.json", document)
    page, twin = written(tmp_path)
    assert f"✗ Proofs count for nothing on this page: proofs.json is stale: {reason}" in page.text
    assert {each["proof"]["standing"] for each in twin["theorems"]} == {"not usable"}
    assert twin["documents"][0]["state"] == "stale"


def test_the_date_of_a_document_does_not_matter(tmp_path: Path) -> None:
    os.utime(leave(tmp_path, "proofs.json", proofs_document()), (0, 0))
    _, twin = written(tmp_path)
    assert twin["documents"][0]["state"] == "read"


def test_a_theorem_of_which_nothing_passed_says_so(tmp_path: Path) -> None:
    document = proofs_document({"T5": NOT_RUN})
    del document["claims"][4]["proofs"][1:]
    leave(tmp_path, "proofs.json", restated(document))
    page, _ = written(tmp_path)
    assert "not run, nothing passed" in page.text


def test_hostile_documents_are_escaped_everywhere(tmp_path: Path) -> None:
    proofs = proofs_document()
    proofs["claims"][0].update(note=HOSTILE)
    proofs["claims"][0]["proofs"][0].update(name=HOSTILE, statement=HOSTILE, detail=HOSTILE)
    proofs["versions"][HOSTILE] = HOSTILE
    kernels = crosscheck_document(excess=3)
    kernels["command"] = kernels["statement"]["kernel"] = kernels["statement"][HOSTILE] = HOSTILE
    asked, stream = kernels["exercises"][0], kernels["streams"][0]
    asked["about"] = asked["uses"][0] = stream["statement"]["kernel"] = HOSTILE
    stream["verdicts"][0]["reason"] = stream["symptoms"][0]["evidence"] = HOSTILE
    leave(tmp_path, "proofs.json", proofs)
    leave(tmp_path, "crosscheck.json", CROSSCHECK.as_dict(convert(kernels, Examination), HOSTILE))
    source = write_report(good(), tmp_path).read_text()
    assert "<script" not in source
    assert Page(source).text.count(HOSTILE) > 10
