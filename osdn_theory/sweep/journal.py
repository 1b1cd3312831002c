"""An append-only file of rows, one checked line each: what is on disk survives a kill, what is torn is noticed."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from osdn_theory.base.folders import write_atomically

Row = dict[str, Any]


class Journal:
    """Rows on disk, each a line of JSON behind its checksum; one writer at a time.

    A row is on disk when :meth:`append` returns. JSON spells every float64 so that it reads back to the same bits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[list[Row], int]:
        """All whole rows in the order written, and the number of torn lines, which are removed from the file."""
        content = self.path.read_bytes() if self.path.exists() else b""
        lines = content.splitlines(keepends=True)
        whole = [(line, row) for line in lines if (row := _decode(line)) is not None]
        torn = len(lines) - len(whole)
        if torn:
            # The next row must not be glued to half of another.
            write_atomically(self.path, b"".join(line for line, _ in whole))
        return [row for _, row in whole], torn

    @contextlib.contextmanager
    def writing(self) -> Iterator[Journal]:
        """Keep the file open for :meth:`append`."""
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            yield self
        finally:
            os.close(self._file)

    def append(self, row: Row) -> None:
        """Add one row and wait until the disk has it.

        Raises OSError: if it does not fit (a full disk, say). The file then ends with the row before.
        """
        start = os.fstat(self._file).st_size
        try:
            _write_whole(self._file, _encode(row))
            os.fsync(self._file)
        except OSError as error:
            # If even that fails, the next reader finds the torn line by its checksum.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, start)
            raise OSError(
                f"cannot save to {str(self.path)!r}: {error.strerror}; the cells before are saved, "
                "the same command goes on from there"
            ) from error

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


def _encode(row: Row) -> bytes:
    text = json.dumps(row, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> Row | None:
    """The row of one line; None where its checksum, its end or its beginning is missing."""
    total, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or total != b"%08x" % zlib.crc32(text):
        return None
    row: Row = json.loads(text)
    return row


def _write_whole(file: int, content: bytes) -> None:
    """`os.write` may write a part and fail only at the next call: a disk that fills up does that."""
    while content:
        content = content[os.write(file, content) :]
