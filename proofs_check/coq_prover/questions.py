"""Ask Coq what it has proved: how it prints statements and definitions, and on what the proofs rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

    Attributes
    ----------
    assumptions : theorem -> what Print Assumptions says
    statements : theorem -> its type
    definitions : "file.name" -> its body and type
    prefix : str
        The library's logical name.
    files : set of str
        Its files.
    """

    assumptions: dict[str, str]
    statements: dict[str, Printed]
    definitions: dict[str, Printed]
    prefix: str
    files: frozenset[str]

    def speaks_of(self, theorem: str) -> list[str]:
        """The definitions that a statement rests on, directly or through others, sorted.

        Raises
        ------
        ValueError
            If it speaks of something in the library that is not among `definitions`.
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


def ask(compiler: Compiler, sources: Sequence[Source]) -> Answers:
    """Question compiled files, those with the same imports in one run of Coq.

    Raises
    ------
    ValueError
        Where Coq refuses a question.
    """
    answers = Answers({}, {}, {}, compiler.prefix, frozenset(source.name for source in sources))
    for preamble in dict.fromkeys(source.preamble for source in sources):
        group = [source for source in sources if source.preamble == preamble]
        finals = {name: f"{source.name}.{name}" for source in group for name in source.theorems}
        defined = {f"{s.name}.{name}": f"{s.name}.{name}" for s in group for name in s.definitions}
        run = _Run(compiler, (*preamble, *_requires(compiler, group), *_SETTINGS))
        assumptions = run.plan("Print Assumptions {}", finals)
        statements = run.plan("Check @{}", finals), run.plan("Check @{}", finals, full=True)
        definitions = run.plan("Print {}", defined), run.plan("Print {}", defined, full=True)
        run.execute()
        answers.assumptions.update((name, run.answer(file)) for name, file in assumptions.items())
        answers.statements.update(run.printed(*statements))
        answers.definitions.update(run.printed(*definitions))
    return answers


def _requires(compiler: Compiler, group: Sequence[Source]) -> Iterator[str]:
    # Required, not imported: the library's own notations must not decide how its statements are printed.
    return (f"From {compiler.prefix} Require {source.name}" for source in group)


Plan = dict[str, str]
"""Name asked about -> file that will hold the answer."""


class _Run:
    """One run of Coq over a generated file: plan the questions, execute, read the answers."""

    def __init__(self, compiler: Compiler, preamble: Iterable[str]) -> None:
        self._compiler = compiler
        self._plain = list(preamble)
        self._full = ["Set Printing All"]
        self._planned = 0

    def plan(self, question: str, names: Mapping[str, str], *, full: bool = False) -> Plan:
        """Ask `question` of each of `names` (name -> "file.name"), with nothing left implicit if `full`."""
        commands = self._full if full else self._plain
        files: Plan = {}
        for name, place in names.items():
            files[name] = f"answer{self._planned}"
            self._planned += 1
            path = f"{self._compiler.prefix}.{place}"
            commands.append(f'Redirect "{files[name]}" {question.format(path)}')
        return files

    def execute(self) -> None:
        text = "".join(f"{command}.\n" for command in (*self._plain, *self._full))
        (self._compiler.place / "questions.v").write_text(text)
        error = self._compiler.compile("questions")
        if error:
            raise ValueError(f"Coq refuses a question: {error}")

    def answer(self, file: str) -> str:
        return (self._compiler.place / f"{file}.out").read_text()

    def printed(self, readable: Plan, full: Plan) -> Iterator[tuple[str, Printed]]:
        return (
            (name, Printed(self.answer(file), self.answer(full[name]))) for name, file in readable.items()
        )
