"""Error of a chunk's write values X = T (V - K H), beside the solution of its system (T12, T18)."""

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.enclosed import Enclosed
from osdn_theory.rounding.errors.error_set import ErrorSet
from osdn_theory.rounding.errors.lemmas import UNIT, linear_error
from osdn_theory.rounding.formats import FLOAT32, Format
from osdn_theory.rounding.memory.features import fading_of
from osdn_theory.rounding.memory.substitution import Substituted
from osdn_theory.rounding.memory.triangular import inverse, products_of
from osdn_theory.rounding.overflow import Watch
from osdn_theory.rounding.setup import Setup


class Solve:
    """The triangular system of one chunk as a kernel solves it.

    `lower` is A with the error of its entries, `of_solution` that of the diagonal blocks of its inverse. Norms over the
    values' features, (N, C): `missed`, by how much substitution misses the equations; `of_right_side`, what blocks of
    the inverse below its diagonal add; `lost`, what every later rounding adds, but for the conversion of X.

    Where W = T K and U = T V are formed they come from the same computed T, so its rounding meets the chunk's residuals
    V - K H, not V and K H apart; where the memory fades, K H is D_t0 K H in all of this. The kernel's memory is H + E.
    Where E is small, the size of its rows widens H entry by entry; where it is large, its part is bounded by
    ||w|| ||E|| for each row w that meets it or of its error, as rounding is linear in what it rounds. The smaller of
    both holds.
    """

    def __init__(
        self,
        setup: Setup,
        chunk: slice,
        entry: ErrorSet,
        memory: Array,
        write_keys: Enclosed,
        overflow: Watch,
    ) -> None:
        self.setup, self.chunk, self.overflow, model = setup, chunk, overflow, setup.model
        self.keys, self.beta = Enclosed(setup.keys[:, chunk]), setup.beta[:, chunk]
        self.fading, lost = fading_of(setup, chunk), model.converted
        self.read = self.fading.kept * setup.keys[:, chunk]
        self.memory = Enclosed(memory, 0.0, lost * np.abs(memory) + model.storage.smallest_subnormal)
        self.spread, self.spread_lost = (1 + lost) * entry.radius(), lost * entry.radius()
        self.widened = self.stored(Enclosed(memory, entry.rows()[:, :, None]))
        strict = np.tri(chunk.stop - chunk.start, k=-1, dtype=bool)
        overlap = self.fading.met(self.keys, write_keys)
        self.lower = self.fading.paired(overlap).scaled(self.beta[:, :, None]).masked(strict)
        self._see("K (d k)^T", overlap, self.keys.computed @ write_keys.transposed.computed)
        self.missed = np.zeros(self.beta.shape)
        if model.substitution:
            self._substitute()
        else:
            self._invert(entry, memory)

    def _substitute(self) -> None:
        found = self._apart()
        self.missed = np.linalg.norm(found.missed, axis=-1)
        self.lost = np.linalg.norm(found.rounded(self.setup.key_dim), axis=-1)
        self.of_solution, self.of_right_side = np.zeros(self.lower.value.shape), np.zeros(self.beta.shape)
        self.overflow.see("U - W S", FLOAT32, self.chunk, found.exact, found.met)

    def _apart(self) -> Substituted:
        """The system solved for beta V and for each feature of beta K, which the memory is multiplied by."""
        values = Enclosed(self.setup.values[:, self.chunk])
        columns = (values.scaled(self.beta[..., None]), self.keys.scaled(self.beta[..., None]))
        whole = np.broadcast_to(
            np.eye(values.value.shape[-1]), (self.setup.count, *[values.value.shape[-1]] * 2)
        )
        return Substituted.of(self.lower, columns, (whole, self.widened.computed))

    def _invert(self, entry: ErrorSet, memory: Array) -> None:
        setup, model, chunk = self.setup, self.setup.model, self.chunk
        self.inverted = inverse(self.lower.settled(), model.inverse_products, fused=model.fused)
        self.of_solution = self.inverted.of_solution
        self._see("A", self.lower, self.lower.computed, model.inverse_factors)
        found = products_of(self.lower, self.inverted)
        self._see("(I + A)^-1", self.inverted.matrix, found, model.inverse_factors)
        met = np.stack([entry.along(self.read[:, n]) for n in range(chunk.stop - chunk.start)], axis=1)
        residual = np.linalg.norm(setup.values[:, chunk] - self.read @ memory, axis=-1) + met
        right = np.abs(self.beta) * residual
        self.of_right_side = np.einsum("ncj,nj->nc", self.inverted.of_right_side, right)
        self.lost = self._met() if model.residuals else self._lost(residual)

    def _see(self, quantity: str, matrix: Enclosed, size: Array, fmt: Format = FLOAT32) -> None:
        """Numbers of a format whose rows are tokens, or partial sums of the size of those."""
        size = np.maximum(matrix.computed, size)
        self.overflow.see(quantity, fmt, self.chunk, np.abs(matrix.value), size)

    def _product(self, left: Enclosed, right: Enclosed, terms: Array | int) -> Enclosed:
        return left.times(right, terms, self.setup.model.products)

    def _less(self, values: Enclosed, keys: Enclosed, memory: Enclosed) -> Enclosed:
        """V - K H, of the memory as it has faded."""
        model, terms = self.setup.model, self.setup.key_dim
        if self.fading.after is None:
            return values.plus_product(keys.negated(), memory, terms, model.products, fused=model.fused)
        return values.plus(keys.times(memory, terms, model.products).faded(self.fading.after).negated())

    def stored(self, matrix: Enclosed) -> Enclosed:
        """Converted to what results of the chunk are stored in."""
        return matrix.stored(self.setup.model.storage, self.setup.model.rounding_factor)

    def _met(self) -> Array:
        """Of beta (V - K (H + E)), stored, of the stored inverse, and of their product."""
        model, length = self.setup.model, self.beta.shape[1]
        values, terms = Enclosed(self.setup.values[:, self.chunk]), np.arange(1, length + 1)[:, None]
        solve = self.stored(self.inverted.matrix.settled().masked(np.tri(length, dtype=bool)))
        keys = self.fading.entered(self.keys)
        self._see("(I + A)^-1", solve, solve.computed, model.held)

        def solved(memory: Enclosed) -> Enclosed:
            residual = self._less(values, keys, memory)
            self._see("V - K S", residual, values.computed + keys.computed @ memory.computed)
            right = self.stored(residual.scaled(self.beta[..., None]))
            self._see("beta (V - K S)", right, right.computed, model.held)
            return solve.times(right, terms, model.products)

        widened, plain = solved(self.widened), solved(self.memory)
        each = (
            linear_error(self.setup.key_dim, model.products) + linear_error(length, model.products) + 2 * UNIT
        )
        each += model.converted
        reach, spread = np.linalg.norm(self.read, axis=-1), self.spread[:, None]
        part = (self.spread_lost[:, None] + each * spread) * reach
        part = np.abs(self.beta) * (part + (1 + each) * spread * self.fading.lost_reading(self.keys))
        of_spread = (solve.computed @ part[..., None])[..., 0]
        right = np.abs(self.beta) * spread * reach
        of_spread += (np.asarray(solve.error) @ right[..., None])[..., 0]
        return _smaller(widened, plain, of_spread)

    def _lost(self, residual: Array) -> Array:
        values = Enclosed(self.setup.values[:, self.chunk])
        length = values.value.shape[1]
        scaled = self.inverted.matrix.settled().scaled(self.beta[:, None, :])
        solve = self.stored(scaled.masked(np.tri(length, dtype=bool)))
        given, terms = solve.settled(), np.arange(1, length + 1)[:, None]
        keys = self.fading.folded(self.keys)
        erase = self.stored(self._product(given, keys, terms))
        target = self.stored(self._product(given, values, terms))
        for name, matrix, right in (("W", erase, keys), ("U", target, values)):
            self._see(name, matrix, given.computed @ right.computed)
            self._see(name, matrix, matrix.computed, self.setup.model.held)
        self._see("(I + A)^-1 Diag(beta)", solve, solve.computed, self.setup.model.held)
        self._see("U - W S", target, target.computed + erase.computed @ self.widened.computed)
        lost = self._difference(target, erase.settled()) + self._erased(erase)
        lost += np.einsum("ncj,nj->nc", np.asarray(solve.error), residual)
        return lost

    def _difference(self, target: Enclosed, erase: Enclosed) -> Array:
        """Norms of the error of U - W (H + E) for the computed U and W."""
        model, terms = self.setup.model, self.setup.key_dim
        erased = erase.negated()
        widened = target.plus_product(erased, self.widened, terms, model.products, fused=model.fused)
        plain = target.plus_product(erased, self.memory, terms, model.products, fused=model.fused)
        each = linear_error(terms, model.products) + UNIT
        of_spread = (
            np.linalg.norm(erase.magnitude, axis=-1) * (self.spread_lost + each * self.spread)[:, None]
        )
        return _smaller(widened, plain, of_spread)

    def _erased(self, erase: Enclosed) -> Array:
        """||dW (H + E)|| for every row of the error of W, (N, C): entry by entry, or by H's spectral norm."""
        error, memory = np.asarray(erase.error), self.memory
        size = np.linalg.norm(error, axis=-1)
        spectral = np.linalg.norm(memory.value, ord=2, axis=(1, 2)) + np.linalg.norm(
            memory.error, axis=(1, 2)
        )
        by_entry = np.linalg.norm(error @ memory.computed, axis=-1)
        result: Array = np.minimum(by_entry, size * spectral[:, None]) + size * self.spread[:, None]
        return result


def _smaller(widened: Enclosed, plain: Enclosed, of_spread: Array) -> Array:
    """Norms of an error, with E's size in every entry of H, or H's part and `of_spread` for E's.

    Half a spacing is not linear: twice that of H's part and u times E's bound that of the sum.
    """
    by_entry = 2 * plain.error
    result: Array = np.minimum(
        np.linalg.norm(widened.error, axis=-1), np.linalg.norm(by_entry, axis=-1) + of_spread
    )
    return result
