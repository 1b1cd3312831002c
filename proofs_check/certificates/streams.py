"""Certificates about several tokens, the mean and the context: T2, T9, T11, T12, T15, T19.

All are identities. Where the two sides are vectors or matrices, the target is their difference against a test
vector z of free variables: a polynomial in z that is zero has zero coefficients.
"""

from __future__ import annotations

from types import SimpleNamespace

from proofs_check.certificates.certificate import Certificate, Multiple, Polynomial, Ring, Vector, rows_of
from proofs_check.exact import chunk_laws, linear as la, rules
from proofs_check.exact.scan_laws import wy_chunk


def key_scaling(rows: int, columns: int) -> Certificate:
    """z . (write - (S - beta grad f(S) Diag(d)))."""
    ring = Ring(
        "beta", k=columns, v=rows, d=columns, **rows_of("S", rows, columns), **rows_of("z", rows, columns)
    )
    state, k, v, d = ring.matrix("S", rows), ring.vector("k"), ring.vector("v"), ring.vector("d")
    gradient = la.right_diagonal(rules.token_gradient(state, k, v), d)
    apart = la.msub(
        rules.write(state, k, v, d, ring["beta"]), la.msub(state, la.mscale(ring["beta"], gradient))
    )
    return Certificate(
        "T2", "key scaling", f"dimension {rows} x {columns}", "the write is S - beta grad f(S) Diag(d)",
        la.inner(apart, ring.matrix("z", rows)),
    )  # fmt: skip


def context_ratio(n: int, *, diagonal: bool) -> Certificate:
    """tr(E G E^T) times: rho(P + H) = rho(P) + <grad rho(P), H> + |E G H G^(1/2)|^2/tr(E G E^T)."""
    ring = Ring(E=n, **rows_of("p", n, n), **rows_of("h", n, n), **rows_of("r", n, n))
    error, root = [ring.vector("E")], ring.matrix("r", n)
    gram = la.matmul(la.transpose(root), root)
    p, h = ring.matrix("p", n), ring.matrix("h", n)
    if diagonal:
        p, h = la.diagonal(p[0]), la.diagonal(h[0])
    g = la.matmul(error, gram)
    left = la.msub(error, la.matmul(g, p))
    slope = la.mscale(-2, la.matmul(la.transpose(g), la.matmul(left, gram)))
    bend = la.matmul(g, h)
    moved = la.msub(left, bend)
    form = "diagonal" if diagonal else "full"
    return Certificate(
        "T9", f"context ratio, {form} P", f"dimension 1 x {n}",
        "rho(P + H) = rho(P) + <grad rho(P), H> + |E G H G^(1/2)|^2/tr(E G E^T), G = R^T R",
        _energy(moved, gram) - _energy(left, gram) - la.inner(slope, h) - _energy(bend, gram),
    )  # fmt: skip


def _energy(error: list[Vector], gram: list[Vector]) -> Polynomial:
    return la.inner(la.matmul(error, gram), error)


def wy_scan(n: int, tokens: int) -> Certificate:
    """z . (WY iterates - recurrence), forgetting, weights and anchor included."""
    ring = Ring("eta", gamma=tokens, w=tokens, d=n, c=n, z=n, **rows_of("s", tokens, n))
    x = SimpleNamespace(features=ring.matrix("s", tokens), gammas=ring.vector("gamma"), weights=ring.vector("w"),
                        anchor=ring.vector("c"), d1=ring.vector("d"), eta=ring["eta"], size=tokens)  # fmt: skip
    apart = [la.sub(a, b) for a, b in zip(wy_chunk(x, 0, x.d1), rules.path(x, project=False), strict=True)]
    # A different power of z for every iterate keeps them apart.
    powers = [[a ** (t + 1) for a in ring.vector("z")] for t in range(len(apart))]
    return Certificate(
        "T11", "WY chunk form of the scan", f"dimension {n}, C = {tokens}",
        "one unit lower triangular solve gives the unprojected iterates of a chunk", la.inner(apart, powers),
    )  # fmt: skip


def chunk_form(n: int, tokens: int) -> Certificate:
    """Outputs and state handed on, chunk form less recurrence, against test vectors; values of one feature."""
    rows = {name: size for letter in "kqd" for name, size in rows_of(letter, tokens, n).items()}
    ring = Ring("scale", beta=tokens, v=tokens, S=n, z=n, y=tokens, **rows)
    x = SimpleNamespace(keys=ring.matrix("k", tokens), queries=ring.matrix("q", tokens),
                        values=[[a] for a in ring.vector("v")], betas=ring.vector("beta"),
                        ds=ring.matrix("d", tokens), state=[ring.vector("S")], scale=ring["scale"])  # fmt: skip
    found, handed = chunk_laws.one_chunk(x, slice(0, tokens), la.transpose(x.state))
    outputs, final = chunk_laws.token_by_token(x)
    reads = la.sub(la.flat(found), la.flat(outputs))
    states = la.sub(la.flat(handed), la.flat(final))
    return Certificate(
        "T12", "chunk form", f"dimension 1 x {n}, C = {tokens}", "O and H+ of the chunk form are the recurrence's",
        la.dot(reads, ring.vector("y")) + la.dot(states, ring.vector("z")),
    )  # fmt: skip


def fixed_point(n: int) -> Certificate:
    """z . (d+ - 1) from d = 1, a multiple of |k|^2 - 1."""
    ring = Ring("eta", k=n, z=n)
    k, z, ones = ring.vector("k"), ring.vector("z"), [ring.one] * n
    s = la.sq(k)
    after = rules.unprojected_step(ones, s, ring["eta"], ring.one, ring.one, [0 * ring.one] * n)
    return Certificate(
        "T15", "identity fixed point", f"dimension {n}", "d = 1 stays at 1 where |k| = 1",
        la.dot(z, la.sub(after, ones)), multiples=[Multiple(-ring["eta"] * la.dot(z, s), "|k|^2 = 1")],
        zero={"|k|^2 = 1": sum(s) - 1},
    )  # fmt: skip


def mean_step(n: int) -> Certificate:
    """z . (E[d+ - u] - (gamma I - eta R)(d - u)) for two keys of chances p and 1 - p, u stationary."""
    ring = Ring("eta", "gamma", "p", d=n, u=n, c=n, z=n, s=n, x=n)
    eta, gamma, p = ring["eta"], ring["gamma"], ring["p"]
    d, u, c, z = (ring.vector(name) for name in "ducz")
    keys = [(p, ring.vector("s")), (1 - p, ring.vector("x"))]
    offset, zero = la.sub(d, u), {}
    moved = pulled = stationary = [0 * ring.one] * n
    for chance, s in keys:
        moved = la.add(moved, la.scale(chance, rules.unprojected_step(d, s, eta, gamma, ring.one, c)))
        pulled = la.add(pulled, la.scale(eta * chance * la.dot(s, offset), s))
        stationary = la.add(stationary, la.scale(eta * chance * (1 - la.dot(u, s)), s))
    stationary = la.add(stationary, la.scale(1 - gamma, la.sub(c, u)))
    for i, condition in enumerate(stationary):
        zero[f"u stationary, entry {i + 1}"] = condition
    right = la.sub(la.scale(gamma, offset), pulled)
    multiples = [Multiple(z[i], name) for i, name in enumerate(zero)]
    return Certificate(
        "T19", "mean calibration step", f"dimension {n}, two keys", "E[d+ - u] = (gamma I - eta R)(d - u)",
        la.dot(z, la.sub(la.sub(moved, u), right)), multiples=multiples, zero=zero,
    )  # fmt: skip


CERTIFICATES = (
    key_scaling(2, 2),
    key_scaling(1, 3),
    context_ratio(2, diagonal=False),
    context_ratio(2, diagonal=True),
    context_ratio(3, diagonal=True),
    *(wy_scan(n, tokens) for n, tokens in ((1, 3), (2, 2), (2, 3))),
    *(chunk_form(n, tokens) for n, tokens in ((1, 3), (2, 2), (2, 3))),
    *(fixed_point(n) for n in (1, 2, 3)),
    *(mean_step(n) for n in (1, 2, 3)),
)
