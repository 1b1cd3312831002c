"""Certificates: every one verifies, and one that is tampered with anywhere is rejected."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flint import fmpq

from proofs_check import certificates
from proofs_check.certificates import regret, streams, writes
from proofs_check.certificates.certificate import (
    Certificate,
    CertificateError,
    Multiple,
    Ring,
    Term,
    verify,
)
from proofs_check.exact import rules

WITH_TERMS = [c for c in certificates.CERTIFICATES if c.terms]
WITH_MULTIPLES = [c for c in certificates.CERTIFICATES if c.multiples]


def label(certificate: Certificate) -> str:
    return f"{certificate.claim} {certificate.name} {certificate.scope}"


def rejected(certificate: Certificate, why: str) -> None:
    with pytest.raises(CertificateError, match=why):
        verify(certificate)


@pytest.mark.parametrize("certificate", certificates.CERTIFICATES, ids=label)
def test_verifies_and_a_shifted_target_does_not(certificate: Certificate) -> None:
    verify(certificate)
    rejected(replace(certificate, target=certificate.target + fmpq(1, 10**9)), "differ by")
    variable = certificate.target.context().gens()[0]
    rejected(replace(certificate, target=certificate.target + variable**5), "differ by")


@pytest.mark.parametrize("certificate", WITH_TERMS, ids=label)
def test_tampered_terms(certificate: Certificate) -> None:
    first, rest = certificate.terms[0], certificate.terms[1:]
    rejected(replace(certificate, terms=[replace(first, weight=-first.weight), *rest]), "is negative")
    rejected(replace(certificate, terms=[replace(first, weight=2 * first.weight), *rest]), "differ by")
    rejected(replace(certificate, terms=[replace(first, square=first.square + 1), *rest]), "differ by")
    rejected(replace(certificate, terms=[replace(first, over=(*first.over, "wish")), *rest]), "no hypothesis")
    rejected(replace(certificate, terms=[*certificate.terms, first]), "differ by")


@pytest.mark.parametrize("certificate", WITH_MULTIPLES, ids=label)
def test_tampered_multiples(certificate: Certificate) -> None:
    first, rest = certificate.multiples[0], certificate.multiples[1:]
    rejected(replace(certificate, multiples=rest), "differ by")
    rejected(replace(certificate, multiples=[replace(first, factor=-first.factor), *rest]), "differ by")
    rejected(replace(certificate, zero={}), "no hypothesis")


def test_a_dropped_hypothesis_leaves_no_certificate() -> None:
    for certificate in WITH_TERMS:
        used = {name for term in certificate.terms for name in term.over}
        for name in used:
            fewer = {k: v for k, v in certificate.nonnegative.items() if k != name}
            rejected(
                replace(certificate, nonnegative=fewer), f"{name!r}".replace("|", r"\|").replace("^", r"\^")
            )


def test_an_inequality_hypothesis_cannot_be_used_as_an_equality() -> None:
    """-x = (-1) x would "prove" -x >= 0 from x >= 0, and needs a factor that may be negative."""
    ring = Ring("x")
    x = ring["x"]
    wrong = Certificate("T1", "wrong", "dimension 1", "-x >= 0", -x, multiples=[Multiple(-ring.one, "x")],
                        nonnegative={"x": x})  # fmt: skip
    rejected(wrong, "no hypothesis of that kind")


def test_a_negative_weight_is_rejected_even_where_the_identity_holds() -> None:
    ring = Ring("x", "y")
    x, y = ring["x"], ring["y"]
    wrong = Certificate("T1", "wrong", "dimension 2", "x^2 - y^2 >= 0", x**2 - y**2,
                        [Term(x), Term(y, weight=fmpq(-1))])  # fmt: skip
    rejected(wrong, "the weight -1 is negative")


def test_a_wrong_rule_leaves_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    right_step, right_write = rules.unprojected_step, rules.write

    def longer(d: Any, s: Any, eta: Any, *rest: Any) -> Any:
        return right_step(d, s, 2 * eta, *rest)

    def ungated(state: Any, key: Any, value: Any, d: Any, beta: Any) -> Any:
        return right_write(state, key, value, d, 1)

    monkeypatch.setattr(rules, "unprojected_step", longer)
    monkeypatch.setattr(rules, "write", ungated)
    makers = (regret.interpolating_step, regret.agnostic_step, regret.delta_rule, streams.mean_step)
    for certificate in (*(make(2) for make in makers), streams.wy_scan(2, 2), streams.chunk_form(2, 2),
                        streams.key_scaling(2, 2), writes.residual(2, 2), writes.lyapunov(1, 2)):  # fmt: skip
        rejected(certificate, "differ by")


def test_certificates_hold_at_points_too() -> None:
    """Targets evaluated where the hypotheses hold are never negative: the statement is not only its own expansion."""
    for certificate in certificates.CERTIFICATES:
        names = certificate.target.context().names()
        for seed in range(12):
            point = [
                fmpq((7 * i + 5 * seed + i * seed) % 11 - 4, 1 + (i + seed) % 3) for i in range(len(names))
            ]
            if any(h(*point) < 0 for h in certificate.nonnegative.values()):
                continue
            if any(e(*point) != 0 for e in certificate.zero.values()):
                continue
            value = certificate.target(*point)
            assert value == 0 if certificate.is_identity else value >= 0


def test_the_proofs_say_their_dimension_and_fail_when_tampered() -> None:
    for claim, proofs in certificates.PROOFS.items():
        for proof in proofs:
            assert proof.claim == claim
            assert proof.scope.startswith("dimension ")
    (example,) = [c for c in WITH_TERMS if c.claim == "T6" and c.scope == "dimension 3"]
    assert certificates.check(example).verdict == "passed"
    found = certificates.check(replace(example, target=-example.target))
    assert found.verdict == "failed"
    assert "differ by" in found.detail
