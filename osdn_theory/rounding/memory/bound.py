r"""Running error bound on the memory (T18); what is read from it is in `reading`.

A kernel writes with its own stored write keys k~^_t and write values x^_t = beta_t (v_t - S^_{t-1} k_t) + delta x_t.
With E_t the transposed error of its memory, (K, V),

.. math:: E_t = (I - \beta_t \tilde k_t k_t^T) E'_{t-1} + \beta_t\,\delta\tilde k_t\,(r_t - E'^T_{t-1} k_t)^T
                + \hat{\tilde k}_t\,\delta x_t^T + \text{rounding of the sum},

exactly, r_t being the exact residual and E' the error E faded as the memory is, before it is read (`fading`).
`ErrorSet` carries E_t through these transitions. In the chunk order delta x is the error of the whole triangular
solve from the chunk's entering memory, so it has been through the transitions of its chunk already: it is kept apart
(`solved`) until the chunk ends, and the sum is rounded once per chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.enclosed import Enclosed
from osdn_theory.rounding.errors.error_set import ErrorSet
from osdn_theory.rounding.errors.lemmas import UNIT, arithmetic, linear_error, relative, rounding, sum_error
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.memory.fading import fade, fade_token, faded
from osdn_theory.rounding.memory.reading import Reads
from osdn_theory.rounding.memory.solve import Solve
from osdn_theory.rounding.memory.triangular import BLOCK
from osdn_theory.rounding.overflow import Watch
from osdn_theory.rounding.preconditioner.calibrated import Calibrated
from osdn_theory.rounding.setup import Setup


@dataclass(eq=False)
class Written:
    """Bounds: `keys` (N, T, K) on write keys, `state` (N, T + 1) in the Frobenius norm with the one handed on last,
    `along` (N, T) on ||E_T^T k_t|| for the final memory, and `reads` for every set of queries. `overflow` is of the
    memory and of what is written to it."""

    keys: Array
    state: Array
    along: Array
    reads: list[Reads]
    overflow: Watch


def bound_memory(setup: Setup, calibrated: Calibrated) -> Written:
    """Bounds on write keys, memory and outputs of the model's kernel."""
    keys = _write_key_error(setup, calibrated)
    found = Written(
        keys=keys,
        state=np.zeros((setup.count, setup.length + 1)),
        along=np.zeros((setup.count, setup.length)),
        reads=[Reads(setup, queries) for queries in setup.queries],
        overflow=Watch(setup.count),
    )
    exact = np.abs(setup.path[:, :-1] * setup.keys)
    held = setup.model.held if setup.model.order == "chunk" else FLOAT32
    found.overflow.see("d k", held, slice(0, setup.length), exact, exact + keys)
    errors = ErrorSet.zero(setup.count, setup.key_dim)
    state = setup.state.copy()
    errors.add_ball(_kept(setup, np.abs(state)))
    advance = _token if setup.model.order == "recurrent" else _chunk
    for chunk in setup.chunks():
        errors, state = advance(setup, chunk, errors, state, found)
    found.state[:, -1] = errors.radius()
    for t in range(setup.length):
        found.along[:, t] = errors.along(setup.keys[:, t])
    return found


def _write_key_error(setup: Setup, calibrated: Calibrated) -> Array:
    """|stored write key - d_t k_t|, (N, T, K): d's error, the product's rounding, and that of the storage."""
    d, size = setup.path[:, :-1], np.abs(setup.keys)
    if not setup.moves and bool(np.all(d == 1.0)):
        return np.zeros_like(d)
    moved = calibrated.used[:, :-1] * size
    product = np.abs(d) * size + moved
    error = moved + arithmetic(product)
    if setup.model.order == "chunk" and setup.model.storage != FLOAT32:
        error = error + setup.model.rounding_factor * rounding(product + error, setup.model.storage)
    return error


def _through_write(setup: Setup, t: int, errors: ErrorSet, key_error: Array) -> Array:
    """Transition of token t and the error of its write key; returns ||E^T k|| before it, (N,)."""
    key, beta = setup.keys[:, t], setup.beta[:, t]
    before = errors.along(key)
    errors.transition(1.0, beta[:, None] * setup.path[:, t] * key, key)
    residual = np.linalg.norm(setup.residuals[:, t], axis=-1) + before
    errors.add_ball(np.abs(beta) * np.linalg.norm(key_error[:, t], axis=-1) * residual)
    return before


def _write(setup: Setup, t: int, state: Array) -> Array:
    """The exact S_t from the faded S_{t-1}, (N, V, K)."""
    write_key = setup.path[:, t] * setup.keys[:, t]
    value = setup.beta[:, t, None] * setup.residuals[:, t]
    return state + value[:, :, None] * write_key[:, None, :]


def _add_write_values(setup: Setup, t: int, errors: ErrorSet, size: Array, key_error: Array) -> None:
    """Errors of norm `size` (N,) in token t's write values: along the exact write key, and what its own error adds."""
    errors.add_line(setup.path[:, t] * setup.keys[:, t], size)
    errors.add_ball(size * np.linalg.norm(key_error[:, t], axis=-1))


def _token(
    setup: Setup, token: slice, errors: ErrorSet, state: Array, found: Written
) -> tuple[ErrorSet, Array]:
    """One token of the recurrent order: fade, read k, write, read every q, all in float32."""
    t = token.start
    state = fade_token(setup, t, errors, state)
    key, beta = setup.keys[:, t], np.abs(setup.beta[:, t, None])
    size = np.abs(state) + errors.rows()[:, None, :]
    before = errors.along(key)[:, None]
    read = np.einsum("nvk,nk->nv", state, key)
    terms = np.einsum("nvk,nk->nv", size, np.abs(key))
    dot = sum_error(terms, np.abs(read) + before, setup.key_dim)
    see = found.overflow.see
    see("S k", FLOAT32, t, np.abs(read), terms + dot)
    residual = np.abs(setup.residuals[:, t]) + before + dot
    lost = dot + arithmetic(residual)
    see("v - S k", FLOAT32, t, np.abs(setup.residuals[:, t]), residual + lost)
    value = beta * (residual + lost)
    lost = beta * lost + arithmetic(value)
    _through_write(setup, t, errors, found.keys)
    _add_write_values(setup, t, errors, np.linalg.norm(lost, axis=-1), found.keys)
    after = _write(setup, t, state)
    write_key = np.abs(setup.path[:, t] * key) + found.keys[:, t]
    update = value[:, :, None] * write_key[:, None, :]
    see("beta (v - S k) (d k)^T", FLOAT32, t, np.abs(after - state), update + arithmetic(update))
    whole = np.abs(after) + errors.rows()[:, None, :] + arithmetic(update)
    stored = arithmetic(whole) + arithmetic(update)
    see("S", FLOAT32, t, np.abs(after), whole + stored)
    errors.add_ball(np.linalg.norm(stored, axis=(1, 2)))
    for reads in found.reads:
        reads.token(t, errors, size, write_key, value, after)
    # Read before it is put away.
    errors.add_ball(_kept(setup, whole + stored))
    found.state[:, t] = errors.radius()
    return errors, after


def _kept(setup: Setup, size: Array) -> Array:
    """Norm of the rounding of a memory whose entries are no larger than `size` (N, V, K), as it is put away, (N,)."""
    model = setup.model
    if model.memory == FLOAT32:
        return np.zeros(len(size))
    result: Array = model.memory_factor * np.linalg.norm(rounding(size, model.memory), axis=(1, 2))
    return result


def _chunk(
    setup: Setup, chunk: slice, entry: ErrorSet, state: Array, found: Written
) -> tuple[ErrorSet, Array]:
    """One chunk of the WY order."""
    model = setup.model
    memory = Enclosed(transpose(state), entry.rows()[:, :, None]).stored(model.storage, model.rounding_factor)
    found.overflow.see("S", model.held, chunk.start, np.abs(memory.value), memory.computed)
    write_keys = _write_keys(setup, chunk, found.keys)
    solve = Solve(setup, chunk, entry, memory.value, write_keys, found.overflow)
    walk = _Walk(setup, solve, entry)
    here = []
    for t in range(chunk.start, chunk.stop):
        here.append(walk.step(t, found.keys))
        found.state[:, t] = here[-1].radius()
        state = _write(setup, t, faded(setup, t, state))
    values = walk.values()
    found.overflow.see("beta (v - S k)", model.held, chunk, np.abs(values.value), values.computed)
    for reads in found.reads:
        reads.chunk(solve, here, memory, write_keys, values)
    errors = walk.handed_on()
    _see_sums(found.overflow, chunk, state, memory, write_keys, values)
    errors.add_ball(_summed_error(setup, walk, entry, memory.value, found.keys))
    return errors, state


def _see_sums(
    overflow: Watch, chunk: slice, state: Array, memory: Enclosed, write_keys: Enclosed, values: Enclosed
) -> None:
    """Partial sums of H + K~^T X, (N, K, V), which end as the exact `state` (N, V, K), in float32."""
    sums = memory.computed + write_keys.transposed.computed @ values.computed
    sums = (1 + relative(chunk.stop - chunk.start + 1)) * sums
    overflow.see("S", FLOAT32, chunk.stop - 1, np.abs(transpose(state)), sums)


def _summed_error(setup: Setup, walk: _Walk, entry: ErrorSet, memory: Array, key_error: Array) -> Array:
    """Norm of the rounding of H + K~^T X at the end of a chunk, of D_C0 H + K~^T (D_Cj x_j) where it fades, (N,).

    H and X are widened by what they miss by entry by entry, or that enters by its norm, as in `Solve`.
    """
    model, chunk, fading = setup.model, walk.solve.chunk, walk.solve.fading
    terms = chunk.stop - chunk.start
    writes = _write_keys(setup, chunk, key_error)
    products = model.products

    def summed(start: Enclosed, values: Enclosed) -> Enclosed:
        keys, values = fading.ended(writes, values)
        kept = fading.handed_on(start)
        return kept.plus_product(keys.transposed, values, terms, products, fused=model.fused)

    widened = summed(Enclosed(memory, entry.rows()[:, :, None]), walk.values())
    # Half a spacing is not linear, see `Solve`.
    by_entry = 2 * summed(Enclosed(memory), Enclosed(walk.exact)).error
    each = linear_error(terms, products) + UNIT
    off = walk.slack + walk.lost
    missed = np.sum(np.linalg.norm(writes.magnitude, axis=-1) * off, -1)
    lost = each * (entry.radius() + missed) + (1 + each) * fading.lost_handing(writes, entry.radius(), off)
    by_norm = np.linalg.norm(by_entry, axis=(1, 2)) + lost
    result: Array = np.minimum(np.linalg.norm(widened.error, axis=(1, 2)), by_norm)
    return result


class _Walk:
    """Errors of the memory through one chunk, by where they come from.

    carried: of the entering memory, of write keys, of A, and of the blocks of the inverse that are done, by the
    transitions; inner: of the present block of the inverse; solved: of the products after it, which the whole chunk's
    solution has in it already; converted: of write values as reads meet them, which no fading memory is handed.
    """

    def __init__(self, setup: Setup, solve: Solve, entry: ErrorSet) -> None:
        self.setup, self.solve = setup, solve
        self.carried = entry.copy()
        self.inner, self.solved, self.converted = (
            ErrorSet.zero(setup.count, setup.key_dim) for _ in range(3)
        )
        self.exact = setup.beta[:, solve.chunk, None] * setup.residuals[:, solve.chunk]
        self.size = np.linalg.norm(self.exact, axis=-1)
        self.slack, self.lost = np.zeros_like(self.size), np.zeros_like(self.size)

    def step(self, t: int, key_error: Array) -> ErrorSet:
        """Errors after token t's write."""
        setup, solve = self.setup, self.solve
        n = t - solve.chunk.start
        if n % BLOCK == 0:
            self.carried = self.carried.plus(self.inner)
            self.inner = ErrorSet.zero(setup.count, setup.key_dim)
        fade(setup, t, self.carried, self.inner, self.solved, self.converted)
        met = _through_write(setup, t, self.carried, key_error)
        # The system was solved with a computed A: its solution misses token t's equation by (A^ - A) x.
        before = self.size[:, :n] + self.slack[:, :n]
        missed = np.sum(np.asarray(solve.lower.error)[:, n, :n] * before, -1) + solve.missed[:, n]
        self.slack[:, n] = np.abs(setup.beta[:, t]) * met + missed
        inner = np.sum(solve.of_solution[:, n, :n] * before, -1) + solve.of_right_side[:, n]
        lost, stored = solve.lost[:, n], self._stored(n, inner + solve.lost[:, n])
        self.lost[:, n] = inner + lost + stored
        _add_write_values(setup, t, self.carried, missed, key_error)
        _add_write_values(setup, t, self.inner, inner, key_error)
        if solve.fading.after is None:
            _add_write_values(setup, t, self.solved, lost + stored, key_error)
            return self.handed_on()
        _add_write_values(setup, t, self.solved, lost, key_error)
        _add_write_values(setup, t, self.converted, stored, key_error)
        return self.handed_on().plus(self.converted)

    def handed_on(self) -> ErrorSet:
        """Errors of the memory that the tokens so far make, but for the rounding of its own sum."""
        return self.carried.plus(self.inner).plus(self.solved)

    def _stored(self, n: int, lost: Array) -> Array:
        """Norm of what converting write value n adds, (N,)."""
        model = self.setup.model
        if model.storage == FLOAT32:
            return np.zeros_like(lost)
        size = np.abs(self.exact[:, n]) + (self.slack[:, n] + lost)[:, None]
        result: Array = model.rounding_factor * np.linalg.norm(rounding(size, model.storage), axis=-1)
        return result

    def values(self) -> Enclosed:
        """The kernel's write values, taken as given."""
        return Enclosed(self.exact, (self.slack + self.lost)[:, :, None])


def _write_keys(setup: Setup, chunk: slice, key_error: Array) -> Enclosed:
    """The kernel's own write keys, (N, C, K): later stages all use the stored ones, so their error is slack."""
    return Enclosed(setup.path[:, :-1][:, chunk] * setup.keys[:, chunk], key_error[:, chunk])
