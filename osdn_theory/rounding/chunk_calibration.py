r"""Running error bound on the preconditioner in the chunk order (T11, T18).

Where nothing clips, the gains u of a chunk solve (I + L) u = r. What a kernel does to this system reaches d as every
error of the recurrence does, by its exact transitions: a right side or an entry of L that errs is a gain that misses
its own token's equation. The roundings of the inverse and of its product with r are in the solution already.
"""

from __future__ import annotations

import numpy as np

from osdn_theory._validation import Array
from osdn_theory.rounding.calibrated import Calibrated, unprojected
from osdn_theory.rounding.clipping import sure, through_clip
from osdn_theory.rounding.enclosed import Enclosed
from osdn_theory.rounding.error_set import ErrorSet, Mask, chosen
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.lemmas import (
    UNIT,
    Products,
    arithmetic,
    non_negative_error,
    one_addition,
    relative,
    sum_error,
)
from osdn_theory.rounding.overflow import Watch
from osdn_theory.rounding.setup import Setup
from osdn_theory.rounding.single_step import advance
from osdn_theory.rounding.triangular import BLOCK, inverse, products_of

_STEPPED = 2.0**-40
# Relative error of float64 arithmetic over the few hundred operations of a chunk stepped token by token.


def by_chunks(setup: Setup, found: Calibrated) -> None:
    errors = ErrorSet.zero(setup.count, setup.key_dim)
    for chunk in setup.chunks():
        errors = _chunk(setup, chunk, errors, found)
    size = np.zeros((setup.count, setup.key_dim))
    found.record(setup.length, setup, errors, size)


def _chunk(setup: Setup, chunk: slice, entry: ErrorSet, found: Calibrated) -> ErrorSet:
    """Record the tokens of one chunk; the error of the d that it hands on.

    A chunk that surely stays in the box is solved by its triangular system (or stepped, which errs less); one that
    surely leaves it is stepped in float64. In between, a kernel may accept iterates that leave the box by no more than
    their own error e_j: the projected run then differs from the accepted one by at most sum_j ||e_j||, as the step is
    non-expansive.
    """
    system = _System(setup, chunk, entry)
    straight = _free_run(setup, chunk)
    free, error = _walk(setup, chunk, entry, straight, system, found)
    window = slice(chunk.start, chunk.stop + 1)
    inside, outside = sure(straight, error, setup.lower, setup.upper)
    system.see(chunk, found.overflow, ~outside)
    if not bool(inside.all()):
        near = ~((straight - error > setup.lower[:, None]) & (straight + error < setup.upper[:, None]))
        excess = np.cumsum(np.linalg.norm(error * near, axis=-1), axis=-1)[:, 1:]
        doubtful = ~outside
        system.sizes *= doubtful[:, None]
        path, clipped = setup.path[:, window], Calibrated.zeros(setup)
        stepped, _ = _walk(setup, chunk, entry, path, system, clipped, excess * doubtful[:, None], doubtful)
        free = chosen(inside, free, stepped)
        found.take(clipped, ~inside, chunk)
    return free


def _free_run(setup: Setup, chunk: slice) -> Array:
    """Exact iterates of the chunk without the clip, from its exact entry, (N, C + 1, K)."""
    path = [setup.path[:, chunk.start]]
    for t in range(chunk.start, chunk.stop):
        path.append(unprojected(setup, t, path[-1]))
    return np.stack(path, axis=1)


class _System:
    """The triangular system of a chunk as a kernel solves it.

    `right_error` (N, C): of the right side; `lower_error` (N, C, C): of L; `inverted`: the inverse of the computed L;
    `of_right_side` (N, C): what its blocks below the diagonal add; `summed` (N, C): rounding of its product with r.
    `sizes` (3, N, C), which `meet` fills token by token: of what misses the token's equation, of what the inverse of
    its block adds, and of what is lost after that.
    """

    def __init__(self, setup: Setup, chunk: slice, entry: ErrorSet) -> None:
        s, model = setup.features[:, chunk], setup.model
        decay, before = _decays(setup, chunk)
        coupling = np.tril(setup.step[:, chunk, None] * decay * (s @ s.swapaxes(-1, -2)), -1)
        self.lower_error = _coupling_error(setup) * coupling
        self.lower = Enclosed(coupling, self.lower_error)
        self.inverted = inverse(self.lower, model.exact_products, fused=model.fused)
        right, self.right_error = _right_side(setup, chunk, entry, before)
        self.of_right_side = np.einsum("ncj,nj->nc", self.inverted.of_right_side, right.computed[..., 0])
        terms = np.arange(1, s.shape[1] + 1)[:, None]
        gains = self.inverted.matrix.settled().times(right.settled(), terms, Products(UNIT, UNIT))
        self.summed = np.asarray(gains.error)[..., 0]
        self.gains = np.zeros(self.summed.shape)
        self.sizes = np.zeros((3, *self.summed.shape))

    def see(self, chunk: slice, overflow: Watch, solved: Mask) -> None:
        """Overflow in the system of the heads whose chunk may be `solved` (N,)."""
        matrix, size = self.inverted.matrix, self.inverted.matrix.computed
        overflow.see("L", FLOAT32, chunk, self.lower.value, self.lower.computed, solved)
        size = np.maximum(size, products_of(self.lower, self.inverted))
        overflow.see("(I + L)^-1", FLOAT32, chunk, np.abs(matrix.value), size, solved)

    def meet(self, n: int, gain: Array) -> None:
        """Token n's gain is at most `gain` (N,), but for what misses its own equation."""
        earlier = self.gains[:, :n]
        missed = self.right_error[:, n] + np.sum(self.lower_error[:, n, :n] * earlier, -1)
        inner = np.sum(self.inverted.of_solution[:, n, :n] * earlier, -1) + self.of_right_side[:, n]
        self.gains[:, n] = gain + missed
        self.sizes[:, :, n] = missed, inner, self.summed[:, n]


class _GainErrors:
    """Errors of d by a chunk's gains: `missed`, those of equations and of the blocks of the inverse that are done;
    `inner`, of the present block; `solved`, of the product with the inverse."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.missed, self.inner, self.solved = (self._none() for _ in range(3))

    def _none(self) -> ErrorSet:
        return ErrorSet.zero(self.setup.count, self.setup.key_dim)

    def whole(self) -> ErrorSet:
        return self.missed.plus(self.inner).plus(self.solved)

    def step(self, t: int, n: int, sizes: Array) -> None:
        """Through token t, the n-th, whose own errors have `sizes` (3, N)."""
        s, keep = self.setup.features[:, t], _kept(self.setup, t)
        if n % BLOCK == 0:
            self.missed, self.inner = self.missed.plus(self.inner), self._none()
        self.missed.transition(keep, self.setup.step[:, t, None] * s, s)
        self.inner.transition(keep, np.zeros_like(s), s)
        self.solved.transition(keep, np.zeros_like(s), s)
        for errors, size in zip((self.missed, self.inner, self.solved), sizes, strict=True):
            errors.add_line(s, size)


def _kept(setup: Setup, t: int) -> Array | float:
    return 1.0 if setup.gamma is None else setup.gamma[:, t]


def _walk(
    setup: Setup, chunk: slice, entry: ErrorSet, path: Array, system: _System, found: Calibrated,
    excess: Array | None = None, solved: Mask | None = None,
) -> tuple[ErrorSet, Array]:  # fmt: skip
    """Errors through a chunk whose exact iterates are `path` (N, C + 1, K): of its entry, of its gains, and of the
    arithmetic that forms d from both. Of the d handed on, and of every iterate (N, C + 1, K) as a certificate looks at
    it, from exact products: that a token's own d comes from coarser ones reaches no other token.

    With `excess` (N, C), what accepted iterates may differ by from those that a clip would make, the clip acts on every
    step; the sizes of the gains' errors are those of the walk without."""
    carried, gains, formed = entry.copy(), _GainErrors(setup), _Formed(setup)
    looked_at = np.empty(path.shape)
    for n, t in enumerate(range(chunk.start, chunk.stop)):
        here = carried.plus(gains.whole())
        if excess is not None and n:
            here.add_ball(excess[:, n - 1])
        used = formed.iterate(n, path[:, n], here.rows(), setup.model.formation)
        found.record(t, setup, here, _if_solved(solved, used, path[:, n], here))
        exact = formed.iterate(n, path[:, n], here.rows(), setup.model.exact_product)
        looked_at[:, n] = here.rows() + exact
        s = setup.features[:, t]
        gap = 1.0 - np.sum(path[:, n] * s, -1)
        alignment = here.along(s) + np.sum(_if_solved(solved, exact, path[:, n], here) * s, -1)
        if excess is None:
            system.meet(n, setup.step[:, t] * (np.abs(gap) + alignment))
        gains.step(t, n, system.sizes[:, :, n])
        if excess is None:
            carried.transition(_kept(setup, t), setup.step[:, t, None] * s, s)
        else:
            carried = _stepped(setup, t, carried, found)
        formed.gain(t, gap, alignment)
    result = carried.plus(gains.whole())
    if excess is not None:
        result.add_ball(excess[:, -1])
    handed = formed.handed(chunk.stop - chunk.start, path[:, -1], result.rows())
    handed = _if_solved(solved, handed, path[:, -1], result)
    result.add_ball(np.linalg.norm(handed, axis=-1))
    looked_at[:, -1] = result.rows()
    return result, looked_at


def _stepped(setup: Setup, t: int, errors: ErrorSet, found: Calibrated) -> ErrorSet:
    """Errors of d through token t's step and clip, in float64 or float32."""
    if setup.model.wide_steps:
        s = setup.features[:, t]
        errors.transition(_kept(setup, t), setup.step[:, t, None] * s, s)
        errors.add_ball(_STEPPED * np.linalg.norm(setup.path[:, t], axis=-1))
    else:
        advance(setup, t, errors, found, np.zeros(setup.path[:, t].shape))
    exact = unprojected(setup, t, setup.path[:, t])
    if not setup.model.wide_steps:
        errors.add_ball(np.linalg.norm(arithmetic(np.abs(exact) + errors.rows()), axis=-1))
    return through_clip(errors, exact, setup.lower, setup.upper)


def _if_solved(solved: Mask | None, error: Array, d: Array, errors: ErrorSet) -> Array:
    """`error` for heads whose chunk may be solved; steps round d (N, K) to float32 alone."""
    if solved is None:
        return error
    result: Array = np.where(solved[:, None], error, arithmetic(np.abs(d) + errors.rows()))
    return result


class _Formed:
    """What forming d from its entry and the gains adds, componentwise: the rounding of d_entry + sum_j u_j s_j.

    `rising` and `falling` (N, K): sums of the terms that may be positive or negative, decayed by the gates; `up` and
    `down` (N, K) without the gates, and how many tokens may have such terms, (N, 1).
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.rising, self.falling, self.up, self.down, self.span = np.zeros((5, setup.count, setup.key_dim))
        self.ups, self.downs = np.zeros((2, setup.count, 1))

    def gain(self, t: int, gap: Array, alignment: Array) -> None:
        """Token t's gain, eta w_t times its gap, which the kernel's d moves by at most `alignment`."""
        step, s = self.setup.step[:, t, None], self.setup.features[:, t]
        rise, fall = (step * np.maximum(x + alignment, 0.0)[:, None] for x in (gap, -gap))
        keep = 1.0 if self.setup.gamma is None else self.setup.gamma[:, t, None]
        self.rising, self.falling = keep * self.rising + rise * s, keep * self.falling + fall * s
        self.up, self.down = self.up + rise * s, self.down + fall * s
        self.ups, self.downs = self.ups + (rise > 0), self.downs + (fall > 0)

    def iterate(self, n: int, d: Array, rows: Array, product: float) -> Array:
        """Of the n-th d of a chunk, for kernels that form it from the entry of the chunk or of its block of 16, by
        products that err by `product`."""
        if n % BLOCK == 0:
            self.span = np.maximum(self.span, np.abs(d - self.setup.anchor) + rows)
        blocks = n // BLOCK + 1
        error = self._decayed(blocks)
        if n == 0:
            return error
        model = self.setup.model
        size = np.abs(d) + rows + (1 + 2 * product) * (self.rising + self.falling)
        error = error + blocks * arithmetic(size)
        if not model.fused:
            return error + self._summed(n, product, model.accumulation)
        # Every term may be added on top of the entry, whose dropped bits are not small beside a step that is.
        additions = n * one_addition((1 + relative(n, model.accumulation)) * size, model.accumulation)
        return error + self._summed(1, product, model.accumulation) + additions

    def handed(self, tokens: int, d: Array, rows: Array) -> Array:
        """Of the d that a chunk of `tokens` hands on."""
        size = np.abs(d) + rows
        if self.setup.gamma is not None:
            size = size + self.rising + self.falling
            return self._summed(tokens, UNIT, UNIT) + self._decayed(1) + arithmetic(size)
        square = UNIT + self.setup.square_error
        sums = sum_error(self.up, self.up, self.ups, square) + sum_error(
            self.down, self.down, self.downs, square
        )
        # First d + rises, which is larger by the falls, then the difference.
        return sums + arithmetic(size + self.down) + arithmetic(size)

    def _summed(self, terms: int, product: float, addition: float) -> Array:
        """A sum of gains times squares, and of the weights where gates decay them, as below."""
        size, value = self.rising + self.falling, np.abs(self.rising - self.falling)
        weights = 0.0 if self.setup.gamma is None else relative(3) * size + UNIT * (self.up + self.down)
        return sum_error(size, value, terms, product + self.setup.square_error, addition) + weights

    def _decayed(self, blocks: int) -> Array:
        """c + e^{-x} (d - c) for the entry of the chunk and of each of its blocks.

        e^{-x} is a float32 exponential of a float32 exponent: relative error (2 + x) u, and x e^{-x} < 1. Then the
        roundings of d - c, of the product and of the sum.
        """
        if self.setup.gamma is None:
            return np.zeros_like(self.span)
        return blocks * (relative(5) * self.span + arithmetic(np.abs(self.setup.anchor) + self.span))


def _coupling_error(setup: Setup) -> float:
    """Relative error of an entry of L: squares, their product and K sums of non-negative terms; eta w_t; the decay's
    exponential; the products of these."""
    model = setup.model
    rel = model.exact_product + 2 * setup.square_error + relative(setup.key_dim, model.accumulation)
    rel += relative(setup.step_operations + 1 + (4 if setup.gamma is not None else 0))
    return rel * (1 + rel)


def _right_side(setup: Setup, chunk: slice, entry: ErrorSet, before: Array) -> tuple[Enclosed, Array]:
    """r = eta w_t (1 - <c + G_t (d - c), s_t>), (N, C, 1), from the kernel's own d, and its error (N, C)."""
    s, step = setup.features[:, chunk], setup.step[:, chunk]
    entering = setup.path[:, chunk.start, None]
    kept = setup.anchor[:, None] + before[:, :, None] * (entering - setup.anchor[:, None])
    unsteady = before * np.stack([entry.along(s[:, n]) for n in range(s.shape[1])], axis=1)
    gap = 1.0 - np.sum(kept * s, -1)
    dot = non_negative_error((np.abs(kept) + entry.rows()[:, None]) * s, UNIT + setup.square_error)
    if setup.gamma is not None:
        span = np.abs(entering - setup.anchor[:, None]) + entry.rows()[:, None]
        dot += np.sum((relative(5) * span + arithmetic(np.abs(setup.anchor[:, None]) + span)) * s, -1)
    size = np.abs(gap) + unsteady
    gap_error = dot + arithmetic(size + dot)
    error = step * gap_error + relative(setup.step_operations + 1) * step * (size + gap_error)
    right = Enclosed((step * gap)[..., None], (step * unsteady)[..., None], error[..., None])
    return right, error


def _decays(setup: Setup, chunk: slice) -> tuple[Array, Array]:
    """Products of the gates strictly between two tokens, (N, C, C), and before each, (N, C)."""
    if setup.gamma is None:
        size = chunk.stop - chunk.start
        return np.ones((setup.count, size, size)), np.ones((setup.count, size))
    logs = np.log(setup.gamma[:, chunk])
    after = np.cumsum(logs, axis=-1)
    before = after - logs
    return np.exp(np.minimum(before[:, :, None] - after[:, None, :], 0.0)), np.exp(before)
