"""JSON documents that other commands left in the report folder: used only where they are whole and fresh."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, Literal, NoReturn, Protocol, TypeVar

from osdn_theory import __version__

State = Literal["read", "absent", "corrupt", "stale"]

CODE_SUFFIXES = (".py", ".v")


class StaleError(ValueError):
    """A document that another state of the code made; the message says how one can tell."""


class Content(Protocol):
    """What a parsed document must say of itself."""

    @property
    def made_by(self) -> str:
        """The version of osdn that wrote it; empty where it does not say."""


T = TypeVar("T", bound=Content)


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
        Why it does not count; empty where it does.
    written : str
        When the file was last written, UTC; empty where it is absent.
    content : parsed document or None
        None unless it was read.
    """

    file: str
    state: State
    notice: str = ""
    written: str = ""
    content: T | None = None


def read_document(
    path: Path, parse: Callable[[Any], T], *, name: str, made_from: Iterable[str] | None
) -> Document[T]:
    """Read a document, and refuse it where it is broken, of another version, or older than the code.

    Parameters
    ----------
    path : Path
    parse : function of the decoded JSON
        Raises ValueError where it is not what it should be, StaleError where it is about other code.
    name : str
        What the page calls it.
    made_from : names of packages, or None
        Whose code made it: a change in one of them since then makes the document stale. None: it records an
        experiment, which stays what it was whatever the code has become.

    Returns
    -------
    Document
        Whatever is wrong is in its state and notice; nothing is raised.
    """
    try:
        raw, changed = path.read_bytes(), path.stat().st_mtime
    except FileNotFoundError:
        return Document(name, "absent", f"{name} is not in the report folder")
    except OSError as error:
        return Document(name, "corrupt", f"{name} cannot be read: {error.strerror}")
    written = datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    try:
        content = parse(json.loads(raw, parse_constant=_refuse))
        if made_from is not None:
            _check_fresh(content.made_by, changed, made_from)
    except StaleError as error:
        return Document(name, "stale", f"{name} is stale: {error}", written)
    except (ValueError, RecursionError) as error:
        return Document(name, "corrupt", f"{name} is corrupt: {error}", written)
    return Document(name, "read", "", written, content)


def _refuse(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


def _check_fresh(made_by: str, changed: float, packages: Iterable[str]) -> None:
    if made_by != __version__:
        maker = f"osdn {made_by}" if made_by else "a version of osdn that it does not name"
        raise StaleError(f"it was made by {maker}, this is {__version__}")
    newest = newest_source(packages)
    if newest is not None and newest.stat().st_mtime > changed:
        raise StaleError(f"it is older than the code, {newest.parent.name}/{newest.name}")


def newest_source(packages: Iterable[str]) -> Path | None:
    """The source file of these packages that was changed last; nothing is imported."""
    specs = [find_spec(package) for package in packages]
    folders = [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]
    files = [
        file
        for folder in folders
        for file in folder.rglob("*")
        if file.suffix in CODE_SUFFIXES and file.is_file()
    ]
    return max(files, key=lambda file: file.stat().st_mtime, default=None)
