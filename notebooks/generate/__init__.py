"""Pages of the site that are made of the code and of measurements, so that they cannot go stale."""

from collections.abc import Mapping
from pathlib import Path

from generate import api_pages, coq_pages, measured_tables, notebook_table, theorem_pages

Pages = Mapping[str, str | bytes]
"""File name within the folder -> content."""


def write_pages(folder: Path) -> None:
    """Write every generated page below `folder`, and remove what an earlier build had beside them.

    A file that would not change is not touched, so that Sphinx reads only what is new.
    """
    pages: dict[str, str | bytes] = {}
    for made in (theorem_pages, coq_pages, measured_tables, notebook_table, api_pages):
        pages |= made.pages()
    for name, content in pages.items():
        _write(folder / name, content if isinstance(content, bytes) else content.encode())
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in pages:
            path.unlink()


def _write(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
