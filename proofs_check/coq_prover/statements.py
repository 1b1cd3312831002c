"""The register of Coq statements: what every final theorem must say, down to the definitions it speaks of."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from proofs_check.coq_prover.library import Compiled
from proofs_check.coq_prover.questions import Printed

FILE = "statements.json"


@dataclass(frozen=True)
class Registered:
    """A statement or a definition in the register.

    - `text`: As Coq prints it, in one line; for readers.
    - `sha256`: Of the form with nothing left implicit; for the comparison.
    """

    text: str
    sha256: str


@dataclass(frozen=True)
class Register:
    """Coq's version when the register was written, and the entries, statements by theorem name."""

    coq: str
    statements: dict[str, Registered]
    definitions: dict[str, Registered]


def entry(printed: Printed) -> Registered:
    readable, full = (" ".join(text.split()) for text in (printed.readable, printed.full))
    return Registered(readable, hashlib.sha256(full.encode()).hexdigest())


def read_register(folder: Path) -> Register:
    """Read the register of a library.

    Raises OSError, KeyError, ValueError: if it is missing or malformed.
    """
    data = json.loads((folder / FILE).read_text())
    sections = {
        part: {name: Registered(**item) for name, item in data[part].items()}
        for part in ("statements", "definitions")
    }
    return Register(data["coq"], **sections)


def register_of(compiled: Compiled) -> Register:
    """What the register should hold if the library as compiled is what was meant.

    Raises ValueError: if a file did not compile.
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
    printed = {("statement", theorem): answers.statements[theorem]}
    printed |= {("definition", name): answers.definitions[name] for name in answers.speaks_of(theorem)}
    found = []
    for (what, name), item in printed.items():
        expected = (register.statements if what == "statement" else register.definitions).get(name)
        if expected is None:
            found.append(f"{what} {name} is not in the register")
        elif (own := entry(item)).sha256 != expected.sha256:
            found.append(f"{what} {name} differs from the register: {own.text} instead of {expected.text}")
    if found and register.coq != compiled.version:
        found.append(f"(the register was written with Coq {register.coq}, this is Coq {compiled.version})")
    return found
