"""Certificates about one token and one write: T1, T2, T3, T7, T16, T17."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from flint import fmpq

from proofs_check.certificates.certificate import (
    Certificate,
    Multiple,
    Polynomial,
    Ring,
    Term,
    Vector,
    rows_of,
)
from proofs_check.exact import linear as la, rules


def token_quadratic(rows: int, columns: int) -> Certificate:
    """f(S + H) = f(S) + <grad f(S), H> + |H k|^2/2."""
    ring = Ring(k=columns, v=rows, **rows_of("S", rows, columns), **rows_of("H", rows, columns))
    state, change, k, v = (
        ring.matrix("S", rows),
        ring.matrix("H", rows),
        ring.vector("k"),
        ring.vector("v"),
    )
    slope = la.inner(rules.token_gradient(state, k, v), change)
    expansion = rules.token_loss(state, k, v) + slope + la.norm_sq(la.apply(change, k)) / 2
    return Certificate(
        "T1", "token quadratic", f"dimension {rows} x {columns}", "f(S + H) = f(S) + <grad f(S), H> + |H k|^2/2",
        rules.token_loss(la.madd(state, change), k, v) - expansion,
    )  # fmt: skip


def residual(rows: int, columns: int) -> Certificate:
    """|v - S+ k|^2 = (1 - beta a)^2 |v - S k|^2."""
    ring = Ring("beta", k=columns, v=rows, d=columns, **rows_of("S", rows, columns))
    state, k, v, d = ring.matrix("S", rows), ring.vector("k"), ring.vector("v"), ring.vector("d")
    after = rules.write(state, k, v, d, ring["beta"])
    ratio = (1 - ring["beta"] * rules.alignment(d, k)) ** 2
    return Certificate(
        "T3", "residual ratio", f"dimension {rows} x {columns}", "f(S+) = (1 - beta a)^2 f(S)",
        rules.token_loss(after, k, v) - ratio * rules.token_loss(state, k, v),
    )  # fmt: skip


def gated_residual(rows: int, columns: int) -> Certificate:
    """The same for the decayed state, one gate per feature."""
    ring = Ring("beta", k=columns, v=rows, d=columns, alpha=columns, **rows_of("S", rows, columns))
    k, v, d = ring.vector("k"), ring.vector("v"), ring.vector("d")
    faded = la.right_diagonal(ring.matrix("S", rows), ring.vector("alpha"))
    after = rules.write(faded, k, v, d, ring["beta"])
    ratio = (1 - ring["beta"] * rules.alignment(d, k)) ** 2
    return Certificate(
        "T17", "residual ratio, gated state", f"dimension {rows} x {columns}", "f(S+) = (1 - beta a)^2 f(alpha S)",
        rules.token_loss(after, k, v) - ratio * rules.token_loss(faded, k, v),
    )  # fmt: skip


def gates() -> Iterator[Certificate]:
    """|1 - beta a| <= |1 - beta| + beta |1 - a| for beta >= 0, one certificate per choice of the three signs."""
    ring = Ring("beta", "a")
    beta, missed, gap = ring["beta"], 1 - ring["beta"], 1 - ring["a"]
    for of_miss, of_gap, of_left in product((1, -1), repeat=3):
        nonnegative = {"beta": beta, "|1 - beta|": of_miss * missed, "|1 - a|": of_gap * gap}
        # The left side is (1 - beta) + beta (1 - a); a summand of the wrong sign counts twice, the other cancels.
        terms = []
        if of_left != of_miss:
            terms.append(Term(ring.one, ("|1 - beta|",), fmpq(2)))
        if of_left != of_gap:
            terms.append(Term(ring.one, ("beta", "|1 - a|"), fmpq(2)))
        signs = "".join("+" if sign > 0 else "-" for sign in (of_miss, of_gap, of_left))
        yield Certificate(
            "T7", f"any gate, signs {signs}", "dimension 1",
            f"{of_left:+d}(1 - beta a) <= |1 - beta| + beta |1 - a|, signs of 1 - beta and 1 - a fixed",
            of_miss * missed + beta * of_gap * gap - of_left * (1 - beta * ring["a"]),
            terms, nonnegative=nonnegative,
        )  # fmt: skip


def lyapunov(rows: int, columns: int) -> Certificate:
    """V after = V before - beta (2 - beta a)|E k|^2, with w_i = 1/d_i through d_i w_i = 1."""
    ring, parts = _errors(rows, columns)
    before, after, drop = parts
    return Certificate(
        "T16", "Lyapunov identity", f"dimension {rows} x {columns}",
        "V after = V before - beta (2 - beta a)|E k|^2, the same d on both sides",
        before - drop - after, multiples=_metric_multiples(ring, rows, columns), zero=_inverses(ring, columns),
    )  # fmt: skip


def contraction(rows: int, columns: int) -> Certificate:
    """V after <= V before if beta >= 0 and beta a <= 2."""
    ring, (before, after, _) = _errors(rows, columns)
    beta, k = ring["beta"], ring.vector("k")
    a = rules.alignment(ring.vector("d"), k)
    terms = [Term(r, ("beta", "2 - beta a")) for r in la.apply(ring.matrix("E", rows), k)]
    return Certificate(
        "T16", "contraction", f"dimension {rows} x {columns}", "V after <= V before if beta >= 0 and beta a <= 2",
        before - after, terms, _metric_multiples(ring, rows, columns),
        {"beta": beta, "2 - beta a": 2 - beta * a}, _inverses(ring, columns),
    )  # fmt: skip


def metric_change(columns: int) -> Certificate:
    """sum E_i^2/d'_i <= c sum E_i^2/d_i if d_i <= c d'_i, with w = 1/d and w' = 1/d' not negative."""
    ring = Ring("c", E=columns, d=columns, w=columns, e=columns, x=columns)
    error, d, w = (ring.vector(name) for name in "Edw")
    following, inverse, c = ring.vector("e"), ring.vector("x"), ring["c"]
    nonnegative: dict[str, Polynomial] = {}
    zero: dict[str, Polynomial] = {}
    terms, multiples = [], []
    for i in range(columns):
        nonnegative |= {f"w{i}": w[i], f"w'{i}": inverse[i], f"c d'{i} - d{i}": c * following[i] - d[i]}
        zero |= {f"d{i} w{i} = 1": d[i] * w[i] - 1, f"d'{i} w'{i} = 1": following[i] * inverse[i] - 1}
        terms.append(Term(error[i], (f"w{i}", f"w'{i}", f"c d'{i} - d{i}")))
        square = error[i] * error[i]
        multiples.append(Multiple(-c * square * w[i], f"d'{i} w'{i} = 1"))
        multiples.append(Multiple(square * inverse[i], f"d{i} w{i} = 1"))
    target = sum(a * a * (c * wi - xi) for a, wi, xi in zip(error, w, inverse, strict=True))
    return Certificate(
        "T16", "cost of the moving metric", f"dimension {columns}",
        "|E D'^(-1/2)|^2 <= c |E D^(-1/2)|^2 where d_i <= c d'_i", target, terms, multiples, nonnegative, zero,
    )  # fmt: skip


def _errors(rows: int, columns: int) -> tuple[Ring, tuple[Polynomial, Polynomial, Polynomial]]:
    """V before, V after and beta (2 - beta a)|E k|^2 of one write with v = S* k: the state is the error."""
    ring = Ring("beta", k=columns, d=columns, w=columns, **rows_of("E", rows, columns))
    error, k, d, w = ring.matrix("E", rows), ring.vector("k"), ring.vector("d"), ring.vector("w")
    after = rules.write(error, k, [0 * ring.one] * rows, d, ring["beta"])
    drop = ring["beta"] * (2 - ring["beta"] * rules.alignment(d, k)) * la.norm_sq(la.apply(error, k))
    return ring, (_metric(error, w), _metric(after, w), drop)


def _metric(error: list[Vector], w: Vector) -> Polynomial:
    return sum(a * a * wi for row in error for a, wi in zip(row, w, strict=True))


def _inverses(ring: Ring, columns: int) -> dict[str, Polynomial]:
    pairs = zip(ring.vector("d"), ring.vector("w"), strict=True)
    return {f"d{i} w{i} = 1": d * w - 1 for i, (d, w) in enumerate(pairs)}


def _metric_multiples(ring: Ring, rows: int, columns: int) -> list[Multiple]:
    """What the target owes to d_i w_i = 1: 2 beta r E_i k_i - beta^2 r^2 d_i k_i^2, summed over the rows of E."""
    beta, k, d, error = ring["beta"], ring.vector("k"), ring.vector("d"), ring.matrix("E", rows)
    reads = la.apply(error, k)
    return [
        Multiple(
            sum(2 * beta * r * row[i] * k[i] - (beta * r * k[i]) ** 2 * d[i]
                for row, r in zip(error, reads, strict=True)),
            f"d{i} w{i} = 1",
        )
        for i in range(columns)
    ]  # fmt: skip


CERTIFICATES = (
    token_quadratic(2, 2),
    token_quadratic(2, 3),
    residual(2, 2),
    residual(1, 3),
    gated_residual(2, 2),
    *gates(),
    *(lyapunov(1, n) for n in (1, 2, 3)),
    lyapunov(2, 2),
    *(contraction(1, n) for n in (1, 2, 3)),
    *(metric_change(n) for n in (1, 2, 3)),
)
