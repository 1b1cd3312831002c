"""What a Coq source says before Coq reads it: its sentences, what it declares, and commands that it must not use."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LEXEMES = re.compile(r'\(\*|\*\)|"|.', re.DOTALL)

_FORBIDDEN = re.compile(
    r"(?<![\w'])(?:"
    r"Admitted|admit|give_up|Axioms?|Parameters?|Conjectures?|bypass_check|"
    r"Unset\s+(?:Guard|Positivity|Universe)\s+Checking|type[-_]in[-_]type|Type[-_]in[-_]Type|"
    r"Declare\s+ML|Load|Add\s+(?:Rec\s+)?LoadPath|Add\s+ML|Drop|Redirect|Extraction"
    r")(?![\w'])"
)
"""What would make Coq accept a theorem without a proof, or read or write what this check does not see."""

_ASSUMES = re.compile(r"(?:Hypothes[ie]s|Variables?|Context)(?![\w'])")
_ATTRIBUTES = re.compile(r"\s*(?:#\[[^\]]*\]\s*|(?:Local|Global|Polymorphic|Monomorphic|Program)\s+)*")
_OPENS = re.compile(r"(Section|Module)\s+(?:Type\s+)?([\w']+)")
_CLOSES = re.compile(r"End\s+([\w']+)")
_DECLARES = re.compile(
    r"(?P<word>Theorem|Lemma|Corollary|Proposition|Fact|Remark|Example|Definition|Fixpoint|CoFixpoint|Function|"
    r"Inductive|CoInductive|Variant|Record|Structure|Class|Instance)"
    r"\s+(?P<name>[\w']+)"
)
_FINAL = re.compile(r"T[1-9]\d*_\w+")
_PROVES = ("Theorem", "Lemma", "Corollary", "Proposition", "Fact", "Remark", "Example")
_EXTERNAL = re.compile(r"(?:From\s+([\w.]+)\s+)?Require\s+(?:Import|Export)\s")
_OPEN_SCOPE = re.compile(r"(?:Local\s+)?Open\s+Scope\s+\w+")


def strip_comments(text: str) -> str:
    """The source with comments (nested ones too) and the contents of strings blanked; lines keep their numbers.

    As in Coq, a string inside a comment is a string: a closing mark inside it does not close the comment.
    """
    out: list[str] = []
    depth, quoted = 0, False
    for match in _LEXEMES.finditer(text):
        lexeme = match.group()
        hidden = depth > 0 or (quoted and lexeme != '"')
        if lexeme == '"':
            quoted = not quoted
        elif not quoted and lexeme == "(*":
            depth, hidden = depth + 1, True
        elif not quoted and lexeme == "*)" and depth > 0:
            depth -= 1
        out.append(re.sub(r"[^\n]", " ", lexeme) if hidden else lexeme)
    return "".join(out)


def sentences(stripped: str) -> Iterator[tuple[str, int]]:
    """The commands of a source without comments, without attributes in front, and the lines that they start on.

    A full stop before white space ends each.
    """
    start = 0
    for end in re.finditer(r"\.(?=\s|$)", stripped):
        raw = stripped[start : end.start()]
        attributes = _ATTRIBUTES.match(raw)
        skipped = attributes.end() if attributes else 0
        yield raw[skipped:].strip(), 1 + stripped.count("\n", 0, start + skipped)
        start = end.end()


@dataclass(frozen=True)
class Source:
    """A source file as this check sees it.

    - `name`: File name without ``.v``.
    - `theorems`: What it proves under a theorem id: ``T5_...``.
    - `definitions`: What its statements could speak of: the constants and types that it defines.
    - `preamble`: Its imports from outside the library and the scopes it opens: what its statements are printed with.
    - `problems`: Forbidden commands, with their lines.
    """

    name: str
    theorems: tuple[str, ...]
    definitions: tuple[str, ...]
    preamble: tuple[str, ...]
    problems: tuple[str, ...]


def read_source(name: str, text: str, prefix: str) -> Source:
    """Read a file of a library whose logical name is `prefix`."""
    stripped = strip_comments(text)
    placed = list(_place(sentences(stripped)))
    declared = [match for command, *_ in placed if (match := _DECLARES.match(command))]
    finals = tuple(dict.fromkeys(m["name"] for m in declared if _FINAL.fullmatch(m["name"])))
    return Source(
        name,
        theorems=finals,
        definitions=tuple(dict.fromkeys(_defined(placed))),
        preamble=tuple(command for command, *_ in placed if _prints_with(command, prefix)),
        problems=(*_forbidden(name, stripped), *_assumed_outside_sections(name, placed)),
    )


Blocks = tuple[tuple[str, str], ...]
"""From the outside: ("Section" or "Module", name)."""

Placed = tuple[str, int, Blocks]
"""A command, its line, and the blocks that it stands in."""


def _place(commands: Iterable[tuple[str, int]]) -> Iterator[Placed]:
    blocks: Blocks = ()
    for command, line in commands:
        yield command, line, blocks
        if (opened := _OPENS.match(command)) and ":=" not in command:
            blocks = (*blocks, (opened[1], opened[2]))
        elif (closed := _CLOSES.match(command)) and blocks and blocks[-1][1] == closed[1]:
            blocks = blocks[:-1]


def _defined(placed: Iterable[Placed]) -> Iterator[str]:
    """Names of definitions, with the modules of the file that they stand in."""
    for command, _, blocks in placed:
        match = _DECLARES.match(command)
        if match and match["word"] not in _PROVES and not _FINAL.fullmatch(match["name"]):
            yield ".".join([*(name for kind, name in blocks if kind == "Module"), match["name"]])


def _prints_with(command: str, prefix: str) -> bool:
    required = _EXTERNAL.match(command)
    if required:
        return required[1] is not None and required[1].split(".")[0] != prefix
    return _OPEN_SCOPE.fullmatch(command) is not None


def _forbidden(name: str, stripped: str) -> Iterator[str]:
    for match in _FORBIDDEN.finditer(stripped):
        line = 1 + stripped.count("\n", 0, match.start())
        yield f"{name}.v line {line}: {' '.join(match.group().split())}"


def _assumed_outside_sections(name: str, placed: Iterable[Placed]) -> Iterator[str]:
    for command, line, blocks in placed:
        if _ASSUMES.match(command) and all(kind != "Section" for kind, _ in blocks):
            yield f"{name}.v line {line}: {command.split()[0]} outside a section"
