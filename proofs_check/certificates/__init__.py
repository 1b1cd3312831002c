"""Inequalities and identities in small fixed dimensions, certified by polynomials that are expanded exactly."""

from __future__ import annotations

from functools import partial

from proofs_check.certificates import regret, streams, writes
from proofs_check.certificates.certificate import Certificate, CertificateError, verify
from proofs_check.proof import Evidence, Proof, failed, passed

CERTIFICATES: tuple[Certificate, ...] = (*writes.CERTIFICATES, *regret.CERTIFICATES, *streams.CERTIFICATES)


def check(certificate: Certificate) -> Evidence:
    """Verify one certificate."""
    try:
        verify(certificate)
    except CertificateError as error:
        return failed(str(error))
    if certificate.is_identity:
        return passed("identity of polynomials, every coefficient", variables=_variables(certificate))
    weights = [str(term.weight) for term in certificate.terms]
    return passed(
        f"{len(weights)} weighted squares, every weight >= 0",
        variables=_variables(certificate),
        weights=weights,
        squares=[str(term.square) for term in certificate.terms],
        hypotheses=[*(f"{h} >= 0" for h in certificate.nonnegative), *certificate.zero],
    )


def _variables(certificate: Certificate) -> list[str]:
    return list(certificate.target.context().names())


def _proofs() -> dict[str, list[Proof]]:
    proofs: dict[str, list[Proof]] = {}
    for c in CERTIFICATES:
        proof = Proof(c.claim, "certificate", c.scope, c.statement, partial(check, c), c.name)
        proofs.setdefault(c.claim, []).append(proof)
    return proofs


PROOFS: dict[str, list[Proof]] = _proofs()
"""Theorem id -> proofs."""
