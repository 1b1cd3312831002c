"""The whole page: what other commands left in the folder, what is wrong with it, and how it looks in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import chromium
import jsonschema
import pytest
from fake_documents import NOT_RUN, crosscheck_document, date, failed_proof, leave, proofs_document
from fake_verification import HOSTILE, FakeVerification, bad, check, good
from html_page import Page

from osdn_theory.digest import digest
from osdn_theory.report import Exhibit, provenance, write_report
from osdn_theory.report.crosschecks import parse_crosscheck
from osdn_theory.report.evidence import judge
from osdn_theory.report.model import ReportModel, build_model
from osdn_theory.report.paper_claims import PAPER_CLAIMS
from osdn_theory.report.published import PUBLISHED_TABLES
from osdn_theory.report.wording import number_columns, readable
from osdn_theory.report.writer import MAX_FIGURES
from osdn_theory.theorems import THEOREMS
from proofs_check.claims import CLAIMS

SCHEMA = json.loads((files("osdn_theory.report") / "schema.json").read_text())


def strict(path: Path) -> Any:
    def refuse(literal: str) -> float:
        raise AssertionError(f"{literal} in JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def written(folder: Path, verification: Any = None, exhibits: tuple[Exhibit, ...] = ()) -> tuple[Page, Any]:
    """The page and its JSON twin, which must fit the schema."""
    page = Page(write_report(verification or good(), folder, exhibits=exhibits).read_text())
    twin = strict(folder / "report.json")
    jsonschema.validate(twin, SCHEMA)
    return page, twin


def model(folder: Path, verification: Any = None) -> ReportModel:
    return build_model(verification or good(), folder, ())


def standing(twin: Any, theorem: str) -> str:
    found: str = next(each for each in twin["theorems"] if each["id"] == theorem)["proof"]["standing"]
    return found


# -- the texts -------------------------------------------------------------------------------------------------


def test_the_theorems_are_the_claims_that_are_proved() -> None:
    assert list(THEOREMS) == list(CLAIMS) == [f"T{number}" for number in range(1, 20)]
    for name, theorem in THEOREMS.items():
        claim = CLAIMS[name]
        assert (theorem.title, theorem.latex, theorem.plain, theorem.hypotheses) == (
            claim.title,
            claim.latex,
            claim.plain,
            claim.hypotheses,
        )


def test_every_formula_is_drawn_and_none_is_left_as_source(tmp_path: Path) -> None:
    source = write_report(good(), tmp_path).read_text()
    assert source.count('<svg class="formula"') >= sum(len(theorem.formulas) for theorem in THEOREMS.values())
    assert "<code>\\" not in source


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("0 < eta and eta |s_t|^2 <= eta M", "0 &lt; η and η |s<sub>t</sub>|<sup>2</sup> ≤ η M"),
        ("some u has <u, s_t> = 1", "some u has ⟨u, s<sub>t</sub>⟩ = 1"),
        ("f(S_{t-1}) != 0, G^-1, K~ = D * K", "f(S<sub>t-1</sub>) ≠ 0, G<sup>−1</sup>, K̃ = D ⊙ K"),
        ("beta_t >= 0, beta-aware, a beta function", "β<sub>t</sub> ≥ 0, β-aware, a β function"),
        ("call `a_b < c` <b>", "call <code>a_b &lt; c</code> &lt;b&gt;"),
        ("theta and meta and is_it stay", "theta and meta and is_it stay"),
    ],
)
def test_plain_mathematics_becomes_readable(text: str, html: str) -> None:
    assert readable(text) == html


def test_only_columns_of_numbers_are_numbers() -> None:
    assert number_columns([("a", "1.5", "–", "1 of 2"), ("b", "1e-3", "1,200", "3")]) == {1, 2}
    assert number_columns([]) == set()


def test_published_tables_are_whole_and_marked_as_theirs(tmp_path: Path) -> None:
    page, twin = written(tmp_path)
    for table in PUBLISHED_TABLES:
        assert all(len(row) == len(table.header) for row in table.rows)
        assert f"Theirs, not ours: {table.title}" in page.text
        assert table.source in page.text
    assert len(twin["published"]) == 2
    # The averages that they publish are those of their rows, so no digit was mistyped.
    *rows, average = PUBLISHED_TABLES[0].rows
    for place, published in enumerate(average[1:], start=1):
        assert sum(float(row[place]) for row in rows) / len(rows) == pytest.approx(float(published), abs=6e-5)


# -- proofs ----------------------------------------------------------------------------------------------------


def test_without_proofs_the_page_says_so_and_how_to_make_them(tmp_path: Path) -> None:
    page, twin = written(tmp_path)
    assert "Proofs count for nothing on this page: proofs.json is not in the report folder" in page.text
    assert "osdn-theory prove --out" in page.text
    assert {each["proof"]["standing"] for each in twin["theorems"]} == {"not run here"}
    assert "proved in all" not in page.text


def test_proofs_of_this_version_are_shown_with_method_scope_and_counts(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document())
    page, twin = written(tmp_path)
    assert "All 57 machine-checked proofs passed" in page.text
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
    assert "✗ Proofs failed: 1; problems of the collection itself: 0" in page.text
    assert "Of 19 theorems:" in page.text
    assert "1 with a failed proof" in page.text
    assert "axioms: a_made_up_axiom" in page.text
    assert standing(twin, "T5") == "failed"
    assert ("details", {"open": None}) in page.tags
    judged = {each["id"]: each["judgement"] for each in twin["paper_claims"]}
    assert judged["C1a"] == "contradicted"
    assert judged["C1b"] != "contradicted"


def test_a_proof_that_was_not_run_is_not_a_proof(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document({"T5": NOT_RUN}))
    page, twin = written(tmp_path)
    assert "No proof failed; not run: 1" in page.text
    assert "1 with their general proofs not run" in page.text
    assert "coqc is not installed" in page.text
    assert standing(twin, "T5") == "not run"
    assert "no general proof passed; the best that did: exact instances" in page.text


def test_problems_of_the_collection_are_failures(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document(problems=["T3: no proof at all"], exit_code=1))
    page, _ = written(tmp_path)
    assert "✗ Proofs failed: 0; problems of the collection itself: 1" in page.text
    assert "Problem of the collection of proofs: T3: no proof at all" in page.text


def test_a_part_of_the_proofs_is_called_a_part(tmp_path: Path) -> None:
    document = proofs_document(complete=False)
    document["claims"] = [claim for claim in document["claims"] if claim["id"] == "T3"]
    document["counts"] = {"passed": 3, "failed": 0, "not run": 0}
    leave(tmp_path, "proofs.json", document)
    page, twin = written(tmp_path)
    assert "Only a part of the proofs was asked for" in page.text
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


def with_proof(**changes: Any) -> dict[str, Any]:
    document = proofs_document()
    document["claims"][0]["proofs"][0].update(changes)
    return document


CORRUPT: dict[str, tuple[Any, str]] = {
    "cut off": ('{"format": "osdn-proo', "Unterminated string"),
    "empty": ("", "Expecting value"),
    "not an object": ([], "expected an object, got list"),
    "NaN": ('{"seconds": NaN}', "NaN is not JSON"),
    "nested without end": ("[" * 100_000, "recursion"),
    "a field is missing": ({"format": "osdn-proofs/1"}, "'claims' is missing"),
    "a number for a text": (with_proof(name=3), "claims[0].proofs[0].name: expected text, got int"),
    "an unknown verdict": (with_proof(verdict="fine"), "expected one of passed, failed, not run"),
    "fewer than nothing": (with_proof(instances=-1), "expected an integer >= 0"),
    "a flag for a count": (with_proof(instances=True), "expected an integer >= 0"),
    "a flag for a number": (with_proof(seconds=True), "expected a number"),
    "failed, called proved": (claim_with(standing="proved"), "but 1 proofs failed"),
    "not run, called proved": (claim_with(evidence=NOT_RUN, standing="proved"), "without a general proof"),
    "missing, called proved": (missing_but_proved(), "something is missing or was not run"),
    "wrong counts": (
        proofs_document(counts={"passed": 99, "failed": 0, "not run": 0}),
        "99 passed, but 57 are",
    ),
    "wrong exit code": (proofs_document(exit_code=1), "does not follow from the verdicts"),
    "called complete": (
        proofs_document(claims=[], counts={"passed": 0, "failed": 0, "not run": 0}),
        "called complete",
    ),
    "a theorem twice": (proofs_document(claims=proofs_document()["claims"] * 2), "appears twice"),
    "versions of no kind": (proofs_document(versions={"osdn": 1}), "versions.osdn: expected text"),
    "a list for a table": (proofs_document(versions=[]), "versions: expected an object, got list"),
    "problems of no kind": (proofs_document(problems=[1]), "problems[0]: expected text, got int"),
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


def restated() -> dict[str, Any]:
    document = proofs_document()
    document["claims"][4]["latex"] += " + 1"
    return document


@pytest.mark.parametrize(
    ("document", "days", "reason"),
    [
        (proofs_document(versions={"osdn": "0.0.1"}), 1, "it was made by osdn 0.0.1"),
        (proofs_document(versions={}), 1, "it was made by a version of osdn that it does not name"),
        (proofs_document(format="osdn-proofs/9"), 1, "its format is 'osdn-proofs/9'"),
        (restated(), 1, "its T5 is not the statement T5 of this version"),
        (proofs_document(), -9999, "it is older than the code"),
    ],
)
def test_a_stale_document_counts_for_nothing(tmp_path: Path, document: Any, days: float, reason: str) -> None:
    date(leave(tmp_path, "proofs.json", document), days)
    page, twin = written(tmp_path)
    assert f"✗ Proofs count for nothing on this page: proofs.json is stale: {reason}" in page.text
    assert {each["proof"]["standing"] for each in twin["theorems"]} == {"not usable"}
    assert twin["documents"][0]["state"] == "stale"


def test_a_theorem_of_which_nothing_passed_says_so(tmp_path: Path) -> None:
    document = proofs_document({"T5": NOT_RUN})
    del document["claims"][4]["proofs"][1:]
    document["counts"]["passed"] -= 2
    leave(tmp_path, "proofs.json", document)
    page, _ = written(tmp_path)
    assert "not run, nothing passed" in page.text


def test_hostile_documents_are_escaped_everywhere(tmp_path: Path) -> None:
    proofs = proofs_document()
    proofs["claims"][0].update(note=HOSTILE)
    proofs["claims"][0]["proofs"][0].update(name=HOSTILE, statement=HOSTILE, detail=HOSTILE)
    proofs["versions"][HOSTILE] = HOSTILE
    kernels = crosscheck_document(excess=3)
    kernels["command"] = kernels["checks"][0]["statement"]["kernel"] = HOSTILE
    kernels["checks"][0]["verdicts"][0]["reason"] = kernels["checks"][0]["symptoms"][0]["evidence"] = HOSTILE
    leave(tmp_path, "proofs.json", proofs)
    leave(tmp_path, "crosscheck.json", kernels)
    source = write_report(good(), tmp_path).read_text()
    assert "<script" not in source
    assert Page(source).text.count(HOSTILE) > 9


# -- streams and kernels ---------------------------------------------------------------------------------------


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


# -- claims of the paper ---------------------------------------------------------------------------------------


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


# -- where it was made -----------------------------------------------------------------------------------------


def test_environment_names_commit_processor_blas_and_date(tmp_path: Path) -> None:
    _, twin = written(tmp_path)
    facts = twin["environment"]
    assert facts["numpy"] == "2.4.6"
    assert all(facts[name] for name in ("commit", "processor", "BLAS", "date"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", facts["date"])
    assert twin["commands"][-1] == "osdn-theory verify --seed 7"


def test_commit_is_unknown_outside_a_checkout_and_marked_where_files_changed(tmp_path: Path) -> None:
    assert provenance.commit(tmp_path) == "unknown: not run from a checkout"
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git = ("-c", "user.name=a", "-c", "user.email=a@b")
    assert provenance._git(package, "init", "--quiet") is not None
    assert provenance.commit(package) == "unknown: not run from a checkout"
    provenance._git(package, "add", "__init__.py")
    assert provenance.commit(package) == "unknown: the checkout has no commit"
    provenance._git(package, *git, "commit", "--quiet", "-m", "first")
    assert re.fullmatch("[0-9a-f]{40}", provenance.commit(package))
    (package / "__init__.py").write_text("x = 1")
    assert provenance.commit(package).endswith(", with changes that are not committed")


def test_processor_and_blas_have_names_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Some CPU @ 3 GHz\n")
    assert provenance.processor(cpuinfo) == "Some CPU @ 3 GHz"
    assert provenance.processor(tmp_path / "missing")
    monkeypatch.setattr(provenance, "threadpool_info", list)
    assert provenance.blas() == "unknown"


# -- the page as a document ------------------------------------------------------------------------------------


def full(folder: Path) -> Path:
    """A page with everything on it."""
    from test_report import EXHIBITS

    leave(folder, "proofs.json", proofs_document({"T5": failed_proof(), "T6": NOT_RUN}))
    leave(folder, "crosscheck.json", crosscheck_document(excess=3))
    return write_report(bad("violated"), folder, exhibits=EXHIBITS)


def test_headings_do_not_skip_levels_and_tables_have_captions(tmp_path: Path) -> None:
    page = Page(full(tmp_path).read_text())
    tags = [tag for tag, _ in page.tags]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert tags.count("table") == tags.count("caption") > 30
    assert all(len(attrs["alt"] or "") > 5 for tag, attrs in page.tags if tag == "img")
    assert ("html", {"lang": "en"}) in page.tags
    ids = [attrs["id"] for tag, attrs in page.tags if "id" in attrs and tag != "path"]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]
    assert all(target[1:] in ids for target in targets if target.startswith("#"))


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_text_colour_has_enough_contrast_in_light_and_dark(tmp_path: Path) -> None:
    style = (files("osdn_theory") / "templates" / "report.css").read_text()
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in style.split(":root")[1:3]]
    assert all(len(scheme) == 9 for scheme in schemes)
    for scheme in schemes:
        for text in ("ink", "soft", "holds", "violated", "undecided", "link"):
            for ground in ("page", "band"):
                low, high = sorted(luminance(scheme[name]) for name in (text, ground))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


# -- the page in a browser -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with chromium.browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways(
    browser: chromium.Browser, page_path: Path, width: int
) -> None:
    browser.open(page_path, width=width)
    root = "document.documentElement"
    assert browser.evaluate(f"{root}.scrollWidth") <= browser.evaluate(f"{root}.clientWidth")


def test_the_page_asks_for_nothing_and_logs_nothing(browser: chromium.Browser, page_path: Path) -> None:
    browser.open(page_path, width=1280)
    asked = [url for url in browser.seen.requests if not url.startswith("data:")]
    assert asked == [page_path.resolve().as_uri()]
    assert browser.seen.console == []
    assert browser.evaluate("document.scripts.length") == 0


def test_every_image_is_shown(browser: chromium.Browser, page_path: Path) -> None:
    browser.open(page_path, width=1280)
    assert browser.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert browser.evaluate("document.images.length") == 3


def test_light_and_dark_follow_the_reader(browser: chromium.Browser, page_path: Path, tmp_path: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        browser.open(page_path, width=1280, scheme=scheme)
        grounds.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        browser.screenshot(tmp_path / f"{scheme}.png", height=1200)
        assert (tmp_path / f"{scheme}.png").read_bytes().startswith(b"\x89PNG")
    assert grounds == ["rgb(255, 255, 255)", "rgb(22, 23, 25)"]


def test_a_phone_shows_rows_as_cards_with_their_labels(browser: chromium.Browser, page_path: Path) -> None:
    browser.open(page_path, width=390)
    cell = "document.querySelector('#claim-T5 td')"
    assert browser.evaluate(f"getComputedStyle({cell}).display") == "block"
    assert browser.evaluate(f"getComputedStyle({cell}, '::before').content") == '"Statement"'


def test_the_browser_sees_what_a_bad_page_does(browser: chromium.Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<div style='width:3000px'>wide</div><script>console.log('x'); missing()</script>"
        "<img src='http://127.0.0.1:9/y.png'>"
    )
    browser.open(page, width=390)
    assert browser.evaluate("document.documentElement.scrollWidth") > 390
    assert "http://127.0.0.1:9/y.png" in browser.seen.requests
    assert len(browser.seen.console) >= 2
