"""A corpus: documents with the licences of their sources, split by document, in one file that can be carried."""

import bz2
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...launch.files import rewriting
from ..validation import require

SPLITS = ("train", "validation", "test")
HELD_OUT = 20
"""One document in so many is for validation, and as many are for the test."""

MEGABYTE = 1_000_000
FORMAT = "osdn-corpus/1"
Licences = Mapping[str, str]
UNKNOWN_LICENCE = "not recorded"


class DocumentError(ValueError):
    """A file that is no text."""


class Document(NamedTuple):
    """A text, where it comes from, and its name there."""

    source: str
    name: str
    text: str

    @property
    def split(self) -> str:
        """By a hash of the text, so that copies of a document lie on one side."""
        share = int.from_bytes(hashlib.sha256(self.text.encode()).digest()[:8], "big") % HELD_OUT
        return SPLITS[1 + share] if share < 2 else SPLITS[0]


@dataclass(frozen=True)
class Corpus:
    """Documents, and the licence of each source."""

    documents: tuple[Document, ...]
    licences: Licences

    def split(self, name: str) -> list[Document]:
        """In the order of the documents' names."""
        return sorted(document for document in self.documents if document.split == name)

    @property
    def size(self) -> int:
        """Bytes of text."""
        return sum(len(document.text.encode()) for document in self.documents)

    @property
    def fingerprint(self) -> str:
        """Of the texts, in whatever order they were read."""
        total = hashlib.sha256()
        for document in sorted(self.documents):
            total.update(hashlib.sha256(document.text.encode()).digest())
        return total.hexdigest()[:16]

    def describe(self) -> dict[str, object]:
        """JSON-ready: what there is of each source under which licence."""
        found = {}
        for source, licence in self.licences.items():
            own = [document for document in self.documents if document.source == source]
            size = sum(len(document.text.encode()) for document in own)
            found[source] = {"licence": licence, "documents": len(own), "bytes": size}
        return {"fingerprint": self.fingerprint, "bytes": self.size, "sources": found}


def decode(raw: bytes, name: str) -> str:
    """The text of a file."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise DocumentError(f"{name}: not text: {error}") from None
    if "\0" in text:
        raise DocumentError(f"{name}: not text: it has NUL bytes")
    return text


def read_corpus(path: Path | None, least: int, sources: Sequence[str] = ()) -> Corpus:
    """What is installed (None), a file of `write_corpus`, or a folder whose files are documents.

    - `sources`: Of what is installed only these; all by default.
    """
    if path is None:
        from .sources import SOURCES, read_installed

        documents, licences = read_installed(sources)
        hint = "apt install " + " ".join(source.package.replace(",", "") for source in SOURCES[1:])
    else:
        hint = "give a larger --corpus, or a smaller preset"
        documents, licences = _read_folder(path) if path.is_dir() else _read_file(path)
    corpus = Corpus(tuple(documents), licences)
    got = f"{corpus.size / MEGABYTE:.1f} MB in {len(documents)} documents"
    require(corpus.size >= least, "corpus", f"at least {least / MEGABYTE:g} MB of text ({hint})", got)
    for name in SPLITS:
        require(bool(corpus.split(name)), "corpus", f"documents enough for a {name} split", got)
    return corpus


def write_corpus(corpus: Corpus, path: Path) -> None:
    """One compressed file, whole or not at all.

    Raises OSError: it cannot be written.
    """
    with rewriting(path) as part, bz2.open(part, "wt", encoding="utf-8") as file:
        for row in ({"format": FORMAT, "licences": corpus.licences}, *corpus.documents):
            file.write(json.dumps(row) + "\n")


def _read_file(path: Path) -> tuple[list[Document], Licences]:
    if not path.is_file():
        raise FileNotFoundError(
            f"corpus: {str(path)!r} is not there; make one by osdn-theory train --gather FILE"
        )
    try:
        with bz2.open(path, "rt", encoding="utf-8") as file:
            head, *rows = map(json.loads, file)
        require(head["format"] == FORMAT, "format", FORMAT, head["format"])
        for row in rows:
            "".join(row).encode()  # raises for what is no text
        return [Document(*row) for row in rows], dict(head["licences"])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"corpus: {str(path)!r} is damaged, or no file of --gather: {error}") from None


def _read_folder(path: Path) -> tuple[list[Document], Licences]:
    files = sorted(each for each in path.rglob("*") if each.is_file())
    documents = [
        Document(path.name, str(each.relative_to(path)), decode(each.read_bytes(), str(each)))
        for each in files
    ]
    return documents, {path.name: UNKNOWN_LICENCE}
