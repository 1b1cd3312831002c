"""A run of the fuzzer: case after case until the number or the time is reached, what failed shrunk and written."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from osdn_theory.base.brief import show_briefly
from osdn_theory.crosscheck.cases.case import Dtype
from osdn_theory.crosscheck.fuzz.draw import LARGE, SMALL, FuzzSizes, draw
from osdn_theory.crosscheck.fuzz.folder import Folder, Row
from osdn_theory.crosscheck.fuzz.held import Held, TrialFault, hold
from osdn_theory.crosscheck.fuzz.menu import Takes, find_out
from osdn_theory.crosscheck.fuzz.script import write_failure
from osdn_theory.crosscheck.fuzz.shrink import shrink
from osdn_theory.crosscheck.fuzz.trial import Trial
from osdn_theory.crosscheck.kernel.adapters import Adapter

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FuzzPlan:
    """What is to be run.

    - `cases`: Cases of the whole run, those of earlier calls in the same folder included; None: until the time is up.
    - `seconds`: Of this call.
    - `dtypes`: None named: those that the kernel takes.
    """

    seed: int = 0
    cases: int | None = 100
    seconds: float | None = None
    dtypes: tuple[Dtype, ...] = ()
    device: str = "cpu"


@show_briefly
@dataclass(frozen=True)
class Failure:
    """One way in which a kernel fails, at the smallest case found.

    - `signature`, `detail`: What is the same for all its cases; what is off in the smallest.
    - `number`: The case it was first seen in.
    - `cases`: How many cases failed in this way.
    - `shape`: B, H, T, K and V of the smallest.
    - `repeats`: Whether the case failed again when it was put again.
    - `files`: The replay file and the script.
    """

    signature: str
    detail: str
    number: int
    cases: int
    shape: dict[str, int]
    repeats: bool
    files: tuple[str, ...]


@show_briefly
@dataclass(frozen=True)
class FuzzSummary:
    """What a run has found so far, earlier calls in the same folder included.

    - `seed`, `cases`, `kept`: Cases held against float64, of which `kept` by earlier calls.
    - `telling`: Cases whose bound is narrow enough to tell.
    - `refused`: What the kernel says that it does not do -> number of cases.
    - `failed`: Cases that failed.
    - `lost`: Why the device could not be used any more, or "".
    """

    kernel: str
    device: str
    seed: int
    cases: int
    kept: int
    telling: int
    refused: dict[str, int]
    failed: int
    failures: tuple[Failure, ...]
    not_drawn: tuple[str, ...]
    seconds: float
    interrupted: bool = False
    lost: str = ""

    @property
    def exit_code(self) -> int:
        return 1 if self.failed else 0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "exit_code": self.exit_code}


def fuzz(
    adapter: Adapter,
    plan: FuzzPlan,
    *,
    folder: Folder | None = None,
    files: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> FuzzSummary:
    """Put drawn cases to a kernel.

    - `folder`: Whose journal goes on.
    - `files`: Where failures are written to; made when there is one. Default: nowhere.
    - `progress`, callable (what, done, total)

    Raises KernelError: if the kernel takes no harmless input at all.
    Raises OSError: if nothing can be written to the folder.

    Returns what was found, after Ctrl-C too.
    """
    run = _FuzzRun(adapter, plan, folder, files, time.perf_counter())
    interrupted = False
    try:
        run.find_out()
        with run.writing():
            for number in run.numbers():
                progress(f"{number} cases, {run.failed} failed", number, plan.cases or number)
                run.case(number)
    except KeyboardInterrupt:
        interrupted = True
    return replace(run.summary(), interrupted=interrupted)


@dataclass(eq=False)
class _FuzzRun:
    """A run under way."""

    adapter: Adapter
    plan: FuzzPlan
    folder: Folder | None
    files: Path | None
    began: float
    takes: Takes | None = None
    rows: list[Row] = field(default_factory=list)
    kept: int = 0
    lost: str = ""

    def find_out(self) -> None:
        """What the kernel takes, unless the journal knows it."""
        self.takes = None if self.folder is None else self.folder.takes
        if self.takes is None:
            self.takes = find_out(self.adapter, self.plan.device, self.plan.dtypes)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The journal open, if there is one."""
        if self.folder is None:
            yield
            return
        with self.folder.writing():
            assert self.takes is not None
            self.folder.begin(self.takes)
            self.rows = list(self.folder.rows)
            self.kept = len(self.rows)
            yield

    @property
    def failed(self) -> int:
        return sum(bool(row["signatures"]) for row in self.rows)

    def in_time(self) -> bool:
        return self.plan.seconds is None or time.perf_counter() - self.began < self.plan.seconds

    def numbers(self) -> Iterator[int]:
        """Numbers of the cases that are left."""
        number = len(self.rows)
        while (self.plan.cases is None or number < self.plan.cases) and self.in_time() and not self.lost:
            yield number
            number += 1

    def case(self, number: int) -> None:
        assert self.takes is not None
        trial = draw(self.adapter, self.takes, self.sizes, self.plan.seed, number)
        held = hold(self.adapter, trial, self.plan.device)
        known = {signature for row in self.rows for signature in row["signatures"]}
        # The first fault is the one that the others follow from; one file for each kind of it is enough.
        leading = held.faults[:1]
        row: Row = {
            "number": number,
            "telling": held.telling,
            "refused": held.refused,
            "signatures": [fault.signature for fault in leading],
        }
        new = [fault for fault in leading if fault.signature not in known]
        stopped = False
        for fault in new:
            row["failure"], stopped = self.failure(number, trial, held, fault)
        self.rows.append(row)
        if self.folder is not None:
            self.folder.add(row)
        if stopped:
            raise KeyboardInterrupt

    @property
    def sizes(self) -> FuzzSizes:
        return SMALL if self.plan.device.startswith("cpu") else LARGE

    def failure(self, number: int, trial: Trial, held: Held, fault: TrialFault) -> tuple[Row, bool]:
        """Shrink and write; and whether Ctrl-C stopped the shrinking, whose best is written all the same."""
        stopped, repeats = False, False
        self.lost = _lost(fault, self.plan.device)
        smallest = (trial, held, fault)
        try:
            if not self.lost:
                repeats, smallest = self.shrunk(smallest)
        except _Stopped as stop:
            stopped, repeats, smallest = True, True, stop.smallest
        trial, held, fault = smallest
        stem = f"{_slug(self.adapter.name)}-seed{self.plan.seed}-case{number}"
        files: list[Path] = []
        if self.files is not None:
            device = self.plan.device
            files = write_failure(self.files, stem, self.adapter, trial, fault, held.answers, device)
        told = {"detail": fault.detail, "shape": trial.shape, "repeats": repeats}
        return {**told, "files": [str(path) for path in files]}, stopped

    def shrunk(self, found: _Found) -> tuple[bool, _Found]:
        """Whether the failure repeats, and the smallest case that shows it."""
        fault, smallest = found[2], [found]

        def fails(trial: Trial) -> bool:
            held = hold(self.adapter, trial, self.plan.device)
            shown = held.shows(fault)
            if shown is not None:
                smallest.append((trial, held, shown))
            return shown is not None

        try:
            if not fails(found[0]):
                return False, found
            for _ in shrink(found[0], fails, goes_on=self.in_time):
                # Every trial that fails is taken: it is the last one here.
                del smallest[:-1]
        except KeyboardInterrupt:
            raise _Stopped(smallest[-1]) from None
        return True, smallest[-1]

    def summary(self) -> FuzzSummary:
        return FuzzSummary(
            kernel=self.adapter.name,
            device=self.plan.device,
            seed=self.plan.seed,
            cases=len(self.rows),
            kept=self.kept,
            telling=sum(row["telling"] for row in self.rows),
            refused=Counter(row["refused"] for row in self.rows if row["refused"]),
            failed=self.failed,
            failures=tuple(self._failures()),
            not_drawn=() if self.takes is None else self.takes.refused,
            seconds=time.perf_counter() - self.began,
            lost=self.lost,
        )

    def _failures(self) -> Iterator[Failure]:
        for row in self.rows:
            if "failure" not in row:
                continue
            (signature,) = row["signatures"]
            cases = sum(signature in other["signatures"] for other in self.rows)
            known = {"signature": signature, "number": row["number"], "cases": cases}
            yield msgspec.convert({**known, **row["failure"]}, Failure)


_Found = tuple[Trial, Held, TrialFault]


class _Stopped(Exception):
    """Ctrl-C while shrinking, with the smallest case until then."""

    def __init__(self, smallest: _Found) -> None:
        super().__init__("interrupted")
        self.smallest = smallest


def _lost(fault: TrialFault, device: str) -> str:
    """Why the device takes no more work: an error of a CUDA kernel leaves nothing else to a process."""
    if fault.kind != "raised" or not device.startswith("cuda"):
        return ""
    import torch

    try:
        torch.zeros(1, device=device).add_(1).item()
    except RuntimeError as error:
        return " ".join(str(error).split("\n")[0].split())
    return ""


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name).strip("-")
