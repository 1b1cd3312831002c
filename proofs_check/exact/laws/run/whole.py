"""T11 and T12 of the whole algorithm: gates on the state, and chunks of any sizes, on rational instances."""

from __future__ import annotations

from flint import fmpq

from proofs_check.exact.draw import Draw, varied
from proofs_check.exact.law import register
from proofs_check.exact.laws.run.scan import ScanInstance, draw_scan, solve_unit, wy_chunk
from proofs_check.exact.numbers import Array, array, product, vector
from proofs_check.exact.propositions import Proposition, eq, every, implies, le, ne, true
from proofs_check.exact.rules import clip, memories, moved, path, residual, write


class WholeInstance(ScanInstance):
    """A scan with features x beside a gated memory, and chunks of `C` tokens each, m of them before the last."""

    passes = property(lambda x: [ne(x.gamma[t % x.T], 0) for t in x.domains["nat"]])
    sizes = property(lambda x: x.C[: x.m + 1])
    begin = property(lambda x: sum(x.sizes[:-1]))  # of the last chunk

    def run(self) -> list[tuple[Array, Array]]:
        """Memory and preconditioner before every token, token by token."""
        state, d, found = self.S0, self.d1, [(self.S0, self.d1)]
        for t, s in enumerate(self.s):
            state = write(state * self.alpha[t], self.k[t], self.v[t], d, self.beta[t])
            d = clip(moved(self.eta, self.w[t], self.gamma[t], self.c, d, s), self.lo, self.hi)
            found.append((state, d))
        return found

    def scanned(self) -> list[Array]:
        """d_t by one solve where every iterate stays in the box, else token by token."""
        free = wy_chunk(self, 0, len(self.s), self.d1)
        return free if true(self.stay(free[1:])) else path(self)

    def fade(self, j: int, i: int) -> Array:
        """What the gates from token j to before token i leave."""
        return product([vector(self.n, 1), *self.alpha[j:i]])

    def chunks(self) -> list[WholeInstance]:
        """Chunk after chunk, each with the preconditioners `d` of its tokens and the state that enters it."""
        names = ("alpha", "k", "q", "v", "beta", "s", "w", "gamma")
        found, t, state, start = list[WholeInstance](), 0, self.S0, self.d1
        for size in self.sizes:
            part = self.tokens(t, size, *names).but(S0=state, d1=start)
            found.append(part.but(d=part.scanned()))
            t, state, start = t + size, gated_chunk(found[-1])[1], found[-1].d[size]
        return found


def gated_chunk(x: WholeInstance) -> tuple[Array, Array, Array]:
    """The outputs, the state handed on and what is written of one chunk, by one solve; no gate is divided by."""
    count = len(x.k)
    scaled = [d * k for d, k in zip(x.d, x.k, strict=False)]

    def reads(rows: list[Array], i: int, last: int) -> tuple[Array, list[Array]]:
        """What row i reads of the entering state, and along the scaled keys before `last`; 0 along the others."""
        along = [(x.fade(j + 1, i + 1) * rows[i]) @ scaled[j] if j < last else fmpq(0) for j in range(count)]
        return x.S0 @ (x.fade(0, i + 1) * rows[i]), along

    entering, along = zip(*(reads(x.k, i, i) for i in range(count)), strict=True)
    gates = array(x.beta[:count])[:, None]
    values = solve_unit(gates * array(along), gates * (array(x.v[:count]) - array(entering)))
    entering, along = zip(*(reads(x.q, i, i + 1) for i in range(count)), strict=True)
    outputs = x.scale * (array(entering) + array(along) @ values)
    faded = array([x.fade(j + 1, count) * scaled[j] for j in range(count)])
    return outputs, x.S0 * x.fade(0, count) + values.T @ faded, values


def draw_whole(draw: Draw) -> WholeInstance:
    """A scan that clips now and then; features of either sign; gates that may be 0."""
    x = WholeInstance(**vars(draw_scan(draw)))
    count, x.p, x.hidden = x.T, draw.value_dim(), ("s",)
    x.s = x.x = [draw.choice(-1, 1, fmpq(1, 2)) * s for s in x.s]
    x.q, x.v, x.alpha = draw.vectors(count, x.n), draw.vectors(count, x.p), draw.vectors(count, x.n, 0, 1)
    x.beta, x.S0, x.scale = draw.numbers(count, -1, 2), draw.matrix(x.p, x.n), draw.positive()
    x.C = [draw.integer(1, 3) for _ in range(count)]
    x.m = max(m for m in range(count) if sum(x.C[: m + 1]) <= count or m == 0)
    x.C[0] = min(x.C[0], count)
    return all_but_the_last(draw, x, x.C[0])


def all_but_the_last(draw: Draw, x: WholeInstance, count: int) -> WholeInstance:
    """For "limit" with a box that the iterate which the first `count` tokens hand on is the first to leave."""
    return x.but(**vars(x.fit_box(x.free[:count]))) if draw.kind == "limit" else x


def whole_outputs(x: WholeInstance) -> Proposition:
    """The last chunk gives the outputs of its tokens, read by the memory after each of them."""
    states = [state for state, _ in x.run()[x.begin + 1 :]]
    outputs = gated_chunk(x.chunks()[-1])[0]
    return every(
        eq(out, x.scale * (state @ q)) for out, state, q in zip(outputs, states, x.q[x.begin :], strict=False)
    )


def handed_on(x: WholeInstance) -> Proposition:
    """The last chunk starts from the recurrence's state and preconditioner."""
    state, d = x.run()[x.begin]
    last = x.chunks()[-1]
    return eq((last.S0.T, last.d1), (state.T, d))


register(
    draw_whole,
    T12_chunked=lambda x: implies(x.passes, handed_on(x)),
    T12_chunked_output=lambda x: implies(x.passes, whole_outputs(x)),
)


def gated_memories(x: WholeInstance, ds: list[Array]) -> list[Array]:
    """S_0, S_1, ... of the gated recurrence, with preconditioners given."""
    state, found = x.S0, [x.S0]
    for k, v, d, beta, alpha in zip(x.k, x.v, ds, x.beta, x.alpha, strict=False):
        state = write(state * alpha, k, v, d, beta)
        found.append(state)
    return found


def draw_one_chunk(draw: Draw) -> WholeInstance:
    """The first C tokens, with any preconditioners."""
    x = draw_whole(draw)
    return x.but(C=draw.integer(1, x.T), d=draw.vectors(x.T, x.n))


def first_chunk(x: WholeInstance) -> tuple[Array, Array, Array]:
    return gated_chunk(x.tokens(0, x.C, "k"))


def one_output(x: WholeInstance) -> Proposition:
    states = gated_memories(x, x.d)[1:]
    outputs = first_chunk(x)[0]
    return every(eq(out, x.scale * (s @ q)) for out, s, q in zip(outputs, states, x.q, strict=False))


def written(x: WholeInstance) -> Array:
    """beta (v - alpha S k), token by token."""
    states = gated_memories(x, x.d)
    return array([x.beta[t] * residual(states[t] * x.alpha[t], x.k[t], x.v[t]) for t in range(x.C)])


def draw_edge(draw: Draw) -> WholeInstance:
    """Two rows, and three tokens in order."""
    x = draw_whole(draw)
    j, b, i = sorted(draw.integer(0, x.T) for _ in range(3))
    return x.but(x=draw.vector(x.n), y=draw.vector(x.n), j=j, b=b, i=i)


def met_through(x: WholeInstance) -> Proposition:
    """Both sides of a product of two rows carry the gates that lie on their side of the token between."""
    whole = (x.fade(x.j, x.i) * x.x) @ x.y
    apart = (x.fade(x.b, x.i) * x.x) @ (x.fade(x.j, x.b) * x.y)
    return implies(le(x.j, x.b), le(x.b, x.i), eq(whole, apart))


register(draw_edge, T12_gated_chunk_edge=met_through)
register(
    draw_one_chunk,
    T12_gated_chunk_output=one_output,
    T12_gated_chunk_state=lambda x: eq(first_chunk(x)[1].T, gated_memories(x, x.d)[x.C].T),
    T12_gated_chunk_values=lambda x: eq(first_chunk(x)[2], written(x)),
)
register(
    varied(draw_whole, domains=lambda draw, x: {"nat": range(x.T + 1)}),
    T12_osdn=lambda x: every(
        eq(found, (state, d))
        for found, state, d in zip(x.run(), gated_memories(x, path(x)), path(x), strict=True)
    ),
)
register(
    varied(draw_one_chunk, domains=lambda draw, x: {"nat": range(x.T + 1)}),
    T12_ungated=lambda x: every(
        map(eq, gated_memories(x.but(alpha=[vector(x.n, 1)] * x.T), x.d), memories(x, x.d))
    ),
)


def draw_scan_chunk(draw: Draw) -> WholeInstance:
    """The first C tokens of the scan, from d = d_1."""
    x = draw_whole(draw)
    x.C = draw.integer(1, x.T)
    return all_but_the_last(draw, x.but(d=x.d1), x.C)


register(
    draw_scan_chunk,
    T11_chunk_scan=lambda x: implies(
        x.passes, every(map(eq, x.tokens(0, x.C, "s", "w", "gamma").scanned(), path(x)))
    ),
)
