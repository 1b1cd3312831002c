"""What a run of `verify` covers: everything, or a part that is named and kept apart."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from osdn_theory.bounds import bound_ids
from osdn_theory.verification.suite import stream_names

LONGEST_NAME = 80
"""Characters of a folder's name that are spelled out; beyond them a hash tells parts apart."""


@dataclass(frozen=True)
class Selection:
    """What was asked for.

    Attributes
    ----------
    streams, bounds : tuple of str
        Names of streams, and ids of bounds.
    file : Path or None
        Captured activations that are checked as well.
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

    Raises
    ------
    ValueError
        For an unknown stream or bound: the closest one that is known.
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
