"""The folder of a run: a journal that says whose run it is and what became of every case."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from osdn_theory.base.folders import hold_folder
from osdn_theory.base.validation import require
from osdn_theory.crosscheck.fuzz.menu import Takes
from osdn_theory.sweep.journal import Journal, Row as Row

FORMAT = "osdn-fuzz-journal/1"
JOURNAL = "journal.jsonl"


class Folder:
    """The journal of a run; nothing is written before `writing`.

    - `identity`, mapping: Everything that a case depends on besides its number, JSON-ready.

    - `takes`, Takes or None: As an earlier call found out.
    - `rows`, list of dict: Of the finished cases 0, 1, 2, ...

    Raises ValueError: if the folder holds the journal of another run, or something else by that name.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path, self.identity = path, dict(identity)
        self.takes: Takes | None = None
        self.rows: list[Row] = []
        self._journal = Journal(path / JOURNAL)
        head = self._head()
        if head is not None:
            self.takes = msgspec.convert(head["takes"], Takes)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Inside, `begin` and `add` may be called, by one process at a time; reads the rows.

        Raises OSError: if nothing can be written there, or another process is at work in it.
        """
        with hold_folder(self.path, "run"):
            self._read()
            with self._journal.writing():
                yield

    def begin(self, takes: Takes) -> None:
        """The first line, unless there is one."""
        if self.takes is None:
            self._journal.append(
                {"format": FORMAT, "identity": self.identity, "takes": msgspec.to_builtins(takes)}
            )
            self.takes = takes

    def add(self, row: Row) -> None:
        """One finished case."""
        self._journal.append(row)
        self.rows.append(row)

    def _head(self) -> Row | None:
        """The first line, checked without touching the file."""
        path = self._journal.path
        content = path.read_bytes() if path.exists() else b""
        if not content:
            return None
        try:
            head = json.loads(content.split(b"\n", 1)[0].partition(b" ")[2])
            found = head["format"]
        except (ValueError, KeyError, TypeError):
            found = ""
        require(found == FORMAT, f"--out: {str(path)!r} is no journal of this version of osdn-theory fuzz")
        for name, value in self.identity.items():
            other = head["identity"].get(name)
            same = f"--out: {str(self.path)!r} holds a run with {name} {other}, this is {value}: choose another folder"
            require(other == value, same)
        return dict(head)

    def _read(self) -> None:
        """Rows up to the first that is missing: a torn line's case is run again, and its row comes later."""
        rows = {row["number"]: row for row in self._journal.read()[0] if "number" in row}
        self.rows = []
        while len(self.rows) in rows:
            self.rows.append(rows[len(self.rows)])
