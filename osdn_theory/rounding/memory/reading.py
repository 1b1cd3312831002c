"""Error of what is read from the memory: of every set of queries, by a kernel's order of operations (T18)."""

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.enclosed import Enclosed, sum_of_products
from osdn_theory.rounding.errors.error_set import ErrorSet
from osdn_theory.rounding.errors.lemmas import UNIT, arithmetic, rounding, sum_error
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.memory.solve import Solve
from osdn_theory.rounding.overflow import Watch
from osdn_theory.rounding.setup import Setup


class Reads:
    """Bounds on what one set of `queries` (N, T, K) reads: `outputs` (N, T, V) and `norm` (N, T)."""

    def __init__(self, setup: Setup, queries: Array) -> None:
        self.setup, self.queries = setup, queries
        self.outputs, self.norm = np.zeros(setup.values.shape), np.zeros(setup.values.shape[:2])
        self.overflow = Watch(setup.count)

    def token(
        self, t: int, errors: ErrorSet, size: Array, write_key: Array, value: Array, after: Array
    ) -> None:
        """Token t's read in the recurrent order: S_{t-1} q + <k~, q> x, or S_t q; the sizes of the first bound both.

        `size` (N, V, K) bounds S_{t-1}, `write_key` (N, K) and `value` (N, V) what is written; `after` is the exact
        S_t.
        """
        query, terms = self.queries[:, t], self.setup.key_dim
        old = np.einsum("nvk,nk->nv", size, np.abs(query))
        overlap = np.sum(write_key * np.abs(query), -1)[:, None]
        whole = old + overlap * value
        answer = sum_error(old, old, terms) + value * sum_error(overlap, overlap, terms)
        answer = answer + arithmetic(overlap * value) + arithmetic(whole)
        exact = np.abs(np.einsum("nvk,nk->nv", after, query))
        self.overflow.see("S q", FLOAT32, t, exact, whole + answer)
        self._scaled(t, errors, answer, exact)

    def chunk(
        self, solve: Solve, here: list[ErrorSet], memory: Enclosed, write_keys: Enclosed, values: Enclosed
    ) -> None:
        """A chunk's reads, scale (Q H + tril(Q K~^T) X), or scale (D_t0 Q H + (D * tril(Q K~^T)) X) where it fades."""
        chunk, fading = solve.chunk, solve.fading
        model, queries = self.setup.model, Enclosed(self.queries[:, chunk])
        length = chunk.stop - chunk.start
        seen = fading.met(queries, write_keys)
        self._see(chunk, "Q (d k)^T", seen, queries.computed @ write_keys.transposed.computed)
        seen = solve.stored(fading.paired(seen).masked(np.tri(length, dtype=bool)))
        self.overflow.see("Q (d k)^T", model.held, chunk, np.abs(seen.value), seen.computed)
        terms = np.arange(1, length + 1)[:, None]
        if fading.after is None:
            pairs = [(fading.entered(queries), memory), (seen, values)]
            out = sum_of_products(pairs, [self.setup.key_dim, terms], model.products, fused=model.fused)
        else:
            before = queries.times(memory, self.setup.key_dim, model.products).faded(fading.after)
            out = before.plus_product(seen, values, terms, model.products, fused=model.fused)
        sums = queries.computed @ memory.computed + seen.computed @ values.computed
        self._see(chunk, "S q", out, sums)
        local, exact = np.asarray(out.error), np.abs(out.value)
        for n, t in enumerate(range(chunk.start, chunk.stop)):
            self._scaled(t, here[n], local[:, n], exact[:, n])

    def _see(self, chunk: slice, quantity: str, product: Enclosed, sums: Array) -> None:
        """Partial sums of a product in float32."""
        self.overflow.see(quantity, FLOAT32, chunk, np.abs(product.value), sums + product.error)

    def _scaled(self, t: int, errors: ErrorSet, local: Array, exact: Array) -> None:
        """Scale, which float32 may round too, and the conversion of the output."""
        model, scale = self.setup.model, abs(self.setup.scale)
        propagated = scale * errors.along(self.queries[:, t])
        size = scale * (exact + local) + propagated[:, None]
        local = scale * local + UNIT * size + arithmetic(size)
        self.overflow.see("o", model.outputs, t, scale * exact, size + local)
        if model.outputs != FLOAT32:
            local = local + model.rounding_factor * rounding(size + local, model.outputs)
        self.outputs[:, t] = propagated[:, None] + local
        self.norm[:, t] = propagated + np.linalg.norm(local, axis=-1)
