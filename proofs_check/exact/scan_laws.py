"""T11: the calibrate scan as a delta rule, its WY chunk form, and the clip certificate, on rational instances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from flint import fmpq

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, equal_vectors


def draw_scan(draw: Draw) -> Instance:
    """A scan with forgetting, weights and an anchor; the box is wide, or for "boxed" it clips now and then."""
    n, length = draw.key_dim(3), draw.length(7)
    keys = draw.keys(length, n)
    x = Instance(
        keys=keys,
        features=[la.sq(k) for k in keys],
        gammas=[draw.number(fmpq(1, 4), 1) for _ in range(length)],
        weights=[draw.choice(fmpq(1), fmpq(1, 2), fmpq(2)) for _ in range(length)],
        anchor=draw.vector(n, 0, 2),
        d1=draw.vector(n, 0, 2),
        eta=draw.positive(),
        size=draw.rng.randint(1, 4),
    )
    box = (fmpq(1, 2), fmpq(5, 4)) if draw.kind == "boxed" else (fmpq(-1000), fmpq(1000))
    x.low, x.high = [box[0]] * n, [box[1]] * n
    return x


def draw_open(draw: Draw) -> Instance:
    """A scan whose box is just large enough for every unprojected iterate."""
    x = draw_scan(draw)
    columns = la.transpose(rules.path(x, project=False))
    x.low, x.high = [min(c) for c in columns], [max(c) for c in columns]
    return x


def draw_clipping(draw: Draw) -> Instance:
    """A box of which the second iterate sticks out on every side."""
    x = draw_scan(draw)
    x.low = [fmpq(-1, 16)] * len(x.d1)
    x.high = [fmpq(1, 16)] * len(x.d1)
    return x


INACTIVE = {"every iterate inside the box": lambda x: rules.path(x) == rules.path(x, project=False)}


def delta_rule(
    x: Instance,
    *,
    sign: int = 1,
    shared_decay: bool = False,
    target: bool = True,
    weighted: bool = True,
    lag: int = 0,
) -> Iterator[Relation]:
    """d_{t+1} - c = (gamma I - eta w s s^T)(d_t - c) + eta w (1 - <c, s>) s along the projected run."""
    path = rules.path(x)
    length = len(x.features)
    for t, (d, after) in enumerate(pairwise(path)):
        s, gamma, w = x.features[(t + lag) % length], x.gammas[t], x.weights[t]
        e = la.sub(d, x.anchor)
        pull = sign * x.eta * (w if weighted else 1) * la.dot(s, e) * (gamma if shared_decay else 1)
        goal = x.eta * w * ((1 - la.dot(x.anchor, s)) if target else 1)
        form = la.add(la.sub(la.scale(gamma, e), la.scale(pull, s)), la.scale(goal, s))
        yield from equal_vectors("d_{t+1} - c", la.sub(after, x.anchor), form)


DELTA_RULE = (
    Law("T11", "calibration is a delta rule",
        "d_{t+1} - c = (gamma I - eta w s s^T)(d_t - c) + eta w (1 - <c, s>) s", draw_open, delta_rule, INACTIVE)
    .mutant("flipped sign", "gamma I + eta w s s^T", relations=lambda x: delta_rule(x, sign=-1))
    .mutant("wrong formula", "gamma (I - eta w s s^T)", relations=lambda x: delta_rule(x, shared_decay=True))
    .mutant("wrong formula", "target 1 for 1 - <c, s>", relations=lambda x: delta_rule(x, target=False))
    .mutant("wrong constant", "weight left out of the rank-one part", relations=lambda x: delta_rule(x, weighted=False))
    .mutant("index shift", "the feature of the next token", relations=lambda x: delta_rule(x, lag=1))
    .mutant("dropped hypothesis", "an iterate outside the box", draw=draw_clipping, without=INACTIVE)
)  # fmt: skip


def fading(gammas: la.Vector, start: int, stop: int, one: la.Number) -> la.Number:
    """gamma_start ... gamma_{stop - 1}."""
    result = one
    for gamma in gammas[start:stop]:
        result = result * gamma
    return result


def wy_chunk(x: Instance, begin: int, d: la.Vector, *, diagonal: int = -1, later: int = 1) -> la.Matrix:
    """The unprojected iterates of the chunk that starts at token `begin` with d, and the one it hands on.

    One unit lower triangular system gives the gains u_i = eta w_i (1 - <d_i, s_i>); iterates are sums of them.
    `diagonal` and `later` are -1 and 1, or something else for mutants.
    """
    end = min(begin + x.size, len(x.features))
    s, gammas, weights = x.features[begin:end], x.gammas[begin:end], x.weights[begin:end]
    e0, count, one = la.sub(d, x.anchor), end - begin, la.one(d)
    seen = [[fading(gammas, j + later, i, one) for j in range(count)] for i in range(count + 1)]
    coupling = [
        [x.eta * weights[i] * seen[i][j] * la.dot(s[i], s[j]) for j in range(count)] for i in range(count)
    ]
    system = la.madd(la.identity(count, one), la.lower(coupling, diagonal))
    entering = [fading(gammas, 0, i, one) for i in range(count + 1)]
    right = [
        [x.eta * weights[i] * (1 - la.dot(x.anchor, s[i]) - entering[i] * la.dot(e0, s[i]))]
        for i in range(count)
    ]
    gains = la.flat(la.solve(system, right) if diagonal >= 0 else la.forward_substitute(system, right))
    iterates = []
    for i in range(count + 1):
        e = la.scale(entering[i], e0)
        for j in range(i):
            e = la.add(e, la.scale(seen[i][j] * gains[j], s[j]))
        iterates.append(la.add(x.anchor, e))
    return iterates


def wy_scan(x: Instance, *, diagonal: int = -1, later: int = 1, handed: int = -1) -> Iterator[Relation]:
    """Chunk by chunk through the triangular system, the last chunk shorter, is the recurrence."""
    d, found = x.d1, []
    for begin in range(0, len(x.features), x.size):
        iterates = wy_chunk(x, begin, d, diagonal=diagonal, later=later)
        found += iterates[:-1]
        d = iterates[handed]
    for t, (a, b) in enumerate(zip([*found, d], rules.path(x), strict=True)):
        yield from equal_vectors(f"d_{t + 1}", a, b)


def draw_chunks(draw: Draw) -> Instance:
    """At least two chunks of at least two tokens."""
    x = draw_open(Draw(draw.rng, "random", draw.dyadic))
    while len(x.features) < 4:
        x = draw_open(Draw(draw.rng, "random", draw.dyadic))
    x.size = 2
    return x


WY_SCAN = (
    Law("T11", "WY chunk form of the scan", "one unit lower triangular solve per chunk gives the iterates",
        draw_open, wy_scan, INACTIVE)
    .mutant("wrong constant", "the diagonal in the triangular system", draw=draw_chunks,
            relations=lambda x: wy_scan(x, diagonal=0))
    .mutant("index shift", "a write fades by its own token too", draw=draw_chunks,
            relations=lambda x: wy_scan(x, later=0))
    .mutant("index shift", "hands on the last iterate of the chunk", draw=draw_chunks,
            relations=lambda x: wy_scan(x, handed=-2))
    .mutant("dropped hypothesis", "an iterate outside the box", draw=draw_clipping, without=INACTIVE)
)  # fmt: skip

Certificate = Callable[[Instance, la.Matrix], bool]


def all_inside(x: Instance, iterates: la.Matrix) -> bool:
    """The certificate: every unprojected iterate of the chunk, and the one that it hands on, lies in the box."""
    return all(la.inside(d, x.low, x.high) for d in iterates)


def sequential(x: Instance, begin: int, d: la.Vector) -> la.Matrix:
    """The projected iterates of one chunk, token by token."""
    end = min(begin + x.size, len(x.features))
    part = Instance(**{**vars(x), "d1": d})
    part.features, part.gammas, part.weights = (rows[begin:end] for rows in (x.features, x.gammas, x.weights))
    return rules.path(part)


def certified(x: Instance, *, accept: Certificate = all_inside) -> Iterator[Relation]:
    """Accepted chunks as they are, the others token by token: the projected run, exactly."""
    d, found = x.d1, []
    for begin in range(0, len(x.features), x.size):
        iterates = wy_chunk(x, begin, d)
        if not accept(x, iterates):
            iterates = sequential(x, begin, d)
        found += iterates[:-1]
        d = iterates[-1]
    for t, (a, b) in enumerate(zip([*found, d], rules.path(x), strict=True)):
        yield from equal_vectors(f"d_{t + 1}", a, b)


def chunks_accepted(x: Instance) -> tuple[int, int]:
    """How many chunks of the projected run the certificate accepts, and how many there are."""
    path, starts = rules.path(x), range(0, len(x.features), x.size)
    return sum(all_inside(x, wy_chunk(x, begin, path[begin])) for begin in starts), len(starts)


def draw_edge(draw: Draw) -> Instance:
    """A box about as large as the run: some chunks stay inside, some leave it and come back."""
    x = draw_scan(draw)
    columns = la.transpose(rules.path(x, project=False))
    narrow = draw.choice(fmpq(0), fmpq(1, 8), fmpq(1, 3))
    margins = [narrow * (max(c) - min(c)) for c in columns]
    x.low = [min(c) + m for c, m in zip(columns, margins, strict=True)]
    x.high = [max(c) - m for c, m in zip(columns, margins, strict=True)]
    x.d1 = la.clip(x.d1, x.low, x.high)
    return x


def overshooting(draw: Draw) -> Instance:
    """One feature with eta |s|^2 = 7/4: iterates swing about 1 by less and less, out of the box and in again."""
    swing = draw.choice(fmpq(1, 2), fmpq(1, 4))
    one = [fmpq(1)]
    x = Instance(features=[one] * 5, gammas=one * 5, weights=one * 5, anchor=[fmpq(0)], d1=[1 + swing / 2],
                 low=[fmpq(1) - swing / 4], high=[1 + swing / 2], eta=fmpq(7, 4), size=4)  # fmt: skip
    x.size = draw.rng.choice((1, 2, 3, 4))
    return x


CLIP_CERTIFICATE = (
    Law("T11", "clip certificate", "chunks whose unprojected iterates stay in the box are the projected ones; "
        "the others are run token by token", draw_edge, certified, {})
    .mutant("wrong formula", "accept every chunk", draw=overshooting,
            relations=lambda x: certified(x, accept=lambda x, d: True))
    .mutant("index shift", "the iterate handed on is not looked at", draw=overshooting,
            relations=lambda x: certified(x, accept=lambda x, d: all_inside(x, d[:-1])))
    .mutant("wrong formula", "only the iterate handed on is looked at", draw=overshooting,
            relations=lambda x: certified(x, accept=lambda x, d: all_inside(x, d[-1:])))
    .mutant("dropped hypothesis", "the lower face is not looked at", draw=overshooting,
            relations=lambda x: certified(
                x, accept=lambda x, d: all(a <= h for e in d for a, h in zip(e, x.high, strict=True))))
)  # fmt: skip


LAWS = (DELTA_RULE, WY_SCAN, CLIP_CERTIFICATE)
