"""Evaluate a term of Coq on an instance: definitions are unfolded, theorems' variables take the instance's values."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from proofs_check.exact.draw import Finite
from proofs_check.exact.propositions import Compares, Joined, Proposition, every, implies, true
from proofs_check.gallina.parse import Apply, Binder, Fix, Match, Name, Term, parse_body
from proofs_check.gallina.primitives import CONSTANTS, PRIMITIVES, Primitive, apply, curried

_STRUCTURE = re.compile(r"(?:\w+\.)*(?:\w*(?:Type|Ring)|sort|Zmodule)")
"""Structures and their carriers: each is evaluated to the domain of the structure that it is made from."""

Environment = dict[str, Any]
Value = Callable[[Environment], Any]
"""A term made ready: its value, given those of the variables around it."""


class Definitions:
    """The definitions of a library, each read when it is first met.

    - `printed`: "file.name" -> Coq's answer to Print, nothing left implicit
    """

    def __init__(self, printed: Mapping[str, str]) -> None:
        self._printed = printed
        self._read: dict[str, Term] = {}

    def __contains__(self, name: str) -> bool:
        return self._key(name) in self._printed

    def _key(self, name: str) -> str:
        """Without the library's name, which Coq prints where a name is ambiguous."""
        return name if name in self._printed else name.partition(".")[2]

    def body(self, name: str) -> Term:
        key = self._key(name)
        if key not in self._read:
            self._read[key] = parse_body(self._printed[key])
        return self._read[key]


class Evaluator:
    """Evaluates terms with the definitions of a library, on one instance.

    - `domains`, name of a bound variable, or "nat" -> what it ranges over: For variables inside a statement whose
      type is not finite: a sample, the same in Coq and in Python.
    """

    def __init__(self, definitions: Definitions, domains: Mapping[Any, Iterable[Any]]) -> None:
        self._definitions = definitions
        self._domains = domains
        self._unfolded: dict[str, Any] = {}

    def statement(self, term: Term, instance: Mapping[str, Any]) -> Proposition:
        """What a theorem says about an instance, whose names are those of the theorem's variables.

        A variable that the instance does not name ranges over its domain; what exists is what the instance names.

        Raises LookupError: for a constant without a meaning here, a quantifier without a domain, and an existence
        without a witness.
        """
        environment: Environment = {}
        premises = []
        while True:
            match term:
                case Binder("forall", "_", type_, body):
                    premises.append(self._fact(type_, environment))
                    term = body
                case Binder("let", name, value, body):
                    given = self._ready(value, frozenset(environment))(environment)
                    environment, term = {**environment, name: given}, body
                case Binder("forall", name, _, body) | Apply(
                    Name("ex"), (_, Binder("fun", name, _, body))
                ) if name in instance:
                    environment, term = {**environment, name: instance[name]}, body
                case _:
                    return implies(*premises, self._fact(term, environment))

    def _fact(self, term: Term, environment: Environment) -> Proposition:
        return every(self._ready(term, frozenset(environment))(environment))

    def _ready(self, term: Term, bound: frozenset[str]) -> Value:
        """A term as a function of the values of the bound variables: read once, however often it is evaluated."""
        match term:
            case Name(text):
                return itemgetter(text) if text in bound else _always(self._constant(text))
            case Apply(Name("ex"), (type_, Binder("fun", name, _, body))):
                return self._binder("exists", name, type_, self._ready(body, bound | {name}), bound)
            case Apply(function, arguments):
                return self._application(function, arguments, bound)
            case Binder("forall", "_", premise, body):
                return _implication(self._ready(premise, bound), self._ready(body, bound))
            case Binder(word, name, given, body):
                return self._binder(word, name, given, self._ready(body, bound | {name}), bound)
            case Fix(name, parameters, body):
                return _fixpoint(name, parameters, self._ready(body, bound | {name, *parameters}))
            case Match(subject, cases):
                return self._match(subject, cases, bound)
        raise TypeError(f"not a term: {term!r}")

    def _constant(self, name: str) -> Any:
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in PRIMITIVES:
            primitive = PRIMITIVES[name]
            return _after(primitive.skipped, curried(primitive.function, primitive.arity))
        if name in self._definitions:
            if name not in self._unfolded:
                self._unfolded[name] = self._ready(self._definitions.body(name), frozenset())({})
            return self._unfolded[name]
        if _STRUCTURE.fullmatch(name):
            return "number" if name.startswith("rat") else lambda structure: structure
        raise LookupError(f"no value for {name}")

    def _application(self, function: Term, arguments: Sequence[Term], bound: frozenset[str]) -> Value:
        if isinstance(function, Name) and function.text not in bound:
            primitive = PRIMITIVES.get(function.text)
            if primitive and len(arguments) == primitive.skipped + primitive.arity:
                return _called(
                    primitive, [self._ready(term, bound) for term in arguments[primitive.skipped :]]
                )
            if _STRUCTURE.fullmatch(function.text) and not primitive:
                return self._ready(arguments[-1], bound)
        given, values = self._ready(function, bound), [self._ready(term, bound) for term in arguments]
        return lambda env: apply(given(env), *[value(env) for value in values])

    def _match(
        self, subject: Term, cases: Mapping[str, tuple[tuple[str, ...], Term]], bound: frozenset[str]
    ) -> Value:
        given = self._ready(subject, bound)
        branches = {
            constructor: (names, self._ready(body, bound | set(names)))
            for constructor, (names, body) in cases.items()
        }

        def value(env: Environment) -> Any:
            constructor, parts = _constructed(given(env))
            names, body = branches[constructor]
            return body({**env, **dict(zip(names, parts, strict=True))})

        return value

    def _binder(self, word: str, name: str, given: Term, body: Value, bound: frozenset[str]) -> Value:
        """A function, a value in the place of a name, or all of a domain."""
        if word == "fun":
            return lambda env: _remembered(lambda x: body({**env, name: x}))
        ready = self._ready(given, bound)
        if word == "let":
            return lambda env: body({**env, name: ready(env)})
        joined = every if word == "forall" else _some
        return lambda env: joined([body({**env, name: x}) for x in self._domain(name, ready(env))])

    def _domain(self, name: str, carrier: Any) -> Iterable[Any]:
        if name in self._domains:
            return self._domains[name]
        if isinstance(carrier, Finite):
            return carrier.elements
        if carrier == "nat" and carrier in self._domains:
            return self._domains[carrier]
        raise LookupError(f"no domain for {name}")


def _some(facts: Sequence[Proposition]) -> Proposition:
    """At least one of them."""
    return Joined("or", tuple(facts))


def _always(value: Any) -> Value:
    return lambda env: value


def _after(skipped: int, function: Any) -> Any:
    """A function that takes some arguments more, in front, and does not look at them."""
    return (lambda first: _after(skipped - 1, function)) if skipped else function


def _called(primitive: Primitive, values: Sequence[Value]) -> Value:
    function = primitive.function
    match values:
        case [a]:
            return lambda env: function(a(env))
        case [a, b]:
            return lambda env: function(a(env), b(env))
    return lambda env: function(*[value(env) for value in values])


def _fixpoint(name: str, parameters: Sequence[str], body: Value) -> Value:
    def value(env: Environment) -> Any:
        def recursive(*values: Any) -> Any:
            return body({**env, name: function, **dict(zip(parameters, values, strict=True))})

        function = _remembered(curried(recursive, len(parameters)))
        return function

    return value


def _implication(premise: Value, conclusion: Value) -> Value:
    def value(env: Environment) -> Any:
        given = premise(env)
        if not isinstance(given, Proposition):
            return "functions"  # a type, not an implication
        if _is_about_naturals(given):
            return conclusion(env) if true(given) else every()
        return implies(given, conclusion(env))

    return value


def _remembered(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """With its values on natural numbers kept: recurrences are asked for the same step again and again."""
    known: dict[int, Any] = {}

    def value(x: Any) -> Any:
        if type(x) is not int:
            return function(x)
        if x not in known:
            known[x] = function(x)
        return known[x]

    return value


def _constructed(value: Any) -> tuple[str, tuple[Any, ...]]:
    """The constructor of a value, and what it is applied to."""
    if isinstance(value, Proposition | bool):
        return ("true" if true(value) else "false"), ()
    if isinstance(value, int):
        return ("S", (value - 1,)) if value else ("O", ())
    if isinstance(value, list):
        return ("cons", (value[0], value[1:])) if value else ("nil", ())
    return value[0], tuple(value[1:])


def _is_about_naturals(premise: Proposition) -> bool:
    """Whether it only restricts an index, as t < T does: such a premise chooses what is said, not what is assumed."""
    return isinstance(premise, Compares) and isinstance(premise.lhs, int) and isinstance(premise.rhs, int)
