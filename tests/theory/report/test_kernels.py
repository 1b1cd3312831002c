"""Kernels on the report page: their verdicts, what would have been seen, and documents that cannot be trusted."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.report.fake_crosschecks import (
    IMPOSSIBLE,
    UNSEEN,
    backward,
    crosscheck_document,
    document_of,
    examination,
    exercise,
    explanation,
    invariances,
    power,
    stream_run,
)
from support.report.fake_documents import leave, proofs_document
from support.report.report_cases import no_packaged_results as no_packaged_results, written

from osdn_theory.base.documents import convert
from osdn_theory.crosscheck.document import CROSSCHECK
from osdn_theory.crosscheck.examination.results import Examination, examined_alone
from osdn_theory.report.page.pictures import MAX_FIGURES
from osdn_theory.report.page.wording import readable


def shown(folder: Path, *found: Examination) -> tuple[Any, Any]:
    """The page of such examinations, and its twin."""
    for number, each in enumerate(found):
        leave(folder, f"crosscheck-{number}.json", document_of(each))
    return written(folder)


def test_a_right_kernel_is_shown_with_its_verdict_exercises_and_power(tmp_path: Path) -> None:
    found = examination()
    page, twin = shown(tmp_path, found)
    seen, possible = len(power().seen), len(power().possible)
    assert seen == possible - 1
    assert (
        f"✓ 1 kernel beside float64, 1 exercise and 1 stream: all right; {seen} of {possible} known faults"
        in page.text
    )
    assert f"✓ {readable(found.sentence).striptags()}" in page.text
    assert f"Would have seen {seen} of {possible} known faults" in page.text
    assert "Would go unseen: 1" in page.text
    assert f"{readable(UNSEEN)}β is ignored (at most 1.5 bounds away" in page.text
    assert "1: needs g, which the kernel does not take" in page.text
    assert "Not exercised: cu_seqlens (the kernel does not take it)" in page.text
    assert "Held against itself: 1 equal bit for bit, 1 inside the bound, 1 not exercised" in page.text
    assert "batch-invariant: each batch row alone" in page.text
    (kernel,) = twin["kernels"]
    assert (kernel["verdict"], kernel["sentence"]) == ("right", found.sentence)
    reaches = kernel["power"]["reaches"]
    assert sum(each["seen"] for each in reaches) == seen
    assert [each["fault"]["key"] for each in reaches if not each["seen"]] == [UNSEEN, IMPOSSIBLE]
    worst = kernel["exercises"][0]["checks"][1]["comparisons"][0]
    assert (worst["name"], worst["worst_error"], worst["worst_excess"]) == ("o", 5e-8, 0.5)
    assert not {"tokens", "error", "bound", "excess"} & worst.keys()


def test_a_wrong_exercise_is_seen_in_the_headline_the_table_and_its_theorem(tmp_path: Path) -> None:
    found = examination(
        exercises=(exercise(), exercise("one token", excess=3)), explanations=(explanation("never clips"),)
    )
    leave(tmp_path, "proofs.json", proofs_document())
    page, twin = shown(tmp_path, found)
    assert "✗ 1 kernel beside float64, 2 exercises and 1 stream: 1 wrong (chunk_osdn, float32)" in page.text
    assert "one token, case 2, from token 1 on, worst in batch row 0, head 0" in page.text
    assert "What explains it, within rounding: never clips" in page.text
    assert "one token: o at 3 times its bound, " in page.text
    assert "1 of 2" in page.text
    (kernel,) = twin["kernels"]
    assert [each["within"] for each in kernel["exercises"]] == [True, False]
    assert kernel["exercises"][1]["checks"][1]["comparisons"][0]["worst_excess"] == 3
    assert [each["name"] for each in kernel["explanations"]] == ["never clips"]
    # An exercise inside its bound is no evidence for a theorem; one that is outside is against it.
    assert next(each for each in twin["theorems"] if each["id"] == "T18")["kernels"] == {
        "contradicted": ["chunk_osdn, one token, case 2, eta 1, float32"]
    }


def test_the_nearest_fault_is_not_called_an_explanation(tmp_path: Path) -> None:
    page, _ = shown(
        tmp_path,
        examination(
            exercises=(exercise(excess=3),), explanations=(explanation("never clips", agrees=False),)
        ),
    )
    assert "No known fault explains it. The nearest: never clips" in page.text


def test_a_kernel_that_differs_from_itself_is_wrong(tmp_path: Path) -> None:
    page, twin = shown(tmp_path, examination(invariances=invariances(excess=9)))
    assert "1 wrong (chunk_osdn, float32)" in page.text
    assert "✗ batch-invariant: each batch row alone" in page.text
    assert twin["kernels"][0]["verdict"] == "wrong"


def test_requirements_that_are_not_met_are_shown(tmp_path: Path) -> None:
    held = invariances()
    line = f"batch-invariant: inside the bound: {held[1].detail}"
    missing = "head-invariant: not exercised: it was not asked for"
    page, _ = shown(tmp_path, examination(unmet=(line, missing)))
    assert f"✗ required, and not met: {readable(line).striptags()}" in page.text
    assert f"✗ required, and not met: {missing}" in page.text


def test_gradients_are_shown_with_what_they_would_have_seen(tmp_path: Path) -> None:
    page, twin = shown(tmp_path, examination(backward=backward()), examination(backward=backward(excess=3)))
    assert "✓ inside their bounds; they would have shown 1 of 2 known faults of a backward pass" in page.text
    assert "✗ outside their bounds: grad k" in page.text
    assert "sign of k: the gradient in k has the other sign" in page.text
    assert [each["verdict"] for each in twin["kernels"]] == ["right", "wrong"]
    assert twin["kernels"][0]["backward"]["power"] == {"sign of k": "inf", "clip ignored": 0.5}


def test_gradients_of_every_exercise_are_shown(tmp_path: Path) -> None:
    beside = replace(backward(excess=3), exercise="one switch", power={})
    page, _ = shown(tmp_path, examination(backward=backward(), backward_beside=(beside,)))
    first, second = (f"Gradients of the exercise {name}: " for name in (backward().exercise, "one switch"))
    assert f"{first}✓ inside their bounds; they would have shown 1 of 2 known faults" in page.text
    assert f"{second}✗ outside their bounds: grad k. Largest error over its bound: " in page.text


def test_no_verdict_without_power(tmp_path: Path) -> None:
    blind = replace(
        power(), reaches=tuple(replace(each, excess=0.0, exercise="") for each in power().reaches)
    )
    page, twin = shown(tmp_path, examination(power=blind))
    assert (
        "? 1 kernel beside float64, 1 exercise and 1 stream: none is wrong, and no verdict on 1" in page.text
    )
    assert twin["kernels"][0]["verdict"] == "cannot tell"


def test_what_a_format_hides_is_not_called_inside(tmp_path: Path) -> None:
    page, twin = shown(tmp_path, examination(exercises=(exercise(t18="not applicable"),)))
    assert "square: square, case 2: o" in page.text
    assert twin["kernels"][0]["exercises"][0]["hidden"] == ["square, case 2: o"]


def test_exercises_alone_and_streams_alone_are_shown(tmp_path: Path) -> None:
    page, twin = shown(tmp_path, examination(streams=()), examined_alone([stream_run()]))
    assert "2 kernels beside float64, 1 exercise and 1 stream: all right" in page.text
    assert "what would have been seen is not known of 1" in page.text
    assert [len(each["streams"]) for each in twin["kernels"]] == [0, 1]
    assert [each["power"] is None for each in twin["kernels"]] == [False, True]


def test_a_kernel_within_its_bounds_is_shown_with_numbers_and_a_figure(tmp_path: Path) -> None:
    leave(tmp_path, "crosscheck.json", crosscheck_document())
    page, twin = written(tmp_path)
    assert "✓ 1 kernel beside float64, 1 exercise and 1 stream: all right" in page.text
    assert "confirmed on 1 kernel run" in page.text
    assert "no bound claimed" in page.text
    assert "5·10−8 (2)" in page.text
    assert "nothing else was looked at" in page.text
    assert (tmp_path / "figures" / "kernel-1-errors.png").read_bytes().startswith(b"\x89PNG")
    assert "osdn-theory crosscheck --kernel chunk_osdn --out report" in twin["commands"]
    (run,) = twin["kernels"][0]["streams"]
    assert [each["outcome"] for each in run["verdicts"]] == ["confirmed"]
    assert run["comparisons"][0]["median_slack"] == pytest.approx(2)
    assert next(each for each in twin["theorems"] if each["id"] == "T6")["kernels"] == {
        "confirmed": ["chunk_osdn, interpolating, fast, float32"]
    }


def test_a_kernel_out_of_its_bounds_is_seen(tmp_path: Path) -> None:
    leave(tmp_path, "crosscheck.json", crosscheck_document(excess=3, verdict="contradicted"))
    leave(tmp_path, "proofs.json", proofs_document())
    page, twin = written(tmp_path)
    assert "✗ 1 kernel beside float64, 1 exercise and 1 stream: 1 wrong (chunk_osdn, float32)" in page.text
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
    assert "2 kernels beside float64, 2 exercises and 2 streams: 1 wrong" in page.text


def test_a_run_without_anything_to_draw_has_tables_only(tmp_path: Path) -> None:
    document = crosscheck_document()
    document["streams"][0].update(curve=None, comparisons=document["streams"][0]["comparisons"][1:])
    leave(tmp_path, "crosscheck.json", document_of(convert(document, Examination)))
    page, twin = written(tmp_path)
    assert "grad k" in page.text
    assert twin["kernels"][0]["streams"][0]["curve"] is None
    assert not list((tmp_path / "figures").glob("kernel*"))


def test_what_a_kernel_cannot_show_is_not_confirmed(tmp_path: Path) -> None:
    leave(tmp_path, "crosscheck.json", crosscheck_document(verdict="not observable"))
    page, _ = written(tmp_path)
    assert "none is wrong, and no verdict on 1 (chunk_osdn, float32)" in page.text


def altered(**changes: Any) -> dict[str, Any]:
    document = crosscheck_document()
    document["streams"][0].update(changes)
    return document


def compared(**changes: Any) -> dict[str, Any]:
    document = crosscheck_document()
    document["streams"][0]["comparisons"][0].update(changes)
    return document


def wrong() -> dict[str, Any]:
    """A kernel with an exercise outside its bound, explained by two faults, and wrong gradients."""
    return document_of(
        examination(
            exercises=(exercise(), exercise("one token", excess=3)),
            explanations=(explanation("q and k normalised", "never clips"),),
            backward=backward(excess=3),
            invariances=invariances(excess=9),
            unmet=("head-invariant: not exercised: it was not asked for",),
        )
    )


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """The same with one value replaced."""
    document = wrong()
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    assert place[path[-1]] != to
    place[path[-1]] = to
    return document


def test_everything_that_a_wrong_kernel_says_is_read_back() -> None:
    document = wrong()
    _, found = CROSSCHECK.decode(json.dumps(document))
    assert document_of(found) == document


RIGHT = document_of(examination())


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (changed("verdict", to="right"), "verdict: 'right' does not follow from the rest"),
        (changed("verdict", to="cannot tell"), "verdict: 'cannot tell' does not follow"),
        (changed("exit_code", to=0), "exit_code: 0 does not follow from the rest"),
        (changed("sentence", to="right: all is well"), "sentence: 'right: all is well' does not follow"),
        (changed("not_exercised", to=[]), "sentence: "),
        (changed("exercises", 1, "within", to=True), "exercises[1].within: True does not follow"),
        (changed("exercises", 0, "checks", to=[]), "exercises[0]: checks: nothing was compared"),
        (changed("exercises", 1, "checks", 1, "exit_code", to=0), "exercises[1].checks[1].exit_code: 0 does"),
        (changed("power", "reaches", to=[]), "power.reaches: expected the "),
        (changed("power", "reaches", 1, to=RIGHT["power"]["reaches"][0]), "known faults of osdn, each once"),
        (changed("power", "reaches", 0, "fault", "key", to="gravity"), "known faults of osdn, each once"),
        (changed("power", "reaches", 0, "seen", to=True), "power.reaches[0].seen: True does not follow"),
        (changed("power", "reaches", 0, "excess", to=5), "power.reaches[0].seen: False does not follow"),
        (changed("power", "reaches", 0, "reason", to=""), "power.reaches[0].reason: '' does not follow"),
        (changed("power", "reaches", 0, "fault", "sentence", to="x"), "power.reaches: expected the "),
        (changed("power", "reaches", 2, "exercise", to="dance"), "exercise: there is no 'dance'"),
        (changed("explanations", 0, "name", to="never"), "explanations[0].name: 'never' does not follow"),
        (
            changed("explanations", 0, "faults", 0, "key", to="never"),
            "explanations[0].faults: expected known",
        ),
        (changed("explanations", 0, "left", to=0.5), "explanations[0].sentence: "),
        (changed("explanations", 0, "agrees", to=False), "explanations[0].sentence: "),
        (changed("explanations", 0, "formula", to="x"), "explanations[0].formula: 'x' does not follow"),
        ({**wrong(), "exercises": RIGHT["exercises"]}, "explanations: there is nothing to explain"),
        (
            changed("backward", "comparisons", 0, "within_bound", to=True),
            "within_bound: True does not follow",
        ),
        (changed("backward", "power", "sign of k", to=0.5), "sentence: "),
        (
            changed("invariances", 0, "name", to="lucky"),
            "invariances[0]: name: expected one of deterministic",
        ),
        (changed("invariances", 0, "outcome", to="inside the bound"), "does not follow from the difference"),
        (changed("invariances", 0, "outcome", to="wrong"), "'wrong' does not follow from the difference"),
        (changed("invariances", 2, "outcome", to="equal bit for bit"), "does not follow from the difference"),
        (changed("invariances", 1, "outcome", to="inside the bound"), "does not follow from the difference"),
        (
            changed("invariances", 1, "detail", to="nothing"),
            "invariances[1].detail: 'nothing' does not follow",
        ),
        (changed("invariances", 1, "difference", "excess", to=0.5), "does not follow from the difference"),
        (changed("unmet", 0, to="deterministic: wrong: x"), "unmet[0]: it does not follow"),
        (changed("unmet", 0, to="lucky: no"), "unmet[0]: it does not follow"),
        (changed("statement", "recurrence", to="kda"), "known faults of kda, each once"),
        ({**RIGHT, "exercises": [], "streams": [], "power": None}, "expected an exercise or a stream"),
        (altered(comparisons=[]), "streams[0].comparisons: nothing was compared"),
        (altered(statement={}), "streams[0].statement.kernel: is missing"),
        (altered(exit_code=1), "streams[0].exit_code: 1 does not follow"),
        (compared(within_bound=False), "streams[0].comparisons[0].within_bound: False does not follow"),
        (compared(first_outside=3), "first_outside: 3 does not follow"),
        (compared(bound=None), "bound, excess: expected the shape (1, 2, 8) of error for both"),
        (compared(excess=None), "bound, excess: expected the shape (1, 2, 8) of error for both"),
        (compared(worst_excess=None), "worst_excess: None does not follow"),
        (compared(worst_excess=3), "worst_excess: 3 does not follow"),
        (
            compared(excess=[[[0.25] * 8] * 2], worst_excess=0.25),
            "excess: an error uses up more of its bound",
        ),
        (compared(bound=[[[1e-9] * 8] * 2]), "excess: an error uses up more of its bound"),
        (compared(bound=[[[1e-7] * 8]]), "bound, excess: expected the shape (1, 2, 8) of error for both"),
        (compared(worst_head=[0, 1]), "worst_head[1]: 1 does not follow"),
        (compared(worst_head=[0]), "worst_head: [0] does not follow"),
        (compared(worst_error=0.0), "worst_error: 0.0 does not follow"),
        (compared(tokens=[1]), "error: expected as many tokens as in tokens"),
        (compared(tokens=[1.5, *range(2, 9)]), "streams[0].comparisons[0].tokens[0]: 1.5 does not follow"),
        (compared(error=[[[0.0], [0.0, 0.0]]]), "streams[0].comparisons[0].error: "),
        (compared(error=[1.0]), "error: expected as many tokens as in tokens"),
        (compared(error=[[["x"]]]), "streams[0].comparisons[0].error: Expected a number, got 'x'"),
        (compared(worst_error="big"), "worst_error: 'big' does not follow"),
    ],
)
def test_a_cross_check_that_contradicts_itself_is_refused(document: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        CROSSCHECK.decode(json.dumps(document))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (changed("verdict", to="right"), "corrupt: verdict: 'right' does not follow from the rest"),
        ({**RIGHT, "format": "osdn-crosscheck/1"}, "stale: format: expected 'osdn-crosscheck/3', got"),
        (
            {**RIGHT, "osdn": "0.0.1", "code": {"osdn_theory.crosscheck": "0"}},
            "stale: made by other code (osdn 0.0.1, another osdn_theory.crosscheck and another osdn_kernels)",
        ),
        ("{", "corrupt: not a JSON document, or a truncated one"),
    ],
)
def test_a_cross_check_that_cannot_be_trusted_counts_for_nothing(
    tmp_path: Path, document: Any, reason: str
) -> None:
    leave(tmp_path, "crosscheck.json", document)
    page, twin = written(tmp_path)
    assert f"✗ A kernel cross-check counts for nothing on this page: crosscheck.json is {reason}" in page.text
    assert twin["kernels"] == []


def test_infinite_errors_are_read_and_drawn(tmp_path: Path) -> None:
    run = stream_run(excess=3)
    outputs = run.comparisons[0]
    assert outputs.excess is not None
    outputs.error[0, 1, 7] = outputs.excess[0, 1, 7] = float("inf")
    found = examination(streams=(run,))
    read = CROSSCHECK.decode(json.dumps(document_of(found)))[1].streams[0].comparisons[0]
    assert (read.error[0, 1, 7], read.worst_excess, read.worst_head) == (float("inf"), float("inf"), (0, 1))
    _, twin = shown(tmp_path, found)
    assert twin["kernels"][0]["streams"][0]["comparisons"][0]["worst_error"] == "inf"


def test_many_streams_leave_out_figures_and_say_so(tmp_path: Path) -> None:
    streams = [*[stream_run()] * (MAX_FIGURES + 1), stream_run(excess=3)]
    page, _ = shown(tmp_path, examination(streams=tuple(streams)))
    assert "Streams without figures: 1" in page.text
    pictures = [attrs["alt"] or "" for tag, attrs in page.tags if tag == "img"]
    assert sum("chunk_osdn" in alt for alt in pictures) == 2 * (MAX_FIGURES + 1)
