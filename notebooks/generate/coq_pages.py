"""The Coq library, a page for each file, with a place to link to for each theorem."""

import re
from collections.abc import Iterator
from pathlib import Path

import proofs_check

SOURCES = Path(proofs_check.__file__).parent / "coq"
_THEOREM = re.compile(r"^(?:Theorem|Corollary|Lemma) (T\d+_\w+)", re.MULTILINE)
_COMMENT = re.compile(r"\(\*\*(.*?)\*\)", re.DOTALL)


def theorems() -> dict[str, list[str]]:
    """Theorem id -> the Coq theorems whose names begin with it, in the order of the files."""
    found: dict[str, list[str]] = {}
    for source in sorted(SOURCES.glob("*.v")):
        for name in _THEOREM.findall(source.read_text()):
            found.setdefault(name.partition("_")[0], []).append(name)
    return found


def pages() -> dict[str, str]:
    """A page for each file, and one that lists them."""
    made = {f"coq/{source.stem}.md": _page(source) for source in sorted(SOURCES.glob("*.v"))}
    listed = "\n".join(Path(name).stem for name in made)
    made["coq/index.md"] = (
        f"# The Coq library\n\n{_INTRODUCTION}\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )
    return made


_INTRODUCTION = (
    "Every file of `proofs_check/coq/`, as Coq compiles it. The name of a theorem begins with the id of the theorem of "
    "[the list](../theorems/index.md) that it proves; names with `_needs_` prove a claim false without one of its "
    "hypotheses. `osdn-theory prove` compiles all of it from scratch."
)


def _page(source: Path) -> str:
    text = source.read_text()
    opening = _COMMENT.search(text)
    about = " ".join(opening[1].split()) if opening else ""
    return f"# {source.name}\n\n{about}\n\n" + "\n\n".join(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """The file cut before each theorem, so that it can be linked to."""
    starts = [match.start() for match in _THEOREM.finditer(text)]
    names = ["", *(match[1] for match in _THEOREM.finditer(text))]
    for name, start, end in zip(names, [0, *starts], [*starts, len(text)], strict=True):
        if name:
            yield f"({anchor(name)})="
        first = text.count("\n", 0, start) + 1
        yield f"```{{code-block}} coq\n:lineno-start: {first}\n\n{text[start:end].rstrip()}\n```"


def anchor(name: str) -> str:
    """The name by which a page links to a Coq theorem."""
    return f"coq-{name}"
