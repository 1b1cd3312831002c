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


BOUNDED = Rule(0.003, 2 / 3, 3 / 2, False)
"""The authors' later setting, without committed OSDN results of theirs; the defaults of every operator and layer."""

HISTORIC = Rule(1.0, 0.0, 1e9, False)
"""The setting of the OSDN results that the authors committed; the box was [0, 2] in their first runs."""

SETTINGS = {"bounded": BOUNDED, "historic": HISTORIC}
"""What to call a setting by: there is no single published one."""
