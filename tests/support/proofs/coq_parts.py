"""Parts of the Coq library in a folder of their own, and statements that are changed on purpose."""

from __future__ import annotations

import shutil
from pathlib import Path

from proofs_check import coq_prover
from proofs_check.coq_prover.library import Compiled
from proofs_check.exact.collection import LAWS
from proofs_check.gallina.evaluate import Definitions
from proofs_check.gallina.tie import untied


def part_of_the_library(folder: Path, files: tuple[str, ...]) -> Path:
    """Some of its files, each after those that it requires."""
    folder.mkdir()
    options = (coq_prover.FOLDER / "_CoqProject").read_text().split("definitions.v")[0]
    (folder / "_CoqProject").write_text(options + "\n".join(f"{name}.v" for name in files))
    for name in files:
        shutil.copy(coq_prover.FOLDER / f"{name}.v", folder)
    return folder


def definitions_of(compiled: Compiled, changed: dict[str, str] | None = None) -> Definitions:
    printed = {name: answer.full for name, answer in compiled.answers.definitions.items()}
    return Definitions({**printed, **(changed or {})})


def altered(statement: str, old: str, new: str) -> str:
    """A statement as Coq prints it with the last of some text changed."""
    head, _, body = statement.partition("\n     : ")
    last = body.rindex(old)
    return f"{head}\n     : {body[:last]}{new}{body[last + len(old) :]}"


def refused(theorem: str, statement: str, definitions: Definitions) -> bool:
    """Whether the tie finds a difference, or cannot make sense of the statement."""
    try:
        return bool(untied(LAWS[theorem], statement, definitions))
    except (LookupError, ValueError, TypeError, IndexError, AttributeError):
        return True
