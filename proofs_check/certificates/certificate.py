"""A certificate: why a polynomial is zero or nowhere negative, as something that is checked by expanding it.

A claim "target >= 0 wherever the hypotheses hold" is certified by writing

    target = sum of  weight * (product of hypotheses h >= 0) * square^2  +  sum of  factor * (hypothesis e = 0)

with rational weights >= 0: a sum of squares where there are no hypotheses. Without terms the target must be zero
where the hypotheses e = 0 hold: an identity. The verifier expands both sides over the rationals (flint's
multivariate polynomials) and looks at every weight; it takes nothing else on trust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flint import Ordering, fmpq, fmpq_mpoly_ctx

Polynomial = Any
"""A ``flint.fmpq_mpoly``; python-flint ships no type stubs."""

Vector = list[Polynomial]


class CertificateError(ValueError):
    """The certificate does not prove its claim; the message says where."""


@dataclass(frozen=True)
class Term:
    """weight * product of the named hypotheses * square^2."""

    square: Polynomial
    over: tuple[str, ...] = ()
    weight: fmpq = field(default_factory=lambda: fmpq(1))


@dataclass(frozen=True)
class Multiple:
    """factor * the named hypothesis e = 0; the factor may be any polynomial."""

    factor: Polynomial
    of: str


@dataclass(frozen=True)
class Certificate:
    """What is claimed about a polynomial, and why.

    Attributes
    ----------
    claim : str
        Theorem id.
    name : str
    scope : str
        "dimension ...".
    statement : str
    target : polynomial
        Claimed to be >= 0, or zero if `terms` is empty.
    nonnegative, zero : name -> polynomial
        The hypotheses h >= 0 and e = 0.
    terms, multiples : the right side
    """

    claim: str
    name: str
    scope: str
    statement: str
    target: Polynomial
    terms: Sequence[Term] = ()
    multiples: Sequence[Multiple] = ()
    nonnegative: Mapping[str, Polynomial] = field(default_factory=dict)
    zero: Mapping[str, Polynomial] = field(default_factory=dict)

    @property
    def is_identity(self) -> bool:
        """Whether the target is claimed to be zero."""
        return not self.terms


class Ring:
    """The rational polynomials in named variables; a vector d of three is d1, d2, d3."""

    def __init__(self, *names: str, **vectors: int) -> None:
        entries = [f"{name}{i + 1}" for name, size in vectors.items() for i in range(size)]
        context = fmpq_mpoly_ctx.get([*names, *entries], Ordering.degrevlex)
        self._at = dict(zip((*names, *entries), context.gens(), strict=True))
        self._sizes = vectors
        self.one: Polynomial = context.gens()[0] * 0 + 1

    def __getitem__(self, name: str) -> Polynomial:
        return self._at[name]

    def vector(self, name: str) -> Vector:
        """The variables of one vector."""
        return [self._at[f"{name}{i + 1}"] for i in range(self._sizes[name])]

    def matrix(self, name: str, rows: int) -> list[Vector]:
        """The rows made with `rows_of`."""
        return [self.vector(f"{name}{i}_") for i in range(rows)]


def rows_of(name: str, rows: int, columns: int) -> dict[str, int]:
    """Vectors for the rows of a matrix, as arguments of `Ring`."""
    return {f"{name}{i}_": columns for i in range(rows)}


def verify(certificate: Certificate) -> None:
    """Check every weight, every hypothesis named, and the identity, coefficient by coefficient.

    Raises
    ------
    CertificateError
    """
    total = certificate.target * 0
    for term in certificate.terms:
        if term.weight < 0:
            raise CertificateError(f"{certificate.name}: the weight {term.weight} is negative")
        product = term.square * term.square * term.weight
        for name in term.over:
            product *= _named(certificate, certificate.nonnegative, name)
        total += product
    for multiple in certificate.multiples:
        total += multiple.factor * _named(certificate, certificate.zero, multiple.of)
    if (difference := certificate.target - total) != 0:
        raise CertificateError(f"{certificate.name}: target and certificate differ by {difference}")


def _named(certificate: Certificate, hypotheses: Mapping[str, Polynomial], name: str) -> Polynomial:
    if name not in hypotheses:
        raise CertificateError(f"{certificate.name}: {name!r} is no hypothesis of that kind")
    return hypotheses[name]
