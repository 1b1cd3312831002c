"""A verification: which streams and bounds, every check, and what they come to."""

import hashlib
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory import __version__
from osdn_theory.base.brief import show_briefly
from osdn_theory.base.jsonable import jsonable
from osdn_theory.base.source import command
from osdn_theory.base.threads import single_threaded_blas
from osdn_theory.bounds import BoundCheck, bound_ids, check_bounds
from osdn_theory.bounds.checking import CONTEXT
from osdn_theory.streams.activations import require_tokens
from osdn_theory.verification.suite import Entry, activation_entries, stream_names, suite, trajectories

LONGEST_NAME = 80
"""Characters of a folder's name that are spelled out; beyond them a hash tells parts apart."""


@dataclass(frozen=True)
class Selection:
    """What was asked for.

    - `streams`, `bounds`: Names of streams, and ids of bounds.
    - `file`: Captured activations that are checked as well.
    """

    streams: tuple[str, ...]
    bounds: tuple[str, ...]
    file: Path | None = None

    @property
    def streams_left_out(self) -> tuple[str, ...]:
        return tuple(name for name in stream_names() if name not in self.streams)

    @property
    def bounds_left_out(self) -> tuple[str, ...]:
        return tuple(name for name in bound_ids() if name not in self.bounds)

    @property
    def complete(self) -> bool:
        """Whether every stream and every bound of this version is in it."""
        return not (self.streams_left_out or self.bounds_left_out)

    @property
    def name(self) -> str:
        """Streams, file and bounds that were asked for, as the name of a folder."""
        parts = list(self.streams) if self.streams_left_out else []
        parts += [] if self.file is None else [self.file.stem]
        parts += self.bounds if self.bounds_left_out else []
        name = re.sub(r"[^\w.+-]+", "-", "+".join(parts)).lstrip(".-") or "nothing"
        if len(name) <= LONGEST_NAME and self.file is None:
            return name
        # Two files may have one name, and a long list is cut.
        told = repr((self.streams, self.bounds, self.file and str(self.file.resolve())))
        return f"{name[:LONGEST_NAME]}-{hashlib.sha256(told.encode()).hexdigest()[:6]}"

    def folder(self, reports: Path = Path("report")) -> Path:
        """Where its report goes unless somebody says otherwise: a part never lies where the whole does."""
        return reports if self.complete else reports / "partial" / self.name


def select(
    *,
    streams: Sequence[str] | None = None,
    file: Path | str | None = None,
    bounds: Sequence[str] | None = None,
) -> Selection:
    """Everything by default; only a file, where one is given and no stream is named.

    Raises ValueError: for an unknown stream or bound: the closest one that is known.
    """
    chosen = _known("streams", streams, stream_names())
    wanted = _known("bounds", bounds, bound_ids())
    everything = tuple(stream_names()) if file is None else ()
    return Selection(chosen or everything, wanted or bound_ids(), None if file is None else Path(file))


def _known(name: str, asked: Iterable[str] | None, known: Iterable[str]) -> tuple[str, ...]:
    names, wanted = list(known), tuple(asked or ())
    for item in wanted:
        if item not in names:
            close = get_close_matches(item, names, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(names)}"
            raise ValueError(f"{name}: unknown {item!r}{hint}")
    return wanted


STREAM_DESCRIPTIONS: Mapping[str, str] = stream_names()
STREAM_NAMES: tuple[str, ...] = tuple(STREAM_DESCRIPTIONS)
BOUND_IDS: tuple[str, ...] = bound_ids()

Progress = Callable[[str, int, int], None]

EXIT_HOLDS, EXIT_VIOLATED, EXIT_UNDECIDED = 0, 1, 3


@show_briefly
@dataclass(frozen=True)
class Verification:
    """Verdicts of one run of `verify`, and what it takes to repeat it.

    - `streams`: Name and description of every stream covered.
    - `seed`, `seeds`: First seed, and how many draws of every synthetic stream.
    - `environment`: Versions and machine.
    """

    checks: list[BoundCheck]
    streams: dict[str, str]
    seed: int
    seeds: int
    environment: dict[str, str]
    command: str
    elapsed_s: float
    selection: Selection

    @property
    def exit_code(self) -> int:
        """0 if every bound that applies holds, if only vacuously; 1 if one is violated, 3 if some are undecided."""
        outcomes = {check.outcome for check in self.checks}
        if "violated" in outcomes:
            return EXIT_VIOLATED
        return EXIT_UNDECIDED if "undecided" in outcomes else EXIT_HOLDS

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values; infinities become strings."""
        result: dict[str, Any] = jsonable(
            {
                "seed": self.seed,
                "seeds": self.seeds,
                "command": self.command,
                "elapsed_s": self.elapsed_s,
                "exit_code": self.exit_code,
                "complete": self.selection.complete,
                "environment": self.environment,
                "streams": self.streams,
                "checks": self.checks,
            }
        )
        return result


def verify(
    *,
    streams: Sequence[str] | None = None,
    file: Path | str | None = None,
    bounds: Sequence[str] | None = None,
    seeds: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Verification:
    """Check bounds on streams.

    - `streams`: Names out of `STREAM_NAMES`. Default: all of them, or only `file` where one is given.
    - `file`: Captured activations, see `osdn_theory.streams.activations.load_activations`.
    - `bounds`: Ids out of `BOUND_IDS`. Default: all.
    - `seeds`, int >= 1: Draws of every synthetic stream.
    - `seed`, int >= 0: The first of them.
    - `progress`: callable (stream name, done, total)

    Raises ValueError: unknown stream or bound, seeds < 1, seed < 0, or a file that cannot be read as
    activations or has no tokens.
    """
    started = time.perf_counter()
    _check_counts(seeds, seed)
    selection = select(streams=streams, file=file, bounds=bounds)
    entries = list(suite(selection.streams, seed, seeds))
    if selection.file is not None:
        given = list(activation_entries(selection.file))
        require_tokens([entry.build(np.random.default_rng(seed)) for entry in given])
        entries.extend(given)
    # Every matrix here is small: a second BLAS thread costs more in waiting than it computes.
    with single_threaded_blas():
        checks, described = _run(entries, selection.bounds, progress)
    return Verification(
        checks=checks,
        streams=described,
        seed=seed,
        seeds=seeds,
        environment=environment(),
        command=command(),
        elapsed_s=time.perf_counter() - started,
        selection=selection,
    )


def _run(
    entries: Sequence[Entry], wanted: Sequence[str], progress: Progress | None
) -> tuple[list[BoundCheck], dict[str, str]]:
    checks: list[BoundCheck] = []
    described: dict[str, str] = {}
    for done, entry in enumerate(entries):
        if progress is not None:
            progress(entry.name, done, len(entries))
        for position, (label, trajectory) in enumerate(trajectories(entry)):
            described[trajectory.stream.name] = entry.description
            # T10 is about the context alone: once per stream says it all.
            asked = wanted if position == 0 else [name for name in wanted if name != CONTEXT]
            checks.extend(check_bounds(trajectory, asked, rule_label=label))
    if progress is not None:
        progress("", len(entries), len(entries))
    return checks, described


def _check_counts(seeds: int, seed: int) -> None:
    if seeds < 1:
        raise ValueError(f"seeds: expected at least 1, got {seeds}")
    if seed < 0:
        raise ValueError(f"seed: expected >= 0, got {seed}")


def environment() -> dict[str, str]:
    """Versions of what the verdicts depend on, and the machine."""
    packages = {name: version(name) for name in ("numpy", "scipy", "python-flint", "matplotlib")}
    return {
        "osdn": __version__,
        "python": platform.python_version(),
        **packages,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": str(os.cpu_count()),
    }
