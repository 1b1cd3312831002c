"""Worst executions of a kernel's arithmetic: every operation errs as far as its model allows, in the worst direction.

An `Execution` runs a kernel's order of operations in float64 and moves the result of every operation by a share in
[-1, 1] of its allowance: half a spacing, or a relative error. `worst` finds what every operation alone does to one
number, and lets all err at once in the directions that add up. The operations, and how often each rounds, are written
out here as a kernel performs them, independent of the bounds that they witness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.rounding import (
    BFLOAT16,
    CHUNK_ANY_ORDER,
    CHUNK_BF16,
    CHUNK_FP32,
    CHUNK_TF32,
    FLOAT16,
    FLOAT32,
    MODELS,
    RECURRENT_PLAIN,
    ErrorBounds,
    Format,
    KernelModel,
    error_bounds,
    in_interpreter,
    spacing,
)
from osdn_theory.rounding.errors.lemmas import Products
from osdn_theory.streams.stream import Stream

Array = np.ndarray[Any, np.dtype[Any]]

U = 2.0**-24


class Execution:
    """Operations on arrays (R, ...) of R copies; `shares` (R, M) of M allowances, or None to count them."""

    def __init__(self, shares: Array | None = None, places: list[Array] | None = None) -> None:
        self.shares, self.used, self.call = shares, 0, 0
        self.places = [] if places is None else places

    def off(self, x: Array, allowance: Array | float) -> Array:
        """`x` moved within its allowance, where it is not exactly zero."""
        if self.shares is None:
            self.places.append(np.flatnonzero(np.broadcast_to(x, x.shape)[0]))
            return x
        where = self.places[self.call]
        self.call += 1
        moved = np.array(x, dtype=np.float64).reshape(len(x), -1)
        room = np.broadcast_to(allowance, x.shape).reshape(len(x), -1)
        moved[:, where] += self.shares[:, self.used : self.used + len(where)] * room[:, where]
        self.used += len(where)
        return moved.reshape(x.shape)

    def relative(self, x: Array, error: float) -> Array:
        return self.off(x, error * np.abs(x)) if error else x

    def single(self, x: Array) -> Array:
        """One float32 operation."""
        return self.off(x, 0.5 * spacing(x, FLOAT32))

    def stored(self, x: Array, fmt: Format, factor: float = 1.0) -> Array:
        return x if fmt == FLOAT32 else self.off(x, factor * 0.5 * spacing(x, fmt))

    def added(self, x: Array, term: Array, addition: float) -> Array:
        """x + term; exact where either is zero."""
        both = (np.abs(x[:1]) > 0) & (np.abs(term[:1]) > 0)
        total = x + term
        moved = self.single(total * both) if addition == U else self.relative(total * both, addition)
        return np.where(both, moved, total)

    def chain(self, terms: Array, addition: float, start: Array | None = None) -> Array:
        """Sum over the last axis, the largest first, on top of `start`."""
        order = np.argsort(-np.abs(terms[:1]), axis=-1, kind="stable")
        terms = np.take_along_axis(terms, np.broadcast_to(order, terms.shape), axis=-1)
        total = terms[..., 0] if start is None else self.added(start, terms[..., 0], addition)
        for n in range(1, terms.shape[-1]):
            total = self.added(total, terms[..., n], addition)
        return total

    def product(self, left: Array, right: Array, how: Products, start: Array | None = None) -> Array:
        """Matrix product (R, n, K) (R, K, m), every term added on top of `start` if there is one."""
        some = np.any(left[0] != 0, axis=0) & np.any(right[0] != 0, axis=1)
        if not some.any():
            return np.zeros((len(left), left.shape[1], right.shape[2])) if start is None else start
        terms = left[:, :, None, some] * np.swapaxes(right[:, some], 1, 2)[:, None, :, :]
        if how.ordered:
            total = np.zeros(terms.shape[:-1]) if start is None else start
            for n in range(terms.shape[-1]):
                total = np.where(terms[:1, ..., n] == 0, total, self.single(total + terms[..., n]))
            return total
        return self.chain(self.relative(terms, how.product), how.addition, start)

    def sum(self, start: Array, left: Array, right: Array, how: Products, *, fused: bool) -> Array:
        """`start` + left @ right."""
        if fused:
            return self.product(left, right, how, start)
        return self.single(start + self.product(left, right, how))


@dataclass
class Case:
    """A kernel's run on one head: keys and queries (T, K), values (T, V), a state (V, K) and d_1 (K,)."""

    model: KernelModel
    keys: Array
    values: Array
    queries: Array | None = None
    beta: Array | float = 1.0
    gate: Array | None = None
    rule: CalibrationRule = field(default_factory=lambda: CalibrationRule(eta=0.0, d_min=0.0, d_max=np.inf))
    state: Array | None = None
    d: Array | float = 1.0
    scale: float = 1.0
    chunk_size: int = 16

    def bounds(self) -> ErrorBounds:
        stream = Stream(
            keys=self.keys, values=self.values, queries=self.queries, beta=self.beta, forget_gate=self.gate
        )
        return error_bounds(
            stream, self.rule, self.model, chunk_size=self.chunk_size, scale=self.scale,
            initial_state=self.state, initial_preconditioner=self.d,
        )  # fmt: skip


READS: dict[str, Callable[[Any], Array]] = {
    "d": lambda run: run.d[:, -2, 0],
    "final d": lambda run: run.d[:, -1, 0],
    "alignment": lambda run: run.alignment[:, -1],
    "write key": lambda run: run.write_keys[:, -1, 0],
    "state": lambda run: run.state[:, 0, 0],
    "output": lambda run: run.outputs[:, -1, 0],
}
"""The number of a run that is driven to its worst: of the last token, the first feature."""


def limits(bounds: ErrorBounds) -> dict[str, float]:
    """The bounds on what `READS` takes."""
    return {
        "d": float(bounds.preconditioner[-1, 0]),
        "final d": float(bounds.final_preconditioner[0]),
        "alignment": float(bounds.alignment[-1]),
        "write key": float(bounds.write_keys[-1, 0]),
        "state": float(bounds.final_state),
        "output": float(bounds.outputs[-1, 0]),
    }


def worst(bounds: ErrorBounds, quantities: Iterable[str] = READS) -> dict[str, float]:
    """The largest errors found, each in an execution of its own."""
    order = recurrent if bounds.model.order == "recurrent" else chunked
    counted = Execution()
    exact = order(counted, bounds, 1)
    count = sum(len(x) for x in counted.places)
    parts = []
    for first in range(0, count, 512):
        some = np.eye(count)[first : first + 512]
        parts.append(order(Execution(some, counted.places), bounds, len(some)))
    moved = {name: np.concatenate([READS[name](run) for run in parts]) for name in quantities}
    directions = [np.sign(x - READS[name](exact)) for name, x in moved.items()]
    found = order(
        Execution(np.array([s * x for x in directions for s in (1.0, -1.0)]), counted.places),
        bounds,
        2 * len(directions),
    )
    errors = {name: np.abs(READS[name](found) - READS[name](exact)) for name in moved}
    return {name: float(errors[name][2 * n : 2 * n + 2].max()) for n, name in enumerate(moved)}


@dataclass
class Run:
    """What an execution computes: d (R, T + 1, K), a (R, T), write keys (R, T, K), S (R, V, K), o (R, T, V)."""

    d: Array
    alignment: Array
    write_keys: Array
    state: Array
    outputs: Array


@dataclass
class _Given:
    """Inputs of a run as the kernel reads them, with an axis of copies."""

    model: KernelModel
    rule: CalibrationRule
    chunk_size: int
    scale: float
    keys: Array
    values: Array
    queries: Array
    beta: Array
    gate: Array | None
    anchor: Array
    d: Array
    state: Array

    @classmethod
    def of(cls, bounds: ErrorBounds, copies: int) -> _Given:
        stream, run = bounds.stream, bounds.trajectory

        def copied(x: Any) -> Array:
            return np.repeat(np.asarray(x, dtype=np.float64)[None], copies, axis=0)

        return cls(
            bounds.model, bounds.rule, bounds.chunk_size, run.scale,
            copied(stream.keys), copied(stream.values), copied(stream.queries), copied(stream.beta),
            None if stream.forget_gate is None else copied(stream.forget_gate),
            copied(run.anchor), copied(run.initial_preconditioner), copied(run.initial_state),
        )  # fmt: skip

    @property
    def square(self) -> float:
        """Relative error of k * k: products of 12 bits or fewer fit."""
        return 0.0 if self.model.inputs.significand <= 12 else U

    @property
    def moves(self) -> bool:
        return self.rule.eta > 0 or self.gate is not None

    @property
    def swept(self) -> bool:
        return self.moves and 0 < self.model.swept >= self.rule.eta

    @property
    def carries(self) -> bool:
        """Chunks hand on d with its rest."""
        return self.moves and self.model.compensated and (self.gate is None or self.swept)


def _empty(given: _Given) -> Run:
    copies, length, dim = given.keys.shape
    return Run(
        d=np.zeros((copies, length + 1, dim)),
        alignment=np.zeros((copies, length)),
        write_keys=np.zeros(given.keys.shape),
        state=given.state,
        outputs=np.zeros(given.values.shape),
    )


def _step_size(ex: Execution, given: _Given, t: int) -> Array:
    """eta w_t, (R, 1): eta, a product, and in w a sum of K squares, epsilon, its sum and a quotient."""
    key, rule = given.keys[:, t], given.rule
    eta = ex.relative(np.full((len(key), 1), rule.eta), U)
    if not rule.normalize_feedback:
        return ex.relative(eta, U)
    total = ex.relative(np.sum(key * key, -1, keepdims=True), key.shape[-1] * U)
    weight = 1.0 / ex.relative(ex.relative(total + rule.epsilon, U), U)
    return ex.relative(eta * ex.relative(weight, U), U)


def _aligned(ex: Execution, given: _Given, t: int, d: Array) -> Array:
    """<d, k^2>, (R, 1)."""
    key = given.keys[:, t]
    terms = ex.relative(d * ex.relative(key * key, given.square), U)
    return ex.chain(terms, U)[:, None]


def recurrent(ex: Execution, bounds: ErrorBounds, copies: int) -> Run:
    """Token by token: read k, write, read q, calibrate."""
    given = _Given.of(bounds, copies)
    run = _empty(given)
    carried, state = given.d, given.state
    for t in range(given.keys.shape[1]):
        d = _shown(ex, given, carried)
        run.d[:, t] = d
        run.alignment[:, t] = _aligned(ex, given, t, d)[:, 0]
        state = _token(ex, given, t, d, state, run)
        carried = _calibrated(ex, given, t, d, carried)
    run.d[:, -1] = _shown(ex, given, carried)
    run.state = state
    return run


def _shown(ex: Execution, given: _Given, carried: Array) -> Array:
    """d of a kernel that carries d and its rest."""
    return ex.single(carried) if given.model.compensated and given.moves else carried


def _token(ex: Execution, given: _Given, t: int, d: Array, state: Array, run: Run) -> Array:
    key, query = given.keys[:, t], given.queries[:, t]

    def dot(matrix: Array, vector: Array) -> Array:
        return ex.chain(ex.relative(matrix * vector[:, None, :], U), U)

    residual = ex.single(given.values[:, t] - dot(state, key))
    value = ex.single(given.beta[:, t, None] * residual)
    write_key = ex.single(d * key) if given.moves or np.any(d != 1.0) else d * key
    run.write_keys[:, t] = write_key
    after = ex.single(state + ex.single(value[:, :, None] * write_key[:, None, :]))
    # S_{t-1} q + <k~, q> x from the old state.
    overlap = ex.chain(ex.relative(write_key * query, U), U)[:, None]
    read = ex.single(dot(state, query) + ex.single(overlap * value))
    run.outputs[:, t] = _converted(ex, given, read)
    return after


def _converted(ex: Execution, given: _Given, read: Array) -> Array:
    """The scale, itself rounded, and the output's conversion."""
    scaled = ex.single(ex.relative(given.scale * read, U))
    return ex.stored(scaled, given.model.outputs, 2.0 if given.model.chopped else 1.0)


def _calibrated(ex: Execution, given: _Given, t: int, d: Array, carried: Array) -> Array:
    """One float32 calibrate step; what is carried is d, or d and its rest."""
    if not given.moves:
        return carried
    key, rule, rest = given.keys[:, t], given.rule, carried - d
    gap = ex.single(1.0 - _aligned(ex, given, t, d))
    gain = ex.relative(_step_size(ex, given, t) * gap, U)
    # The square, (eta w s) and its product with the gap.
    moved = ex.relative(gain * key * key, 3 * U)
    kept = d
    if given.gate is not None:
        gamma = given.gate[:, t, None]
        if given.model.compensated:
            moved = ex.single(moved + rest)
            # expm1 of a float32 exponent, d - c, the rest, the product; then the sum.
            rest = ex.relative((gamma - 1.0) * (d - given.anchor + rest), 7 * U)
        else:
            # gamma is an exponential of float32, then d - c, the product, the sum.
            kept = ex.relative(given.anchor + ex.relative(gamma * (d - given.anchor), 4 * U), U)
    if given.model.compensated:
        return np.asarray(np.clip(d + ex.single(moved + rest), rule.d_min, rule.d_max))
    moved = ex.single(ex.single(moved)) if given.gate is not None else ex.single(moved)
    clipped = np.clip(ex.single(kept + moved), np.float32(rule.d_min), np.float32(rule.d_max))
    return ex.stored(clipped, given.model.preconditioner)


def chunked(ex: Execution, bounds: ErrorBounds, copies: int) -> Run:
    """The WY form by chunks."""
    given = _Given.of(bounds, copies)
    run = _empty(given)
    d, state, length = given.d, np.swapaxes(given.state, 1, 2), given.keys.shape[1]
    exact = bounds.trajectory
    for first in range(0, length, given.chunk_size):
        chunk = slice(first, min(first + given.chunk_size, length))
        # Where one clips, a chunk is stepped.
        path = np.vstack([exact.preconditioner, exact.final_preconditioner])[chunk.start : chunk.stop + 1]
        edge = (path == given.rule.d_min) | (path == given.rule.d_max)
        d = (_stepped if edge.any() or given.swept else _scanned)(ex, given, chunk, d, run)
        state = _written(ex, given, chunk, state, run)
    run.d[:, -1], run.state = ex.single(d) if given.carries else d, np.swapaxes(state, 1, 2)
    return run


def _scanned(ex: Execution, given: _Given, chunk: slice, carried: Array, run: Run) -> Array:
    """d of a chunk's tokens from its triangular system; the d handed on, with its rest where that is carried."""
    d = ex.single(carried) if given.carries and chunk.start else carried
    keys, model = given.keys[:, chunk], given.model
    size = keys.shape[1]
    if not given.moves:
        run.d[:, chunk] = d[:, None]
        for t in range(chunk.start, chunk.stop):
            run.alignment[:, t] = _aligned(ex, given, t, d)[:, 0]
        return d
    squares = keys * keys
    logs = np.zeros(keys.shape[:2]) if given.gate is None else np.log(given.gate[:, chunk])
    after = np.cumsum(logs, axis=-1)
    before = after - logs
    gains = _gains(ex, given, chunk, d, squares, before, after)
    for n in range(size):
        entry = _entered(ex, given, d, before[:, n])
        if n:
            weights = before[:, n, None] - after[:, :n]
            product = model.exact_product if model.formed_product is None else model.formed_product
            terms = _terms(ex, given, gains[:, :n], weights, squares[:, :n], product)
            if model.fused:
                entry = ex.chain(terms, model.accumulation, entry)
            else:
                entry = ex.single(entry + ex.chain(terms, model.accumulation))
        run.d[:, chunk.start + n] = entry
        run.alignment[:, chunk.start + n] = _aligned(ex, given, chunk.start + n, entry)[:, 0]
    terms = _terms(ex, given, gains, after[:, -1:] - after, squares, U)
    if given.gate is not None:
        return ex.single(_entered(ex, given, d, after[:, -1]) + ex.chain(terms, U))
    rises, falls = np.where(terms[:1] > 0, terms, 0.0), np.where(terms[:1] < 0, terms, 0.0)
    if given.carries:
        moved = ex.added(ex.chain(rises, U), ex.chain(falls, U), U)
        return d + ex.added(moved, carried - d, U)
    return ex.added(ex.added(d, ex.chain(rises, U), U), ex.chain(falls, U), U)


def _stepped(ex: Execution, given: _Given, chunk: slice, d: Array, run: Run) -> Array:
    """The same token by token, in float64 or float32; tokens use d in float32, its rest may be carried."""
    for t in range(chunk.start, chunk.stop):
        used = run.d[:, t] = d if given.swept and t == 0 else ex.single(d)
        run.alignment[:, t] = _aligned(ex, given, t, used)[:, 0]
        if given.model.wide_steps and not given.swept:
            square = given.keys[:, t] ** 2
            gap = 1.0 - np.sum(d * square, -1, keepdims=True)
            d = np.clip(d + given.rule.eta * gap * square, given.rule.d_min, given.rule.d_max)
        else:
            d = _calibrated(ex, given, t, used, d if given.swept else used)
    return d if given.carries else ex.single(d)


def _terms(ex: Execution, given: _Given, gains: Array, logs: Array, squares: Array, product: float) -> Array:
    """Gains times their decay times squares, (R, K, n)."""
    decay = np.exp(logs)
    if given.gate is not None:
        # A float32 exponential of a float32 exponent, and the product with the gain.
        decay = ex.off(ex.relative(decay, 3 * U), U * np.abs(logs) * decay)
    terms = ex.relative(squares, given.square) * (gains * decay)[:, :, None]
    return np.swapaxes(ex.relative(terms, product), 1, 2)


def _entered(ex: Execution, given: _Given, d: Array, log: Array) -> Array:
    """c + e^x (d - c)."""
    if given.gate is None:
        return d
    decay = np.exp(log)[:, None]
    moved = ex.relative(decay * (d - given.anchor), 4 * U)
    moved = ex.off(moved, U * np.abs(log)[:, None] * np.abs(moved))
    return ex.single(given.anchor + moved)


def _gains(
    ex: Execution, given: _Given, chunk: slice, d: Array, squares: Array, before: Array, after: Array
) -> Array:
    """u of (I + L) u = r, (R, C)."""
    model, size, dim = given.model, squares.shape[1], squares.shape[2]
    steps = [_step_size(ex, given, t) for t in range(chunk.start, chunk.stop)]
    rows = np.stack(steps, axis=1)[:, :, 0]
    overlap = (
        squares @ np.swapaxes(squares, 1, 2) * np.exp(np.minimum(before[:, :, None] - after[:, None], 0))
    )
    # Squares of both, their product, K sums, the product with eta w, and those of the decay.
    error = model.exact_product + 2 * given.square + dim * model.accumulation + U
    lower = np.tril(rows[:, :, None] * overlap, -1)
    lower = ex.relative(lower, error + (4 * U if given.gate is not None else 0.0))
    right = np.empty(rows.shape)
    for n, t in enumerate(range(chunk.start, chunk.stop)):
        gap = ex.single(1.0 - _aligned(ex, given, t, _entered(ex, given, d, before[:, n])))
        right[:, n] = ex.relative(rows[:, n] * gap[:, 0], U)
    exact = Products(model.exact_product, model.accumulation, model.ordered)
    inverse = inverted(ex, lower, exact, fused=model.fused)
    return ex.product(inverse, right[:, :, None], Products(U, U))[:, :, 0].reshape(len(d), size)


def inverted(ex: Execution, lower: Array, how: Products, *, fused: bool) -> Array:
    """(I + A)^-1 by blocks of 16."""
    size = lower.shape[-1]
    padded = np.pad(lower, ((0, 0), (0, -size % 16), (0, -size % 16)))
    count = padded.shape[-1] // 16
    found = np.zeros(padded.shape)

    def cell(i: int, j: int) -> tuple[slice, slice, slice]:
        return np.s_[:, 16 * i : 16 * (i + 1), 16 * j : 16 * (j + 1)]

    for i in range(count):
        found[cell(i, i)] = _doubled(ex, padded[cell(i, i)], how)
        for j in range(i - 1, -1, -1):
            behind = ex.product(padded[cell(i, j)], found[cell(j, j)], how)
            for m in range(j + 1, i):
                behind = ex.sum(behind, padded[cell(i, m)], found[cell(m, j)], how, fused=fused)
            found[cell(i, j)] = -ex.product(found[cell(i, i)], behind, how)
    return found[:, :size, :size]


def _doubled(ex: Execution, block: Array, how: Products) -> Array:
    last = int(np.max(np.flatnonzero(np.any(block[0] != 0, axis=1)), initial=-1)) + 1
    if last < 16:
        # Rows of zeros stay those of the identity.
        x = np.tile(np.eye(16), (len(block), 1, 1))
        if last:
            x[:, :last, :last] = _doubled_rows(ex, block[:, :last, :last], how)
        return x
    return _doubled_rows(ex, block, how)


def _doubled_rows(ex: Execution, block: Array, how: Products) -> Array:
    count = block.shape[-1]
    row, col = np.arange(count)[:, None], np.arange(count)[None, :]
    x = np.eye(count) - block * ((row // 2 == col // 2) & (row > col))
    for size in (2, 4, 8):
        couples = (row // (2 * size) == col // (2 * size)) & (row // size > col // size)
        x = x - ex.product(ex.product(x, block * couples, how), x, how)
    return np.asarray(x)


def _written(ex: Execution, given: _Given, chunk: slice, state: Array, run: Run) -> Array:
    """The memory (R, K, V) through one chunk."""
    model, beta = given.model, given.beta[:, chunk, None]
    keys, values, queries = given.keys[:, chunk], given.values[:, chunk], given.queries[:, chunk]
    d, factor = run.d[:, chunk], 2.0 if model.chopped else 1.0

    def stored(x: Array) -> Array:
        return ex.stored(x, model.storage, factor)

    moving = given.moves or bool(np.any(d != 1.0))
    writes = stored(ex.single(d * keys)) if moving else d * keys
    run.write_keys[:, chunk] = writes
    gram = model.gram_products(keys.shape[-1])
    lower = np.tril(ex.single(beta * ex.product(keys, np.swapaxes(writes, 1, 2), gram)), -1)
    inverse = inverted(ex, lower, model.inverse_products, fused=model.fused)
    memory = stored(state)
    if model.residuals:
        residual = ex.sum(values, -keys, memory, model.products, fused=model.fused)
        right = stored(ex.single(beta * residual))
        gained = stored(ex.product(stored(np.tril(inverse)), right, model.products))
    else:
        solve = stored(np.tril(ex.single(inverse * np.swapaxes(beta, 1, 2))))
        erase, target = (stored(ex.product(solve, x, model.products)) for x in (keys, values))
        gained = stored(ex.sum(target, -erase, memory, model.products, fused=model.fused))
    seen = stored(np.tril(ex.product(queries, np.swapaxes(writes, 1, 2), model.products)))
    read = ex.sum(
        ex.product(queries, memory, model.products), seen, gained, model.products, fused=model.fused
    )
    run.outputs[:, chunk] = _converted(ex, given, read)
    return ex.sum(state, np.swapaxes(writes, 1, 2), gained, model.products, fused=model.fused)


_ANY = replace(CHUNK_ANY_ORDER, fused=False)

KERNELS: dict[str, KernelModel] = {
    **{name: model for name, model in MODELS.items() if name not in ("chunk_tf32", "chunk_substituted")},
    "any order, formed first": _ANY,
    "in order, formed first": in_interpreter(CHUNK_FP32),
    "bfloat16, formed first": replace(CHUNK_BF16, fused=False),
    "bfloat16, bits dropped": in_interpreter(CHUNK_BF16),
    "float16 outputs": replace(RECURRENT_PLAIN, outputs=FLOAT16),
    "TF32": replace(CHUNK_TF32, accumulation=U),
    "coarse sums": replace(_ANY, accumulation=2.0**-14, exact_product=2.0**-21),
    "coarse exact products": replace(_ANY, exact_product=2.0**-14),
    "coarse inverse": replace(_ANY, inverse_product=2.0**-14),
    "coarse formation": replace(_ANY, formed_product=2.0**-9),
    "coarse sums on top": replace(CHUNK_ANY_ORDER, accumulation=2.0**-14, exact_product=2.0**-21),
    "short inputs": replace(_ANY, inputs=BFLOAT16),
}
"""Models that let one kind of operation or another err the most."""

_RULES: dict[str, CalibrationRule] = {
    "frozen": CalibrationRule(eta=0.0, d_min=-np.inf, d_max=np.inf),
    "steps": CalibrationRule(eta=0.5, d_min=-np.inf, d_max=np.inf),
    "short steps": CalibrationRule(eta=2.0**-14, d_min=-np.inf, d_max=np.inf),
    "long steps": CalibrationRule(eta=8.0, d_min=-np.inf, d_max=np.inf),
    "normalised": CalibrationRule(eta=0.5, normalize_feedback=True, d_min=-np.inf, d_max=np.inf),
    "forgetting": CalibrationRule(eta=0.25, d_min=-np.inf, d_max=np.inf, forgetting="token", anchor=0.0),
    "anchored": CalibrationRule(eta=0.25, d_min=-np.inf, d_max=np.inf, forgetting="token", anchor=-2.0),
    "clipped": CalibrationRule(eta=0.5, d_min=0.7, d_max=1.3),
    "forgetting alone": CalibrationRule(
        eta=0.0, d_min=-np.inf, d_max=np.inf, forgetting="token", anchor=-1.0
    ),
}

SHAPES = {"scalar": (1, 3), "two": (2, 3), "swallowed": (6, 2), "blocks": (1, 18), "single": (1, 1)}
"""Features and tokens."""


def drawn(model: str, rule: str, shape: str, seed: int) -> Case:
    """A run whose numbers lie just above powers of two, where half a spacing is the unit times the number."""
    rng = np.random.default_rng(seed)
    dim, length = SHAPES[shape]

    def numbers(*size: int, spread: int = 3) -> Array:
        sizes = np.ldexp(1 + 0.06 * rng.uniform(size=size), rng.integers(-spread, spread + 1, size=size))
        return rng.choice([-1.0, 1.0], size=size) * sizes

    keys, values, queries = numbers(length, dim, spread=1), numbers(length, 1), numbers(length, dim, spread=1)
    if shape == "swallowed":
        # The first term of every sum over features rounds with each of the others.
        for x in (keys, queries):
            x[:, 1:] = 0.99 * 2.0**-10 * np.sign(x[:, 1:]) * np.abs(x[:, :1])
    if shape == "blocks":
        idle = [t for t in range(length) if t not in (0, 1, 16, 17)]
        keys[idle], values[idle] = 0.0, 0.0
    gate = np.exp(-rng.choice([0.01, 0.3, 1.0], size=length))
    beta = np.abs(numbers(length, spread=1)) / 2
    state = numbers(1, dim, spread=int(rng.integers(0, 12))).astype(np.float32)
    return Case(
        KERNELS[model], keys, values, queries, beta, gate if "forgetting" in rule or rule == "anchored" else None,
        _RULES[rule], state * rng.choice([0.0, 1.0]),
        np.clip(np.abs(numbers(dim, spread=1)), _RULES[rule].d_min, _RULES[rule].d_max),
        float(rng.choice([1.0, 0.51, 4.2])), int(rng.choice([1, 2, 32])),
    )  # fmt: skip
