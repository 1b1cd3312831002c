"""The algorithm of the theory page in exact arithmetic, written from the page and from nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proofs_check.exact import linear as la
from proofs_check.exact.linear import Matrix, Number, Vector


def token_loss(state: Matrix, key: Vector, value: Vector) -> Number:
    """f(S) = |S k - v|^2 / 2."""
    return la.norm_sq(la.sub(la.apply(state, key), value)) / 2


def token_gradient(state: Matrix, key: Vector, value: Vector) -> Matrix:
    """(S k - v) k^T."""
    return la.outer(la.sub(la.apply(state, key), value), key)


def write(state: Matrix, key: Vector, value: Vector, d: Vector, beta: Number) -> Matrix:
    """S - beta (S k - v)(d * k)^T."""
    error = la.sub(la.apply(state, key), value)
    return la.msub(state, la.mscale(beta, la.outer(error, la.had(d, key))))


def alignment(d: Vector, key: Vector) -> Number:
    """a = <d, k * k>."""
    return la.dot(d, la.sq(key))


def surrogate(d: Vector, s: Vector) -> Number:
    """l(d) = (1 - <d, s>)^2 / 2."""
    return (1 - la.dot(d, s)) ** 2 / 2


def surrogate_gradient(d: Vector, s: Vector) -> Vector:
    """-(1 - <d, s>) s."""
    return la.scale(la.dot(d, s) - 1, s)


def unprojected_step(
    d: Vector, s: Vector, eta: Number, gamma: Number, weight: Number, anchor: Vector
) -> Vector:
    """c + gamma (d - c) + eta w (1 - <d, s>) s."""
    kept = la.add(anchor, la.scale(gamma, la.sub(d, anchor)))
    return la.add(kept, la.scale(eta * weight * (1 - la.dot(d, s)), s))


def path(
    x: SimpleNamespace, *, sign: int = 1, start: Vector | None = None, project: bool = True
) -> list[Vector]:
    """d_1 ... d_{T+1} of an instance.

    It has `features`, `eta`, `low`, `high`, and optionally `gammas`, `weights`, `anchor`; `sign` -1 is the step
    in the wrong direction, for mutants.
    """
    d = list(x.d1 if start is None else start)
    result = [d]
    count = len(x.features)
    gammas = getattr(x, "gammas", [1] * count)
    weights = getattr(x, "weights", [1] * count)
    anchor = getattr(x, "anchor", [0] * len(d))
    for s, gamma, weight in zip(x.features, gammas, weights, strict=True):
        d = unprojected_step(d, s, sign * x.eta, gamma, weight, anchor)
        if project:
            d = la.clip(d, x.low, x.high)
        result.append(d)
    return result


def gaps(x: SimpleNamespace, **options: Any) -> list[Number]:
    """1 - a_t for every token."""
    return [1 - la.dot(d, s) for d, s in zip(path(x, **options), x.features, strict=False)]


def largest(x: SimpleNamespace) -> Number:
    """M = max |s_t|^2."""
    return max(la.norm_sq(s) for s in x.features)
