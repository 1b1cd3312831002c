"""Running the self-test's cases with every configuration and judging what comes out."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ..launch.forced import forced, make_room
from ..launch.precompile import precompile
from ..launch.processes import pool_of
from ..launch.runtime import INTERPRETED
from ..launch.tuning import TUNED
from . import decode as selftest_decode, determinism as selftest_determinism, planned as selftest_planned
from .cases import CASES, CaseTensors, SelfTestCase, draw, evaluate, repeats, scan_paths, sized, split
from .findings import FAILED, NO_FIT, NO_ROOM, OK, UNREACHED, WRONG, Finding, described, failed

EXACT = 1e-5
"""Float32. Sums of at most a few hundred products leave under 2e-6 in the interpreter; orders of summation and fast
exponentials differ on a GPU, by less than a factor of five. TF32 by mistake leaves 3e-4."""

BACKSTOP = 4e-2
"""bfloat16, whatever the errors with d = 1 are: roundings of 2^-9 each, through two products and a solve. With d = 1
they come to 1.6e-2 in the keys' gradient of the small cases; a wrong kernel leaves several times this."""

FACTOR, ALLOWANCE = 1.5, 1e-3
"""bfloat16, relative to the errors with d = 1, and what small tensors may add by chance.

With d = 1 write keys are the keys, which nothing rounds; with any other d they are stored once more, in the system, the
overlaps and the update alike. In the interpreter, whose conversions all drop bits and so add up, d = 0.507 leaves up to
1.46 times the errors of d = 1/2, whose write keys are exact: in the states and in the gradient of beta."""


@dataclass(frozen=True)
class Expected:
    """A case's reference, what is allowed, and configurations.

    - `values`, `allowed`: By quantity: the reference, and the errors allowed.
    - `base`, dict of str to int: The configuration of every kernel while another's are gone through.
    - `candidates`, dict of str to list of int: All that the case's launches could take, for every kernel launched.
    """

    problem: CaseTensors
    values: dict[str, Tensor]
    allowed: dict[str, float]
    base: dict[str, int]
    candidates: dict[str, list[int]]


@dataclass(frozen=True)
class SelfTestJob:
    """One kernel with one configuration; `file` has the `Expected` of its case where another process takes it."""

    kernel: str
    index: int
    file: Path = Path()


def cases(*, quick: bool) -> list[SelfTestCase]:
    return [sized(case) for case in CASES if case.quick or not quick]


def device() -> torch.device:
    return torch.device("cpu" if INTERPRETED else "cuda")


@contextmanager
def poisoned() -> Iterator[None]:
    """Memory that nothing has written holds NaN: PyTorch fills it so among deterministic algorithms."""
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


def errors(
    found: dict[str, Tensor], values: dict[str, Tensor], case: SelfTestCase, repeat: int
) -> dict[str, float]:
    """Relative Frobenius error of every quantity, of the worst repetition; NaN counts as infinite."""
    result = {}
    for name, x in split(found, case, repeat).items():
        expected = split({name: values[name]}, case, 1)[name].to(x.device)
        apart = (x.double() - expected).flatten(1).norm(dim=1).max().item()
        size = expected.norm().item()
        error = apart / size if size else apart
        result[name] = error if math.isfinite(error) else math.inf
    return result


def expect(case: SelfTestCase) -> tuple[Expected, list[Finding]]:
    """The reference of a case, and its first configurations that fit, with a finding of the run that used them."""
    problem = draw(case)
    values = evaluate(problem, torch.device("cpu"), exact=True)
    base, candidates = first_fitting(problem)
    allowed = allowances(problem, base, values)
    expected = Expected(problem, values, allowed, base, candidates)
    found = judge(expected, {}, walked(case, base))
    with forced(base):
        found[:1] = [replace(x, note=f"{x.note} {scan_paths(problem, device())}".strip()) for x in found[:1]]
    skipped = [
        Finding(name, described(name, index), case.name, NO_ROOM)
        for name, fit in candidates.items()
        for index in fit
        if index < base[name]
    ]
    return expected, [*skipped, *found]


def walked(case: SelfTestCase, launched: Iterable[str]) -> list[str]:
    """The kernels whose configurations a case goes through."""
    return [name for name in launched if not case.kernels or name in case.kernels]


def first_fitting(problem: CaseTensors) -> tuple[dict[str, int], dict[str, list[int]]]:
    """For every kernel launched the first configuration that the device has room for, and all that the launch suits."""
    base, candidates, _ = make_room(partial(evaluate, problem, device()))
    return base, candidates


def allowances(problem: CaseTensors, base: dict[str, int], values: dict[str, Tensor]) -> dict[str, float]:
    """Errors allowed, by quantity."""
    if problem.case.exact:
        return dict.fromkeys(values, EXACT)
    allowed = dict.fromkeys(values, BACKSTOP)
    if compared_with_pinned(problem.case):
        exact = evaluate(problem, torch.device("cpu"), exact=True, pinned=True)
        with forced(base):
            found = evaluate(problem, device(), pinned=True)
        for name, error in errors(found, exact, problem.case, 1).items():
            allowed[name] = min(BACKSTOP, FACTOR * error + ALLOWANCE)
    return allowed


def compared_with_pinned(case: SelfTestCase) -> bool:
    return not case.exact and case.operator in ("chunk", "sequential")


def judge(expected: Expected, choice: dict[str, int], kernels: Iterable[str]) -> list[Finding]:
    """Run a case with these configurations, on the small and on the large grid: what it says of each of `kernels`."""
    base = {**expected.base, **choice}
    case = expected.problem.case
    outcome = Finding("", "", case.name, OK)
    used: dict[str, Any] = {}
    for repeat in sorted({1, repeats(case)}):
        try:
            with forced(base) as launched, poisoned():
                found = evaluate(expected.problem, device(), repeat=repeat)
                compared = errors(found, expected.values, case, repeat)
            used |= launched
        except NO_FIT:
            outcome = replace(outcome, verdict=NO_ROOM)
            break
        except Exception as error:
            outcome = failed(outcome, error)
            break
        outcome = worse(outcome, compared, expected.allowed, repeat)
    return [named(outcome, kernel, base.get(kernel, 0), used) for kernel in kernels]


def worse(before: Finding, compared: dict[str, float], allowed: dict[str, float], repeat: int) -> Finding:
    """`before`, or the worst of these errors where that is farther from what is allowed."""
    name = max(compared, key=lambda name: compared[name] / allowed[name])
    error, limit = compared[name], allowed[name]
    if before.quantity and error / limit <= before.error / before.allowed:
        return before
    verdict = OK if error <= limit else WRONG
    return replace(before, verdict=verdict, quantity=name, error=error, allowed=limit, note=f"x{repeat}")


def named(outcome: Finding, kernel: str, index: int, used: Mapping[str, Any]) -> Finding:
    """An outcome as one kernel's, after a look at whether the configuration was really the one launched."""
    found = replace(outcome, kernel=kernel, configuration=described(kernel, index))
    if outcome.verdict in (OK, WRONG) and used.get(kernel) is not TUNED[kernel].configs[index]:
        return replace(found, verdict=FAILED, note="another configuration was launched")
    return found


def jobs(expected: Expected) -> list[SelfTestJob]:
    """The configurations that a case's first run did not use and that its launches do not rule out."""
    base = expected.base
    walk = walked(expected.problem.case, base)
    return [
        SelfTestJob(name, index) for name in walk for index in expected.candidates[name] if index > base[name]
    ]


def run_all(*, quick: bool, workers: int) -> Iterator[Finding]:
    """Every configuration of every kernel, findings as they come. With workers, processes on all GPUs share them."""
    chosen = cases(quick=quick)
    seen: list[Finding] = []
    for finding in in_turn(chosen) if workers <= 1 else spread(chosen, workers):
        seen.append(finding)
        yield finding
    yield from unreached(seen)


def in_turn(chosen: list[SelfTestCase]) -> Iterator[Finding]:
    """One after the other."""
    for case in chosen:
        expected, found = expect(case)
        yield from found
        for task in jobs(expected):
            yield from judge(expected, {task.kernel: task.index}, [task.kernel])
    yield from selftest_decode.findings(device())
    yield from map(repeated, selftest_determinism.cases())
    yield from (selftest_planned.judge(case, device()) for case in selftest_planned.cases())


def spread(chosen: list[SelfTestCase], workers: int) -> Iterator[Finding]:
    """In processes: the configurations of a case as soon as its reference is there."""
    precompile(launches, chosen, workers=workers)
    with TemporaryDirectory() as folder, pool_of(workers, device().type) as pool:
        waiting: set[Future[tuple[list[Finding], list[SelfTestJob]]]] = {
            pool.submit(expect_into, Path(folder) / f"{number}.pt", case)
            for number, case in enumerate(chosen)
        }
        waiting |= {pool.submit(step, case) for case in selftest_decode.cases()}
        waiting |= {pool.submit(again, case) for case in selftest_determinism.cases()}
        waiting |= {pool.submit(by_plan, case) for case in selftest_planned.cases()}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                found, tasks = future.result()
                waiting |= {pool.submit(job, task) for task in tasks}
                yield from found


def launches(chosen: list[SelfTestCase]) -> Iterator[Callable[[], object]]:
    """What the cases call on the device, the longest to compile first: products in full float32."""
    for case in sorted(chosen, key=lambda case: not case.exact):
        problem = draw(case)
        yield partial(evaluate, problem, device())
        if compared_with_pinned(case):
            yield partial(evaluate, problem, device(), pinned=True)


def expect_into(file: Path, case: SelfTestCase) -> tuple[list[Finding], list[SelfTestJob]]:
    """`expect`, kept in a file for the processes that go on with it, and what they have to do."""
    try:
        expected, found = expect(case)
    except Exception as error:
        return [failed(Finding("", "", case.name, FAILED), error)], []
    torch.save(expected, file)
    return found, [replace(task, file=file) for task in jobs(expected)]


@lru_cache(maxsize=2)
def loaded(file: Path) -> Expected:
    expected: Expected = torch.load(file, weights_only=False)
    return expected


def job(task: SelfTestJob) -> tuple[list[Finding], list[SelfTestJob]]:
    return judge(loaded(task.file), {task.kernel: task.index}, [task.kernel]), []


def step(case: SelfTestCase) -> tuple[list[Finding], list[SelfTestJob]]:
    return [selftest_decode.judge(case, device())], []


def again(case: SelfTestCase) -> tuple[list[Finding], list[SelfTestJob]]:
    return [repeated(case)], []


def by_plan(case: SelfTestCase) -> tuple[list[Finding], list[SelfTestJob]]:
    return [selftest_planned.judge(case, device())], []


def repeated(case: SelfTestCase) -> Finding:
    """Whether the first configurations that fit give the same bits every time."""
    return selftest_determinism.judge(case, lambda problem: first_fitting(problem)[0], device())


def unreached(findings: list[Finding]) -> list[Finding]:
    """Kernels, and configurations of them, that no case has run."""
    seen = {(finding.kernel, finding.configuration) for finding in findings}
    return [
        Finding(name, described(name, index), "", UNREACHED)
        for name, kernel in TUNED.items()
        for index in range(len(kernel.configs))
        if (name, described(name, index)) not in seen
    ]


def run_once(case: SelfTestCase) -> list[str]:
    """A case at its first fitting configurations, without a reference, for compute-sanitizer: the kernels launched."""
    launched, _ = first_fitting(draw(case))
    if not INTERPRETED:
        torch.cuda.synchronize()
    return sorted(launched)
