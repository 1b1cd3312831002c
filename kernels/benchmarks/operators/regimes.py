"""Regimes of the calibrate scan: a rule with keys and d_1 on which it clips nowhere, everywhere or here and there."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .. import names

Range = tuple[float, float]

HEAVY, LIGHT = 0.9, 0.1
"""What the first half of the features has of a mixed key's squared norm, one or the other; the second half has 0.5."""


@dataclass(frozen=True)
class Regime:
    """The rule, whether d forgets (towards d_1 if `anchored`, else 0), and what its stream looks like.

    - `first`, `second`, pair of float: Between which d_1 of the first and of the second half of the features is drawn.
    - `mixed`: Whether the first half of a key weighs much or little, at random (`HEAVY`, `LIGHT`), rather than all
      keys having norm 1.
    """

    name: str
    eta: float = 0.003
    d_min: float = 2 / 3
    d_max: float = 3 / 2
    gated: bool = False
    anchored: bool = False
    first: Range = (0.8, 1.2)
    second: Range = (0.8, 1.2)
    mixed: bool = False

    @property
    def provider(self) -> str:
        return names.ours(self.name)

    @property
    def options(self) -> dict[str, Any]:
        """Of `chunk_osdn`."""
        return {"eta": self.eta, "d_min": self.d_min, "d_max": self.d_max}

    def arguments(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the operator is given, from all that was drawn for the regime."""
        given = {name: tensors[name] for name in ("q", "k", "v", "beta")}
        given["initial_preconditioner"] = tensors["start"]
        if self.gated:
            given["g"] = tensors["g"]
        if self.anchored:
            given["anchor"] = tensors["start"]
        return given


NOTHING = Regime("nothing clips")
FORGETTING = Regime("forgetting to 0", gated=True)
ANCHORED = Regime("anchored", gated=True, anchored=True)
FAST = Regime("eta 1 in [0, 1e9]", eta=1.0, d_min=0.0, d_max=1e9)
FAST_FORGETTING = Regime("eta 1 in [0, 1e9], forgetting", eta=1.0, d_min=0.0, d_max=1e9, gated=True)
CLIPPING = Regime("every chunk clips", d_min=1.0625, first=(1.0625, 1.0625), second=(1.0625, 1.0625))
"""With unit keys a_t > 1 at d = 1.0625, so that each token steps down, and out of the box."""
MIXED = Regime("mixed", eta=1.0, first=(2 / 3, 2 / 3), second=(1.05, 1.15), mixed=True)
"""Least squares would set the first half of d below the box: heavy keys push it out, light ones pull it back in. The
second half stays inside."""

REGIMES = [NOTHING, FORGETTING, ANCHORED, FAST, FAST_FORGETTING, CLIPPING, MIXED]
