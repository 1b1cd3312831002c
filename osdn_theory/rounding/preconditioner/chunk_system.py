r"""The triangular system of a chunk's gains, (I + L) u = r, as kernels form and solve it (T11, T18)."""

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.enclosed import Enclosed
from osdn_theory.rounding.errors.error_set import ErrorSet, Mask
from osdn_theory.rounding.errors.lemmas import UNIT, Products, arithmetic, non_negative_error, relative
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.memory.substitution import Substituted
from osdn_theory.rounding.memory.triangular import inverse, products_of
from osdn_theory.rounding.overflow import Watch
from osdn_theory.rounding.setup import Setup


class System:
    """The triangular system of a chunk as a kernel solves it.

    `right_error` (N, C): of the right side, and what substitution adds to it; `lower_error` (N, C, C): of L;
    `of_solution` (N, C, C) and `of_right_side` (N, C): what the diagonal blocks of an inverse and those below add;
    `summed` (N, C): rounding of its product with r, or of what combines the columns of substitution. `sizes`
    (3, N, C), which `meet` fills token by token: of what misses the token's equation, of what the inverse of its block
    adds, and of what is lost after that.
    """

    def __init__(self, setup: Setup, chunk: slice, entry: ErrorSet) -> None:
        s, self.chunk = setup.features[:, chunk], chunk
        decay, before = _decays(setup, chunk)
        coupling = np.tril(setup.pull[:, chunk, None] * decay * (s @ transpose(s)), -1)
        self.lower_error = (_coupling_error(setup) + _exponent_error(setup, decay)) * coupling
        self.lower = Enclosed(coupling, self.lower_error)
        if setup.model.substitution:
            self._substitute(setup, entry, before)
        else:
            self._invert(setup, entry, before)
        self.gains = np.zeros(self.summed.shape)
        self.sizes = np.zeros((3, *self.summed.shape))

    def _invert(self, setup: Setup, entry: ErrorSet, before: Array) -> None:
        inverted = inverse(self.lower, setup.model.exact_products, fused=setup.model.fused)
        right, self.right_error = _right_side(setup, self.chunk, entry, before)
        self.of_solution = inverted.of_solution
        self.of_right_side = np.einsum("ncj,nj->nc", inverted.of_right_side, right.computed[..., 0])
        terms = np.arange(1, before.shape[-1] + 1)[:, None]
        gains = inverted.matrix.settled().times(right.settled(), terms, Products(UNIT, UNIT))
        self.summed = np.asarray(gains.error)[..., 0]
        self.exact = np.abs(inverted.matrix.value)
        self.met = np.maximum(inverted.matrix.computed, products_of(self.lower, inverted))

    def _substitute(self, setup: Setup, entry: ErrorSet, before: Array) -> None:
        found = _apart(setup, self.chunk, entry, before, self.lower)
        self.right_error, self.summed = found.missed[..., 0], found.rounded(setup.key_dim)[..., 0]
        self.of_solution, self.of_right_side = np.zeros_like(self.lower_error), np.zeros_like(self.summed)
        self.exact, self.met = found.exact, found.met

    def see(self, overflow: Watch, solved: Mask) -> None:
        """Overflow in the system of the heads whose chunk may be `solved` (N,)."""
        overflow.see("L", FLOAT32, self.chunk, self.lower.value, self.lower.computed, solved)
        overflow.see("(I + L)^-1", FLOAT32, self.chunk, self.exact, self.met, solved)

    def meet(self, n: int, gain: Array) -> None:
        """Token n's gain is at most `gain` (N,), but for what misses its own equation."""
        earlier = self.gains[:, :n]
        missed = self.right_error[:, n] + np.sum(self.lower_error[:, n, :n] * earlier, -1)
        inner = np.sum(self.of_solution[:, n, :n] * earlier, -1) + self.of_right_side[:, n]
        self.gains[:, n] = gain + missed
        self.sizes[:, :, n] = missed, inner, self.summed[:, n]


def _coupling_error(setup: Setup) -> float:
    """Relative error of an entry of L: squares, their product and K sums of non-negative terms; eta w_t; the slope of
    the feedback; the decay's exponential; the products of these."""
    model = setup.model
    rel = model.exact_product + 2 * setup.square_error + relative(setup.key_dim, model.accumulation)
    rel += relative(setup.step_operations + 1 + setup.slope_roundings + (4 if setup.gamma is not None else 0))
    return rel * (1 + rel)


def _exponent_error(setup: Setup, decay: Array) -> Array | float:
    """Relative error of decays by that of their exponents, as large as these are."""
    if setup.gamma is None:
        return 0.0
    with np.errstate(divide="ignore"):
        exponents = np.where(decay > 0, -np.log(decay), 0.0)
    return relative(setup.exponent_roundings) * exponents


def _right_side(setup: Setup, chunk: slice, entry: ErrorSet, before: Array) -> tuple[Enclosed, Array]:
    """r = eta w_t (fixed - slope <c + G_t (d - c), s_t>), (N, C, 1), from the kernel's own d, and its error (N, C)."""
    s, step, slope = setup.features[:, chunk], setup.step[:, chunk], setup.slope[:, chunk]
    entering = setup.path[:, chunk.start, None]
    kept = setup.anchor[:, None] + before[:, :, None] * (entering - setup.anchor[:, None])
    unsteady = before * np.stack([entry.along(s[:, n]) for n in range(s.shape[1])], axis=1)
    gap = setup.fixed[:, chunk] - slope * np.sum(kept * s, -1)
    terms = (np.abs(kept) + entry.rows()[:, None]) * s
    dot = non_negative_error(terms, UNIT + setup.square_error)
    if setup.carries and chunk.start:
        dot += np.sum(arithmetic(np.abs(entering) + entry.rows()[:, None]) * s, -1)
    if setup.gamma is not None:
        span = np.abs(entering - setup.anchor[:, None]) + entry.rows()[:, None]
        kept_error = relative(4 + setup.exponent_roundings) * span
        dot += np.sum((kept_error + arithmetic(np.abs(setup.anchor[:, None]) + span)) * s, -1)
    unsteady = slope * unsteady
    dot = slope * (dot + relative(setup.slope_roundings) * (np.sum(terms, -1) + dot))
    size = np.abs(gap) + unsteady
    gap_error = dot + arithmetic(size + dot)
    error = step * gap_error + relative(setup.step_operations + 1) * step * (size + gap_error)
    right = Enclosed((step * gap)[..., None], (step * unsteady)[..., None], error[..., None])
    return right, error


def _apart(setup: Setup, chunk: slice, entry: ErrorSet, before: Array, lower: Enclosed) -> Substituted:
    """The system solved for eta w_t (fixed - slope <c, s_t>) and, to be multiplied by d - c, for each feature of
    eta w_t slope G_t s_t.

    d - c is rounded too, as if its columns erred by that.
    """
    s, step = setup.features[:, chunk], setup.step[:, chunk]
    slope, start = setup.slope[:, chunk], setup.fixed[:, chunk]
    met, size = (slope * np.sum(c[:, None] * s, -1) for c in (setup.anchor, np.abs(setup.anchor)))
    # The square, a sum of K products, a difference; the products with eta w_t.
    roundings = setup.step_operations + setup.slope_roundings + 3
    fixed_error = relative(setup.key_dim + roundings) * step * (np.abs(start) + size)
    fixed = Enclosed((step * (start - met))[..., None], 0.0, fixed_error[..., None])
    # The square, its product with eta w_t, d - c; a gate's exponential and its product.
    rel = relative(roundings + (setup.gamma is not None) * (4 + setup.exponent_roundings))
    whole = (step * slope)[..., None] * s
    moving = Enclosed(before[..., None] * whole, 0.0, rel * whole)
    ahead = np.abs(setup.path[:, chunk.start] - setup.anchor) + entry.rows()
    ones = np.ones((setup.count, 1, 1))
    return Substituted.of(lower, (fixed, moving), (ones, (ahead + arithmetic(ahead))[..., None]))


def _decays(setup: Setup, chunk: slice) -> tuple[Array, Array]:
    """Products of the gates strictly between two tokens, (N, C, C), and before each, (N, C)."""
    if setup.gamma is None:
        size = chunk.stop - chunk.start
        return np.ones((setup.count, size, size)), np.ones((setup.count, size))
    logs = np.log(setup.gamma[:, chunk])
    after = np.cumsum(logs, axis=-1)
    before = after - logs
    return np.exp(np.minimum(before[:, :, None] - after[:, None, :], 0.0)), np.exp(before)
