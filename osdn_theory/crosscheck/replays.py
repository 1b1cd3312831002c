"""Faults replayed in float64: what a kernel would give if it made one known mistake and no other.

A replay that explains what is off is named; so each is a statement that can be wrong, not a guess from a pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from osdn_theory._validation import Array, as_float64
from osdn_theory.crosscheck.case import Case
from osdn_theory.preconditioner import calibrate_step, features
from osdn_theory.rounding import BFLOAT16, TF32, round_to
from osdn_theory.rules import CalibrationRule

CHUNKS = (16, 32, 64, 128)
"""Chunk sizes that kernels use."""

Erase = Literal["key", "write key"]


@dataclass(frozen=True, eq=False)
class Replay:
    """What the fault would give.

    Attributes
    ----------
    name, sentence : str
        The fault in a few words, and as the report says it.
    preconditioner : (B, H, T, K)
        What the kernel would return as d.
    states : (B, H, T, V, K)
    outputs : (B, H, T, V)
    """

    name: str
    sentence: str
    preconditioner: Array
    states: Array
    outputs: Array


@dataclass(frozen=True)
class _Memory:
    """How the faulty memory works; the defaults are right."""

    erase: Erase = "key"
    write: Erase = "write key"
    read_first: bool = False
    reset: int | None = None
    decay_late: bool = False


def replays(case: Case) -> Iterator[Replay]:
    """Every known fault that makes sense for the recurrence, with its parameters tried in turn."""
    yield from _memory_faults(case)
    if case.recurrence == "osdn":
        yield from _path_faults(case)


def _memory_faults(case: Case) -> Iterator[Replay]:
    path = calibrated(case)
    learns = case.recurrence == "osdn"
    if learns:
        mixed = (
            ("erases with the write key and writes with the key", _Memory("write key", "key")),
            ("erases with the write key as well", _Memory("write key", "write key")),
            ("writes with the key instead of the write key", _Memory("key", "key")),
        )
        for name, memory in mixed:
            sentence = f"read and write keys are mixed up: the memory {name} (d * k)"
            yield _replay(case, path, name, sentence, memory)
    sentence = "o_t is read before token t is written"
    yield _replay(case, path, "reads before the write", sentence, _Memory(read_first=True))
    if case.state_gate is not None:
        sentence = "the memory decays after the residual is formed, not before"
        yield _replay(case, path, "decays after the residual", sentence, _Memory(decay_late=True))
    for size in _sizes(case):
        sentence = f"the memory is not carried from chunk to chunk (of {size} tokens)"
        yield _replay(case, path, f"loses the memory every {size} tokens", sentence, _Memory(reset=size))


def _path_faults(case: Case) -> Iterator[Replay]:
    for size in _sizes(case):
        yield _replay(
            case,
            _clipped_per_chunk(case, size),
            f"clips once per chunk of {size}",
            f"d is clipped once per chunk of {size} tokens instead of after every token",
        )
    rule, right = case.rule, calibrated(case)
    variants: list[tuple[str, str, Array]] = [
        (
            "never clips",
            "d is not clipped to the box",
            calibrated(case, replace(rule, d_min=-np.inf, d_max=np.inf)),
        ),
        ("ignores the preconditioner", "d stays at d_1: the calibrate step is missing", _still(case)),
        (
            "calibrates too early",
            "token t is written with d_{t+1}: the calibrate step comes before the write",
            np.concatenate([right[..., 1:, :], _after(case, right)[..., None, :]], axis=-2),
        ),
    ]
    if case.log_gate is not None:
        forgetful = calibrated(replace(case, log_gate=None), replace(rule, forgetting=1.0))
        variants.append(("ignores forgetting", "g has no effect on d", forgetful))
        if np.any(case.anchor != 0):
            unanchored = calibrated(replace(case, anchor=np.zeros_like(case.anchor)))
            variants.append(("ignores the anchor", "d forgets towards 0, not towards the anchor", unanchored))
    for name, sentence, path in variants:
        yield _replay(case, path, name, sentence)
    coarse = "the write key uses d rounded to bfloat16"
    rounded = _replay(case, round_to(right, BFLOAT16), "rounds d to bfloat16 for the write", coarse)
    yield replace(rounded, preconditioner=right)


def calibrated(case: Case, rule: CalibrationRule | None = None) -> Array:
    """d_t under the case's rule or another one, (B, H, T, K)."""
    rule = case.rule if rule is None else rule
    return _scan(case, lambda d, t, step: step(d, t, rule))


def _clipped_per_chunk(case: Case, size: int) -> Array:
    free = replace(case.rule, d_min=-np.inf, d_max=np.inf)

    def move(d: Array, t: int, step: Callable[..., Array]) -> Array:
        moved = step(d, t, free)
        return np.clip(moved, case.rule.d_min, case.rule.d_max) if (t + 1) % size == 0 else moved

    return _scan(case, move)


def _scan(case: Case, move: Callable[[Array, int, Callable[..., Array]], Array]) -> Array:
    feature, weight = features(case.stream, case.rule)

    def step(d: Array, t: int, rule: CalibrationRule) -> Array:
        gate = None if case.log_gate is None else np.exp(case.log_gate[..., t])
        return calibrate_step(d, feature[..., t, :], weight[..., t], gate, case.anchor, rule)

    d, path = case.initial_preconditioner, []
    for t in range(case.stream.length):
        path.append(d)
        d = move(d, t, step)
    return np.stack(path, axis=-2)


def _still(case: Case) -> Array:
    return np.broadcast_to(case.initial_preconditioner[..., None, :], case.stream.keys.shape)


def _after(case: Case, path: Array) -> Array:
    """The d handed on after the last token."""
    feature, weight = features(case.stream, case.rule)
    gate = None if case.log_gate is None else np.exp(case.log_gate[..., -1])
    return calibrate_step(
        path[..., -1, :], feature[..., -1, :], weight[..., -1], gate, case.anchor, case.rule
    )


def _replay(case: Case, path: Array, name: str, sentence: str, memory: _Memory | None = None) -> Replay:
    states, outputs = _remember(case, path, memory or _Memory())
    return Replay(name, sentence, path, states, outputs)


def _remember(case: Case, path: Array, memory: _Memory) -> tuple[Array, Array]:
    stream, beta = case.stream, np.asarray(case.stream.beta)
    write_keys = path * stream.keys
    chosen: dict[str, Any] = {"key": stream.keys, "write key": write_keys}
    erase, write = chosen[memory.erase], chosen[memory.write]
    state, states, outputs = case.initial_state, [], []
    for t in range(stream.length):
        if memory.reset is not None and t % memory.reset == 0:
            state = np.zeros_like(state)
        decayed = state * _decay(case, t)
        source = state if memory.decay_late else decayed
        residual = stream.values[..., t, :] - _read(source, erase[..., t, :])
        update = (beta[..., t, None] * residual)[..., :, None] * write[..., t, None, :]
        read_from = state if memory.read_first else decayed + update
        state = decayed + update
        assert stream.queries is not None
        outputs.append(case.scale * _read(read_from, stream.queries[..., t, :]))
        states.append(state)
    return np.stack(states, axis=2), np.stack(outputs, axis=2)


def _decay(case: Case, token: int) -> Array | float:
    """What multiplies the state (B, H, V, K): one number per head, or with KDA one per feature."""
    if case.state_gate is None:
        return 1.0
    gate: Array = case.state_gate[:, :, token]
    return gate[..., None, :] if case.recurrence == "kda" else gate[..., None, None]


def _read(state: Array, key: Array) -> Array:
    read: Array = np.matmul(state, key[..., None])[..., 0]
    return read


def tf32_outputs(case: Case, size: int) -> Iterator[Array]:
    """Outputs of the chunk form (T12) whose products take operands rounded to TF32, (B, H, T, V).

    Once with the triangular system solved, once with its inverse as a factor.
    """
    stream, path = case.stream, calibrated(case)
    beta = np.asarray(stream.beta)[..., None]
    for by_inverse in (False, True):
        state, outputs = np.swapaxes(case.initial_state, -1, -2), []
        for start in range(0, stream.length, size):
            rows = slice(start, start + size)
            q, k, v, b = (
                np.asarray(x)[..., rows, :] for x in (stream.queries, stream.keys, stream.values, beta)
            )
            written = np.swapaxes(path[..., rows, :] * k, -1, -2)
            triangle = np.eye(k.shape[-2]) + np.tril(b * _coarse(k, written), -1)
            x = _solved(triangle, b * (v - _coarse(k, state)), by_inverse)
            outputs.append(case.scale * (_coarse(q, state) + _coarse(np.tril(_coarse(q, written)), x)))
            state = state + _coarse(written, x)
        yield np.concatenate(outputs, axis=-2)


def _solved(triangle: Array, right: Array, by_inverse: bool) -> Array:
    solution: Any = np.linalg.inv(triangle) if by_inverse else np.linalg.solve(triangle, right)
    return _coarse(solution, right) if by_inverse else as_float64("solution", solution)


def _coarse(left: Array, right: Array) -> Array:
    product: Array = round_to(left, TF32) @ round_to(right, TF32)
    return product


def _sizes(case: Case) -> list[int]:
    return [size for size in CHUNKS if size < case.stream.length]
