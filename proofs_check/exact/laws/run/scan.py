"""T11 and T12: the calibrate scan as a delta rule, and chunk forms, on rational instances."""

from __future__ import annotations

from flint import fmpq

from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.law import register
from proofs_check.exact.numbers import Array, Number, array, diagonal, identity, product, vector
from proofs_check.exact.propositions import Proposition, each, eq, every, iff, implies, invertible, ne
from proofs_check.exact.rules import in_box, memories, moved, path, residual, sq, write


class ScanInstance(Instance):
    """Features, gates, weights, an anchor, a box, a start, a chunk of C tokens from t0; and what follows."""

    free = property(lambda x: path(x, project=False))
    entered = property(lambda x: x.but(d1=path(x)[x.t0]).tokens(x.t0, x.C, "s", "gamma", "w").free)
    agree = property(lambda x: each(eq, path(x), x.free))
    step = property(lambda x: moved(x.eta, x.w, x.gamma, x.c, x.d, x.s))  # of one token
    pull = property(lambda x: x.eta * x.w)

    def stay(self, iterates: list[Array]) -> Proposition:
        """They lie in the box."""
        return every(in_box(self.lo, self.hi, d) for d in iterates)

    def fit_box(self, iterates: list[Array]) -> ScanInstance:
        """With a box that is just large enough for them."""
        columns = list(zip(*iterates, strict=True))
        return self.but(lo=array([min(c) for c in columns]), hi=array([max(c) for c in columns]))

    def longest_step(self) -> Number:
        """The largest eta with eta w |s|^2 <= 2 gamma at every token."""
        moving = [(s, w, g) for s, w, g in zip(self.s, self.w, self.gamma, strict=True) if any(s)]
        return min(2 * g / (w * sq(s)) for s, w, g in moving)


def draw_scan(draw: Draw) -> ScanInstance:
    """A scan with forgetting, weights and an anchor; the box is wide, or for "boxed" it clips now and then."""
    n, length = draw.key_dim(3), draw.length(7)
    keys = draw.keys(length, n)
    low, high = (fmpq(1, 2), fmpq(5, 4)) if draw.kind == "boxed" else (fmpq(-1000), fmpq(1000))
    x = ScanInstance(
        n=n, k=keys, s=[k * k for k in keys], gamma=draw.numbers(length, fmpq(1, 4), 1),
        w=[draw.choice(fmpq(1), fmpq(1, 2), fmpq(2)) for _ in range(length)], c=draw.vector(n, 0, 2),
        d1=draw.vector(n, 0, 2), eta=draw.positive(), T=length, size=draw.integer(1, 4),
        lo=vector(n, low), hi=vector(n, high), domains={"nat": range(length + 2)},
    )  # fmt: skip
    x.C = draw.integer(1, min(x.size, length))
    return x.but(t0=draw.integer(0, length - x.C))


def draw_open(draw: Draw) -> ScanInstance:
    """A scan whose box is just large enough for every unprojected iterate."""
    x = draw_scan(draw)
    return x.fit_box(x.free)


def draw_clipped(draw: Draw) -> ScanInstance:
    """A box that holds d_1, and at times every iterate."""
    x = draw_scan(draw)
    return x.fit_box(x.free if draw.rng.random() < 0.5 else [x.d1, x.d1 + 1])


def draw_chunk(draw: Draw) -> ScanInstance:
    """A scan whose box is large enough for the unprojected iterates of one chunk."""
    x = draw_scan(draw)
    return x.fit_box(x.entered) if x.t0 == 0 else draw_open(draw)


draw_step = varied(
    draw_scan,
    s=lambda draw, x: x.s[0],
    d=lambda draw, x: x.d1,
    w=lambda draw, x: x.w[0],
    gamma=lambda draw, x: x.gamma[0],
)
"""One step of a scan."""


def handed_on(x: ScanInstance) -> Proposition:
    """The chunk agrees with the run, the iterate that it hands on as well."""
    found, iterates = path(x), x.entered
    return every(eq(found[x.t0 + t], iterates[t]) for t in range(x.C + 1))


def delta_rule(x: ScanInstance) -> Array:
    """(gamma I - eta w s s^T)(d - c) + eta w (1 - <c, s>) s."""
    error = x.d - x.c
    return x.gamma * error - x.pull * (x.s @ error) * x.s + x.pull * (1 - x.c @ x.s) * x.s


def as_a_write(x: ScanInstance) -> Array:
    """The step as a write into the state gamma (d - c)."""
    state, target = x.gamma * (x.d - x.c)[None], vector(1, x.gamma * (1 - x.c @ x.s))
    return write(state, x.s, target, 0 * x.s + 1, x.pull / x.gamma)


def fading(gammas: list[Number], start: int, stop: int) -> Number:
    """gamma_start ... gamma_{stop - 1}."""
    return product(gammas[start:stop])


def wy_chunk(x: ScanInstance, begin: int, size: int, d: Array) -> list[Array]:
    """The unprojected iterates of the chunk of `size` tokens that starts with d, and the one it hands on.

    One unit lower triangular system gives the gains u_i = eta w_i (1 - <d_i, s_i>); iterates are sums of them.
    """
    part = x.tokens(begin, size, "s", "gamma", "w")
    s, gammas, gains = part.s, part.gamma, list[Number]()
    e0, iterates = d - x.c, [d]
    for i in range(len(s)):
        seen = fading(gammas, 0, i) * (e0 @ s[i])
        for j in range(i):
            seen = seen + fading(gammas, j + 1, i) * (s[i] @ s[j]) * gains[j]
        gains.append(x.eta * part.w[i] * (1 - x.c @ s[i] - seen))
        e = fading(gammas, 0, i + 1) * e0
        for j in range(i + 1):
            e = e + fading(gammas, j + 1, i + 1) * gains[j] * s[j]
        iterates.append(x.c + e)
    return iterates


register(draw_open, T11_clip_certificate=lambda x: implies(x.stay(x.free[1:]), x.agree))
register(
    draw_clipped,
    T11_clip_certificate_iff=lambda x: implies(in_box(x.lo, x.hi, x.d1), iff(x.stay(x.free[1:]), x.agree)),
)
register(draw_chunk, T11_chunk_certificate=lambda x: implies(x.stay(x.entered[1:]), handed_on(x)))
register(
    draw_step,
    T11_delta_rule=lambda x: eq(x.step - x.c, delta_rule(x)),
    T11_is_a_write=lambda x: implies(ne(x.gamma, 0), eq(x.step - x.c, as_a_write(x))),
)
register(
    draw_scan,
    T11_chunk_form=lambda x: implies(
        [ne(x.gamma[t % x.T], 0) for t in x.domains["nat"]],
        eq(x.free[x.t0 + x.C], wy_chunk(x, x.t0, x.C, x.free[x.t0])[-1]),
    ),
)


class StreamInstance(Instance):
    """Keys, queries, values, gates, preconditioners, an entering state, and a chunk of C tokens from t0."""

    states = property(lambda x: memories(x, x.d))
    chunk = property(lambda x: range(x.t0, x.t0 + x.C))
    outputs = property(lambda x: [x.scale * (x.states[t + 1] @ x.q[t]) for t in x.chunk])
    values = property(lambda x: [x.beta[t] * residual(x.states[t], x.k[t], x.v[t]) for t in x.chunk])
    solved = property(lambda x: x.solve_chunk(x.t0, x.C, x.states[x.t0].T))

    def solve_chunk(self, begin: int, count: int, state: Array, reach: int = 0) -> tuple[Array, Array, Array]:
        """X, the outputs (C, V) and H^+ (K, V) of one chunk that enters with H (K, V); `reach` is for mistakes."""
        part = self.tokens(begin, count, "k", "q", "v", "d", "beta")
        k, q, v, d = map(array, (part.k, part.q, part.v, part.d))
        gates, scaled = diagonal(array(part.beta)), d * k
        solution = solve_unit(lower(gates @ k @ scaled.T, -1), gates @ (v - k @ state))
        outputs = self.scale * (q @ state + lower(q @ scaled.T, reach) @ solution)
        return solution, outputs, state + scaled.T @ solution


def draw_stream(draw: Draw) -> StreamInstance:
    """Any preconditioners, and any gates."""
    n, p, length = draw.key_dim(3), draw.value_dim(), draw.length(7)
    x = StreamInstance(
        n=n, p=p, k=draw.keys(length, n), q=[draw.key(n) for _ in range(length)], v=draw.vectors(length, p),
        beta=draw.numbers(length, -1, 2), d=draw.vectors(length, n), S0=draw.matrix(p, n), scale=draw.positive(),
        A=draw.matrix(n, n), C=draw.integer(1, min(4, length)),
    )  # fmt: skip
    return x.but(t0=draw.integer(0, length - x.C))


def lower(m: Array, shift: int = 0) -> Array:
    """tril(m, shift)."""
    return array([[a if j <= i + shift else 0 * a for j, a in enumerate(row)] for i, row in enumerate(m)])


def solve_unit(a: Array, b: Array) -> Array:
    """x with (I + a) x = b for a strictly lower triangular `a`: row by row, without a division."""
    rows: list[Array] = []
    for i in range(len(b)):
        rows.append(b[i] - sum((a[i, j] * rows[j] for j in range(i)), 0 * b[i]))
    return array(rows)


register(
    draw_stream,
    T12_chunk_output=lambda x: each(eq, x.solved[1], x.outputs),
    T12_chunk_state=lambda x: eq(x.solved[2], x.states[x.t0 + x.C].T),
    T12_chunk_values=lambda x: eq(x.solved[0], array(x.values)),
)
register(
    varied(draw_stream, C=lambda draw, x: x.n),
    T12_solve_exists=lambda x: invertible(identity(x.C) + lower(x.A, -1)),
)
