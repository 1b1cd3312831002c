"""The models that are compared: layers that differ in the preconditioner alone. Needs no torch."""

from dataclasses import dataclass
from typing import Any

BOX = (2 / 3, 3 / 2)


@dataclass(frozen=True)
class ModelSpec:
    """A model by the arguments of its layers; `gated_state`: the forget gate is that of the state."""

    name: str
    label: str
    eta: float = 0.0
    forgetting: bool = False
    anchored: bool = False
    pinned: bool = False
    gated_state: bool = False

    @property
    def box(self) -> tuple[float, float]:
        """d_min and d_max."""
        return (1.0, 1.0) if self.pinned else BOX

    @property
    def rule(self) -> dict[str, Any]:
        """As `osdn_theory.CalibrationRule` reads it."""
        low, high = self.box
        return {
            "eta": self.eta,
            "d_min": low,
            "d_max": high,
            "forgetting": "token" if self.forgetting and not self.gated_state else 1.0,
            "anchor": "initial" if self.anchored else 0.0,
            "normalize_feedback": False,
        }


SPECS = (
    ModelSpec("deltanet", "DeltaNet", pinned=True),
    ModelSpec("osdn", "OSDN, η = 0.003", eta=0.003),
    ModelSpec("osdn_eta1", "OSDN, η = 1", eta=1.0),
    ModelSpec("static", "d frozen at its learned d₁"),
    ModelSpec("apf", "OSDN-APF, η = 1", eta=1.0, forgetting=True),
    ModelSpec("anchored_apf", "OSDN-APF anchored, η = 1", eta=1.0, forgetting=True, anchored=True),
    ModelSpec("gated_deltanet", "Gated DeltaNet", pinned=True, forgetting=True, gated_state=True),
)
MODELS = {spec.name: spec for spec in SPECS}
