"""The register of Coq statements: what every final theorem must say, down to the definitions it speaks of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from proofs_check.coq_prover.library import Compiled
from proofs_check.coq_prover.questions import Printed

FILE = "statements.json"


@dataclass(frozen=True)
class Entry:
    """A statement or a definition in the register.

    Attributes
    ----------
    text : str
        As Coq prints it, in one line; for readers.
    sha256 : str
        Of the form with nothing left implicit; for the comparison.
    """

    text: str
    sha256: str


@dataclass(frozen=True)
class Register:
    """Coq's version when the register was written, and the entries, statements by theorem name."""

    coq: str
    statements: dict[str, Entry]
    definitions: dict[str, Entry]


def _normal(printed: str) -> str:
    return " ".join(printed.split())


def entry(printed: Printed) -> Entry:
    digest = hashlib.sha256(_normal(printed.full).encode()).hexdigest()
    return Entry(_normal(printed.readable), digest)


def read_register(folder: Path) -> Register:
    """Read the register of a library.

    Raises
    ------
    OSError, KeyError, ValueError
        If it is missing or malformed.
    """
    data = json.loads((folder / FILE).read_text())
    sections = {
        part: {name: Entry(**item) for name, item in data[part].items()}
        for part in ("statements", "definitions")
    }
    return Register(data["coq"], **sections)


def register_of(compiled: Compiled) -> Register:
    """What the register should hold if the library as compiled is what was meant.

    Raises
    ------
    ValueError
        If a file did not compile.
    """
    if compiled.errors:
        raise ValueError("; ".join(compiled.errors.values()))
    answers = compiled.answers
    used = sorted({name for theorem in answers.statements for name in answers.speaks_of(theorem)})
    return Register(
        compiled.version,
        {name: entry(printed) for name, printed in sorted(answers.statements.items())},
        {name: entry(answers.definitions[name]) for name in used},
    )


def write_register(folder: Path, register: Register) -> Path:
    path = folder / FILE
    path.write_text(json.dumps(asdict(register), indent=1, ensure_ascii=False) + "\n")
    return path


def differences(register: Register, compiled: Compiled, theorem: str) -> list[str]:
    """How a compiled theorem differs from the register: in its statement, or in a definition it speaks of."""
    answers = compiled.answers
    used = answers.speaks_of(theorem)
    found = [
        *_compare("statement", {theorem: answers.statements[theorem]}, register.statements),
        *_compare("definition", {name: answers.definitions[name] for name in used}, register.definitions),
    ]
    if found and register.coq != compiled.version:
        found.append(f"(the register was written with Coq {register.coq}, this is Coq {compiled.version})")
    return found


def _compare(what: str, printed: Mapping[str, Printed], expected: Mapping[str, Entry]) -> list[str]:
    found = []
    for name, item in printed.items():
        if name not in expected:
            found.append(f"{what} {name} is not in the register")
        elif entry(item).sha256 != expected[name].sha256:
            found.append(
                f"{what} {name} differs from the register: {entry(item).text} instead of {expected[name].text}"
            )
    return found
