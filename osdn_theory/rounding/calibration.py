r"""Running error bound on the preconditioner, token by token or by chunks (T18).

What a kernel carries from token to token misses the exact d_t by delta_t. With the local error of a step, everything
that its arithmetic adds when started from the kernel's own d,

.. math:: \delta_{t+1} = D_t\,[(\gamma_t I - \eta w_t s_t s_t^T)\,\delta_t + \text{local}_t], \qquad 0 \le D_t \le I,

exactly: the unprojected step is affine in d, and the clip acts as D_t. `ErrorSet` carries delta_t.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osdn_theory._validation import Array
from osdn_theory.rounding.clipping import sure, through_clip
from osdn_theory.rounding.enclosed import Enclosed
from osdn_theory.rounding.error_set import ErrorSet, chosen
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.lemmas import UNIT, arithmetic, relative, rounding, sum_error
from osdn_theory.rounding.setup import Setup
from osdn_theory.rounding.triangular import inverse

_STEPPED = 2.0**-40
# Relative error of float64 arithmetic over the few hundred operations of a chunk stepped token by token.


@dataclass(eq=False)
class Calibrated:
    """Bounds on d: `used` (N, T + 1, K) componentwise and `norm` (N, T + 1), as write keys use it, the last entry for
    the d handed on; `alignment` (N, T) on <d_t, s_t> before its own rounding. `extra` is the part of `used` that
    forming d_t for its token adds to what is carried on."""

    used: Array
    extra: Array
    norm: Array
    alignment: Array

    @classmethod
    def zeros(cls, setup: Setup) -> Calibrated:
        tokens = (setup.count, setup.length + 1)
        used, extra = np.zeros((*tokens, setup.key_dim)), np.zeros((*tokens, setup.key_dim))
        return cls(used, extra, np.zeros(tokens), np.zeros((setup.count, setup.length)))

    def within_box(self, setup: Setup) -> None:
        """From the second token on, the exact and the carried d_t both lie in the box of float32 numbers."""
        width = (setup.upper - setup.lower)[:, None] + 2 * UNIT * (np.abs(setup.upper) + np.abs(setup.lower))[
            :, None
        ]
        self.used[:, 1:] = np.minimum(self.used[:, 1:], width + self.extra[:, 1:])

    def record(self, t: int, setup: Setup, errors: ErrorSet, extra: Array) -> None:
        """d_t misses by an error of `errors` and, componentwise, by `extra` (N, K)."""
        self.used[:, t] = errors.rows() + extra
        self.extra[:, t] = extra
        self.norm[:, t] = errors.radius() + np.linalg.norm(extra, axis=-1)
        if t < setup.length:
            s = setup.features[:, t]
            self.alignment[:, t] = errors.along(s) + np.sum(extra * s, -1)


def calibrated(setup: Setup) -> Calibrated:
    """Bounds on every d_t of the model's kernel."""
    found = Calibrated.zeros(setup)
    if setup.moves:
        (_token_by_token if setup.model.order == "recurrent" else _by_chunks)(setup, found)
        if setup.model.preconditioner == FLOAT32:
            found.within_box(setup)
    return found


def _token_by_token(setup: Setup, found: Calibrated) -> None:
    model = setup.model
    errors = ErrorSet.zero(setup.count, setup.key_dim)
    for t in range(setup.length):
        d, s = setup.path[:, t], setup.features[:, t]
        # A compensated kernel carries d + rest; tokens use d alone.
        rest = rounding(np.abs(d) + errors.rows(), FLOAT32) if model.compensated else np.zeros_like(d)
        found.record(t, setup, errors, rest)
        gap = np.abs(setup.gap[:, t]) + found.alignment[:, t]
        gain = _gain_error(setup, t, found.alignment[:, t], gap) + setup.step[:, t] * np.sum(rest * s, -1)
        moved = (setup.step[:, t] * gap)[:, None] * s
        local = relative(3) * moved + _forgetting_error(setup, t, np.abs(d) + found.used[:, t])
        _advance(setup, t, errors, gain, local, rest + moved)
        exact = _unprojected(setup, t, d)
        errors = through_clip(errors, exact, setup.lower, setup.upper)
        if not model.compensated:
            size = np.abs(setup.path[:, t + 1]) + errors.rows()
            stored = rounding(size, model.preconditioner) * (model.preconditioner != FLOAT32)
            errors.add_ball(np.linalg.norm(arithmetic(size) + stored, axis=-1))
    last = np.abs(setup.path[:, -1]) + errors.rows()
    found.record(setup.length, setup, errors, rounding(last, FLOAT32) * model.compensated)


def _advance(setup: Setup, t: int, errors: ErrorSet, gain: Array, local: Array, step: Array) -> None:
    """One unprojected step: the transition, the error of the gain along s, and that of every coordinate."""
    s = setup.features[:, t]
    keep = 1.0 if setup.gamma is None else setup.gamma[:, t]
    errors.transition(keep, setup.step[:, t, None] * s, s)
    errors.add_line(s, gain)
    sums = arithmetic(step) * (1 if setup.gamma is None else 2)
    errors.add_ball(np.linalg.norm(local + sums, axis=-1))


def _unprojected(setup: Setup, t: int, d: Array) -> Array:
    """The exact step from d (N, K) before the clip."""
    s = setup.features[:, t]
    kept = d
    if setup.gamma is not None:
        kept = setup.anchor + setup.gamma[:, t, None] * (d - setup.anchor)
    gap = 1.0 - np.sum(d * s, -1)
    moved: Array = kept + (setup.step[:, t] * gap)[:, None] * s
    return moved


def _gain_error(setup: Setup, t: int | slice, alignment: Array, gap: Array) -> Array:
    """Error of eta w_t (1 - <d, s>) computed in float32 from the kernel's own d.

    K terms of d s, each with the roundings of k^2 and of the product, summed in any order; one subtraction; then the
    roundings of the factor eta w_t and of the product with it.
    """
    s = setup.features[:, t]
    size = np.sum(np.abs(setup.path[:, :-1][:, t]) * s, -1) + alignment
    dot = sum_error(size, size, setup.key_dim, UNIT + 2 * setup.square_error)
    before = dot + arithmetic(gap + dot)
    scaled: Array = setup.step[:, t] * (before + relative(setup.step_operations + 1) * (gap + before))
    return scaled


def _forgetting_error(setup: Setup, t: int, size: Array) -> Array:
    """Error of c + gamma (d - c), (N, K), for |d| <= size: what is forgotten is (1 - gamma)(d - c) within 8 roundings;
    an uncompensated kernel rounds the difference, the product and the sum instead."""
    if setup.gamma is None:
        return np.zeros_like(size)
    forgotten = 1.0 - setup.gamma[:, t, None]
    span = size + np.abs(setup.anchor)
    if setup.model.compensated:
        return (relative(8) * forgotten + UNIT**2) * span
    return relative(5) * span


def _by_chunks(setup: Setup, found: Calibrated) -> None:
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
    gain = _solved_gain_error(setup, chunk, entry)
    straight = _free_run(setup, chunk)
    used = Calibrated.zeros(setup)
    free = _walk(setup, chunk, entry, gain, used, clip=False, excess=np.zeros(gain.shape))
    window = slice(chunk.start, chunk.stop + 1)
    error = used.used[:, window].copy()
    error[:, -1] = free.rows()
    inside, outside = sure(straight, error, setup.lower, setup.upper)
    if not bool(inside.all()):
        near = ~((straight - error > setup.lower[:, None]) & (straight + error < setup.upper[:, None]))
        excess = np.cumsum(np.linalg.norm(error * near, axis=-1), axis=-1)[:, 1:]
        doubtful = ~outside
        stepped = _walk(
            setup, chunk, entry, gain * doubtful[:, None], clipped := Calibrated.zeros(setup), clip=True,
            excess=excess * doubtful[:, None],
        )  # fmt: skip
        free = chosen(inside, free, stepped)
        for name in ("used", "extra", "norm", "alignment"):
            there, here = getattr(clipped, name), getattr(used, name)
            here[:] = np.where(inside.reshape(-1, *[1] * (here.ndim - 1)), here, there)
    tokens = slice(chunk.start, chunk.stop)
    for name in ("used", "extra", "norm", "alignment"):
        getattr(found, name)[:, tokens] = getattr(used, name)[:, tokens]
    return free


def _free_run(setup: Setup, chunk: slice) -> Array:
    """Exact iterates of the chunk without the clip, from its exact entry, (N, C + 1, K)."""
    path = [setup.path[:, chunk.start]]
    for t in range(chunk.start, chunk.stop):
        path.append(_unprojected(setup, t, path[-1]))
    return np.stack(path, axis=1)


def _walk(
    setup: Setup, chunk: slice, entry: ErrorSet, gain: Array, found: Calibrated, *, clip: bool, excess: Array
) -> ErrorSet:
    """Errors through a chunk: of its entry, by the transitions; of its gains (N, C), which the triangular solve has
    propagated already; and of the arithmetic that forms d from both."""
    carried, solved = entry.copy(), ErrorSet.zero(setup.count, setup.key_dim)
    moved = np.zeros((setup.count, setup.key_dim))
    total_rise = np.zeros_like(moved)
    for n, t in enumerate(range(chunk.start, chunk.stop)):
        here = carried.plus(solved)
        if clip and n:
            here.add_ball(excess[:, n - 1])
        found.record(t, setup, here, _tile_error(setup, t, n, moved, here))
        s = setup.features[:, t]
        keep = 1.0 if setup.gamma is None else setup.gamma[:, t]
        zero = np.zeros_like(s)
        solved.transition(keep, zero, s)
        solved.add_line(s, gain[:, n])
        carried.transition(keep, setup.step[:, t, None] * s, s)
        if clip:
            carried.add_ball(_STEPPED * np.linalg.norm(setup.path[:, t], axis=-1))
            carried = through_clip(
                carried, _unprojected(setup, t, setup.path[:, t]), setup.lower, setup.upper
            )
        rise = (setup.step[:, t] * (np.abs(setup.gap[:, t]) + found.alignment[:, t]))[:, None] * s
        moved = (moved if setup.gamma is None else setup.gamma[:, t, None] * moved) + rise
        total_rise += rise
    result = carried.plus(solved)
    if clip:
        result.add_ball(excess[:, len(range(chunk.start, chunk.stop)) - 1])
    handed = _handed_error(setup, chunk, moved, total_rise, result)
    result.add_ball(np.linalg.norm(handed, axis=-1))
    return result


def _tile_error(setup: Setup, t: int, n: int, moved: Array, errors: ErrorSet) -> Array:
    """What forming the n-th d of a chunk adds: a product of gains with squares per block of 16, and one sum each."""
    size = np.abs(setup.path[:, t]) + errors.rows() + moved
    sums = sum_error(moved, moved, max(n, 1), _weighted_square(setup), setup.model.accumulation) * (n > 0)
    return sums + (n // 16 + 1) * arithmetic(size) * (n > 0) + _decay_error(setup, t, n, size)


def _weighted_square(setup: Setup) -> float:
    """Relative error of a gain times a square inside a product, with the decay's factor where there is one."""
    return setup.model.exact_product + setup.square_error + (2 * UNIT if setup.gamma is not None else 0.0)


def _decay_error(setup: Setup, t: int, n: int, size: Array) -> Array:
    """Decays e^{-x} are float32 exponentials of float32 exponents: relative error (2 + x) u, and x e^{-x} < 1. One in
    front of the entry, one in every sum of each block, and the roundings of d - c, the product and the sum."""
    if setup.gamma is None:
        return np.zeros_like(size)
    blocks = n // 16 + 1
    result: Array = relative(6.0 * blocks) * (size + np.abs(setup.anchor))
    return result


def _handed_error(setup: Setup, chunk: slice, moved: Array, rise: Array, errors: ErrorSet) -> Array:
    """Rounding of d + sum_t u_t s_t at the end of a chunk; rising and falling gains are summed apart."""
    terms = chunk.stop - chunk.start
    size = np.abs(setup.path[:, chunk.stop]) + errors.rows()
    if setup.gamma is None:
        sums = sum_error(rise, rise, terms, UNIT + setup.square_error)
        # First d + rises, which is larger by the falls, then the difference.
        return sums + arithmetic(size + rise) + arithmetic(size)
    sums = sum_error(moved, moved, terms, 2 * UNIT + setup.square_error)
    return sums + _decay_error(setup, chunk.stop - 1, 0, size + moved) + 2 * arithmetic(size + moved)


def _solved_gain_error(setup: Setup, chunk: slice, entry: ErrorSet) -> Array:
    """Error of the gains u = (I + L)^-1 r of a chunk, (N, C), entered with the kernel's own d."""
    s, step = setup.features[:, chunk], setup.step[:, chunk]
    decay, before = _decays(setup, chunk)
    coupling = np.tril(step[:, :, None] * decay * (s @ s.swapaxes(-1, -2)), -1)
    model = setup.model
    # Squares, their product and K sums of non-negative terms; eta w_t; the decay's exponential; the products of these.
    rel = model.exact_product + 2 * setup.square_error + relative(setup.key_dim, model.accumulation)
    rel += relative(setup.step_operations + 1 + (4 if setup.gamma is not None else 0))
    rel = rel * (1 + rel)
    solve = inverse(
        Enclosed(coupling, 0.0, rel * coupling), model.exact_product, model.accumulation, model.fused
    ).matrix
    entering = setup.path[:, chunk.start, None]
    kept = setup.anchor[:, None] + before[:, :, None] * (entering - setup.anchor[:, None])
    unsteady = np.stack([entry.along(s[:, n]) for n in range(s.shape[1])], axis=1)
    gap = 1.0 - np.sum(kept * s, -1)
    loose = np.sum((np.abs(kept) + entry.rows()[:, None]) * s, -1)
    dot = sum_error(loose, loose, setup.key_dim, UNIT + 2 * setup.square_error)
    if setup.gamma is not None:
        dot += relative(6) * np.sum(
            (np.abs(entering) + entry.rows()[:, None] + 2 * np.abs(setup.anchor[:, None])) * s, -1
        )
    gap_size = np.abs(gap) + unsteady
    gap_error = dot + arithmetic(gap_size + dot)
    right = step * gap_size
    right_error = step * gap_error + relative(setup.step_operations + 1) * (right + step * gap_error)
    terms = np.arange(1, s.shape[1] + 1)[:, None]
    gains = Enclosed(solve.value, 0.0, solve.slack + solve.error).times(
        Enclosed(right[:, :, None], 0.0, right_error[:, :, None]), terms, UNIT, UNIT
    )
    return np.asarray(gains.error)[..., 0]


def _decays(setup: Setup, chunk: slice) -> tuple[Array, Array]:
    """Products of the gates strictly between two tokens, (N, C, C), and before each, (N, C)."""
    if setup.gamma is None:
        size = chunk.stop - chunk.start
        return np.ones((setup.count, size, size)), np.ones((setup.count, size))
    logs = np.log(setup.gamma[:, chunk])
    after = np.cumsum(logs, axis=-1)
    before = after - logs
    return np.exp(np.minimum(before[:, :, None] - after[:, None, :], 0.0)), np.exp(before)
