"""Small collections of proofs for the runner; functions of a module, so that worker processes can import them."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction

from proofs_check.proof import Claim, Judgement, Proof, ProverMissingError, failed, passed

Collection = dict[str, list[Proof]]

CLAIMS = {
    "T1": Claim("T1", "First", "x = x", "x is x"),
    "T2": Claim("T2", "Second", "y = y", "y is y", missing="nobody has proved it for all y"),
}


def general() -> Proof:
    return Proof("T1", "symbolic", "x = x", lambda: passed("expanded to 0"), name="identity")


def by_instances(claim: str = "T2") -> Proof:
    return Proof(claim, "exact", "y = y", lambda: passed("all equal", instances=7), name="instances")


def mutants(claim: str = "T1") -> Proof:
    return Proof(
        claim,
        "mutation",
        "x = x + 1",
        lambda: passed("refuted", instances=3, killed=3),
        name="mutants",
    )


def good() -> Collection:
    return {"T1": [general(), mutants()], "T2": [by_instances()]}


def complete() -> Collection:
    """With as many refuted mutants as the command asks for."""
    return {"T1": [general(), mutants()], "T2": [by_instances(), mutants("T2")]}


def _with(name: str, check: object, group: str = "") -> Collection:
    proof = Proof("T2", "symbolic", "y = y", check, name=name, group=group)  # type: ignore[arg-type]
    return {"T1": [general(), mutants()], "T2": [by_instances(), mutants("T2"), proof]}


def one_fails() -> Collection:
    return _with("wrong", lambda: failed("y = 2 gives 2 == 3"))


def one_raises() -> Collection:
    return _with("broken", lambda: 1 // 0)


def one_lacks_its_prover() -> Collection:
    def check() -> Judgement:
        raise ProverMissingError("abacus not found; install an abacus")

    return _with("unprovable here", check)


def two_general_proofs_one_not_run() -> Collection:
    found = one_lacks_its_prover()
    lacking = found["T2"].pop()
    found["T1"].append(replace(lacking, claim="T1"))
    return found


def general_beside_what_is_missing() -> Collection:
    return _with("for even y", lambda: passed("expanded to 0"))


def fails_and_lacks_a_prover() -> Collection:
    both = one_lacks_its_prover()
    both["T1"] = one_fails()["T2"][1:]
    both["T1"] = [Proof("T1", "symbolic", "x = 0", lambda: failed("x = 1"), name="wrong"), general()]
    return both


def one_returns_nothing() -> Collection:
    return _with("forgetful", lambda: None)


def one_kills_its_worker() -> Collection:
    return _with("deadly", lambda: os._exit(9))


def one_evaluates_nothing() -> Collection:
    proof = Proof("T2", "exact", "y = y", lambda: passed("vacuous"), name="empty")
    return {"T1": [general()], "T2": [proof]}


def odd_data() -> Collection:
    return _with("odd", lambda: passed("odd", number=Fraction(1, 3), worst=float("nan"), most=float("inf")))


def one_is_not_tied() -> Collection:
    """Beside a general proof, a Coq theorem that is held against its law and one that is not."""
    tied = Judgement("passed", "compiled", tied=True)
    lone = Judgement("passed", "compiled", data={"not_tied": "nothing to evaluate"})
    coq = [
        Proof("T1", "coq", "x = x", lambda: tied, name="theorem"),
        Proof("T1", "coq", "not all", lambda: lone, name="counterexample"),
    ]
    return {"T1": [general(), *coq], "T2": [by_instances()]}


def shared_work() -> Collection:
    """Two proofs of one group that see each other's process, in the collection beside many that are alone."""
    seen: list[int] = []

    def check() -> Judgement:
        seen.append(os.getpid())
        return passed(f"{len(seen)}", pid=os.getpid())

    together = [
        Proof("T1", "symbolic", "x = x", check, name=f"together {number}", group="shared")
        for number in range(2)
    ]
    alone = [by_instances() for _ in range(6)]
    return {"T1": together, "T2": alone}


def general_missing() -> Collection:
    return {"T1": [by_instances("T1")], "T2": [by_instances()]}
