"""T11 to T13: the calibrate scan as a delta rule, chunk forms, and what forgetting does, on rational instances."""

from __future__ import annotations

from flint import fmpq

from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import law
from proofs_check.exact.numbers import Array, Number, array, diagonal, product, root
from proofs_check.exact.propositions import Compares, Iff, Proposition, eq, every, implies, le, ne
from proofs_check.exact.rules import (
    clip,
    in_box,
    memories,
    moved,
    path,
    residual,
    sq,
    surrogate,
    surrogate_gradient,
    write,
)


def draw_scan(draw: Draw) -> Instance:
    """A scan with forgetting, weights and an anchor; the box is wide, or for "boxed" it clips now and then."""
    n, length = draw.key_dim(3), draw.length(7)
    keys = draw.keys(length, n)
    low, high = (fmpq(1, 2), fmpq(5, 4)) if draw.kind == "boxed" else (fmpq(-1000), fmpq(1000))
    x = Instance(
        n=n, k=keys, s=[k * k for k in keys], gamma=draw.numbers(length, fmpq(1, 4), 1),
        w=[draw.choice(fmpq(1), fmpq(1, 2), fmpq(2)) for _ in range(length)], c=draw.vector(n, 0, 2),
        d1=draw.vector(n, 0, 2), eta=draw.positive(), T=length, size=draw.integer(1, 4),
        lo=array([low] * n), hi=array([high] * n),
    )  # fmt: skip
    x.C = draw.integer(1, min(x.size, length))
    x.t0 = draw.integer(0, length - x.C)
    x.domains = {"nat": range(length + 2)}
    return x


def free(x: Instance) -> list[Array]:
    """The iterates without the projection."""
    return path(x, project=False)


def fit_box(x: Instance, iterates: list[Array]) -> Instance:
    """With a box that is just large enough for the iterates."""
    columns = list(zip(*iterates, strict=True))
    x.lo, x.hi = array([min(c) for c in columns]), array([max(c) for c in columns])
    return x


def draw_open(draw: Draw) -> Instance:
    """A scan whose box is just large enough for every unprojected iterate."""
    x = draw_scan(draw)
    return fit_box(x, free(x))


def stay(x: Instance, iterates: list[Array]) -> Proposition:
    return every(in_box(x.lo, x.hi, d) for d in iterates)


def agree(x: Instance) -> Proposition:
    return every(eq(a, b) for a, b in zip(path(x), free(x), strict=True))


@law(draw_open)
def T11_clip_certificate(x: Instance) -> Proposition:
    return implies(stay(x, free(x)[1:]), agree(x))


def overshooting(draw: Draw) -> Instance:
    """One feature with eta |s|^2 = 7/4: the first step swings past 1 and out of the box."""
    swing = draw.choice(fmpq(1, 2), fmpq(1, 4))
    return Instance(n=1, s=[array([fmpq(1)])], d1=array([1 + swing / 2]), lo=array([1 - swing / 4]),
                    hi=array([1 + swing / 2]), eta=fmpq(7, 4), T=1)  # fmt: skip


T11_clip_certificate.false("the iterate handed on is not looked at", lambda x: implies(
    stay(x, free(x)[:-1]), agree(x)), overshooting)  # fmt: skip


def clipped_or_not(draw: Draw) -> Instance:
    """A box that holds d_1, and at times every iterate."""
    x = draw_scan(draw)
    return fit_box(x, free(x) if draw.rng.random() < 0.5 else [x.d1, x.d1 + 1])


@law(clipped_or_not)
def T11_clip_certificate_iff(x: Instance) -> Proposition:
    return implies(in_box(x.lo, x.hi, x.d1), Iff(stay(x, free(x)[1:]), agree(x)))


def entered(x: Instance) -> list[Array]:
    """The unprojected iterates of the chunk that starts from the projected d of token t0."""
    part = slice(x.t0, x.t0 + x.C)
    rows = {name: getattr(x, name)[part] for name in ("s", "gamma", "w")}
    return free(Instance(**{**vars(x), **rows, "d1": path(x)[x.t0]}))


def draw_chunk(draw: Draw) -> Instance:
    """A scan whose box is large enough for the unprojected iterates of one chunk."""
    x = draw_scan(draw)
    return fit_box(x, entered(x)) if x.t0 == 0 else draw_open(draw)


@law(draw_chunk)
def T11_chunk_certificate(x: Instance) -> Proposition:
    found, iterates = path(x), entered(x)
    same = [eq(found[x.t0 + t], iterates[t]) for t in range(x.C + 1)]
    return implies(stay(x, iterates[1:]), same)


def draw_step(draw: Draw) -> Instance:
    """One step of a scan."""
    x = draw_scan(draw)
    x.s, x.d, x.w, x.gamma = x.s[0], x.d1, x.w[0], x.gamma[0]
    return x


def step(x: Instance) -> Array:
    return moved(x.eta, x.w, x.gamma, x.c, x.d, x.s)


@law(draw_step)
def T11_delta_rule(x: Instance) -> Proposition:
    error, pull = x.d - x.c, x.eta * x.w
    form = x.gamma * error - pull * (x.s @ error) * x.s + pull * (1 - x.c @ x.s) * x.s
    return eq(step(x) - x.c, form)


T11_delta_rule.false("gamma (I - eta w s s^T)", lambda x: eq(step(x) - x.c, x.gamma * (x.d - x.c) + x.eta * x.w * (
    (1 - x.c @ x.s) - x.gamma * (x.s @ (x.d - x.c))) * x.s))  # fmt: skip


@law(draw_step)
def T11_is_a_write(x: Instance) -> Proposition:
    state, target = array([x.gamma * (x.d - x.c)]), array([x.gamma * (1 - x.c @ x.s)])
    written = write(state, x.s, target, 0 * x.s + 1, x.eta * x.w / x.gamma)
    return implies(ne(x.gamma, 0), eq(step(x) - x.c, written))


def fading(gammas: list[Number], start: int, stop: int) -> Number:
    """gamma_start ... gamma_{stop - 1}."""
    return product(gammas[start:stop])


def wy_chunk(x: Instance, begin: int, d: Array) -> list[Array]:
    """The unprojected iterates of the chunk of `size` tokens that starts with d, and the one it hands on.

    One unit lower triangular system gives the gains u_i = eta w_i (1 - <d_i, s_i>); iterates are sums of them.
    """
    part = slice(begin, begin + x.size)
    s, gammas, weights = x.s[part], x.gamma[part], x.w[part]
    gains: list[Number] = []
    e0, iterates = d - x.c, [d]
    for i in range(len(s)):
        seen = fading(gammas, 0, i) * (e0 @ s[i])
        for j in range(i):
            seen = seen + fading(gammas, j + 1, i) * (s[i] @ s[j]) * gains[j]
        gains.append(x.eta * weights[i] * (1 - x.c @ s[i] - seen))
        e = fading(gammas, 0, i + 1) * e0
        for j in range(i + 1):
            e = e + fading(gammas, j + 1, i + 1) * gains[j] * s[j]
        iterates.append(x.c + e)
    return iterates


@law(draw_scan)
def T11_chunk_form(x: Instance) -> Proposition:
    again = Instance(**{**vars(x), "d1": free(x)[x.t0], "size": x.C})
    handed = wy_chunk(again, x.t0, again.d1)[-1]
    gates = [x.gamma[t % x.T] for t in x.domains["nat"]]
    return implies([ne(g, 0) for g in gates], eq(free(x)[x.t0 + x.C], handed))


def draw_stream(draw: Draw) -> Instance:
    """Keys, queries, values, gates, any preconditioners, an entering state, and a chunk."""
    n, p, length = draw.key_dim(3), draw.value_dim(), draw.length(7)
    x = Instance(
        n=n, p=p, k=draw.keys(length, n), q=[draw.key(n) for _ in range(length)], v=draw.vectors(length, p),
        beta=draw.numbers(length, -1, 2), d=draw.vectors(length, n), S0=draw.matrix(p, n), scale=draw.positive(),
        size=draw.integer(1, 4), A=draw.matrix(n, n),
    )  # fmt: skip
    x.C = draw.integer(1, min(4, length))
    x.t0 = draw.integer(0, length - x.C)
    return x


def lower(m: Array, shift: int = 0) -> Array:
    """tril(m, shift)."""
    return array([[a if j <= i + shift else 0 * a for j, a in enumerate(row)] for i, row in enumerate(m)])


def solve_unit(a: Array, b: Array) -> Array:
    """x with (I + a) x = b for a strictly lower triangular `a`: row by row, without a division."""
    rows: list[Array] = []
    for i in range(len(b)):
        row = b[i]
        for j in range(i):
            row = row - a[i, j] * rows[j]
        rows.append(row)
    return array(rows)


def chunk(x: Instance, begin: int, count: int, state: Array, reach: int = 0) -> tuple[Array, Array, Array]:
    """X, the outputs (C, V) and H^+ (K, V) of one chunk that enters with H (K, V); `reach` is for mistakes."""
    part = slice(begin, begin + count)
    k, q, v, d = (array(rows[part]) for rows in (x.k, x.q, x.v, x.d))
    gates, scaled = diagonal(array(x.beta[part])), d * k
    solution = solve_unit(lower(gates @ k @ scaled.T, -1), gates @ (v - k @ state))
    outputs = x.scale * (q @ state + lower(q @ scaled.T, reach) @ solution)
    return solution, outputs, state + scaled.T @ solution


def of_chunk(x: Instance, reach: int = 0) -> tuple[Array, Array, Array]:
    return chunk(x, x.t0, x.C, memories(x, x.d)[x.t0].T, reach)


def outputs_agree(x: Instance, reach: int = 0) -> Proposition:
    states, (_, found, _) = memories(x, x.d), of_chunk(x, reach)
    tokens = range(x.t0, x.t0 + x.C)
    return every(eq(row, x.scale * (states[t + 1] @ x.q[t])) for row, t in zip(found, tokens, strict=True))


@law(draw_stream)
def T12_chunk_output(x: Instance) -> Proposition:
    return outputs_agree(x)


T12_chunk_output.false("reads before the write", lambda x: outputs_agree(x, -1))


@law(draw_stream)
def T12_chunk_state(x: Instance) -> Proposition:
    return eq(of_chunk(x)[2], memories(x, x.d)[x.t0 + x.C].T)


@law(draw_stream)
def T12_chunk_values(x: Instance) -> Proposition:
    states = memories(x, x.d)
    values = [x.beta[t] * residual(states[t], x.k[t], x.v[t]) for t in range(x.t0, x.t0 + x.C)]
    return eq(of_chunk(x)[0], array(values))


def square(draw: Draw) -> Instance:
    x = draw_stream(draw)
    x.C = x.n
    return x


@law(square)
def T12_solve_exists(x: Instance) -> Proposition:
    return Compares("is invertible", diagonal(array([fmpq(1)] * x.C)) + lower(x.A, -1), True)


def anchored_gradient(strength: Number, c: Array, d: Array, s: Array) -> Array:
    """The gradient of l(d) + (lambda/2)|d - c|^2."""
    return surrogate_gradient(d, s) + strength * (d - c)


def anchored_loss(strength: Number, c: Array, d: Array, s: Array) -> Number:
    """l(d) + (lambda/2)|d - c|^2."""
    return surrogate(d, s) + strength / 2 * sq(d - c)


def draw_anchored(draw: Draw) -> Instance:
    """A regularised surrogate, and one calibrate step."""
    x = draw_step(draw)
    x.e = draw.vector(x.n)
    setattr(x, "lambda", draw.number(0, 2))
    return x


@law(draw_anchored)
def T13_anchored_quadratic(x: Instance) -> Proposition:
    strength = getattr(x, "lambda")
    linear = anchored_loss(strength, x.c, x.d, x.s) + anchored_gradient(strength, x.c, x.d, x.s) @ x.e
    bend = (x.e @ x.s) ** 2 / 2 + strength / 2 * sq(x.e)
    return eq(anchored_loss(strength, x.c, x.d + x.e, x.s), linear + bend)


def regularised(x: Instance, strength: Number) -> Proposition:
    """The APF step is projected descent on l(d) + (lambda/2)|d - c|^2."""
    descent = x.d - x.eta * anchored_gradient(strength, x.c, x.d, x.s)
    return eq(clip(moved(x.eta, 1, x.gamma, x.c, x.d, x.s), x.lo, x.hi), clip(descent, x.lo, x.hi))


@law(draw_anchored)
def T13_forgetting_is_regularised_descent(x: Instance) -> Proposition:
    return implies(ne(x.eta, 0), regularised(x, (1 - x.gamma) / x.eta))


T13_forgetting_is_regularised_descent.false("lambda = 1 - gamma", lambda x: regularised(x, 1 - x.gamma))


def step_limit(x: Instance, gammas: list[Number], weights: list[Number]) -> Number:
    """The largest eta with eta w |s|^2 <= 2 gamma at every token."""
    moving = [(s, w, g) for s, w, g in zip(x.s, weights, gammas, strict=True) if any(s)]
    return min(2 * g / (w * sq(s)) for s, w, g in moving)


def draw_two_starts(draw: Draw) -> Instance:
    """Two starts d and e of one scan whose step meets eta w |s|^2 <= 2 gamma; for "limit" somewhere with equality."""
    x = draw_scan(draw)
    x.d, x.e = x.d1, draw.vector(x.n, 0, 2)
    x.eta = draw.closed_step(step_limit(x, x.gamma, x.w))
    return x


def apart(x: Instance, gammas: list[Number], weights: list[Number]) -> list[Number]:
    """|d_t - e_t|^2 of the runs from either start."""
    run = Instance(**{**vars(x), "gamma": gammas, "w": weights})
    pairs = zip(path(run, start=x.d), path(run, start=x.e), strict=True)
    return [sq(a - b) for a, b in pairs]


def no_long_step(x: Instance, gammas: list[Number], weights: list[Number]) -> list[Proposition]:
    return [le(x.eta * w * sq(s), 2 * g) for s, g, w in zip(x.s, gammas, weights, strict=True)]


@law(draw_two_starts)
def T13_forgetting(x: Instance) -> Proposition:
    bound = product(x.gamma) ** 2 * sq(x.d - x.e)
    steps = no_long_step(x, x.gamma, x.w)
    return implies([le(0, x.eta * w) for w in x.w], steps, le(apart(x, x.gamma, x.w)[-1], bound))


T13_forgetting.false("the rate squared", lambda x: le(
    apart(x, x.gamma, x.w)[-1], product(x.gamma) ** 4 * sq(x.d - x.e)))  # fmt: skip


def long_step(draw: Draw) -> Instance:
    """Twice the largest step."""
    x = draw_two_starts(draw)
    x.eta = 2 * step_limit(x, x.gamma, x.w)
    return x


T13_forgetting.without("eta w |s|^2 = 4 gamma", 1, long_step)


def draw_constant(draw: Draw) -> Instance:
    """One gamma and w = 1; t tokens and then h more, after which gamma^h <= 1/2."""
    x = draw_scan(draw)
    x.d, x.e, x.gamma = x.d1, draw.vector(x.n, 0, 2), draw.choice(fmpq(1, 4), fmpq(1, 2), fmpq(3, 4))
    x.h = 3 if x.gamma == fmpq(3, 4) else 1
    x.t = draw.integer(0, 2)
    x.eta = draw.closed_step(step_limit(x, [x.gamma] * x.T, [fmpq(1)] * x.T))
    x.s = [x.s[i % x.T] for i in range(max(x.T, x.t + x.h))]
    x.domains = {"nat": range(len(x.s))}
    return x


def constant_apart(x: Instance) -> list[Number]:
    return apart(x, [x.gamma] * len(x.s), [1] * len(x.s))


def constant_step(x: Instance, tokens: int) -> list[Proposition]:
    return [le(x.eta * sq(s), 2 * x.gamma) for s in x.s[:tokens]]


@law(draw_constant)
def T13_forgetting_constant(x: Instance) -> Proposition:
    bound = x.gamma ** (2 * x.T) * sq(x.d - x.e)
    return implies(le(0, x.eta), constant_step(x, x.T), le(constant_apart(x)[x.T], bound))


@law(draw_constant)
def T13_forgetting_norm(x: Instance) -> Proposition:
    bound = x.gamma**x.T * root(sq(x.d - x.e))
    distance = root(constant_apart(x)[x.T])
    return implies(le(0, x.eta), le(0, x.gamma), constant_step(x, x.T), le(distance, bound))


@law(draw_constant)
def T13_half_life(x: Instance) -> Proposition:
    found, half = constant_apart(x), le(x.gamma**x.h, fmpq(1) / 2)
    steps = constant_step(x, len(x.s))
    return implies(le(0, x.eta), le(0, x.gamma), half, steps, le(found[x.t + x.h], found[x.t] / 4))


def draw_constant_key(draw: Draw) -> Instance:
    """One key at every token, gamma < 1 constant, w = 1, eta |s|^2 < 1 + gamma, the box out of reach."""
    x = draw_scan(draw.plain() if draw.kind in ("boxed", "tight") else draw)
    x.s, x.d, x.gamma, x.t = (
        x.s[0],
        x.d1,
        draw.choice(fmpq(1, 2), fmpq(3, 4), fmpq(15, 16)),
        draw.integer(0, 4),
    )
    x.eta, x.a = draw.step((1 + x.gamma) / sq(x.s)), draw.number()
    return x


def settled(x: Instance) -> Number:
    """a_inf = ((1 - gamma) <c, s> + eta |s|^2) / ((1 - gamma) + eta |s|^2)."""
    decay, drive = 1 - x.gamma, x.eta * sq(x.s)
    return (decay * (x.c @ x.s) + drive) / (decay + drive)


def settles(x: Instance) -> Proposition:
    return ne(1 - x.gamma + x.eta * sq(x.s), 0)


def alignments(x: Instance) -> list[Number]:
    """a_1 ... a_{t+1}."""
    d, found = x.d, [x.d @ x.s]
    for _ in range(x.t):
        d = moved(x.eta, 1, x.gamma, x.c, d, x.s)
        found.append(d @ x.s)
    return found


@law(draw_constant_key)
def T13_alignment_rate(x: Instance) -> Proposition:
    rate, found = x.gamma - x.eta * sq(x.s), alignments(x)
    return implies(settles(x), eq(found[-1] - settled(x), rate**x.t * (found[0] - settled(x))))


T13_alignment_rate.false("rate gamma + eta |s|^2", lambda x: eq(
    alignments(x)[-1] - settled(x), (x.gamma + x.eta * sq(x.s)) ** x.t * (x.d @ x.s - settled(x))))  # fmt: skip


def anchored_at_one(draw: Draw) -> Instance:
    """An anchor with <c, s> = 1."""
    x = draw_constant_key(draw)
    x.c = x.c + (1 - x.c @ x.s) / sq(x.s) * x.s
    return x


@law(anchored_at_one)
def T13_anchor_removes_bias(x: Instance) -> Proposition:
    return implies(settles(x), eq(x.c @ x.s, 1), eq(settled(x), 1))


def next_alignment(x: Instance, a: Number) -> Number:
    """a after one step, from a."""
    return x.c @ x.s + x.gamma * (a - x.c @ x.s) + x.eta * (1 - a) * sq(x.s)


@law(draw_constant_key)
def T13_next_alignment(x: Instance) -> Proposition:
    return eq(moved(x.eta, 1, x.gamma, x.c, x.d, x.s) @ x.s, next_alignment(x, x.d @ x.s))


def at_rest_or_not(draw: Draw) -> Instance:
    """An alignment that is a_inf, or is not."""
    x = draw_constant_key(draw)
    x.a = draw.choice(x.a, settled(x))
    return x


@law(at_rest_or_not)
def T13_fixed_point(x: Instance) -> Proposition:
    return implies(settles(x), Iff(eq(next_alignment(x, x.a), x.a), eq(x.a, settled(x))))
