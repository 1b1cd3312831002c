"""Read a term as Coq prints it under ``Set Printing All``: no notation, no implicit argument, so a small grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_TOKEN = re.compile(r"\s*(:=|=>|[A-Za-z_][\w']*(?:\.[A-Za-z_][\w']*)*|[@(){},:|])")
_KEYWORDS = frozenset({"forall", "fun", "fix", "let", "in", "match", "return", "as", "with", "end"})


@dataclass(frozen=True)
class Name:
    """A bound variable, or a constant with the module that Coq prints it with."""

    text: str


@dataclass(frozen=True)
class Apply:
    """A function and its arguments, at least one."""

    function: Term
    arguments: tuple[Term, ...]


@dataclass(frozen=True)
class Binder:
    """``forall name : given, body``, an implication where the name is ``_``; ``fun name : given => body``; or
    ``let name := given in body``."""

    word: Literal["forall", "fun", "let"]
    name: str
    given: Term
    body: Term


@dataclass(frozen=True)
class Fix:
    """``fix name parameters := body``, the parameters' types left out."""

    name: str
    parameters: tuple[str, ...]
    body: Term


@dataclass(frozen=True)
class Match:
    """``match subject with cases end``: constructor -> the names of its arguments, and the term."""

    subject: Term
    cases: dict[str, tuple[tuple[str, ...], Term]]


Term = Name | Apply | Binder | Fix | Match


def parse_type(check: str) -> Term:
    """The statement in an answer of ``Check @theorem``: what stands after the first colon.

    Raises ValueError: if it is no term of this grammar.
    """
    _, found, text = check.partition("\n     : ")
    return _Reader(text if found else check.partition(" : ")[2]).whole()


def parse_body(answer: str) -> Term:
    """The body in an answer of ``Print constant``: what stands between the equals sign and the type.

    Raises ValueError: if it is no term of this grammar.
    """
    return _Reader(answer.partition("=")[2]).term()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self._token = "the start"
        self._advance()

    def _advance(self) -> str:
        """Go on; the token that was read."""
        read = self._token
        if not read:
            raise ValueError("a term of this grammar is expected to go on")
        match = _TOKEN.match(self._text, self._end)
        if match is None and self._text[self._end :].strip():
            raise ValueError(f"not a term of this grammar: {self._text[self._end :][:40]!r}")
        self._token, self._end = (match[1], match.end()) if match else ("", len(self._text))
        return read

    def _expect(self, token: str) -> None:
        if self._advance() != token:
            raise ValueError(f"expected {token!r} before {self._text[self._end :][:40]!r}")

    def whole(self) -> Term:
        term = self.term()
        if self._token:
            raise ValueError(f"a term ends before {self._token!r}")
        return term

    def term(self) -> Term:
        match self._token:
            case "forall" | "fun" as word:
                return self._binder(word)
            case "fix":
                return self._fix()
            case "let":
                return self._let()
            case "match":
                return self._match()
        return self._application()

    def _application(self) -> Term:
        function = self._atom()
        arguments = []
        while self._token in ("(", "@") or self._starts_name():
            arguments.append(self._atom())
        return Apply(function, tuple(arguments)) if arguments else function

    def _starts_name(self) -> bool:
        return self._token not in _KEYWORDS and (self._token[:1].isalpha() or self._token[:1] == "_")

    def _atom(self) -> Term:
        if self._token == "(":
            self._advance()
            inner = self.term()
            self._expect(")")
            return inner
        if self._token == "@":
            self._advance()
        return Name(self._name())

    def _name(self) -> str:
        if not self._starts_name():
            raise ValueError(f"expected a name instead of {self._token!r}")
        return self._advance()

    def _binders(self, end: str) -> list[tuple[str, Term]]:
        found: list[tuple[str, Term]] = []
        while self._token not in (end, ":"):
            if self._token == "{":  # {struct t}
                while self._advance() != "}":
                    pass
            elif self._token == "(":
                self._advance()
                found += self._binder_group()
                self._expect(")")
            else:
                found += self._binder_group()
        if not found:
            raise ValueError(f"expected a binder instead of {self._token!r}")
        self._to_end(end)
        return found

    def _to_end(self, end: str) -> None:
        """Past the result type of a fixpoint, if there is one, and past `end`."""
        if self._token == ":":
            self._advance()
            self.term()
        self._expect(end)

    def _binder_group(self) -> list[tuple[str, Term]]:
        names = [self._name()]
        while self._token != ":":
            names.append(self._name())
        self._advance()
        type_ = self.term()
        return [(name, type_) for name in names]

    def _binder(self, word: Literal["forall", "fun"]) -> Term:
        self._advance()
        binders = self._binders("," if word == "forall" else "=>")
        body = self.term()
        for name, type_ in reversed(binders):
            body = Binder(word, name, type_, body)
        return body

    def _fix(self) -> Term:
        self._advance()
        name = self._advance()
        parameters = tuple(parameter for parameter, _ in self._binders(":="))
        return Fix(name, parameters, self.term())

    def _let(self) -> Term:
        self._advance()
        name = self._advance()
        self._to_end(":=")
        value = self.term()
        self._expect("in")
        return Binder("let", name, value, self.term())

    def _match(self) -> Term:
        self._advance()
        subject = self.term()
        while self._advance() != "with":  # the return clause
            pass
        cases = {}
        while self._token == "|":
            self._advance()
            pattern = [self._advance()]
            while self._token != "=>":
                pattern.append(self._advance())
            self._advance()
            constructor, *names = [part for part in pattern if part not in "()@"]
            cases[constructor] = tuple(names), self.term()
        self._expect("end")
        return Match(subject, cases)
