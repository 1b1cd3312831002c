"""T15: with exactly normalised keys OSDN is DeltaNet, and what it takes to come back to d = 1."""

from __future__ import annotations

from collections.abc import Iterator

from flint import fmpq

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, at_most, equal, equal_matrices, equal_vectors


def draw_unit_stream(draw: Draw) -> Instance:
    """Unit keys, d_1 = 1 inside the box, no forgetting, any step, any gate."""
    n, v, length = draw.key_dim(), draw.value_dim(), draw.length()
    keys = [draw.unit(n) for _ in range(length)]
    ones = [fmpq(1)] * n
    x = Instance(keys=keys, features=[la.sq(k) for k in keys], values=draw.matrix(length, v),
                 betas=[draw.number(0, 2) for _ in keys], state=draw.matrix(v, n), d1=ones,
                 gammas=[fmpq(1)] * length, eta=draw.positive())  # fmt: skip
    x.low, x.high = draw.box_around(ones)
    return x


def longer_keys(draw: Draw) -> Instance:
    """Keys of length 5/4 or 1/2."""
    x = draw_unit_stream(draw)
    x.keys = [la.scale(draw.choice(fmpq(5, 4), fmpq(1, 2)), k) for k in x.keys]
    x.features = [la.sq(k) for k in x.keys]
    return x


def other_start(draw: Draw) -> Instance:
    """d_1 between 1/2 and 3/4."""
    x = draw_unit_stream(draw)
    x.d1 = draw.vector(len(x.d1), fmpq(1, 2), fmpq(3, 4))
    return x


def forgetting(draw: Draw) -> Instance:
    """gamma < 1 with the anchor at 0."""
    x = draw_unit_stream(draw)
    x.gammas = [draw.choice(fmpq(1, 2), fmpq(7, 8)) for _ in x.gammas]
    return x


def box_beside_one(draw: Draw) -> Instance:
    """A box above 1."""
    x = draw_unit_stream(draw)
    x.low, x.high = [fmpq(9, 8)] * len(x.d1), [fmpq(2)] * len(x.d1)
    return x


def written(x: Instance, ds: list[la.Vector]) -> la.Matrix:
    """The state after all writes with the given preconditioners."""
    state: la.Matrix = x.state
    for k, v, beta, d in zip(x.keys, x.values, x.betas, ds, strict=False):
        state = rules.write(state, k, v, d, beta)
    return state


def stays_at_one(x: Instance, *, level: int = 1) -> Iterator[Relation]:
    """d_t = 1 for every t, and the final state is DeltaNet's."""
    path, one = rules.path(x), la.one(x.keys)
    for t, d in enumerate(path[1:], start=2):
        yield from equal_vectors(f"d_{t}", d, [one * level] * len(d))
    yield from equal_matrices("S_T", written(x, path), written(x, [[one] * len(x.d1)] * len(path)))


IDENTITY = (
    Law("T15", "identity fixed point", "|k_t| = 1, gamma = 1, d_1 = 1: d_t = 1 and OSDN is DeltaNet",
        draw_unit_stream, stays_at_one,
        {"|k_t| = 1": lambda x: all(la.norm_sq(k) == 1 for k in x.keys),
         "gamma = 1": lambda x: all(g == 1 for g in x.gammas),
         "d_1 = 1": lambda x: all(a == 1 for a in x.d1),
         "1 in the box": lambda x: la.inside([la.one(x.keys)] * len(x.d1), x.low, x.high)})
    .mutant("dropped hypothesis", "keys of length 5/4 or 1/2", draw=longer_keys, without=["|k_t| = 1"])
    .mutant("dropped hypothesis", "d_1 below 1", draw=other_start, without=["d_1 = 1"])
    .mutant("dropped hypothesis", "forgetting towards 0", draw=forgetting, without=["gamma = 1"])
    .mutant("dropped hypothesis", "a box without 1", draw=box_beside_one, without=["1 in the box"])
    .mutant("wrong constant", "the fixed point at 2", relations=lambda x: stays_at_one(x, level=2))
)  # fmt: skip


def transition(x: Instance) -> la.Matrix:
    """(I - eta s_T s_T^T) ... (I - eta s_1 s_1^T)."""
    result = la.identity(len(x.d1), la.one(x.d1))
    for s in x.features:
        result = la.msub(result, la.mscale(x.eta, la.outer(s, la.apply(la.transpose(result), s))))
    return result


def spans(x: Instance) -> bool:
    """No direction is orthogonal to every feature: the features' Gram matrix has an inverse."""
    try:
        la.inverse(la.gram(x.features))
    except ArithmeticError:
        return False
    return True


def draw_period(draw: Draw) -> Instance:
    """Unit keys, one period of them, whose squares span; 0 < eta < 2/M; any start."""
    n = draw.key_dim(3)
    keys = [draw.unit(n) for _ in range(draw.rng.randint(n, n + 2))]
    x = Instance(features=[la.sq(k) for k in keys], d1=draw.vector(n, 0, 2))
    while not spans(x):
        x.features.append(la.sq(draw.unit(n)))
    x.eta = draw.step(2 / rules.largest(x))
    x.low, x.high = [fmpq(-1000)] * n, [fmpq(1000)] * n
    return x


def contracts(x: Instance, *, sign: int = 1) -> Iterator[Relation]:
    """One period multiplies d - 1 by Q with I - Q^T Q positive definite; repeated, it brings d to 1 geometrically."""
    run = Instance(**{**vars(x), "eta": sign * x.eta})
    q, ones = transition(run), [la.one(x.d1)] * len(x.d1)
    offset = la.sub(x.d1, ones)
    yield from equal_vectors("d_{T+1} - 1", la.sub(rules.path(run)[-1], ones), la.apply(q, offset))
    loss = la.msub(la.identity(len(q), la.one(x.d1)), la.matmul(la.transpose(q), q))
    yield equal("I - Q^T Q is positive definite", int(positive_definite(loss)), 1)


def positive_definite(a: la.Matrix) -> bool:
    """Positive semi-definite with an inverse."""
    if not la.is_psd(a):
        return False
    try:
        la.inverse(a)
    except ArithmeticError:
        return False
    return True


def one_key(draw: Draw) -> Instance:
    """A period of a single key in at least two dimensions."""
    x = draw_period(Draw(draw.rng, "random", draw.dyadic))
    x.features = x.features[:1] * 3
    x.eta = draw.step(2 / rules.largest(x))
    return x


def step_too_long(draw: Draw) -> Instance:
    """eta = 5/M."""
    x = draw_period(draw)
    x.eta = 5 / rules.largest(x)
    return x


EXCITATION = (
    Law("T15", "persistent excitation", "over a period of unit keys that span, d - 1 contracts; repeated, d -> 1",
        draw_period, contracts,
        {"<1, s_t> = 1": lambda x: all(sum(s) == 1 for s in x.features), "the s_t span": spans,
         "0 < eta < 2/M": lambda x: x.eta > 0 and x.eta * rules.largest(x) < 2})
    .mutant("dropped hypothesis", "a single key", draw=one_key, without=["the s_t span"])
    .mutant("dropped hypothesis", "eta = 5/M", draw=step_too_long, without=["0 < eta < 2/M"])
    .mutant("flipped sign", "the step goes uphill", relations=lambda x: contracts(x, sign=-1))
)  # fmt: skip


def draw_spanning_once(draw: Draw) -> Instance:
    """Unit keys that span, and then one of them over and over."""
    x = draw_period(Draw(draw.rng, "random", draw.dyadic))
    x.spanning = len(x.features)
    x.features = x.features + [x.features[0]] * 12
    x.d1 = [a + fmpq(i + 1, 4) for i, a in enumerate(x.d1)]
    return x


def beside(v: la.Vector, s: la.Vector) -> la.Vector:
    """The part of v orthogonal to s."""
    return la.sub(v, la.scale(la.dot(v, s) / la.norm_sq(s), s))


def stuck(x: Instance, *, gone: int = 1, length_only: bool = False) -> Iterator[Relation]:
    """Once only one key comes, what is orthogonal to its s never moves: d stays at least that far from 1."""
    s, path, ones = x.features[0], rules.path(x), [la.one(x.d1)] * len(x.d1)
    left = beside(la.sub(path[x.spanning], ones), s)
    for t, d in enumerate(path[x.spanning :]):
        offset = la.sub(d, ones)
        kept = offset if length_only else beside(offset, s)
        yield from equal_vectors(f"orthogonal part after {t} repetitions", kept, la.scale(gone, left))
        yield at_most("distance from 1", la.norm_sq(left), la.norm_sq(offset))


def returns(x: Instance) -> Iterator[Relation]:
    """ "If the s_t span, d_t -> 1", read as: it halves the distance in a dozen tokens of any kind."""
    ones, path = [la.one(x.d1)] * len(x.d1), rules.path(x)
    before, after = (la.norm_sq(la.sub(d, ones)) for d in (path[x.spanning], path[-1]))
    yield at_most("4 |d_T - 1|^2", 4 * after, before)


def keeps_spanning(draw: Draw) -> Instance:
    """The other features come again after the first."""
    x = draw_spanning_once(draw)
    x.features[x.spanning :] = [*x.features[1 : x.spanning], *x.features[: x.spanning]]
    return x


SPANNING_ONCE = (
    Law("T15", "spanning once is not enough", "one key repeated leaves d - 1 as it is beside s, for ever",
        draw_spanning_once, stuck,
        {"<1, s_t> = 1": lambda x: all(sum(s) == 1 for s in x.features), "spanned once": spans,
         "0 < eta < 2/M": lambda x: x.eta > 0 and x.eta * rules.largest(x) < 2,
         "then one key": lambda x: all(s == x.features[0] for s in x.features[x.spanning :])})
    .mutant("wrong formula", "spanning once brings d back to 1", relations=returns)
    .mutant("wrong constant", "the orthogonal part is gone", relations=lambda x: stuck(x, gone=0))
    .mutant("wrong formula", "nothing moves, along s either", relations=lambda x: stuck(x, length_only=True))
    .mutant("dropped hypothesis", "the other keys come again", draw=keeps_spanning, without=["then one key"])
)  # fmt: skip

LAWS = (IDENTITY, EXCITATION, SPANNING_ONCE)
