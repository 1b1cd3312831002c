"""JSON documents that other commands left in the report folder: used only where they are whole and of this code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, Literal, TypeVar

from osdn_theory.base.documents import DocumentKind, StaleError

State = Literal["read", "absent", "corrupt", "stale"]

PACKAGED = "osdn_theory/data/"
"""What the names of documents begin with that are delivered with the package."""

T = TypeVar("T")


@dataclass(frozen=True)
class Document(Generic[T]):
    """A document of the folder.

    Attributes
    ----------
    file : str
        Its path in the folder.
    state : "read", "absent", "corrupt" or "stale"
        Only a document that was read counts as evidence.
    notice : str
        Why it does not count, or what to know of one that does; mostly empty.
    written : str
        When the file was last written, UTC; empty where it is absent.
    content : parsed document or None
        None unless it was read.
    command : str
        The command line that made it; empty unless it was read.
    """

    file: str
    state: State
    notice: str = ""
    written: str = ""
    content: T | None = None
    command: str = ""

    @property
    def packaged(self) -> bool:
        """Whether it was delivered with the package instead of made in the report folder."""
        return self.file.startswith(PACKAGED)


def read_document(path: Path, kind: DocumentKind[T], *, name: str) -> Document[T]:
    """Read a document, which the page calls `name`; whatever is wrong is in its state and notice."""
    try:
        raw, changed = path.read_bytes(), path.stat().st_mtime
    except FileNotFoundError:
        return Document(name, "absent", f"{name} is not in the report folder")
    except OSError as error:
        return Document(name, "corrupt", f"{name} cannot be read: {error.strerror}")
    written = datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    try:
        stamp, content = kind.decode(raw)
    except StaleError as error:
        return Document(name, "stale", f"{name} is stale: {error}", written)
    except ValueError as error:
        return Document(name, "corrupt", f"{name} is corrupt: {error}", written)
    other = kind.other_code(stamp)
    return Document(name, "read", f"{name} was {other}" if other else "", written, content, stamp.command)
