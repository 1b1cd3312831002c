"""What a reader meets first: the matrix, what was not run, labels with a meaning, and no more words than needed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.report.fake_crosschecks import (
    crosscheck_document,
    document_of,
    examination,
    exercise,
    stream_run,
)
from support.report.fake_documents import NOT_RUN, failed_proof, leave, proofs_document
from support.report.fake_verification import FakeVerification, bad, check, good
from support.report.page_rules import LONGEST, count_words, raw_labels
from support.report.recall_summaries import recall_summary
from support.report.report_cases import model, no_packaged_results as no_packaged_results, written

from osdn_theory.crosscheck.results import Verdict
from osdn_theory.report import write_report
from osdn_theory.report.page.pictures import summary_figures
from osdn_theory.report.page.wording import SYMBOLS
from osdn_theory.report.summary import KINDS, MARKS, MarkedCell
from osdn_theory.theorems import THEOREMS
from osdn_theory.verification.digest import digest
from osdn_theory.verification.run import STREAM_NAMES, select, verify
from osdn_theory.verification.suite import stream_names


def cells(found: Any) -> dict[str, tuple[MarkedCell, MarkedCell, MarkedCell]]:
    return {row.name: (row.proved, row.streams, row.kernels) for row in found.matrix}


def test_the_matrix_says_of_every_theorem_what_bears_on_it(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document({"T5": failed_proof(), "T6": NOT_RUN}))
    leave(tmp_path, "crosscheck.json", crosscheck_document())
    checks = [*good().checks, check("T5", "mqar", "violated"), check("float64")]
    found = cells(model(tmp_path, replace(good(), checks=checks)))
    assert list(found) == [*THEOREMS, "float64"]
    assert found["T5"][:2] == (MarkedCell("failed"), MarkedCell("violated", "1 of 2"))
    assert found["T6"] == (MarkedCell("not run"), MarkedCell("none"), MarkedCell("confirmed", "1 of 1"))
    assert found["T10"][:2] == (MarkedCell("proved"), MarkedCell("holds", "1 of 1"))
    assert found["T15"][1] == MarkedCell("not applicable", "1 of 1")
    assert found["float64"] == (MarkedCell("none"), MarkedCell("holds", "1 of 1"), MarkedCell("none"))


def test_a_kernel_that_contradicts_a_theorem_is_what_the_matrix_shows(tmp_path: Path) -> None:
    leave(tmp_path, "crosscheck-1.json", crosscheck_document())
    leave(tmp_path, "crosscheck-2.json", crosscheck_document(excess=3, verdict="contradicted"))
    assert cells(model(tmp_path))["T6"][2] == MarkedCell("contradicted", "1 of 2")


def test_every_outcome_has_a_mark_and_a_kind() -> None:
    assert MARKS.keys() == KINDS.keys()
    assert {MARKS[outcome] for outcome, kind in KINDS.items() if kind == "violated"} == {"✗"}
    assert {MARKS[outcome] for outcome, kind in KINDS.items() if kind == "holds"} == {"✓"}


def test_what_was_not_run_is_named_one_by_one(tmp_path: Path) -> None:
    part = replace(good(), selection=select(streams=["scalar"], bounds=["T5"]))
    assert model(tmp_path, part).not_run == [
        f"{len(stream_names()) - 1} of the streams",
        "22 of the bounds",
        "proofs (proofs.json is not in the report folder)",
        "kernel cross-checks (there is no crosscheck.json in the report folder)",
        "in-context recall (there is no recall.json)",
    ]
    leave(tmp_path, "proofs.json", proofs_document({"T5": NOT_RUN}))
    leave(tmp_path, "crosscheck.json", document_of(examination(device="cpu")))
    leave(tmp_path, "recall.json", recall_summary(complete=False))
    page, twin = written(tmp_path)
    assert twin["not_run"] == [
        "1 proof of T5 (coqc is not installed)",
        "kernels on a GPU (they ran on the processor)",
        "a part of the in-context recall experiment",
    ]
    assert f"Not run: {'; '.join(twin['not_run'])}." in page.text


def test_nothing_is_left_out_of_a_run_that_is_whole(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document())
    leave(tmp_path, "crosscheck.json", document_of(examination(device="NVIDIA H100")))
    leave(tmp_path, "recall.json", recall_summary())
    page, twin = written(tmp_path)
    assert twin["not_run"] == []
    assert "Not run: nothing." in page.text


def test_versions_of_torch_and_triton_stand_beside_each_kernel(tmp_path: Path) -> None:
    leave(tmp_path, "crosscheck.json", document_of(examination(versions={"torch": "9.8.7", "triton": "6.5"})))
    page, twin = written(tmp_path)
    assert "with torch 9.8.7, triton 6.5." in page.text
    assert twin["kernels"][0]["versions"] == {"torch": "9.8.7", "triton": "6.5"}


def test_the_rounding_bound_bears_on_claims_about_kernels(tmp_path: Path) -> None:
    leave(tmp_path, "proofs.json", proofs_document())
    rounded = replace(stream_run(), verdicts=(Verdict("T18", "Rounding", "confirmed", "o"),))
    leave(tmp_path, "crosscheck.json", document_of(examination(streams=(rounded,))))
    judged = {each.claim.id: each for each in model(tmp_path).paper}
    for claim in ("C1a", "C1b", "C2", "C3"):
        assert dict(judged[claim].evidence)["T18"] == "confirmed on 1 kernel run"
        assert judged[claim].judgement != "contradicted"
    assert "T18" not in dict(judged["C4"].evidence)
    leave(
        tmp_path,
        "crosscheck.json",
        document_of(examination(exercises=(exercise(), exercise("one token", excess=3)))),
    )
    found = model(tmp_path)
    assert {each.judgement for each in found.paper if each.claim.kernel} == {"contradicted"}
    assert "contradicted" not in {each.judgement for each in found.paper if not each.claim.kernel}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of real checks on three streams, beside made-up documents of other commands."""
    folder = tmp_path_factory.mktemp("real")
    leave(folder, "proofs.json", proofs_document({"T5": failed_proof(), "T6": NOT_RUN}))
    leave(folder, "crosscheck-1.json", crosscheck_document(excess=3, verdict="contradicted"))
    leave(folder, "crosscheck-2.json", crosscheck_document())
    leave(folder, "recall.json", recall_summary())
    found = verify(streams=["scalar", "ill-conditioned", "gated"])
    return write_report(found, folder).read_text()


def test_no_label_is_left_as_the_program_has_it(real: str) -> None:
    assert raw_labels(real) == []


@pytest.mark.parametrize(
    "label",
    [
        "head (0, 0)",
        "minilm/layer0[0, 3]",
        "d'_1",
        "d_1 - u",
        "k_{t-1}",
        "|s|^2",
        "eta = 1",
        "a <= b",
        "4.0e-08",
        "nan",
        "inf",
        "bounds.regret.interpolating_regret",
        "osdn_theory/data/recall_cpu.json",
    ],
)
def test_a_page_with_a_raw_label_is_found_out(real: str, label: str) -> None:
    escaped = label.replace("<", "&lt;")
    assert len(raw_labels(real.replace("<main>", f"<main><p>{escaped}</p>"))) == 1
    assert raw_labels(real.replace("<main>", f"<main><code>{escaped}</code>")) == []


def test_a_page_has_at_most_a_third_of_the_words_that_it_had(real: str) -> None:
    assert 1000 < count_words(real) <= LONGEST
    assert count_words(real.replace("</main>", f"<p>{'word ' * LONGEST}</p></main>")) > LONGEST


@pytest.mark.slow
def test_the_whole_suite_holds_and_its_page_has_at_most_a_third_of_its_words(tmp_path: Path) -> None:
    from osdn_theory.report.gallery import exhibits

    leave(tmp_path, "proofs.json", proofs_document())
    for number in range(4):
        leave(tmp_path, f"crosscheck-{number}.json", crosscheck_document())
    leave(tmp_path, "recall.json", recall_summary())
    found = verify()
    assert found.exit_code == 0
    assert set(found.streams) == set(STREAM_NAMES)
    page = write_report(found, tmp_path, exhibits=exhibits(found)).read_text()
    assert count_words(page) <= LONGEST
    assert raw_labels(page) == []


def test_details_are_folded_but_for_what_is_wrong(tmp_path: Path) -> None:
    page, _ = written(tmp_path)
    folded = [attrs for tag, attrs in page.tags if tag == "details"]
    assert len(folded) > len(THEOREMS)
    assert all("open" not in attrs for attrs in folded)
    page, _ = written(tmp_path, bad("violated"))
    assert [attrs["id"] for tag, attrs in page.tags if tag == "details" and "open" in attrs] == ["T8"]


NOTATION = {
    r"\frac",
    r"\leq",
    r"\geq",
    r"\sum",
    r"\prod",
    r"\left",
    r"\right",
    r"\sqrt",
    r"\quad",
    r"\top",
    r"\in",
    r"\odot",
    r"\circ",
    r"\langle",
    r"\rangle",
    r"\infty",
    r"\max",
    r"\Rightarrow",
    r"\bar",
    r"\tilde",
    r"\mathbb",
    r"\mathbf",
}
"""What is notation everywhere, and needs no definition."""


def letters(latex: str) -> set[str]:
    """The symbols of a formula: single letters and Greek names."""
    bare = re.sub(r"\\(text|mathrm|operatorname)\{[^}]*\}", " ", latex)
    return set(re.findall(r"\\[A-Za-z]+|[A-Za-z]", bare)) - NOTATION


def test_every_symbol_of_a_theorem_is_defined_once() -> None:
    defined = set().union(*(letters(f"{formula} {meaning_letters(text)}") for formula, text in SYMBOLS))
    used = {name: letters(theorem.latex) for name, theorem in THEOREMS.items()}
    assert {name: missing for name, found in used.items() if (missing := found - defined)} == {}
    formulas = [formula for formula, _ in SYMBOLS]
    assert len(set(formulas)) == len(formulas)


def meaning_letters(text: str) -> str:
    """Symbols that stand as single letters in the words of a definition."""
    return " ".join(re.findall(r"(?<![\w'])[A-Za-z](?![\w'])", text))


def test_a_symbol_that_is_not_defined_is_found_out() -> None:
    defined = set().union(*(letters(formula) for formula, _ in SYMBOLS))
    assert letters(r"\frac{\zeta}{2} + Y_t \leq \text{words}") - defined == {r"\zeta", "Y"}


def test_the_caption_of_the_summary_figure_is_true() -> None:
    figure = summary_figures(digest(good().checks))["contraction"]
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in figure.axes[0].lines}
    osdn, plain, bound = curves["OSDN"], curves["DeltaNet"], curves["bound of T6"]
    assert np.all(osdn <= bound)
    assert plain[-1] > bound[-1]
    # Faster than any geometric rate: the slope itself falls.
    assert np.all(np.diff(bound, 2) < 0)


def test_a_run_of_identities_alone_has_no_figure_of_slack() -> None:
    assert list(summary_figures(digest([check("T16", log10_slack=None)]))) == ["contraction"]


def test_a_violated_bound_is_crossed_out_in_the_figure_of_slack() -> None:
    figure = summary_figures(digest([check(), check("T8", outcome="violated")]))["slack"]
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "X"]
    assert [float(line.get_xdata()[0]) < 0 for line in crosses] == [True]  # type: ignore[index]


def test_a_part_is_called_one_and_draws_what_is_about_its_streams() -> None:
    from osdn_theory.report.gallery import exhibits

    part = FakeVerification(good().checks, streams={"scalar": ""}, selection=select(streams=["scalar"]))
    drawn: Any = exhibits(part)  # type: ignore[arg-type]
    assert [each.name for each in drawn] == ["slack", "calibration-times"]
