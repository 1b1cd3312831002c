"""The calibrate rule: how far the preconditioner steps, and inside which box."""

from typing import NamedTuple


class Rule(NamedTuple):
    """Constants of d_{t+1} = clip[c + gamma_t (d_t - c) + eta w_t (1 - <d_t, s_t>) s_t, d_min, d_max].

    `normalize_feedback` makes w_t = 1 / (|k_t|^2 + 1e-5) instead of 1, and `beta_aware` puts the mean over the value
    heads that share d_t of beta_t (1 - beta_t <d_t, s_t>) in the place of 1 - <d_t, s_t>.
    """

    eta: float
    d_min: float
    d_max: float
    normalize_feedback: bool
    beta_aware: bool = False

    @property
    def pinned(self) -> bool:
        """Whether the box is a single point: d is then a constant, and the clip passes no gradient."""
        return self.d_min == self.d_max


PUBLISHED = Rule(0.003, 2 / 3, 3 / 2, False)
"""The published values, the defaults of every operator and layer."""
