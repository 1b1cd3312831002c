"""The folder of a sweep: rows in a journal while it runs, one Parquet table when it is done."""

import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from osdn_theory.base.folders import hold_folder, write_atomically
from osdn_theory.sweep.columns import COLUMNS, IDENTITY
from osdn_theory.sweep.journal import Journal, Row

FORMAT = 1
TABLE = "sweep.parquet"
_META = b"osdn_sweep"


class CodeMismatchError(ValueError):
    """The folder holds rows that another version of the code computed."""


class Store:
    """The rows of a sweep folder, in the hands of one process.

    Made by :func:`open_store`. A cell counts as finished once its row is on disk without an error.

    - `torn`, int: Rows found damaged on opening; their cells are computed again.
    - `warnings`, list of str: What a person should know about the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self._journal = Journal(folder / "journal.jsonl")
        self._kept = self._read_table()
        written, self.torn = self._journal.read()
        self._rows = _merged([*self._kept, *written])
        self._stale = bool(written) or not self.table.exists()
        if self.torn:
            self.warnings.append(f"{self.torn} torn rows in the journal; their cells are computed again")

    @property
    def table(self) -> Path:
        """Where the table is, or will be."""
        return self.folder / TABLE

    def finished(self) -> set[str]:
        """Ids of the cells that need no computing."""
        return {name for name, row in self._rows.items() if row["error"] is None}

    def row(self, cell: str) -> Row | None:
        """The row of a cell by its id, if there is one."""
        return self._rows.get(cell)

    def codes(self) -> set[str]:
        """Versions of the code that computed the finished rows."""
        return {row["code"] for row in self._rows.values() if row["error"] is None}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Inside, :meth:`add` may be called."""
        with self._journal.writing():
            yield

    def add(self, row: Row) -> None:
        """Put one row on disk; an error if the disk is full, and then nothing is torn."""
        self._journal.append(row)
        self._stale = True
        self._rows = _merged([row], self._rows)

    def compact(self, expected: Iterable[str]) -> Path:
        """Write the one table, check what is on disk against `expected` ids, and only then drop the journal.

        Raises OSError: if it cannot be written; the journal keeps every row then.
        Raises RuntimeError: if the file lacks a cell or has one twice.
        """
        if self._stale:
            self._write_table()
        self._check(expected)
        self._journal.remove()
        return self.table

    def _write_table(self) -> None:
        content = _to_parquet(sorted(self._rows.values(), key=_place))
        try:
            write_atomically(self.table, content)
            _sync(self.table)
        except OSError as error:
            raise OSError(
                f"cannot write {str(self.table)!r}: {error.strerror}; every row is in the journal beside it, "
                "and the same command goes on from there"
            ) from error

    def _check(self, expected: Iterable[str]) -> None:
        import pyarrow.parquet as parquet  # type: ignore[import-untyped]

        ids = parquet.read_table(self.table, columns=["cell"]).column("cell").to_pylist()
        missing = {*expected, *self._rows} - set(ids)
        if missing or len(ids) != len(set(ids)):
            raise RuntimeError(
                f"{self.table}: {len(missing)} cells missing, {len(ids) - len(set(ids))} doubled; the journal is kept"
            )

    def _read_table(self) -> list[Row]:
        import pyarrow

        if not self.table.exists():
            return []
        try:
            return read_rows(self.table)
        except (pyarrow.ArrowInvalid, OSError) as error:
            aside = self.table.with_suffix(".damaged")
            os.replace(self.table, aside)
            self.warnings.append(
                f"{TABLE} is damaged ({' '.join(str(error).split())[:80]}), moved to {aside.name}; "
                "its cells are computed again"
            )
            return []


@contextmanager
def open_store(folder: Path, *, code: str, mix_versions: bool = False) -> Iterator[Store]:
    """The store of a folder, made if it is missing, locked against any other process.

    - `code`: The version that is about to compute, see `version.code_version`.
    - `mix_versions`: Accept rows of another version; each row says which one made it.

    Raises OSError: if nothing can be written there, or another process is at work in it.
    Raises CodeMismatchError: if its rows come from other code and `mix_versions` is not set.
    Raises ValueError: if its table is not one of a sweep, or of another format.
    """
    with hold_folder(folder, "sweep"):
        store = Store(folder)
        others = sorted(store.codes() - {code})
        if others and not mix_versions:
            raise CodeMismatchError(
                f"{str(folder)!r} holds rows of {'; '.join(others)}, this is {code}: choose another --out, "
                "go back to that version, or mix them on purpose with --mix-versions"
            )
        yield store


def read_rows(path: Path) -> list[Row]:
    """All rows of a table, page checksums verified.

    Raises ValueError: if it is not the table of a sweep in this format.
    Raises OSError, pyarrow.ArrowInvalid: if it is damaged.
    """
    import pyarrow.parquet as parquet

    table = parquet.read_table(path, page_checksum_verification=True)
    about = json.loads((table.schema.metadata or {}).get(_META, b"null"))
    if about is None:
        raise ValueError(f"{str(path)!r} is not a table of osdn-theory sweep: choose another --out")
    if about["format"] != FORMAT or table.column_names != [column.name for column in COLUMNS]:
        raise ValueError(
            f"{str(path)!r} has format {about['format']} of osdn {about['osdn']}, not the columns of this version: "
            "choose another --out, or go back to that version"
        )
    rows: list[Row] = table.to_pylist()
    return rows


def _to_parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow
    import pyarrow.parquet as parquet

    from osdn_theory import __version__

    types = {"string": pyarrow.string(), "int64": pyarrow.int64(), "double": pyarrow.float64()}
    schema = pyarrow.schema(
        [
            pyarrow.field(column.name, types[column.kind], metadata={"description": column.meaning})
            for column in COLUMNS
        ],
        metadata={_META: json.dumps({"format": FORMAT, "osdn": __version__})},
    )
    content = io.BytesIO()
    table = pyarrow.Table.from_pylist(list(rows), schema=schema)
    parquet.write_table(table, content, compression="zstd", write_page_checksum=True)
    return content.getvalue()


def _merged(rows: Iterable[Row], known: dict[str, Row] | None = None) -> dict[str, Row]:
    """One row per cell: the latest, except that a failure never replaces a result."""
    result = {} if known is None else known
    for row in rows:
        before = result.get(row["cell"])
        if before is None or before["error"] is not None or row["error"] is None:
            result[row["cell"]] = row
    return result


def _place(row: Row) -> tuple[Any, ...]:
    """Sort key: by the parameters, None first; the same whatever the order of computing."""
    return tuple((row[column.name] is not None, row[column.name]) for column in IDENTITY[1:])


def _sync(path: Path) -> None:
    """Wait until the disk has the file and its name."""
    for place in (path, path.parent):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
