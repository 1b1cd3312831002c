"""The runner: every way in which a proof can end has its verdict, its exit code and its place in the document."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import support.proofs.fake_proofs as fakes
from typer.testing import CliRunner

from osdn_theory.proofs import PROOFS, Method, ProofLine, ProofsRun
from proofs_check import claims, cli
from proofs_check.proof import ALL, INSTANCES, Claim, Proof, passed
from proofs_check.prove import collection
from proofs_check.prove.runner import run_proofs
from proofs_check.prove.table import general_text, print_run

SCHEMA = PROOFS.schema()


def run(source: Callable[[], fakes.Collection], **options: Any) -> ProofsRun:
    return run_proofs(fakes.CLAIMS, source, **{"processes": 1, "mutants_wanted": 0, **options})


def proofs_of(result: ProofsRun) -> list[ProofLine]:
    return [proof for claim in result.claims for proof in claim.proofs]


def only(result: ProofsRun, name: str) -> Any:
    (found,) = [proof for proof in proofs_of(result) if proof.name == name]
    return found


def standings(result: ProofsRun) -> dict[str, str]:
    return {claim.id: claim.standing for claim in result.claims}


def test_all_passed() -> None:
    result = run(fakes.good)
    assert result.exit_code == 0
    assert result.counts == {"passed": 3, "failed": 0, "not run": 0}
    assert standings(result) == {"T1": "proved", "T2": "instances only"}
    assert [claim.killed for claim in result.claims] == [3, 0]


@pytest.mark.parametrize(
    ("source", "name", "detail"),
    [
        (fakes.one_fails, "wrong", "y = 2 gives 2 == 3"),
        (fakes.one_raises, "broken", "ZeroDivisionError: "),
        (fakes.one_returns_nothing, "forgetful", "the check returned NoneType, not a Judgement"),
        (fakes.one_evaluates_nothing, "empty", "passed without evaluating anything"),
        (fakes.one_kills_its_worker, "deadly", "the worker ended: BrokenProcessPool"),
    ],
)
def test_what_fails_fails_the_run(source: Callable[[], fakes.Collection], name: str, detail: str) -> None:
    result = run(source)
    assert result.exit_code == 1
    assert only(result, name).verdict == "failed"
    assert detail in only(result, name).detail
    assert standings(result)["T2"] == "failed"


def test_a_missing_prover_is_not_run_and_never_passed() -> None:
    result = run(fakes.one_lacks_its_prover)
    assert result.exit_code == 3
    assert only(result, "unprovable here").verdict == "not run"
    assert "install an abacus" in only(result, "unprovable here").detail
    assert standings(result) == {"T1": "proved", "T2": "not run"}
    assert general_text(result.claims[1]) == "none passed"


def test_a_failure_outweighs_a_missing_prover() -> None:
    assert run(fakes.fails_and_lacks_a_prover).exit_code == 1


def test_instances_are_never_a_general_proof(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(fakes.good)
    assert general_text(result.claims[1]) == "no general proof"
    assert result.claims[1].general == {}
    print_run(result)
    printed = capsys.readouterr().out
    assert "no general proof" in printed
    assert "nobody has proved it for all y" in printed


@pytest.mark.parametrize("method", get_args(Method))
def test_only_coq_and_sympy_cover_all_dimensions(method: Any) -> None:
    proof = Proof("T1", method, "x = x", passed)
    assert proof.is_general is (method in ("coq", "symbolic"))
    assert proof.scope == (ALL if proof.is_general else INSTANCES)


def test_a_claim_with_neither_general_proof_nor_reason_is_an_error() -> None:
    result = run(fakes.general_missing)
    assert list(result.problems) == ["T1: no general proof, and the claim does not say what is missing"]
    assert result.exit_code == 1
    assert standings(result)["T1"] == "instances only"


def test_problems_of_a_collection() -> None:
    found = collection.problems(fakes.CLAIMS | {"T3": Claim("T3", "", "", "")}, {"T9": [fakes.general()]})
    assert "T9: proofs of an unknown claim: identity" in found
    assert "T3: no proof at all" in found


def test_mutants_alone_are_no_proof() -> None:
    found = collection.problems({"T1": fakes.CLAIMS["T1"]}, {"T1": [fakes.mutants()]})
    assert "T1: no proof at all" in found


def test_a_claim_is_proved_only_if_all_its_general_proofs_passed_and_nothing_is_missing() -> None:
    result = run(fakes.two_general_proofs_one_not_run)
    assert standings(result)["T1"] == "proved in part"
    assert general_text(result.claims[0]) == "by SymPy; 1 not passed"
    assert standings(run(fakes.general_beside_what_is_missing))["T2"] == "proved in part"


def test_too_few_refuted_mutants_are_a_problem_of_a_complete_run() -> None:
    result = run(fakes.good, mutants_wanted=3)
    assert list(result.problems) == ["T2: 0 false variants refuted, at least 3 wanted"]
    assert result.exit_code == 1
    assert run(fakes.good, mutants_wanted=3, only_claims=["T2"]).exit_code == 0


def test_selection() -> None:
    result = run(fakes.good, only_claims=["T1"], only_methods=["symbolic"])
    assert [proof.name for proof in proofs_of(result)] == ["identity"]
    assert not result.complete
    without_general = run(fakes.good, only_claims=["T1"], only_methods=["mutation"])
    assert standings(without_general) == {"T1": "not run"}
    with pytest.raises(ValueError, match="no proof is of the claims and methods"):
        run(fakes.good, only_methods=["coq"])
    with pytest.raises(ValueError, match="processes"):
        run(fakes.good, processes=0)


def test_a_group_shares_one_process_also_among_several() -> None:
    result = run(fakes.shared_work, processes=2)
    first, second = (only(result, f"together {number}") for number in range(2))
    assert first.data["pid"] == second.data["pid"]
    assert (first.detail, second.detail) == ("1", "2")


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    run(fakes.good, progress=lambda what, done, total: seen.append((done, total)))
    assert sorted(seen) == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "source", [fakes.good, fakes.one_fails, fakes.one_lacks_its_prover, fakes.odd_data, fakes.general_missing]
)
def test_the_document_is_strict_json_and_follows_the_schema(source: Callable[[], fakes.Collection]) -> None:
    document = strict_json(PROOFS.encode(run(source), "osdn-theory prove"))
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_the_headline_counts_theorems() -> None:
    assert run(fakes.good).headline == "2 theorems: 1 proved, 1 instances only (T2)"
    assert run(fakes.one_lacks_its_prover).headline == "2 theorems: 1 proved, 1 not run (T2)"
    assert run(fakes.good, only_claims=["T1"]).headline == "1 theorem: 1 proved"


def test_what_is_not_tied_is_in_the_document_and_in_what_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = run(fakes.one_is_not_tied)
    claim = result.claims[0]
    assert claim.untied == {"counterexample": "nothing to evaluate"}
    assert [proof.tied for proof in claim.proofs] == [False, True, False]
    print_run(result)
    assert "not tied to the code, nothing to evaluate: counterexample" in capsys.readouterr().out


def test_odd_data_become_text() -> None:
    data = only(run(fakes.odd_data), "odd").data
    assert data == {"number": "1/3", "worst": "nan", "most": "inf"}


def test_the_document_refuses_a_general_proof_by_instances() -> None:
    found = run(fakes.good).claims[1].proofs[0]
    with pytest.raises(ValueError, match="general: no proof by exact is"):
        replace(found, general=True)


def strict_json(text: str) -> Any:
    def refuse(literal: str) -> float:
        raise AssertionError(f"{literal} in JSON")

    return json.loads(text, parse_constant=refuse)


def prove(monkeypatch: pytest.MonkeyPatch, source: Callable[[], fakes.Collection], *arguments: str) -> Any:
    monkeypatch.setattr(collection, "collect", source)
    monkeypatch.setattr(claims, "CLAIMS", fakes.CLAIMS)
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        (fakes.complete, 0, "2 theorems: 1 proved, 1 instances only (T2), in "),
        (fakes.one_fails, 1, "failed: T2 wrong: y = 2 gives 2 == 3"),
        (fakes.one_lacks_its_prover, 3, "not run: abacus not found; install an abacus"),
        (fakes.general_missing, 1, "problem: T1: no general proof"),
    ],
)
def test_the_command_prints_tables_and_tells_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, source: Callable[[], fakes.Collection], code: int, line: str
) -> None:
    result = prove(monkeypatch, source, "--processes", "1")
    assert result.exit_code == code
    assert line in result.stdout


def test_the_command_writes_and_prints_the_same_document(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = prove(monkeypatch, fakes.good, "--json", "--out", str(tmp_path / "report"), "--claim", "t1")
    assert result.exit_code == 0
    printed = strict_json(result.stdout)
    assert printed == strict_json((tmp_path / "report" / "proofs.json").read_text())
    assert [claim["id"] for claim in printed["claims"]] == ["T1"]


def test_the_command_refuses_unknown_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in ("--claim", "--method"):
        result = prove(monkeypatch, fakes.good, option, "zzz")
        assert isinstance(result.exception, ValueError)
        assert f"{option}: unknown name 'zzz'" in str(result.exception)
