"""Run proofs in worker processes and judge what comes back."""

import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from typing import Any

from osdn_theory.proofs import Method, ProofLine, ProofsRun, ProvedClaim
from proofs_check.proof import Claim, Judgement, Proof, ProverMissingError, failed
from proofs_check.prove.collection import Proofs, problems

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
) -> ProofsRun:
    """Run the proofs that `source` collects.

    - `claims`, theorem id -> Claim
    - `source`, function that collects the proofs: It must be importable: checks are functions that cannot be sent to
      another process, so each worker collects them again and is told which to run. Workers start afresh with every
      run, so nothing is remembered.
    - `only_claims`, `only_methods`: Run only these.
    - `mutants_wanted`: False variants of each claim that have to be refuted where everything is run; fewer are a
      problem.
    - `processes`: Workers. Proofs of one group share a worker.
    - `progress`, callable ``(what, done, total)``
    """
    if processes < 1:
        raise ValueError(f"processes: expected at least 1, got {processes}")
    started = time.perf_counter()
    collected = source()
    asked = [claim for claim in claims if only_claims is None or claim in only_claims]
    wanted = {
        (claim, place): proof
        for claim in asked
        for place, proof in enumerate(collected.get(claim, ()))
        if only_methods is None or proof.method in only_methods
    }
    if not wanted:
        raise ValueError("no proof is of the claims and methods asked for")
    lines = _run_in_workers(source, wanted, processes, progress)
    judged = tuple(_judged(claims[claim], collected.get(claim, ()), lines) for claim in asked)
    complete = only_claims is None and only_methods is None
    too_few = [
        f"{claim.id}: {claim.killed} false variants refuted, at least {mutants_wanted} wanted"
        for claim in judged
        if complete and claim.proofs and claim.killed < mutants_wanted
    ]
    return ProofsRun(
        complete=complete,
        seconds=time.perf_counter() - started,
        versions=_versions(lines.values()),
        problems=(*problems(claims, collected), *too_few),
        claims=judged,
    )


def _judged(claim: Claim, proofs: Sequence[Proof], lines: Mapping[Key, ProofLine]) -> ProvedClaim:
    own = tuple(lines[claim.id, place] for place in range(len(proofs)) if (claim.id, place) in lines)
    return ProvedClaim(**vars(claim), general_known=sum(proof.is_general for proof in proofs), proofs=own)


def _run_in_workers(
    source: Callable[[], Proofs], wanted: Mapping[Key, Proof], processes: int, progress: Progress
) -> dict[Key, ProofLine]:
    lines: dict[Key, ProofLine] = {}
    # Spawned, not forked: the parent may have threads, and a fresh worker is the same on every system.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        tasks = {pool.submit(_run_task, source, keys): keys for keys in _tasks(wanted)}
        for future in as_completed(tasks):
            keys = tasks[future]
            error = future.exception()
            if error is None:
                lines.update(zip(keys, future.result(), strict=True))
            else:
                lost = failed(f"the worker ended: {type(error).__name__}: {error}")
                lines.update({key: _line(wanted[key], lost, 0.0) for key in keys})
            progress(keys[0][0], len(lines), len(wanted))
    return lines


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


def _run_task(source: Callable[[], Proofs], keys: Sequence[Key]) -> list[ProofLine]:
    proofs = _collected(source)
    return [run_proof(proofs[claim][place]) for claim, place in keys]


def run_proof(proof: Proof) -> ProofLine:
    """Run one proof here and now; whatever its check raises becomes a verdict."""
    started = time.perf_counter()
    try:
        found = _examined(proof, proof.check())
    except ProverMissingError as error:
        found = Judgement("not run", str(error))
    except Exception as error:
        found = failed(f"{type(error).__name__}: {error}")
    return _line(proof, found, time.perf_counter() - started)


def _examined(proof: Proof, found: Judgement) -> Judgement:
    """What cannot count as passed turned into a failure."""
    if not isinstance(found, Judgement):
        raise TypeError(f"the check returned {type(found).__name__}, not a Judgement")
    if found.verdict == "passed" and not proof.is_general and found.instances < 1:
        return failed(f"passed without evaluating anything: {found.detail}", **found.data)
    return found


def _line(proof: Proof, found: Judgement, seconds: float) -> ProofLine:
    """A proof after its run; `seconds` is what the clock says, unless the check knows better."""
    own = seconds if found.seconds is None else found.seconds
    judged = {**vars(found), "seconds": own, "data": _plain(found.data)}
    asked = {name: getattr(proof, name) for name in ("claim", "method", "scope", "name", "statement")}
    return ProofLine(**asked, general=proof.is_general, **judged)


def _plain(data: Mapping[str, Any]) -> Any:
    """JSON values only: exact numbers and SymPy objects as text, infinities and NaN by name."""
    return json.loads(json.dumps(dict(data), default=str), parse_constant=_NAMES.__getitem__)


def _versions(lines: Iterable[ProofLine]) -> dict[str, str]:
    """Of Python and the libraries; of Coq, if a proof says that it used it."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    coq = next((line.data["coq"] for line in lines if "coq" in line.data), None)
    return found | ({"coq": coq} if coq else {})
