"""The models that are compared: layers that differ in the preconditioner alone. Needs no torch."""

from dataclasses import dataclass
from typing import Any

from ..boundary.rule import BOUNDED, HISTORIC, Rule

BETWEEN = BOUNDED._replace(eta=HISTORIC.eta)
"""The step of `historic` in the box of `bounded`: neither setting."""

STATIC = BOUNDED._replace(eta=0.0)
PINNED = Rule(0.0, 1.0, 1.0, False)


@dataclass(frozen=True)
class ModelSpec:
    """A model by the arguments of its layers; `gated_state`: the forget gate is that of the state."""

    name: str
    label: str
    step: Rule
    forgetting: bool = False
    anchored: bool = False
    gated_state: bool = False

    @property
    def rule(self) -> dict[str, Any]:
        """As `osdn_theory.CalibrationRule` reads it."""
        return {
            **self.step._asdict(),
            "forgetting": "token" if self.forgetting and not self.gated_state else 1.0,
            "anchor": "initial" if self.anchored else 0.0,
        }


GATED: dict[str, Any] = {"forgetting": True, "gated_state": True}

SPECS = (
    ModelSpec("deltanet", "DeltaNet", PINNED),
    ModelSpec("osdn", "OSDN bounded", BOUNDED),
    ModelSpec("osdn_historic", "OSDN historic", HISTORIC),
    ModelSpec("osdn_eta1", "OSDN, η = 1 in [2/3, 3/2]", BETWEEN),
    ModelSpec("static", "d frozen at its learned d₁", STATIC),
    ModelSpec("apf_bounded", "OSDN-APF bounded", BOUNDED, forgetting=True),
    ModelSpec("apf_historic", "OSDN-APF historic", HISTORIC, forgetting=True),
    ModelSpec("apf", "OSDN-APF, η = 1 in [2/3, 3/2]", BETWEEN, forgetting=True),
    ModelSpec("anchored_apf", "OSDN-APF anchored, η = 1 in [2/3, 3/2]", BETWEEN, forgetting=True, anchored=True),
    ModelSpec("gated_deltanet", "Gated DeltaNet", PINNED, **GATED),
    ModelSpec("osgdn_bounded", "OS-GDN bounded", BOUNDED._replace(beta_aware=True), **GATED),
    ModelSpec("osgdn_historic", "OS-GDN historic", HISTORIC._replace(beta_aware=True), **GATED),
)  # fmt: skip
MODELS = {spec.name: spec for spec in SPECS}
