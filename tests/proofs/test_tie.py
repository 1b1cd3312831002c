"""Coq's statements against the laws: a statement or a definition that is changed is refused, register or not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.proofs.coq_parts import altered, definitions_of, part_of_the_library, refused

from osdn_theory.proofs import ProofLine
from proofs_check import coq_prover
from proofs_check.coq_prover.library import Compiled, compile_library
from proofs_check.coq_prover.statements import read_register, register_of, write_register
from proofs_check.coq_prover.theorems import proofs_of
from proofs_check.exact.collection import LAWS, NOT_TIED
from proofs_check.gallina.tie import untied
from proofs_check.prove.runner import run_proof

needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="coqc is not installed")

REGRET = ("definitions", "vectors", "token", "sums", "projection", "regret", "agnostic")


def registered_results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ProofLine]:
    """What the prover says of a library whose register has just been written anew; it is compiled once for both."""
    compiled = compile_library(folder)
    write_register(folder, register_of(compiled))
    monkeypatch.setattr("proofs_check.coq_prover.theorems.compile_library", lambda folder: compiled)
    proofs = proofs_of(folder, LAWS, NOT_TIED)
    return {proof.name: run_proof(proof) for proof in proofs}


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


WEAKENED = """
Section Weakened.
Variables (R : realFieldType) (n : nat).
Theorem T8_agnostic_regret (eta M : R) lo hi u (d1 : 'rV[R]_n) (s : nat -> 'rV[R]_n) T :
  in_box lo hi u -> (forall t, (t < T)%N -> norm_sq (s t) <= M) -> 0 < eta -> eta * M < 1 ->
  \\sum_(t < T) surrogate (path eta lo hi d1 s t) (s t) <=
  (\\sum_(t < T) surrogate u (s t) + norm_sq (d1 - u) / (2 * eta)) / (1 - eta * M) + 1000000%:R.
Proof.
move=> box small pos step; apply: (le_trans (strong d1 box small pos step)); rewrite ler_addl; exact: ler0n.
Qed.
End Weakened.
"""


PREMISE_MORE = """
Section Weakened.
Variables (R : realFieldType) (n : nat).
Theorem T4_self_bounding (d s : 'rV[R]_n) : 0 < norm_sq s ->
  norm_sq (surrogate_gradient d s) = 2 * norm_sq s * surrogate d s.
Proof. by move=> _; apply: strong. Qed.
End Weakened.
"""


@pytest.mark.slow
@needs_coq
def test_other_statements_are_refused_though_coq_proves_them_and_the_register_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A looser bound, a premise more, and half of a loss that is still multiplied by (1 - beta a)^2: another loss."""
    folder = part_of_the_library(tmp_path / "coq", REGRET)
    edit(folder / "agnostic.v", "Theorem T8_agnostic_regret", "Lemma strong")
    edit(folder / "token.v", "Theorem T4_self_bounding", "Lemma strong")
    edit(folder / "definitions.v", "norm_sq (residual S k v) / 2", "norm_sq (residual S k v) / 4")
    quadratic = re.search(r"Theorem T1_token.*?Qed\.", (folder / "token.v").read_text(), re.DOTALL)
    assert quadratic
    edit(folder / "token.v", quadratic[0], "")
    for file, weakened in (("agnostic.v", WEAKENED), ("token.v", PREMISE_MORE)):
        with (folder / file).open("a") as opened:
            opened.write(weakened)
    found = registered_results(folder, monkeypatch)
    refused = {name: result.detail for name, result in found.items() if result.verdict != "passed"}
    of_the_loss = {"T3_loss_identity", "T6_token_losses", "T6_residual_ratios"}
    assert set(refused) == of_the_loss | {"T8_agnostic_regret", "T4_self_bounding"}
    assert {found[name].verdict for name in refused} == {"failed"}
    assert refused["T8_agnostic_regret"].startswith("Coq's statement is not the law:")
    assert "something under the premise" in refused["T4_self_bounding"]
    assert all(found[name].tied for name in ("T5_interpolating_regret", "T3_residual_identity"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compile_library(part_of_the_library(tmp_path_factory.mktemp("part") / "coq", REGRET))


@needs_coq
def test_the_statements_as_they_are_agree(compiled: Compiled) -> None:
    definitions = definitions_of(compiled)
    for name, statement in compiled.answers.statements.items():
        assert untied(LAWS[name], statement.full, definitions) == "", name


STATEMENTS = [
    # What becomes of the text that Coq prints, where it stands last, and in which theorems. nat_of_ord changes nothing.
    ("<= becomes <", "@Order.le ", "@Order.lt ", ["T4_convex", "T5_interpolating_regret", "T8_agnostic_regret"]),
    ("a minus is lost", "@GRing.opp", "@nat_of_ord", ["T4_smooth", "T5_interpolating_regret", "T8_agnostic_regret"]),
    ("a sum becomes a product", "@GRing.add (Num.RealField.zmodType R)", "@GRing.mul R", ["T8_agnostic_regret"]),
    ("the square is lost", "(S (S O))", "(S O)", ["T3_loss_identity", "T4_self_bounding", "T6_super_geometric"]),
    ("0 for 1", "GRing.one", "GRing.zero", ["T3_residual_identity", "T4_convex", "T8_agnostic_regret"]),
    ("one token fewer", "leq (S t) T", "leq (S (S t)) T", ["T5_interpolating_regret", "T6_token_losses"]),
    ("another preconditioner", " u ", " d1 ", ["T5_interpolating_regret", "T8_agnostic_regret"]),
]  # fmt: skip


def changed_statements() -> Iterator[tuple[str, str, str, str]]:
    for change, old, new, theorems in STATEMENTS:
        for theorem in theorems:
            yield change, old, new, theorem


@needs_coq
@pytest.mark.parametrize(("change", "old", "new", "theorem"), list(changed_statements()))
def test_a_changed_statement_is_refused(
    compiled: Compiled, change: str, old: str, new: str, theorem: str
) -> None:
    statement = compiled.answers.statements[theorem].full
    assert refused(theorem, altered(statement, old, new), definitions_of(compiled)), change


@needs_coq
@pytest.mark.parametrize("theorem", ["T3_residual_ratio", "T4_right_newton_zeroes", "T8_agnostic_regret"])
def test_a_dropped_premise_is_refused(compiled: Compiled, theorem: str) -> None:
    statement = compiled.answers.statements[theorem].full
    premise = statement.rindex("(_ : ")
    depth, end = 0, premise
    while True:
        depth += {"(": 1, ")": -1}.get(statement[end], 0)
        end += 1
        if depth == 0:
            break
    found = untied(LAWS[theorem], statement[:premise] + statement[end:], definitions_of(compiled))
    assert found.startswith("Coq's statement is not the law:")


DEFINITIONS = [
    ("definitions.clip1", "@Order.min", "@Order.max", ["T4_calibrate_is_projected_gradient_step"]),
    ("definitions.clip1", "@Order.max", "@Order.min", ["T5_interpolating_regret"]),
    ("definitions.write", ") beta", ") (@GRing.opp R beta)", ["T3_loss_identity", "T2_write_is_preconditioned_step"]),
    ("definitions.had", "@GRing.mul", "@GRing.add", ["T2_right_preconditioning", "T3_residual_identity"]),
    ("definitions.surrogate", "(S (S O))", "(S O)", ["T4_convex", "T8_agnostic_regret"]),
    ("definitions.calibrate_free", "GRing.one", "GRing.zero", ["T5_interpolating_regret", "T6_token_losses"]),
    ("regret.loss_after", "(S t)", "t", ["T6_token_losses", "T6_residual_ratios"]),
]  # fmt: skip


@needs_coq
@pytest.mark.parametrize(
    ("name", "old", "new", "theorem"), [(n, o, w, t) for n, o, w, names in DEFINITIONS for t in names]
)
def test_a_changed_definition_is_refused(
    compiled: Compiled, name: str, old: str, new: str, theorem: str
) -> None:
    printed = compiled.answers.definitions[name].full
    assert old in printed
    changed = definitions_of(compiled, {name: printed.replace(old, new, 1)})
    assert refused(theorem, compiled.answers.statements[theorem].full, changed)


def test_every_final_theorem_is_tied_or_named_as_not_tied() -> None:
    theorems = set(read_register(coq_prover.FOLDER).statements)
    assert set(NOT_TIED) <= theorems
    assert theorems - set(NOT_TIED) == set(LAWS) - {"T18_running_error_bound"}
    assert all(reason for reason in NOT_TIED.values())
