"""The Coq runner on a tiny library: every way of tampering with it is reported, and a missing Coq is not a pass."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from osdn_theory.proofs import ProofLine
from proofs_check import coq_prover
from proofs_check.coq_prover.compiler import PACKAGES
from proofs_check.coq_prover.library import compile_library, read_project, read_sources
from proofs_check.coq_prover.source import read_source, strip_comments
from proofs_check.coq_prover.statements import read_register, register_of, write_register
from proofs_check.coq_prover.theorems import assumed, is_negative, proofs_of
from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import Law
from proofs_check.exact.propositions import implies, le
from proofs_check.proof import ALL, INSTANCES, ProverMissingError
from proofs_check.prove.runner import run_proof

TINY = Path(__file__).parents[1] / "support" / "proofs" / "tiny_coq"


def draw_number(draw: Draw) -> Instance:
    n = draw.integer(1, 5)
    return Instance(n=n)


GROWS = Law("T5_twice_grows", draw_number, lambda x: implies(le(1, x.n), le(x.n + 1, 2 * x.n)))
NOT_TIED = {"T5_needs_positive": "a test of what is not tied", "T6_new": "another"}

needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="coqc is not installed")


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny library with its register."""
    folder = tmp_path_factory.mktemp("registered") / "tiny"
    shutil.copytree(TINY, folder)
    write_register(folder, register_of(compile_library(folder)))
    return folder


@pytest.fixture
def library(registered: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(registered, tmp_path / "tiny"))


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def results(library: Path) -> dict[str, ProofLine]:
    proofs = proofs_of(library, {GROWS.name: GROWS}, NOT_TIED)
    return {proof.name: run_proof(proof) for proof in proofs}


def details_of_failures(library: Path) -> dict[str, str]:
    found = results(library)
    return {name: result.detail for name, result in found.items() if result.verdict == "failed"}


@needs_coq
def test_an_untouched_library_passes(library: Path) -> None:
    found = results(library)
    positive, negative = found["T5_twice_grows"], found["T5_needs_positive"]
    assert positive.verdict == negative.verdict == "passed"
    assert (positive.method, positive.scope) == ("coq", ALL)
    assert (negative.method, negative.scope, negative.killed) == ("mutation", INSTANCES, 1)
    assert positive.data["assumptions"] == []
    assert positive.detail == "doubling.v; assumes nothing; tied to its law"
    assert negative.detail.endswith("not tied: a test of what is not tied")
    assert positive.tied
    assert not negative.tied
    assert positive.seconds > 0


@needs_coq
def test_compiled_files_beside_the_sources_are_of_no_account(library: Path) -> None:
    (library / "definitions.vo").write_text("not a compiled file")
    assert not details_of_failures(library)
    assert sorted(path.suffix for path in library.glob("definitions.*")) == [".v", ".vo"]


@needs_coq
@pytest.mark.parametrize(
    ("old", "new", "report"),
    [
        ("Proof. pose proof twice_grows; lia. Qed.", "Proof. Admitted.", "doubling.v line 13: Admitted"),
        ("Proof. pose proof twice_grows; lia. Qed.", "admit. Admitted.", "doubling.v line 13: admit"),
        ("End Doubling.", "End Doubling. Axiom false : False.", "doubling.v line 15: Axiom"),
        ("End Doubling.", "End Doubling. Local Parameter x : nat.", "doubling.v line 15: Parameter"),
        (
            "End Doubling.",
            "End Doubling.\nContext (x : nat).",
            "doubling.v line 16: Context outside a section",
        ),
        ("Section Doubling.", "Module Doubling.", "doubling.v line 6: Variable outside a section"),
        ("Section Doubling.", "Unset Guard\n Checking.\nSection Doubling.", "line 5: Unset Guard Checking"),
        (
            "Proof. pose proof twice_grows; lia. Qed.",
            "Proof. lia. Qed.",
            "doubling.v line 13: Error: Tactic failure",
        ),
        ("n + 1 <= twice n", "n + 1 <= <= twice n", "doubling.v line 12: Error: Syntax error"),
    ],
)
def test_a_tampered_proof_fails_with_its_place(library: Path, old: str, new: str, report: str) -> None:
    edit(library / "doubling.v", old, new)
    assert report in details_of_failures(library)["T5_twice_grows"]


@needs_coq
@pytest.mark.parametrize(
    ("file", "old", "new", "report"),
    [
        (
            "doubling.v",
            "Variable n : nat.",
            "Variable n : nat. Hypothesis big : 5 <= n.",
            "statement T5_twice_grows differs",
        ),
        ("doubling.v", "n + 1 <= twice n", "n <= twice n", "statement T5_twice_grows differs"),
        ("definitions.v", "1 <= n", "3 <= n", "definition definitions.positive differs"),
        (
            "doubling.v",
            "Section Doubling.",
            'Notation "x <= y" := (le 0 (x + y)) (only parsing).\nSection Doubling.',
            "statement T5_twice_grows differs",
        ),
        (
            "doubling.v",
            "Section Doubling.",
            "Lemma positive (n : nat) : Prop. exact (3 <= n). Defined.\nSection Doubling.",
            "speaks of doubling.positive",
        ),
    ],
)
def test_a_changed_statement_differs_from_the_register(
    library: Path, file: str, old: str, new: str, report: str
) -> None:
    edit(library / file, old, new)
    assert report in details_of_failures(library)["T5_twice_grows"]


@needs_coq
def test_an_assumption_that_the_source_check_cannot_see_is_found_by_coq(library: Path) -> None:
    edit(
        library / "doubling.v",
        "Proof. pose proof twice_grows; lia. Qed.",
        "Proof. destruct (Coq.Logic.Classical_Prop.classic (0 = 1)); pose proof twice_grows; lia. Qed.",
    )
    edit(
        library / "doubling.v",
        "From Coq Require Import Arith",
        "From Coq Require Classical_Prop.\nFrom Coq Require Import Arith",
    )
    failures = details_of_failures(library)
    assert "assumes Classical_Prop.classic" in failures["T5_twice_grows"]
    assert "T5_needs_positive" not in failures


@needs_coq
def test_a_removed_theorem_fails_and_an_added_one_is_not_overlooked(library: Path) -> None:
    edit(library / "doubling.v", "Theorem T5_needs_positive", "Theorem positive_is_needed")
    assert details_of_failures(library) == {"T5_needs_positive": "no file proves T5_needs_positive"}
    append(library / "doubling.v", "Theorem T6_new : 1 = 1. Proof. reflexivity. Qed.\n")
    assert "T6_new is not in the register" in details_of_failures(library)["T5_twice_grows"]


@needs_coq
def test_a_file_that_does_not_compile_fails_what_requires_it(library: Path) -> None:
    append(library / "definitions.v", "Definition wrong : nat := True.\n")
    failures = details_of_failures(library)
    assert len(failures) == 2
    assert all(detail.startswith("doubling.v line 3: Error: Cannot find") for detail in failures.values())


@needs_coq
def test_a_file_that_takes_too_long_fails(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(library / "doubling.v", "Goal True. Proof. do 1000000000 idtac. exact I. Qed.\n")
    monkeypatch.setattr("proofs_check.coq_prover.compiler.FILE_SECONDS", 3)
    assert set(details_of_failures(library).values()) == {"doubling.v: not compiled within 3 s"}


@needs_coq
def test_the_library_is_compiled_once_also_when_it_fails(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def count(folder: Path) -> None:
        calls.append(folder)
        raise ValueError("broken on purpose")

    monkeypatch.setattr("proofs_check.coq_prover.theorems.compile_library", count)
    failures = details_of_failures(library)
    assert set(failures.values()) == {"ValueError: broken on purpose"}
    assert len(calls) == 1


@needs_coq
def test_the_register_can_be_rewritten_for_a_deliberate_change(library: Path) -> None:
    edit(library / "doubling.v", "n + 1 <= twice n", "n <= twice n")
    assert details_of_failures(library)
    command = [
        sys.executable,
        "-m",
        "proofs_check.coq_prover",
        "--write-statements",
        "--folder",
        str(library),
    ]
    subprocess.run(command, check=True, capture_output=True)
    # The register is content; the law is not.
    assert details_of_failures(library) == {
        "T5_twice_grows": "Coq's statement is not the law: 1 <= 2 instead of 2 <= 2"
    }
    assert "n <= definitions.twice n" in read_register(library).statements["T5_twice_grows"].text


@needs_coq
def test_a_theorem_without_a_law_or_a_reason_fails(library: Path) -> None:
    assert {run_proof(proof).detail for proof in proofs_of(library, {})} == {"no law says what it must say"}


@needs_coq
def test_no_register_is_written_for_a_broken_library(library: Path) -> None:
    append(library / "definitions.v", "Definition wrong : nat := True.\n")
    with pytest.raises(ValueError, match=r"definitions.v line 6: Error"):
        register_of(compile_library(library))


def test_without_coq_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(TINY, tmp_path / "tiny")
    register = {"coq": "", "statements": {"T5_twice_grows": {"text": "", "sha256": ""}}, "definitions": {}}
    (tmp_path / "tiny" / "statements.json").write_text(json.dumps(register))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ProverMissingError, match="apt-get install coq"):
        compile_library(tmp_path / "tiny")
    result = results(tmp_path / "tiny")["T5_twice_grows"]
    assert result.verdict == "not run"
    assert all(package in result.detail for package in PACKAGES)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-Q . TINY", "-Q . TINY\n-arg -type-in-type", "expected a file of the library, got '-arg'"),
        ("-Q . TINY", "", "one line that names the library"),
        ("doubling.v", "", "there but not listed"),
        ("doubling.v", "doubling.v\nother.v", "listed but not there"),
    ],
)
def test_a_tampered_project_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    edit(folder / "_CoqProject", old, new)
    with pytest.raises(ValueError, match=message):
        read_project(folder)


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("a (* b *) c", "a         c"),
        ("a (* b (* c *) d *) e", "a                   e"),
        ("a (* b\nc *) d", "a     \n     d"),
        ('a (* "*)" b *) c', "a              c"),
        ('a "(* b" c', 'a "    " c'),
        ('x "a ""b"" c" d', 'x "  "" ""  " d'),
    ],
)  # fmt: skip
def test_comments_and_strings_are_blanked(text: str, stripped: str) -> None:
    assert strip_comments(text) == stripped


@pytest.mark.parametrize(
    "text",
    [
        "Definition admitted' := 1.",
        "Definition admit' := 1.",
        "(* Admitted. *)",
        'Definition x := "Axiom".',
        "Section S. Variable n : nat. End S.",
        "Section S. Section R. End R. Hypothesis h : True. End S.",
    ],
)
def test_harmless_sources_have_no_problems(text: str) -> None:
    assert read_source("file", text, "TINY").problems == ()


@pytest.mark.parametrize(
    "text",
    [
        "#[local] Axiom a : False.",
        "Conjecture a : False.",
        "Section S. End S. Hypothesis h : False.",
        "Module M. Variable h : False. End M.",
        "#[bypass_check(guard)] Fixpoint f (n : nat) : nat := f n.",
        "Set Type-in-Type. Declare ML Module x." ,
        'Load "elsewhere".',
        "(* *) admit.",
    ],
)  # fmt: skip
def test_harmful_sources_have_problems(text: str) -> None:
    assert read_source("file", text, "TINY").problems


def test_answers_of_print_assumptions() -> None:
    assert assumed("Closed under the global context\n") == set()
    answer = "Axioms:\nA.b : forall x : nat,\n      x = x\nc\n  : False\nf is assumed to be guarded\n"
    assert assumed(answer) == {"A.b", "c", "f"}
    assert assumed("") != set()


def test_negative_theorems_are_told_by_their_name() -> None:
    assert is_negative("T5_needs_small_step")
    assert not is_negative("T5_interpolating_regret_needs")


def test_register_and_sources_name_the_same_theorems() -> None:
    register = read_register(coq_prover.FOLDER)
    declared = [name for source in read_sources(coq_prover.FOLDER) for name in source.theorems]
    assert sorted(declared) == sorted(register.statements)
    assert {proof.name for proof in coq_prover.proofs()} == set(declared)


def test_every_final_theorem_is_found_by_a_plain_search_as_well() -> None:
    pattern = re.compile(r"^(?:Theorem|Lemma|Corollary|Proposition)\s+(T\d+_\w+)", re.MULTILINE)
    for source in read_sources(coq_prover.FOLDER):
        text = (coq_prover.FOLDER / f"{source.name}.v").read_text()
        assert set(pattern.findall(text)) <= set(source.theorems)


def test_the_library_has_no_problems_in_its_sources() -> None:
    assert [problem for source in read_sources(coq_prover.FOLDER) for problem in source.problems] == []
