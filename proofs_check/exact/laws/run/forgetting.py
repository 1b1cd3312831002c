"""T13: forgetting as a regularised descent, how fast it forgets, and where one key leads, on rational instances."""

from flint import fmpq

from proofs_check.exact.draw import Draw, varied
from proofs_check.exact.law import register
from proofs_check.exact.laws.run.scan import ScanInstance, draw_scan, draw_step
from proofs_check.exact.numbers import Array, Number, product, root
from proofs_check.exact.propositions import Fact, Proposition, eq, iff, implies, le, ne
from proofs_check.exact.rules import clip, moved, path, sq, surrogate, surrogate_gradient


def anchored_gradient(strength: Number, c: Array, d: Array, s: Array) -> Array:
    """The gradient of l(d) + (lambda/2)|d - c|^2."""
    return surrogate_gradient(d, s) + strength * (d - c)


def anchored_loss(x: ScanInstance, d: Array) -> Number:
    """l(d) + (lambda/2)|d - c|^2."""
    return surrogate(d, x.s) + x.lambda_ / 2 * sq(d - x.c)


def anchored_taylor(x: ScanInstance) -> Number:
    """Its Taylor polynomial at d, in d + e."""
    linear = anchored_loss(x, x.d) + anchored_gradient(x.lambda_, x.c, x.d, x.s) @ x.e
    return linear + (x.e @ x.s) ** 2 / 2 + x.lambda_ / 2 * sq(x.e)


def regularised(x: ScanInstance) -> Proposition:
    """A step with forgetting is projected descent on that loss with lambda = (1 - gamma) / eta."""
    descent = x.d - x.eta * anchored_gradient((1 - x.gamma) / x.eta, x.c, x.d, x.s)
    step = moved(x.eta, 1, x.gamma, x.c, x.d, x.s)
    return implies(ne(x.eta, 0), eq(clip(step, x.lo, x.hi), clip(descent, x.lo, x.hi)))


register(
    varied(draw_step, e=lambda draw, x: draw.vector(x.n), lambda_=lambda draw, x: draw.number(0, 2)),
    T13_anchored_quadratic=lambda x: eq(anchored_loss(x, x.d + x.e), anchored_taylor(x)),
    T13_forgetting_is_regularised_descent=regularised,
)


class TwoStarts(ScanInstance):
    """A scan that starts from d and from e."""

    start = property(lambda x: sq(x.d - x.e))
    runs = property(lambda x: zip(path(x, start=x.d), path(x, start=x.e), strict=True))
    apart = property(lambda x: [sq(a - b) for a, b in x.runs])  # |d_t - e_t|^2
    steady = property(
        lambda x: x.but(gamma=[x.gamma] * len(x.s), w=[1] * len(x.s))
    )  # one gamma for all tokens

    def short_steps(self, tokens: int, *facts: Fact) -> Proposition:
        """What holds of it where no step among so many tokens is long."""
        short = [le(self.eta * sq(s), 2 * self.gamma) for s in self.s[:tokens]]
        return implies(le(0, self.eta), *facts[:-1], short, facts[-1])


def draw_two_starts(draw: Draw) -> TwoStarts:
    """A step that meets eta w |s|^2 <= 2 gamma; for "limit" somewhere with equality."""
    x = TwoStarts(**vars(draw_scan(draw)))
    return x.but(d=x.d1, e=draw.vector(x.n, 0, 2), eta=draw.closed_step(x.longest_step()))


def draw_constant(draw: Draw) -> TwoStarts:
    """One gamma and w = 1; t tokens and then h more, after which gamma^h <= 1/2."""
    x = draw_two_starts(draw)
    x.gamma, x.t = draw.choice(fmpq(1, 4), fmpq(1, 2), fmpq(3, 4)), draw.integer(0, 2)
    x.h = 3 if x.gamma == fmpq(3, 4) else 1
    count = max(x.T, x.t + x.h)
    x.eta = draw.closed_step(x.steady.longest_step())
    return x.but(s=[x.s[i % x.T] for i in range(count)], domains={"nat": range(count)})


register(
    draw_two_starts,
    T13_forgetting=lambda x: implies(
        [le(0, x.eta * w) for w in x.w],
        [le(x.eta * w * sq(s), 2 * g) for s, g, w in zip(x.s, x.gamma, x.w, strict=True)],
        le(x.apart[-1], product(x.gamma) ** 2 * x.start),
    ),
)
register(
    draw_constant,
    T13_forgetting_constant=lambda x: x.short_steps(
        x.T, le(x.steady.apart[x.T], x.gamma ** (2 * x.T) * x.start)
    ),
    T13_forgetting_norm=lambda x: x.short_steps(
        x.T, le(0, x.gamma), le(root(x.steady.apart[x.T]), x.gamma**x.T * root(x.start))
    ),
    T13_half_life=lambda x: x.short_steps(
        len(x.s), le(0, x.gamma), le(x.gamma**x.h, fmpq(1) / 2),
        le(x.steady.apart[x.t + x.h], x.steady.apart[x.t] / 4),
    ),
)  # fmt: skip


class KeyInstance(ScanInstance):
    """One key at every token, gamma constant, w = 1, the box out of reach."""

    square = property(lambda x: sq(x.s))
    decay = property(lambda x: 1 - x.gamma)
    drive = property(lambda x: x.eta * x.square)
    settled = property(lambda x: (x.decay * (x.c @ x.s) + x.drive) / (x.decay + x.drive))  # a_inf
    rate = property(lambda x: x.gamma - x.drive)

    def settles(self, *facts: Fact) -> Proposition:
        """What holds where a_inf is a number."""
        return implies(ne(self.decay + self.drive, 0), *facts)

    def alignment_after(self, tokens: int) -> Number:
        """a after so many steps."""
        d = self.d
        for _ in range(tokens):
            d = moved(self.eta, 1, self.gamma, self.c, d, self.s)
        return d @ self.s

    def next_alignment(self, a: Number) -> Number:
        """a after one step, from a."""
        return self.c @ self.s + self.gamma * (a - self.c @ self.s) + self.eta * (1 - a) * self.square


def draw_constant_key(draw: Draw) -> KeyInstance:
    """gamma < 1 and eta |s|^2 < 1 + gamma."""
    x = KeyInstance(**vars(draw_step(draw.plain() if draw.kind in ("boxed", "tight") else draw)))
    x.gamma, x.t = draw.choice(fmpq(1, 2), fmpq(3, 4), fmpq(15, 16)), draw.integer(0, 4)
    return x.but(eta=draw.step((1 + x.gamma) / x.square), a=draw.number())


register(
    draw_constant_key,
    T13_alignment_rate=lambda x: x.settles(
        eq(x.alignment_after(x.t) - x.settled, x.rate**x.t * (x.d @ x.s - x.settled))
    ),
    T13_next_alignment=lambda x: eq(x.alignment_after(1), x.next_alignment(x.d @ x.s)),
)
register(
    varied(draw_constant_key, c=lambda draw, x: x.c + (1 - x.c @ x.s) / x.square * x.s),
    T13_anchor_removes_bias=lambda x: x.settles(eq(x.c @ x.s, 1), eq(x.settled, 1)),
)
register(
    varied(draw_constant_key, a=lambda draw, x: draw.choice(x.a, x.settled)),
    T13_fixed_point=lambda x: x.settles(iff(eq(x.next_alignment(x.a), x.a), eq(x.a, x.settled))),
)
