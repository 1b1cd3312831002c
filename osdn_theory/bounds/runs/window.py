"""A few tokens from the solver's own preconditioner on, scanned and swept in exact rationals (T29).

T29 holds from any d_1, so it is decided exactly along windows of the actual trajectory: over all of it the rationals
would grow without bound, and balls cannot tell whether a bound that is attained holds.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from osdn_theory.bounds.numbers import Number, dot
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.bounds.runs.exact import ExactRun
from osdn_theory.bounds.runs.local_step import EXACT, sampled_tokens

SWEEPS = 3
"""m: sweeps of every window, from gains of zero."""

TOKENS = 8
"""Length of a window, less at the end of the stream."""


class Window(ExactRun):
    """Tokens `first` ... of a problem, from the solver's preconditioner there."""

    def __init__(self, problem: CalibrationProblem, first: int) -> None:
        stop = min(first + TOKENS, problem.length)
        part = replace(problem, stream=problem.stream.tokens(first, stop), gamma=problem.gamma[first:stop])
        super().__init__(part, EXACT, initial=problem.preconditioner[first])
        self.first = first

    @property
    def length(self) -> int:
        return self.problem.length

    @cached_property
    def gains(self) -> list[Number]:
        """u: the gains of the scan itself."""
        return [self.gain(self.preconditioners[t], t) for t in range(self.length)]

    def sweep(self, gains: Sequence[Number]) -> list[Number]:
        """Phi: the gains wanted along the run that `gains` drive."""
        d, wanted = self.preconditioners_start, []
        for t, gain in enumerate(gains):
            wanted.append(self.gain(d, t))
            d = self.driven_step(d, t, gain)
        return wanted

    @cached_property
    def sweeps(self) -> list[list[Number]]:
        """u^(0) ... u^(m)."""
        found = [[self.field.of(0.0)] * self.length]
        for _ in range(SWEEPS):
            found.append(self.sweep(found[-1]))
        return found

    @property
    def errors(self) -> list[Number]:
        """|u^(m) - u|."""
        return distances(self.sweeps[-1], self.gains)

    def spread(self, errors: Sequence[Number]) -> list[Number]:
        """N e, by a run without a box: eta w_t <|x_t|, y_t> with y_{t+1} = gamma_t y_t + e_t |x_t|."""
        return self._spread(errors, inverse=False)

    def amplified(self, errors: Sequence[Number]) -> list[Number]:
        """(I - N)^-1 e, by the same run driven by what it spreads as well."""
        return self._spread(errors, inverse=True)

    def _spread(self, errors: Sequence[Number], *, inverse: bool) -> list[Number]:
        y, found = [self.field.of(0.0)] * self.problem.key_dim, []
        for t, error in enumerate(errors):
            x, gamma = [abs(a) for a in self.features[t]], self.field.of(self.problem.gamma[t])
            reached = self.rate(t) * dot(x, y)
            driving = error + reached if inverse else error
            found.append(driving if inverse else reached)
            y = [gamma * a + driving * b for a, b in zip(y, x, strict=True)]
        return found


def distances(first: Sequence[Number], second: Sequence[Number]) -> list[Number]:
    """|a - b|, entry by entry."""
    return [abs(a - b) for a, b in zip(first, second, strict=True)]


def windows(problem: CalibrationProblem) -> list[Window]:
    """Windows at the sampled tokens."""
    return [Window(problem, first) for first in sampled_tokens(problem.length)]
