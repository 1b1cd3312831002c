"""Bounds on a kernel's preconditioner, and the exact step that they follow (T18)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.error_set import ErrorSet, Mask
from osdn_theory.rounding.errors.lemmas import UNIT
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.overflow import Watch
from osdn_theory.rounding.setup import Setup


@dataclass(eq=False)
class Calibrated:
    """Bounds on d: `used` (N, T + 1, K) componentwise and `norm` (N, T + 1), as write keys use it, the last entry for
    the d handed on; `alignment` (N, T) on <d_t, s_t> before its own rounding. `extra` is the part of `used` that
    forming d_t for its token adds to what is carried on. `overflow` is of d and of what moves it."""

    used: Array
    extra: Array
    norm: Array
    alignment: Array
    overflow: Watch

    @classmethod
    def zeros(cls, setup: Setup) -> Calibrated:
        tokens = (setup.count, setup.length + 1)
        used, extra = np.zeros((*tokens, setup.key_dim)), np.zeros((*tokens, setup.key_dim))
        return cls(used, extra, np.zeros(tokens), np.zeros((setup.count, setup.length)), Watch(setup.count))

    def take(self, other: Calibrated, heads: Mask, tokens: slice) -> None:
        """For some heads (N,) and tokens, what `other` has."""
        for name in ("used", "extra", "norm", "alignment"):
            getattr(self, name)[heads, tokens] = getattr(other, name)[heads, tokens]

    def within_box(self, setup: Setup) -> None:
        """From the second token on, the exact and the carried d_t both lie in the box of float32 numbers."""
        width = (setup.upper - setup.lower)[:, None] + 2 * UNIT * (np.abs(setup.upper) + np.abs(setup.lower))[
            :, None
        ]
        self.used[:, 1:] = np.minimum(self.used[:, 1:], width + self.extra[:, 1:])

    def see(self, setup: Setup) -> None:
        """Whether d, in the format it is carried in, or a number of a calibrate step may overflow."""
        tokens, s, see = slice(0, setup.length), setup.features, self.overflow.see
        d = np.abs(setup.path)
        narrow = min((FLOAT32, setup.model.preconditioner), key=lambda fmt: fmt.largest)
        see("d", narrow, slice(0, setup.length + 1), d, d + self.used)
        total = np.sum(s, -1)
        see("k^2", FLOAT32, tokens, s, total[..., None] if setup.normalize else s)
        terms = np.maximum(1.0, setup.slope) * (np.sum((d + self.used)[:, :-1] * s, -1) + self.alignment)
        see("<d, k^2>", FLOAT32, tokens, np.sum(setup.path[:, :-1] * s, -1), np.abs(setup.fixed) + terms)
        gain = setup.step * (np.abs(setup.gap) + setup.slope * self.alignment)
        largest = np.maximum(1.0, np.max(s, -1))
        see(
            "eta w (1 - <d, k^2>) k^2",
            FLOAT32,
            tokens,
            np.abs(setup.step * setup.gap) * largest,
            gain * largest,
        )

    def record(self, t: int, setup: Setup, errors: ErrorSet, extra: Array) -> None:
        """d_t misses by an error of `errors` and, componentwise, by `extra` (N, K)."""
        self.used[:, t] = errors.rows() + extra
        self.extra[:, t] = extra
        self.norm[:, t] = errors.radius() + np.linalg.norm(extra, axis=-1)
        if t < setup.length:
            s = setup.features[:, t]
            self.alignment[:, t] = errors.along(s) + np.sum(extra * s, -1)


def step_freely(setup: Setup, t: int, d: Array) -> Array:
    """The exact step from d (N, K) before the clip."""
    s = setup.features[:, t]
    kept = d
    if setup.gamma is not None:
        kept = setup.anchor + setup.gamma[:, t, None] * (d - setup.anchor)
    gap = setup.fixed[:, t] - setup.slope[:, t] * np.sum(d * s, -1)
    moved: Array = kept + (setup.step[:, t] * gap)[:, None] * s
    return moved
