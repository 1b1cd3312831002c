"""One token's write in exact rationals, from the float64 state and preconditioner before it.

T3, T16 and T17 hold for any state and any d, so they are decided exactly at tokens of the actual trajectory instead of
along the exact trajectory, whose rationals would grow without bound: at every token of a small stream, else at samples.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.bounds.numbers import Number, Rationals, dot, norm_sq, vector
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.recurrence.solve import gated_delta_net, kda, osdn

EXACT = Rationals()

SAMPLES = 6
"""Tokens of a longer stream at which the local identities are decided."""

WHOLE = 4096
"""Up to so many numbers T V K they are decided at every token."""


def sampled_tokens(length: int) -> list[int]:
    """Up to SAMPLES tokens, first and last among them."""
    return sorted({int(t) for t in np.linspace(0, length - 1, SAMPLES)}) if length else []


@dataclass(frozen=True, eq=False)
class LocalStep:
    """Token `token` of a problem: exact S_{t-1}, d_t, k_t, v_t, beta_t and the exact state after the write."""

    problem: CalibrationProblem
    token: int
    state_before: Array

    @cached_property
    def key(self) -> list[Number]:
        return vector(EXACT, self.problem.stream.keys[self.token])

    @cached_property
    def value(self) -> list[Number]:
        return vector(EXACT, self.problem.stream.values[self.token])

    @cached_property
    def preconditioner(self) -> list[Number]:
        return vector(EXACT, self.problem.preconditioner[self.token])

    @cached_property
    def beta(self) -> Number:
        return EXACT.of(self.problem.beta[self.token])

    @cached_property
    def alignment(self) -> Number:
        """a_t = <d_t, k_t^2>."""
        return dot(self.preconditioner, [k * k for k in self.key])

    @cached_property
    def decayed(self) -> list[list[Number]]:
        """The state that the residual is measured against: S_{t-1}, or alpha_t S_{t-1}."""
        rows = [vector(EXACT, row) for row in self.state_before]
        if self.problem.state_gate is None:
            return rows
        gate = np.broadcast_to(self.problem.state_gate[self.token], (self.problem.key_dim,))
        alpha = vector(EXACT, gate)
        return [[a * s for a, s in zip(alpha, row, strict=True)] for row in rows]

    @cached_property
    def after(self) -> list[list[Number]]:
        """S_t, by the write of THEORY.md."""
        write_key = [d * k for d, k in zip(self.preconditioner, self.key, strict=True)]
        written = []
        for row, v in zip(self.decayed, self.value, strict=True):
            gain = self.beta * (dot(row, self.key) - v)
            written.append([s - gain * k for s, k in zip(row, write_key, strict=True)])
        return written

    def doubled_loss(self, state: list[list[Number]]) -> Number:
        """2 f_t(S) = ||S k_t - v_t||^2."""
        return norm_sq(dot(row, self.key) - v for row, v in zip(state, self.value, strict=True))

    def error(self, state: list[list[Number]]) -> list[list[Number]]:
        """E = S - S*."""
        solution = self.problem.stream.solution
        assert solution is not None
        target = [vector(EXACT, row) for row in solution]
        return [[s - o for s, o in zip(a, b, strict=True)] for a, b in zip(state, target, strict=True)]


def local_steps(problem: CalibrationProblem) -> list[LocalStep]:
    """Every token of a small problem, or samples, each with the solver's state before it."""
    length, size = problem.length, problem.key_dim * problem.stream.value_dim
    tokens = sampled_tokens(length)
    if length * size <= WHOLE:
        tokens = list(range(length))
    return [LocalStep(problem, t, s) for t, s in zip(tokens, _states_before(problem, tokens), strict=True)]


def _states_before(problem: CalibrationProblem, tokens: list[int]) -> list[Array]:
    states = problem.trajectory.states
    if states is not None:
        initial = problem.trajectory.initial_state[problem.index]
        return [initial if t == 0 else states[problem.index][t - 1] for t in tokens]
    return _recomputed_states(problem, tokens)


def _recomputed_states(problem: CalibrationProblem, tokens: list[int]) -> list[Array]:
    # Storing every state costs T V K numbers; running the pieces between the samples costs one pass, which warns of
    # nothing that the solver did not warn of already.
    solver = {"gated_delta_net": gated_delta_net, "kda": kda}.get(problem.trajectory.recurrence, osdn)
    stream = replace(problem.stream, forget_gate=problem.gamma)
    rule = problem.head_rule()
    state = problem.trajectory.initial_state[problem.index]
    start_from: dict[str, Any] = {"initial_state": state, "initial_preconditioner": problem.initial}
    found, start = [], 0
    for token in tokens:
        if token > start:
            with np.errstate(all="ignore"):
                piece = solver(stream.tokens(start, token), rule, **start_from)
            state, start, start_from = piece.final_state, token, {"carry": piece.carry}
        found.append(state)
    return found
