"""Texts with free licences that a machine has or can install: Python's sources and documentation, dictionaries."""

import gzip
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .corpus import Document, DocumentError, Licences, decode

LIBRARY = Path(sysconfig.get_path("stdlib"))
DICTIONARIES = Path("/usr/share/dictd")
MANUALS = Path("/usr/share/doc")

ENTRIES_OF_A_DOCUMENT = 1 << 16
"""Bytes of dictionary that make one document, cut between entries: no entry is divided, nor in two splits."""


@dataclass(frozen=True)
class TextSource:
    """Documents with one licence; `package` is what brings them to a Debian machine."""

    name: str
    licence: str
    package: str
    read: Callable[[], Iterator[Document]]


def read_folder(name: str, folder: Path, patterns: tuple[str, ...]) -> Iterator[Document]:
    """The text files below a folder, in the order of their paths; what is no text is left out."""
    for path in sorted({found for pattern in patterns for found in folder.rglob(pattern)}):
        if "site-packages" in path.parts or not path.is_file():
            continue
        try:
            yield Document(name, str(path.relative_to(folder)), decode(path.read_bytes(), str(path)))
        except DocumentError:
            # Python's tests hold sources in other encodings on purpose.
            continue


def read_dictionary(name: str, path: Path) -> Iterator[Document]:
    """A dictionary of the dictd format in pieces; dictzip files are gzip files."""
    if not path.is_file():
        return
    piece: list[str] = []
    size = number = 0
    # Some entries of GCIDE are in another encoding.
    text = gzip.decompress(path.read_bytes()).decode(errors="replace")
    for line in text.splitlines(keepends=True):
        if size >= ENTRIES_OF_A_DOCUMENT and not line[:1].isspace():
            yield Document(name, f"{number}", "".join(piece))
            piece, size, number = [], 0, number + 1
        piece.append(line)
        size += len(line)
    yield Document(name, f"{number}", "".join(piece))


def read_manuals(name: str) -> Iterator[Document]:
    """Sources of Python's documentation, of the newest version that is installed."""
    found = sorted(
        MANUALS.glob("python3.*/html/_sources"), key=lambda path: int(path.parts[-3][9:].split("-")[0])
    )
    if found:
        yield from read_folder(name, found[-1], ("*.txt",))


def _dictionary(name: str, licence: str) -> TextSource:
    path = DICTIONARIES / f"{name}.dict.dz"
    return TextSource(name, licence, f"dict-{name}", lambda: read_dictionary(name, path))


SOURCES = (
    TextSource("python", "PSF-2.0", "libpython3-stdlib, libpython3-testsuite",
               lambda: read_folder("python", LIBRARY, ("*.py",))),
    TextSource("python-doc", "PSF-2.0", "python3-doc", lambda: read_manuals("python-doc")),
    _dictionary("gcide", "GPL-2.0-or-later"),
    _dictionary("wn", "WordNet-3.0"),
    _dictionary("foldoc", "GFDL-1.1-or-later"),
    _dictionary("jargon", "public domain"),
)  # fmt: skip


def read_installed(names: Sequence[str] = ()) -> tuple[list[Document], Licences]:
    """What this machine has of `SOURCES`, or of those with these names, and the licences of what was found."""
    chosen = [source for source in SOURCES if not names or source.name in names]
    found = {source: list(source.read()) for source in chosen}
    documents = [document for own in found.values() for document in own]
    return documents, {source.name: source.licence for source, own in found.items() if own}
