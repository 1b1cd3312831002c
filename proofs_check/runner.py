"""Run proofs in worker processes and judge what comes back."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from typing import Any

from proofs_check.proof import Claim, Judgement, Method, Proof, ProverMissingError, failed
from proofs_check.registry import Proofs, problems
from proofs_check.results import ClaimResult, ProofResult, Run, result_of

Progress = Callable[[str, int, int], None]
Key = tuple[str, int]
"""A proof's claim and its place among the proofs of that claim."""

_LIBRARIES = ("osdn", "sympy", "python-flint", "numpy")
_NAMES = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}


def run_proofs(
    claims: Mapping[str, Claim],
    source: Callable[[], Proofs],
    *,
    only_claims: Sequence[str] | None = None,
    only_methods: Sequence[Method] | None = None,
    mutants_wanted: int = 1,
    processes: int = 2,
    progress: Progress = lambda what, done, total: None,
) -> Run:
    """Run the proofs that `source` collects.

    Parameters
    ----------
    claims : theorem id -> Claim
    source : function that collects the proofs
        It must be importable: checks are functions that cannot be sent to another process, so each worker collects
        them again and is told which to run. Workers start afresh with every run, so nothing is remembered.
    only_claims, only_methods : sequence, optional
        Run only these.
    mutants_wanted : int
        False variants of each claim that have to be refuted where everything is run; fewer are a problem.
    processes : int
        Workers. Proofs of one group share a worker.
    progress : callable ``(what, done, total)``

    Raises
    ------
    ValueError
        If nothing matches, or for an unusable number of processes.
    """
    if processes < 1:
        raise ValueError(f"processes: expected at least 1, got {processes}")
    started = time.perf_counter()
    collected = source()
    found_problems = problems(claims, collected)
    wanted = {
        (claim, place): proof
        for claim in claims
        for place, proof in enumerate(collected.get(claim, ()))
        if (only_claims is None or claim in only_claims)
        and (only_methods is None or proof.method in only_methods)
    }
    if not wanted:
        raise ValueError("no proof is of the claims and methods asked for")
    results = _run_in_workers(source, wanted, processes, progress)
    judged = [
        _claim_result(claims[claim], collected.get(claim, ()), results)
        for claim in claims
        if only_claims is None or claim in only_claims
    ]
    complete = only_claims is None and only_methods is None
    if complete:
        found_problems += _too_few_mutants(judged, mutants_wanted)
    return Run(
        claims=judged,
        problems=found_problems,
        seconds=time.perf_counter() - started,
        versions=_versions(results.values()),
        complete=complete,
    )


def _too_few_mutants(claims: Iterable[ClaimResult], wanted: int) -> list[str]:
    return [
        f"{claim.claim.id}: {claim.killed} false variants refuted, at least {wanted} wanted"
        for claim in claims
        if claim.results and claim.killed < wanted
    ]


def _claim_result(claim: Claim, proofs: Sequence[Proof], results: Mapping[Key, ProofResult]) -> ClaimResult:
    own = [results[claim.id, place] for place in range(len(proofs)) if (claim.id, place) in results]
    return ClaimResult(claim, own, sum(proof.is_general for proof in proofs))


def _run_in_workers(
    source: Callable[[], Proofs], wanted: Mapping[Key, Proof], processes: int, progress: Progress
) -> dict[Key, ProofResult]:
    results: dict[Key, ProofResult] = {}
    # Spawned, not forked: the parent may have threads, and a fresh worker is the same on every system.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        tasks = {pool.submit(_run_task, source, keys): keys for keys in _tasks(wanted)}
        for future in as_completed(tasks):
            keys = tasks[future]
            error = future.exception()
            if error is None:
                results.update(zip(keys, future.result(), strict=True))
            else:
                lost = failed(f"the worker ended: {type(error).__name__}: {error}")
                results.update({key: result_of(wanted[key], lost, 0.0) for key in keys})
            progress(keys[0][0], len(results), len(wanted))
    return results


def _tasks(wanted: Mapping[Key, Proof]) -> list[list[Key]]:
    """Keys that one worker runs together: those of a group, or a single one; groups first, being the longest."""
    groups: dict[str, list[Key]] = {}
    for key, proof in wanted.items():
        if proof.group:
            groups.setdefault(proof.group, []).append(key)
    return [*groups.values(), *([key] for key, proof in wanted.items() if not proof.group)]


@cache
def _collected(source: Callable[[], Proofs]) -> Proofs:
    return source()


def _run_task(source: Callable[[], Proofs], keys: Sequence[Key]) -> list[ProofResult]:
    proofs = _collected(source)
    return [run_proof(proofs[claim][place]) for claim, place in keys]


def run_proof(proof: Proof) -> ProofResult:
    """Run one proof here and now; whatever its check raises becomes a verdict."""
    started = time.perf_counter()
    try:
        evidence = _examined(proof, proof.check())
    except ProverMissingError as error:
        evidence = Judgement("not run", str(error))
    except Exception as error:
        evidence = failed(f"{type(error).__name__}: {error}")
    return result_of(proof, evidence, time.perf_counter() - started)


def _examined(proof: Proof, evidence: Judgement) -> Judgement:
    """The evidence as plain JSON values, with what cannot count as passed turned into a failure."""
    if not isinstance(evidence, Judgement):
        raise TypeError(f"the check returned {type(evidence).__name__}, not Judgement")
    plain = replace(evidence, data=_plain(evidence.data))
    if evidence.verdict == "passed" and proof.needs_instances and evidence.instances < 1:
        return replace(
            plain, verdict="failed", detail=f"passed without evaluating anything: {evidence.detail}"
        )
    return plain


def _plain(data: Mapping[str, Any]) -> Any:
    """JSON values only: exact numbers and SymPy objects as text, infinities and NaN by name."""
    return json.loads(json.dumps(dict(data), default=str), parse_constant=_NAMES.__getitem__)


def _versions(results: Iterable[ProofResult]) -> dict[str, str]:
    """Of Python and the libraries; of Coq, if a proof says that it used it."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    coq = next((data["coq"] for result in results if "coq" in (data := result.evidence.data)), None)
    return found | ({"coq": coq} if coq else {})
