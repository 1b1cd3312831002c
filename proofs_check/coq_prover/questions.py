"""Ask Coq what it has proved: how it prints statements and definitions, and on what the proofs rest."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proofs_check.coq_prover.compiler import Compiler
from proofs_check.coq_prover.source import Source

_TOKEN = re.compile(r"[\w'.]+")
_SETTINGS = ("Set Printing Width 100", "Set Printing Depth 1000000")


@dataclass(frozen=True)
class Printed:
    """A theorem's type, or a definition, as Coq prints it: to be read, and with nothing left implicit."""

    readable: str
    full: str


@dataclass(frozen=True)
class Answers:
    """What Coq says of a library.

    - `assumptions`, theorem -> what Print Assumptions says
    - `statements`, theorem -> its type
    - `definitions`, "file.name" -> its body and type
    - `prefix`: The library's logical name.
    - `files`: Its files.
    """

    assumptions: dict[str, str]
    statements: dict[str, Printed]
    definitions: dict[str, Printed]
    prefix: str
    files: frozenset[str]

    def speaks_of(self, theorem: str) -> list[str]:
        """The definitions that a statement rests on, directly or through others, sorted.

        Raises ValueError: if it speaks of something in the library that is not among `definitions`.
        """
        by_suffix = _by_suffix(self.definitions)
        found: set[str] = set()
        pending = [_type_of(self.statements[theorem].full)]
        while pending:
            tokens = set(_TOKEN.findall(pending.pop()))
            unknown = sorted(token for token in tokens - set(by_suffix) if self._is_ours(token))
            if unknown:
                raise ValueError(f"{theorem} speaks of {unknown[0]}, which is not read as a definition")
            mentioned = {key for token in tokens for key in by_suffix.get(token, ())}
            pending += [self.definitions[key].full for key in mentioned - found]
            found |= mentioned
        return sorted(found)

    def _is_ours(self, token: str) -> bool:
        return token.removeprefix(f"{self.prefix}.").split(".")[0] in self.files and "." in token


def _type_of(printed: str) -> str:
    """The answer of Check without the name in front."""
    return printed.split("\n     : ", 1)[-1]


def _by_suffix(keys: Iterable[str]) -> dict[str, list[str]]:
    """The names that Coq may print for "file.module.name" where nothing is imported: never the last part alone."""
    table: dict[str, list[str]] = {}
    for key in keys:
        parts = key.split(".")
        for start in range(len(parts) - 1):
            table.setdefault(".".join(parts[start:]), []).append(key)
    return table


Questions = Mapping[tuple[str, str], str]
"""What is asked for, and the name that it is asked of -> Coq's command."""


def ask(compiler: Compiler, sources: Sequence[Source]) -> Answers:
    """Question compiled files, those with the same imports in one run of Coq.

    Raises ValueError: where Coq refuses a question.
    """
    answers = Answers({}, {}, {}, compiler.prefix, frozenset(source.name for source in sources))
    for preamble in dict.fromkeys(source.preamble for source in sources):
        group = [source for source in sources if source.preamble == preamble]
        # Required, not imported: the library's own notations must not decide how its statements are printed.
        required = [f"From {compiler.prefix} Require {source.name}" for source in group]
        finals = {name: f"{source.name}.{name}" for source in group for name in source.theorems}
        defined = [f"{source.name}.{name}" for source in group for name in source.definitions]
        printed = {
            **{("statements", name): f"Check @{compiler.prefix}.{place}" for name, place in finals.items()},
            **{("definitions", place): f"Print {compiler.prefix}.{place}" for place in defined},
        }
        rests_on = {
            ("assumptions", name): f"Print Assumptions {compiler.prefix}.{place}"
            for name, place in finals.items()
        }
        replies = _replies(compiler, (*preamble, *required, *_SETTINGS), printed | rests_on, printed)
        answers.assumptions.update({name: replies["readable", "assumptions", name] for name in finals})
        for kind, name in printed:
            both = (replies[form, kind, name] for form in ("readable", "full"))
            getattr(answers, kind)[name] = Printed(*both)
    return answers


def _replies(
    compiler: Compiler, preamble: Iterable[str], readable: Questions, full: Questions
) -> dict[tuple[str, str, str], str]:
    """Coq's answers, to be read and with nothing left implicit, from one run over a generated file."""
    files: dict[tuple[str, str, str], str] = {}
    commands = list(preamble)
    for form, questions in (("readable", readable), ("full", full)):
        commands += ["Set Printing All"] * (form == "full")
        for (kind, name), question in questions.items():
            files[form, kind, name] = f"answer{len(files)}"
            commands.append(f'Redirect "{files[form, kind, name]}" {question}')
    (compiler.place / "questions.v").write_text("".join(f"{command}.\n" for command in commands))
    if error := compiler.compile("questions"):
        raise ValueError(f"Coq refuses a question: {error}")
    return {key: (compiler.place / f"{file}.out").read_text() for key, file in files.items()}
