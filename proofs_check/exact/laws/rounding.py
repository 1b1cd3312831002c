"""T18: the standard model of rounding and what follows from it, on rational instances."""

from flint import fmpq

from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import law, register
from proofs_check.exact.numbers import Items, Number, product
from proofs_check.exact.propositions import Fact, Proposition, eq, every, implies, le, lt

BFLOAT16, FLOAT16 = 8, 11
"""Significant bits, the leading one included."""


def to_nearest(x: Number, bits: int) -> Number:
    """Round to nearest, ties to even, to `bits` significant bits; exponents are unbounded."""
    if x == 0:
        return x
    exponent = 0
    while abs(x) >= fmpq(2) ** (exponent + bits):
        exponent += 1
    while abs(x) < fmpq(2) ** (exponent + bits - 1):
        exponent -= 1
    scaled = x / fmpq(2) ** exponent
    below = int(scaled.floor())
    twice = 2 * (scaled - below)
    return (below + (twice > 1 or (twice == 1 and below % 2 == 1))) * fmpq(2) ** exponent


def unit(bits: int) -> Number:
    """u = 2^-bits."""
    return fmpq(1, 1 << bits)


def gamma_n(n: int, bits: int) -> Number:
    """n u / (1 - n u)."""
    return n * unit(bits) / (1 - n * unit(bits))


def draw_rounding(draw: Draw) -> Instance:
    """Numbers and a precision; for "limit" a tie, for "tight" the tie next to one that errs most."""
    p = draw.rng.choice((4, BFLOAT16, FLOAT16, 24, 53))
    x = Instance(p=p, choice=lambda below: below % 2 == 1, x=draw.number(-40, 40) / draw.choice(1, 3, 1024))
    if draw.kind == "limit":
        x.x = fmpq(2 * draw.integer(1 << (p - 1), (1 << p) - 1) + 1, 1 << draw.integer(0, 9))
    if draw.kind == "tight":
        x.x = draw.choice(1, -1) * (1 + unit(p))
    x.y, x.d, x.eta = draw.number(fmpq(1, 3), 5), draw.positive(), draw.positive()
    x.a, x.s = draw.numbers(2, 0, 1)
    x.delta = to_nearest(x.x, p) / x.x - 1 if x.x != 0 else fmpq(0)
    x.deltas = Items(unit(p) * draw.number(-1, 1) for _ in range(draw.integer(0, 5)))
    x.first = to_nearest(draw.number(-4, 4), p)
    x.xs = Items(to_nearest(draw.number(-4, 4), p) for _ in range(draw.integer(0, 4)))
    x.h = unit(p) / 2 * draw.choice(fmpq(31, 32), fmpq(-31, 32), fmpq(1, 3))
    return x


def precise(x: Instance, *facts: Fact) -> Proposition:
    """For a precision of at least one bit."""
    return implies(lt(0, x.p), *facts)


def errs_by_u(x: Instance, value: Number) -> Proposition:
    return precise(x, le(abs(to_nearest(value, x.p) - value), unit(x.p) * abs(value)))


@law(draw_rounding)
def T18_calibrate_coordinate(x: Instance) -> Proposition:
    step = x.eta * (1 - x.a) * x.s
    gain = to_nearest(to_nearest(x.eta * to_nearest(1 - x.a, x.p), x.p) * x.s, x.p)
    bound = unit(x.p) * abs(x.d) + gamma_n(4, x.p) * abs(step)
    return precise(x, lt(4 * unit(x.p), 1), le(abs(to_nearest(x.d + gain, x.p) - (x.d + step)), bound))


@law(draw_rounding)
def T18_gamma_product(x: Instance) -> Proposition:
    small, n = [le(abs(delta), unit(x.p)) for delta in x.deltas], len(x.deltas)
    off = abs(product(1 + delta for delta in x.deltas) - 1)
    return implies(small, lt(n * unit(x.p), 1), le(off, gamma_n(n, x.p)))


def sum_errs(x: Instance, computed: list[Number], exact: list[Number], n: int) -> Proposition:
    """Terms added one after the other, rounded, are off by gamma_n times the sum of their sizes."""
    total = computed[0]
    for term in computed[1:]:
        total = to_nearest(total + term, x.p)
    bound = gamma_n(n, x.p) * sum(map(abs, exact))
    return precise(x, lt(n * unit(x.p), 1), le(abs(total - sum(exact)), bound))


def draw_pairs(draw: Draw) -> Instance:
    """Pairs of numbers of the format."""
    x = draw_rounding(draw)
    x.first = (x.first, to_nearest(draw.number(-4, 4), x.p))
    x.pairs = Items((a, to_nearest(draw.number(-4, 4), x.p)) for a in x.xs)
    return x


@law(draw_pairs)
def T18_dot(x: Instance) -> Proposition:
    products = [a * b for a, b in (x.first, *x.pairs)]
    return sum_errs(x, [to_nearest(a, x.p) for a in products], products, len(products))


def draw_scaled(draw: Draw) -> Instance:
    """Scales a and b of either sign, and what comes within e of them: for "tight" as far as it may."""
    x = draw_rounding(draw)
    x.e = draw.choice(fmpq(0), fmpq(1, 8), unit(x.p))
    for exact, computed in (("a", "c"), ("b", "d")):
        scale = draw.number()
        off = fmpq(1) if draw.kind == "tight" else draw.number(-1, 1)
        x = x.but(**{exact: scale, computed: scale * (1 + x.e * off)})
    return x


@law(draw_scaled)
def T18_scaled_pair(x: Instance) -> Proposition:
    made = to_nearest(to_nearest(x.x * x.c, x.p) * to_nearest(x.y * x.d, x.p), x.p)
    exact = x.x * x.a * (x.y * x.b)
    bound = ((1 + unit(x.p)) ** 3 * (1 + x.e) ** 2 - 1) * abs(exact)
    near = [le(abs(computed - scale), x.e * abs(scale)) for computed, scale in ((x.c, x.a), (x.d, x.b))]
    return precise(x, le(0, x.e), *near, le(abs(made - exact), bound))


def near_one(p: int) -> Proposition:
    """1 + 2u and 1 - u are the numbers of the format next to 1."""
    above, below = fmpq((1 << (p - 1)) + 1, 1 << (p - 1)), fmpq((1 << p) - 1, 1 << p)
    return every(eq(above, 1 + 2 * unit(p)), eq(below, 1 - unit(p)))


register(
    draw_rounding,
    T18_round=lambda x: errs_by_u(x, x.x),
    T18_add=lambda x: errs_by_u(x, x.x + x.y),
    T18_subtract=lambda x: errs_by_u(x, x.x - x.y),
    T18_multiply=lambda x: errs_by_u(x, x.x * x.y),
    T18_divide=lambda x: errs_by_u(x, x.x / x.y),
    T18_standard_model=lambda x: precise(
        x, every(le(abs(x.delta), unit(x.p)), eq(to_nearest(x.x, x.p), x.x * (1 + x.delta)))
    ),
    T18_sum=lambda x: sum_errs(x, [x.first, *x.xs], [x.first, *x.xs], len(x.xs)),
    T18_spacing_near_one=lambda x: near_one(x.p),
    T18_storage_stalls=lambda x: precise(x, lt(abs(x.h), unit(x.p) / 2), eq(to_nearest(1 + x.h, x.p), 1)),
)


def draw_bfloat16(draw: Draw) -> Instance:
    x = draw_rounding(draw)
    steps = [fmpq(1, 512) * share for share in (fmpq(31, 32), fmpq(-31, 32), fmpq(1, 3))]
    return Instance(choice=x.choice, domains={"h": steps})


@law(draw_bfloat16)
def T18_bfloat16(x: Instance) -> Proposition:
    lost = [implies(lt(abs(h), fmpq(1, 512)), eq(to_nearest(1 + h, BFLOAT16), 1)) for h in x.domains["h"]]
    return every(near_one(BFLOAT16), lost)


def draw_running(draw: Draw) -> Instance:
    """Steps a_t x + b_t, a run of them, and another with an error of at most `local`."""
    count = 3
    slopes, shifts, errors = draw.numbers(count), draw.numbers(count), draw.numbers(count, -1, 1)
    x = Instance(A="number", stretch=[abs(a) for a in slopes], local=[abs(e) for e in errors])
    x.dist = lambda a: lambda b: abs(a - b)
    x.step = lambda t: lambda y: slopes[t] * y + shifts[t]
    x.x, x.y = [draw.number()], [draw.number()]
    for t in range(count):
        x.x.append(x.step(t)(x.x[t]))
        x.y.append(x.step(t)(x.y[t]) + errors[t])
    x.start = abs(x.x[0] - x.y[0]) + draw.choice(0, 1)
    sample = draw.numbers(2)
    x.domains = {"nat": range(count), "z": sample, "x": sample, "y": sample}
    return x


@law(draw_running)
def T18_running_bound(x: Instance) -> Proposition:
    sample, tokens = x.domains["z"], x.domains["nat"]
    triangle = [le(abs(a - c), abs(a - b) + abs(b - c)) for a in sample for b in sample for c in sample]
    exact = [eq(x.x[t + 1], x.step(t)(x.x[t])) for t in tokens]
    local = [le(abs(x.y[t + 1] - x.step(t)(x.y[t])), x.local[t]) for t in tokens]
    lipschitz = [
        le(abs(x.step(t)(x.y[t]) - x.step(t)(x.x[t])), x.stretch[t] * abs(x.y[t] - x.x[t])) for t in tokens
    ]
    bound, ends = x.start, []
    for t in tokens:
        ends.append(le(abs(x.y[t] - x.x[t]), bound))
        bound = x.stretch[t] * bound + x.local[t]
    start = le(abs(x.y[0] - x.x[0]), x.start)
    return implies(triangle, exact, local, [le(0, a) for a in x.stretch], lipschitz, start, every(ends))
