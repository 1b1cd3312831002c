"""The WY chunk form of the delta-rule recurrences (T12).

Per chunk, in residual form (so that a write gate of zero is an ordinary number), rows K, Q, V and write keys
K~ = D * K, entering state S:

    (I + tril(K K~^T, -1) diag(beta)) R = V - K S^T,   X = diag(beta) R,
    O = scale (Q S^T + tril(Q K~^T) X),                S+ = S + X^T K~,

with the faded products of `decay` where the state is gated. A partial chunk is padded with zero tokens, so every
chunk runs through the same shapes and a cut stream repeats the bits of the uncut one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.threads import map_leading
from osdn_theory.base.validation import Array
from osdn_theory.recurrence import calibrate as calibration
from osdn_theory.recurrence.decay import Faded, fade, padded_length
from osdn_theory.recurrence.problem import Problem, Run, detach
from osdn_theory.recurrence.scan import freeze
from osdn_theory.recurrence.trajectory import Carry

GROUP_BYTES = 1 << 19
"""Working set of the leading entries that share one step; beyond the cache there is nothing to gain."""

SLAB_CHUNKS = 4
"""Chunks prepared in one go: fewer, longer calls, while the slab still fits the cache."""


def solve_chunks(problem: Problem, chunk_size: int) -> Run:
    """Run `problem` in chunks of `chunk_size` tokens, the pending ones first."""
    tokens, skip = problem.tokens, problem.skip
    length = tokens.length
    path, final_d = _preconditioners(problem, chunk_size)
    parts = _Parts.of(problem, path)
    state = np.array(problem.state).reshape(-1, tokens.value_dim, tokens.key_dim)
    open_state = np.empty_like(state)

    def work(part: slice) -> None:
        if parts.gate is None:
            _run_leads(parts, part, state, open_state, problem.scale, chunk_size)
            return
        for group in _groups(part, tokens.key_dim, tokens.value_dim, chunk_size):
            _run_group(parts.leads(group), state[group], open_state[group], problem.scale, chunk_size)

    map_leading(work, state.shape[0])
    shape = problem.state.shape
    final_state = state.reshape(shape)
    whole = length - length % chunk_size
    pending = None
    if whole < length:
        pending = detach(problem, whole, path)
    carry = Carry(
        state=final_state if pending is None else open_state.reshape(shape),
        preconditioner=final_d if pending is None else np.array(path[..., whole, :]),
        anchor=problem.anchor,
        pending=pending,
    )
    entry_state, entry_d = _entry(problem, chunk_size, path, final_state, final_d)
    lead = tokens.lead
    return Run(
        outputs=parts.outputs.reshape(*lead, length, tokens.value_dim)[..., skip:, :],
        preconditioner=path[..., skip:, :],
        alignment=parts.alignment.reshape(*lead, length)[..., skip:],
        residuals=parts.residuals.reshape(*lead, length, tokens.value_dim)[..., skip:, :],
        initial_state=entry_state,
        initial_preconditioner=entry_d,
        final_state=final_state,
        final_preconditioner=final_d,
        carry=carry,
    )


def _preconditioners(problem: Problem, chunk_size: int) -> tuple[Array, Array]:
    """d of every token (..., T, K), and the one handed on."""
    tokens, rule = problem.tokens, problem.rule
    if problem.path is not None or rule is None:
        assert problem.path is not None
        last = problem.path[..., -1, :] if tokens.length else problem.preconditioner
        return problem.path, last
    gamma = calibration.forgetting_or_none(tokens.forget_gate, tokens.lead, tokens.length, rule)
    path = np.empty(tokens.keys.shape)
    beta = np.asarray(tokens.beta)
    final = calibration.scan_chunks(
        tokens.keys, beta, gamma, problem.preconditioner, problem.anchor, rule, chunk_size, path
    )
    return path, final


def _entry(
    problem: Problem, chunk_size: int, path: Array, final_state: Array, final_d: Array
) -> tuple[Array, Array]:
    """State and preconditioner before the first token that was not pending."""
    skip = problem.skip
    d = path[..., skip, :] if skip < problem.tokens.length else final_d
    if skip == 0:
        return problem.state, d
    if skip == problem.tokens.length:
        return final_state, d
    before = replace(
        problem,
        tokens=problem.tokens.tokens(0, skip),
        skip=0,
        gate=None if problem.gate is None else _first(problem.gate, problem, skip),
        path=None if problem.path is None else problem.path[..., :skip, :],
    )
    return solve_chunks(before, chunk_size).final_state, d


def _first(gate: Array, problem: Problem, count: int) -> Array:
    per_feature = gate.ndim == problem.tokens.keys.ndim
    return gate[..., :count, :] if per_feature else gate[..., :count]


@dataclass(frozen=True, eq=False)
class _Parts:
    """Inputs and results of a run, leading axes flattened to one."""

    keys: Array
    queries: Array
    values: Array
    beta: Array
    path: Array
    gate: Array | None
    outputs: Array
    residuals: Array
    alignment: Array

    @classmethod
    def of(cls, problem: Problem, path: Array) -> _Parts:
        tokens, gate = problem.tokens, problem.gate
        count, length = math.prod(tokens.lead), tokens.length
        assert tokens.queries is not None

        def flat(array: Array, trailing: int) -> Array:
            return array.reshape(count, *array.shape[array.ndim - trailing :])

        return cls(
            keys=flat(tokens.keys, 2),
            queries=flat(tokens.queries, 2),
            values=flat(tokens.values, 2),
            beta=flat(np.asarray(tokens.beta), 1),
            path=flat(path, 2),
            gate=None if gate is None else flat(gate, gate.ndim - len(tokens.lead)),
            outputs=np.empty((count, length, tokens.value_dim)),
            residuals=np.empty((count, length, tokens.value_dim)),
            alignment=np.empty((count, length)),
        )

    def leads(self, part: slice) -> _Parts:
        """The same for some of the leading entries."""
        arrays: dict[str, Any] = {name: x if x is None else x[part] for name, x in vars(self).items()}
        return _Parts(**arrays)


def _run_leads(
    parts: _Parts, part: slice, state: Array, open_state: Array, scale: float, chunk_size: int
) -> None:
    """All chunks of the leading entries `part`, without gates; `state` and `open_state` as in `_run_group`."""
    from osdn_theory.recurrence.chunk_loops import run_chunks

    length = parts.keys.shape[1]
    whole = length - length % chunk_size
    for b in range(part.start, part.stop):
        inputs = parts.keys[b], parts.queries[b], parts.values[b], parts.beta[b], parts.path[b]
        results = parts.outputs[b], parts.residuals[b], parts.alignment[b]
        head = [freeze(array[:whole]) for array in inputs]
        held = np.array(state[b].T, order="C")
        run_chunks(chunk_size, *head, scale, held, *(array[:whole] for array in results))
        if whole < length:
            open_state[b] = held.T
            tail = [freeze(_padded(array[whole:], chunk_size)) for array in inputs]
            padded = [np.empty((chunk_size, *array.shape[1:])) for array in results]
            run_chunks(chunk_size, *tail, scale, held, *padded)
            for array, rows in zip(results, padded, strict=True):
                array[whole:] = rows[: length - whole]
        state[b] = held.T


def _padded(rows: Array, size: int) -> Array:
    """`rows` and zeros after them: tokens that change nothing."""
    result = np.zeros((size, *rows.shape[1:]))
    result[: rows.shape[0]] = rows
    return result


def _groups(part: slice, key_dim: int, value_dim: int, chunk_size: int) -> list[slice]:
    rows = chunk_size * (4 * key_dim + 4 * value_dim + 2 * chunk_size) + key_dim * value_dim
    size = max(1, GROUP_BYTES // (8 * rows))
    return [slice(a, min(a + size, part.stop)) for a in range(part.start, part.stop, size)]


def _run_group(parts: _Parts, state: Array, open_state: Array, scale: float, chunk_size: int) -> None:
    """All chunks of some leading entries. `state` (G, V, K) is advanced in place; `open_state` gets the state
    entering the last chunk, if that one is partial."""
    length = parts.keys.shape[1]
    whole = length - length % chunk_size
    slab = _Slab(parts, scale, chunk_size)
    for first in range(0, whole, SLAB_CHUNKS * chunk_size):
        slab.run(slice(first, min(first + SLAB_CHUNKS * chunk_size, whole)), chunk_size, state)
    if whole < length:
        open_state[:] = state
        slab.clear()
        slab.run(slice(whole, length), length - whole, state)


class _Slab:
    """A few consecutive chunks: what does not depend on the state is computed for all of them at once."""

    def __init__(self, parts: _Parts, scale: float, chunk_size: int) -> None:
        assert parts.gate is not None
        group, length, key_dim = parts.keys.shape
        value_dim = parts.values.shape[-1]
        size = padded_length(chunk_size, parts.gate.ndim)
        self.parts, self.scale, self.size = parts, scale, size
        chunks = max(1, min(SLAB_CHUNKS, -(-length // chunk_size)))
        self.rows = np.zeros((group, chunks, 2 * size, key_dim))
        self.writes = np.zeros((group, chunks, size, key_dim))
        self.residual = np.zeros((group, chunks, size, value_dim))
        self.beta = np.zeros((group, chunks, size))
        self.gate = np.ones((*self.beta.shape, *parts.gate.shape[2:]))
        self.coupling = np.empty((group, chunks, 2 * size, size))
        self.read = np.empty((group, chunks, 2 * size, value_dim))
        self.gated = np.empty((group, size, value_dim))
        self.answers = np.empty_like(self.gated)
        self.gained = np.empty((group, value_dim, key_dim))
        self.upper = ~np.tri(size, dtype=bool)

    def clear(self) -> None:
        """Zero tokens, which change nothing, wherever the next chunk has none of its own."""
        for buffer in (self.rows, self.writes, self.residual, self.beta):
            buffer[:] = 0.0
        self.gate[:] = 1.0

    def run(self, tokens: slice, per_chunk: int, state: Array) -> None:
        """Advance `state` over `tokens`, chunks of `per_chunk` of them, and write what they give."""
        count = (tokens.stop - tokens.start) // per_chunk
        faded = self._load(tokens, per_chunk, count)
        for n in range(count):
            self._chunk(faded, n, state)
        size, parts = self.size, self.parts

        def chunks(array: Array) -> Array:
            return array[:, tokens].reshape(array.shape[0], count, per_chunk, -1)

        chunks(parts.residuals)[:] = self.residual[:, :count, :per_chunk]
        np.multiply(self.read[:, :count, size : size + per_chunk], self.scale, out=chunks(parts.outputs))

    def _load(self, tokens: slice, per_chunk: int, count: int) -> Faded:
        parts, size, group = self.parts, self.size, self.rows.shape[0]
        assert parts.gate is not None

        def chunks(array: Array) -> Array:
            return array[:, tokens].reshape(group, count, per_chunk, *array.shape[2:])

        keys = chunks(parts.keys)
        writes = self.writes[:, :count, :per_chunk]
        self.rows[:, :count, :per_chunk] = keys
        self.rows[:, :count, size : size + per_chunk] = chunks(parts.queries)
        self.residual[:, :count, :per_chunk] = chunks(parts.values)
        self.beta[:, :count, :per_chunk] = chunks(parts.beta)
        np.multiply(chunks(parts.path), keys, out=writes)
        chunks(parts.alignment)[:] = np.vecdot(writes, keys)
        self.gate[:, :count, :per_chunk] = chunks(parts.gate)
        faded = fade(
            self.rows[:, :count], self.writes[:, :count], self.gate[:, :count], self.coupling[:, :count]
        )
        np.copyto(faded.coupling[:, :, size:], 0.0, where=self.upper)
        return faded

    def _chunk(self, faded: Faded, n: int, state: Array) -> None:
        from osdn_theory.recurrence import chunk_loops as chunk_kernel

        size, gated = self.size, self.gated
        residual, read, writes = self.residual[:, n], self.read[:, n], faded.writes[:, n]
        lower, seen = faded.coupling[:, n, :size], faded.coupling[:, n, size:]
        np.matmul(faded.reads[:, n], transpose(state), out=read)
        residual -= read[:, :size]
        for i in range(residual.shape[0]):
            chunk_kernel.solve_unit_lower(lower[i], self.beta[i, n], residual[i], gated[i])
        state *= faded.keep[:, n]
        read[:, size:] += np.matmul(seen, gated, out=self.answers)
        state += np.matmul(transpose(gated), writes, out=self.gained)
