"""The calibrate rule: which hypergradient step moves the preconditioner, and inside which box."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import Array, as_float64, require


@show_briefly
@dataclass(frozen=True, eq=False)
class CalibrationRule:
    r"""Parameters of the calibrate step.

    .. math:: d_{t+1} = \Pi[c + \gamma_t (d_t - c) + \eta\, w_t (1 - \langle d_t, x_t\rangle) x_t]

    with the feature :math:`x_t = k_t \odot k_t`, or :math:`\beta_t k_t \odot k_t` when `beta_aware`.

    - `eta`: Hypergradient step.
    - `d_min`, `d_max`, float or (..., K) array: The box, per coordinate if arrays; ``-inf`` and ``inf``
      switch a side off.
    - `forgetting`, float or (...) array in (0, 1], or "token": :math:`\gamma`: one constant, one per
      leading axis (per head), or ``"token"`` to read ``stream.forget_gate``. A stream's forget gate is
      ignored unless this is ``"token"``.
    - `anchor`, float or (..., K) array, or "initial": :math:`c`, the point that forgetting decays towards:
      0 is the authors' APF, ``"initial"`` is :math:`d_1`.
    - `normalize_feedback`: :math:`w_t = 1/(\|k_t\|^2 + \varepsilon)` instead of 1.
    - `beta_aware`: Feedback :math:`\beta_t(1 - \beta_t a_t)s_t`, for gated recurrences.
    - `epsilon`: :math:`\varepsilon` of the normalised feedback.

    Raises ValueError: for a negative or non-finite step, an empty box, or forgetting outside (0, 1].
    """

    eta: float = 0.003
    d_min: float | Array = 2 / 3
    d_max: float | Array = 3 / 2
    forgetting: float | Array | Literal["token"] = 1.0
    anchor: float | Array | Literal["initial"] = 0.0
    normalize_feedback: bool = False
    beta_aware: bool = False
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        self._take_arrays()
        require(
            bool(np.isfinite(self.eta)) and self.eta >= 0, f"eta: expected finite and >= 0, got {self.eta}"
        )
        d_min = as_float64("d_min", self.d_min, check_finite=False)
        d_max = as_float64("d_max", self.d_max, check_finite=False)
        require(not (np.isnan(d_min).any() or np.isnan(d_max).any()), "d_min, d_max: NaN in the box")
        require(bool(np.all(d_min <= d_max)), "d_min, d_max: the box is empty (d_min > d_max)")
        require(
            bool(np.isfinite(self.epsilon)) and self.epsilon > 0, f"epsilon: expected > 0, got {self.epsilon}"
        )
        rate = max(1.0, self.eta) / self.epsilon if self.normalize_feedback else 0.0
        require(
            bool(np.isfinite(rate)), f"epsilon: expected 1/epsilon and eta/epsilon finite, got {self.epsilon}"
        )
        self._check_forgetting()
        self._check_anchor()

    def _take_arrays(self) -> None:
        """Whatever is neither a number nor a word, such as a tensor, becomes float64."""
        for name in ("eta", "d_min", "d_max", "forgetting", "anchor", "epsilon"):
            value = getattr(self, name)
            if not isinstance(value, int | float | str):
                array = as_float64(name, value, check_finite=False)
                object.__setattr__(self, name, array if array.ndim else float(array))
        for name in ("eta", "epsilon"):
            require(isinstance(getattr(self, name), int | float), f"{name}: expected one number")

    def _check_forgetting(self) -> None:
        if isinstance(self.forgetting, str):
            require(
                self.forgetting == "token",
                f"forgetting: expected a number or 'token', got {self.forgetting!r}",
            )
            return
        gamma = as_float64("forgetting", self.forgetting)
        require(bool(np.all((gamma > 0) & (gamma <= 1))), "forgetting: expected values in (0, 1]")

    def _check_anchor(self) -> None:
        if isinstance(self.anchor, str):
            require(self.anchor == "initial", f"anchor: expected a number or 'initial', got {self.anchor!r}")
            return
        as_float64("anchor", self.anchor)


BOUNDED = CalibrationRule()
"""eta 0.003, box [2/3, 3/2]: the authors' later configurations, for which no OSDN results of theirs are committed.

The default here, wherever a choice must be made.
"""

HISTORIC = CalibrationRule(eta=1.0, d_min=0.0, d_max=1e9)
"""eta 1, box [0, 1e9], in the first runs [0, 2]: the setting of the OSDN results that the authors committed."""

SETTINGS: Mapping[str, CalibrationRule] = {"bounded": BOUNDED, "historic": HISTORIC}
"""What to call a setting by: there is no single published one."""

FROZEN = CalibrationRule(eta=0.0, d_min=-np.inf, d_max=np.inf)
"""No calibration: d stays at d_1. With d_1 = 1 this is DeltaNet."""


def setting_named(name: str) -> CalibrationRule:
    """One of the `SETTINGS` by its name; raises ValueError for another."""
    require(name in SETTINGS, f"setting: expected one of {', '.join(SETTINGS)}, got {name!r}")
    return SETTINGS[name]
