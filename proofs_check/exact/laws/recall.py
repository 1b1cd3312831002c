"""T22 and T24: what is recalled at the end of a context, where keys do not overlap and where they do."""

from flint import fmpq

from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.law import register
from proofs_check.exact.laws.run.regret import draw_interpolated
from proofs_check.exact.numbers import Array, Number, array, identity
from proofs_check.exact.propositions import Fact, Joined, Proposition, eq, every, iff, implies, le, lt, ne
from proofs_check.exact.rules import in_box, memories, path, residual, sq, token_loss


class RecallInstance(Instance):
    """N pairs of keys with disjoint supports and values, and T tokens that read them in some order."""

    pairs = property(lambda x: range(x.N))
    reads = property(lambda x: [x.read.count(i) for i in x.pairs])  # m_i
    read = property(lambda x: x.order[: x.T])  # which pair each token reads
    stream = property(
        lambda x: x.but(
            k=[x.key[i] for i in x.read], s=[x.key[i] ** 2 for i in x.read], v=[x.value[i] for i in x.read],
            w=[x.w[i] for i in x.read], beta=[fmpq(1)] * x.T,
        )
    )  # fmt: skip
    first = property(lambda x: [residual(x.S0, k, v) for k, v in zip(x.key, x.value, strict=True)])
    recalled = property(lambda x: memories(x.stream, path(x.stream))[x.T])
    deltanet = property(lambda x: memories(x.stream, [0 * x.d1 + 1] * x.T)[x.T])
    free = property(lambda x: path(x.stream, project=False)[1:])
    unclipped = property(lambda x: every(in_box(x.lo, x.hi, d) for d in x.free))

    def left(self, state: Array) -> Number:
        """The context loss over the pairs."""
        return sum((token_loss(state, k, v) for k, v in zip(self.key, self.value, strict=True)), fmpq(0))

    def factors(self, i: int) -> tuple[Number, Number]:
        """1 - <d_1, s_i> and 1 - eta w_i |s_i|^2."""
        s = self.key[i] ** 2
        return 1 - self.d1 @ s, 1 - self.eta * self.w[i] * sq(s)

    def apart(self, *facts: Fact) -> Proposition:
        """What holds of disjoint supports."""
        apart = [
            implies(ne(i, j), eq(self.key[i] * self.key[j], 0 * self.d1))
            for i in self.pairs
            for j in self.pairs
        ]
        return implies(every(apart), *facts)


def draw_recall(draw: Draw) -> RecallInstance:
    """Up to three pairs on up to five features, some read more than once; the box is just wide enough."""
    n, p, count = draw.integer(3, 5), draw.value_dim(), draw.integer(1, 3)
    owner = [*range(count), *(draw.integer(0, count - 1) for _ in range(n - count))]
    keys = [
        array([a if o == i else 0 * a for a, o in zip(draw.vector(n), owner, strict=True)])
        for i in range(count)
    ]
    x = RecallInstance(
        n=n, p=p, N=count, T=draw.length(), key=keys, value=draw.vectors(count, p), eta=draw.positive() / 4,
        d1=draw.vector(n, 0, 2), w=[draw.choice(1, fmpq(1, 2), 2) for _ in range(count)],
        S0=draw.choice(0, 1) * draw.matrix(p, n),
    )  # fmt: skip
    x.order = [draw.integer(0, count - 1) for _ in range(x.T + 1)]
    return boxed(draw, x)


def boxed(draw: Draw, x: RecallInstance) -> RecallInstance:
    """With a box that no iterate leaves."""
    x.lo, x.hi = x.d1 - 10**9, x.d1 + 10**9
    columns = list(zip(*x.free, strict=True))
    margin = draw.choice(0, 1)
    x.lo, x.hi = (array([side(c) for c in columns]) for side in (min, max))
    return x.but(lo=x.lo - margin, hi=x.hi + margin, domains={"nat": range(x.T)})


def residuals(x: RecallInstance) -> Proposition:
    """(1 - <d_1, s_i>)^m (1 - eta w_i |s_i|^2)^(m (m - 1) / 2) (v_i - S_0 k_i) for every pair."""
    found = []
    for i, m in enumerate(x.reads):
        first, later = x.factors(i)
        goal = first**m * later ** (m * (m - 1) // 2) * x.first[i]
        found.append(implies(x.unclipped, eq(residual(x.recalled, x.key[i], x.value[i]), goal)))
    return x.apart(found)


def context_loss(x: RecallInstance) -> Proposition:
    goal = fmpq(0)
    for i, m in enumerate(x.reads):
        first, later = x.factors(i)
        goal += sq(x.first[i]) * first ** (2 * m) * later ** (m * max(m - 1, 0)) / 2
    return x.apart(x.unclipped, eq(x.left(x.recalled), goal))


def deltanet_loss(x: RecallInstance) -> Proposition:
    goal = sum(sq(r) * (1 - sq(k)) ** (2 * m) / 2 for k, r, m in zip(x.key, x.first, x.reads, strict=True))
    return x.apart(eq(x.left(x.deltanet), goal))


def beats(x: RecallInstance) -> Proposition:
    """Strictly better if and only if a pair is read twice that DeltaNet does not learn at once."""
    pairs = zip(x.reads, x.key, x.first, strict=True)
    helped = tuple(every(le(2, m), ne(sq(k), 1), ne(r, 0 * r)) for m, k, r in pairs)
    pulls = [x.eta * w * sq(k**2) for w, k in zip(x.w, x.key, strict=True)]
    steps = [[lt(0, pull), lt(pull, 2)] for pull in pulls]
    return x.apart(
        eq(x.d1, 0 * x.d1 + 1),
        x.unclipped,
        steps,
        iff(Joined("or", helped), lt(x.left(x.recalled), x.left(x.deltanet))),
    )


def draw_beaten(draw: Draw) -> RecallInstance:
    """From d_1 = 1, keys that are not zero, at times of length one, and steps that contract."""
    x = draw_recall(draw)
    x.d1 = 0 * x.d1 + 1
    for i in x.pairs:
        if not any(x.key[i]) or draw.rng.random() < 0.3:
            x.key[i] = identity(x.n)[i]
    return boxed(draw, x.but(eta=draw.step(2 / max(w * sq(k**2) for w, k in zip(x.w, x.key, strict=True)))))


register(draw_recall, T22_residual=residuals, T22_context_loss=context_loss, T22_deltanet=deltanet_loss)
register(draw_beaten, T22_beats_deltanet_iff=beats)


def draw_blind(draw: Draw) -> Instance:
    """Keys that are orthonormal once scaled by the roots of u, each with a value."""
    n, p = draw.key_dim(), draw.value_dim()
    roots, count = draw.vector(n, fmpq(1, 2), 2), draw.integer(1, n)
    x = Instance(n=n, p=p, T=count, u=roots**2, k=[axis / roots for axis in draw.orthogonal(n)[:count]])
    return x.but(v=draw.vectors(count, p), S0=draw.matrix(p, n), beta=[1] * count)


def static_recalls(x: Instance) -> Proposition:
    """A u that tells the keys apart recalls every value."""
    tokens, state = range(x.T), memories(x, [x.u] * x.T)[-1]
    apart = [eq((x.u * x.k[i]) @ x.k[j], int(i == j)) for i in tokens for j in tokens]
    return implies(apart, every(eq(residual(state, x.k[t], x.v[t]), 0 * x.v[t]) for t in tokens))


def draw_still(draw: Draw) -> Instance:
    """A start that interpolates, and a token."""
    x = draw_interpolated(draw)
    return x.but(d1=x.u, t=draw.integer(0, x.T), domains={"nat": range(x.T)})


register(
    varied(draw_blind, domains=lambda draw, x: {"nat": range(x.T)}),
    double="u",
    T24_static_recalls=static_recalls,
)
register(
    draw_still,
    T24_stays=lambda x: implies(
        in_box(x.lo, x.hi, x.d1), [eq(x.d1 @ s, 1) for s in x.s], eq(path(x)[x.t], x.d1)
    ),
)
