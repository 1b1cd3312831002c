r"""Running error bound on the preconditioner in the chunk order (T11, T18).

Where nothing clips, the gains u of a chunk solve (I + L) u = r. What a kernel does to this system reaches d as every
error of the recurrence does, by its exact transitions: a right side or an entry of L that errs is a gain that misses
its own token's equation. The roundings of the inverse and of its product with r are in the solution already.
"""

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.error_set import ErrorSet, Mask, choose
from osdn_theory.rounding.errors.lemmas import UNIT, arithmetic
from osdn_theory.rounding.memory.triangular import BLOCK
from osdn_theory.rounding.preconditioner.calibrated import Calibrated, step_freely
from osdn_theory.rounding.preconditioner.chunk_system import System
from osdn_theory.rounding.preconditioner.clipping import sure, through_clip
from osdn_theory.rounding.preconditioner.formed import Formed
from osdn_theory.rounding.preconditioner.single_step import advance
from osdn_theory.rounding.setup import Setup

_STEPPED = 2.0**-40
# Relative error of float64 arithmetic over the few hundred operations of a chunk stepped token by token.

_SETTLED = 2.0**-24
# How far from the d that a block of chunks was walked from sweeps may leave the one that the blocks before hand it.


def by_chunks(setup: Setup, found: Calibrated) -> None:
    errors = ErrorSet.zero(setup.count, setup.key_dim)
    for chunk in setup.chunks():
        errors = _chunk(setup, chunk, errors, found)
    found.record(setup.length, setup, errors, bound_rest(setup, setup.length, setup.path[:, -1], errors))


def _chunk(setup: Setup, chunk: slice, entry: ErrorSet, found: Calibrated) -> ErrorSet:
    """Record the tokens of one chunk; the error of the d that it hands on.

    A chunk that surely stays in the box is solved by its triangular system (or stepped, which errs less); one that
    surely leaves it is stepped in float64. In between, a kernel may accept iterates that leave the box by no more than
    their own error e_j: the projected run then differs from the accepted one by at most sum_j ||e_j||, as the step is
    non-expansive.
    """
    system = System(setup, chunk, entry)
    straight = _free_run(setup, chunk)
    free, error = _walk(setup, chunk, entry, straight, system, found)
    window = slice(chunk.start, chunk.stop + 1)
    inside, outside = sure(straight, error, setup.lower, setup.upper)
    if setup.model.substitution:
        # One head that clips has all of them stepped.
        inside = inside & bool(inside.all())
    solved = ~outside
    if setup.swept and setup.gamma is not None:
        solved = np.zeros_like(outside)
    system.see(found.overflow, solved)
    walked = ~inside | setup.swept
    if bool(walked.any()):
        near = ~((straight - error > setup.lower[:, None]) & (straight + error < setup.upper[:, None]))
        excess = np.cumsum(np.linalg.norm(error * near, axis=-1), axis=-1)[:, 1:]
        system.sizes = np.where(solved[:, None], system.sizes, 0.0)
        path, clipped = setup.path[:, window], Calibrated.zeros(setup)
        stepped, _ = _walk(setup, chunk, entry, path, system, clipped, excess * solved[:, None], solved)
        free = choose(~walked, free, stepped)
        found.take(clipped, walked, chunk)
    return free


def bound_rest(setup: Setup, t: int, d: Array, errors: ErrorSet) -> Array:
    """What token t misses of the d (N, K) that is carried: its rest, and what sweeps leave open; nothing of d_1."""
    if not setup.carries or t == 0:
        return np.zeros_like(d)
    return arithmetic(np.abs(d) + errors.rows()) + _SETTLED * setup.swept


def _free_run(setup: Setup, chunk: slice) -> Array:
    """Exact iterates of the chunk without the clip, from its exact entry, (N, C + 1, K)."""
    path = [setup.path[:, chunk.start]]
    for t in range(chunk.start, chunk.stop):
        path.append(step_freely(setup, t, path[-1]))
    return np.stack(path, axis=1)


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
        self.missed.transition(keep, self.setup.pull[:, t, None] * s, s)
        self.inner.transition(keep, np.zeros_like(s), s)
        self.solved.transition(keep, np.zeros_like(s), s)
        for errors, size in zip((self.missed, self.inner, self.solved), sizes, strict=True):
            errors.add_line(s, size)


def _kept(setup: Setup, t: int) -> Array | float:
    return 1.0 if setup.gamma is None else setup.gamma[:, t]


def _walk(
    setup: Setup, chunk: slice, entry: ErrorSet, path: Array, system: System, found: Calibrated,
    excess: Array | None = None, solved: Mask | None = None,
) -> tuple[ErrorSet, Array]:  # fmt: skip
    """Errors through a chunk whose exact iterates are `path` (N, C + 1, K): of its entry, of its gains, and of the
    arithmetic that forms d from both. Of the d handed on, and of every iterate (N, C + 1, K) as a certificate looks at
    it, from exact products: that a token's own d comes from coarser ones reaches no other token.

    With `excess` (N, C), what accepted iterates may differ by from those that a clip would make, the clip acts on every
    step; the sizes of the gains' errors are those of the walk without."""
    carried, gains, formed = entry.copy(), _GainErrors(setup), Formed(setup)
    looked_at = np.empty(path.shape)
    entered = bound_rest(setup, chunk.start, path[:, 0], entry)
    for n, t in enumerate(range(chunk.start, chunk.stop)):
        here = carried.plus(gains.whole())
        if excess is not None and n:
            here.add_ball(excess[:, n - 1])
        used = entered + formed.iterate(n, path[:, n], here.rows(), setup.model.formation)
        found.record(t, setup, here, _if_solved(setup, t, solved, used, path[:, n], here))
        exact = entered + formed.iterate(n, path[:, n], here.rows(), setup.model.exact_product)
        looked_at[:, n] = here.rows() + exact
        s = setup.features[:, t]
        gap = setup.fixed[:, t] - setup.slope[:, t] * np.sum(path[:, n] * s, -1)
        missed = here.along(s) + np.sum(_if_solved(setup, t, solved, exact, path[:, n], here) * s, -1)
        alignment = setup.slope[:, t] * missed
        if excess is None:
            system.meet(n, setup.step[:, t] * (np.abs(gap) + alignment))
        gains.step(t, n, system.sizes[:, :, n])
        if excess is None:
            carried.transition(_kept(setup, t), setup.pull[:, t, None] * s, s)
        else:
            carried = _stepped(setup, t, carried, found)
        formed.gain(t, gap, alignment)
    result = carried.plus(gains.whole())
    if excess is not None:
        result.add_ball(excess[:, -1])
    handed = formed.handed(chunk.stop - chunk.start, path[:, -1], result.rows())
    if solved is not None:
        rounded = np.zeros_like(handed) if setup.carries else arithmetic(np.abs(path[:, -1]) + result.rows())
        handed = np.where(solved[:, None], handed, rounded)
    result.add_ball(np.linalg.norm(handed, axis=-1))
    looked_at[:, -1] = result.rows()
    return result, looked_at


def _stepped(setup: Setup, t: int, errors: ErrorSet, found: Calibrated) -> ErrorSet:
    """Errors of d through token t's step and clip, in float64, or in float32 with or without what that loses."""
    d, s = setup.path[:, t], setup.features[:, t]
    exact = step_freely(setup, t, d)
    if setup.swept:
        missed = bound_rest(setup, t, d, errors)
        advance(setup, t, errors, found, missed)
        # Where the step is the larger part, the rest of its sum with d is itself rounded.
        errors.add_ball(2 * UNIT * np.linalg.norm(np.abs(exact - d), axis=-1))
        return through_clip(errors, exact, setup.lower, setup.upper, missed)
    if setup.model.wide_steps:
        errors.transition(_kept(setup, t), setup.pull[:, t, None] * s, s)
        errors.add_ball(_STEPPED * np.linalg.norm(d, axis=-1))
        if setup.aware:
            # The slope is a float32 number all the same.
            errors.add_line(s, UNIT * setup.pull[:, t] * np.sum((np.abs(d) + errors.rows()) * s, -1))
    else:
        advance(setup, t, errors, found, np.zeros(d.shape))
        errors.add_ball(np.linalg.norm(arithmetic(np.abs(exact) + errors.rows()), axis=-1))
    return through_clip(errors, exact, setup.lower, setup.upper)


def _if_solved(setup: Setup, t: int, solved: Mask | None, error: Array, d: Array, errors: ErrorSet) -> Array:
    """`error` for heads whose chunk may be solved; steps round token t's d (N, K) to float32 alone."""
    if solved is None:
        return error
    rounded = bound_rest(setup, t, d, errors)
    if not setup.swept:
        rounded = np.maximum(rounded, arithmetic(np.abs(d) + errors.rows()))
    return np.where(solved[:, None], np.maximum(error, rounded), rounded)
