"""The recurrences that kernels are taken to compute, and those that have something in common."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from osdn_theory.base.tables import read_table

Recurrence = Literal[
    "osdn",
    "osgdn",
    "oskda",
    "delta_net",
    "gated_delta_net",
    "kda",
    "preconditioned_delta_net",
    "preconditioner",
]
RECURRENCES: tuple[Recurrence, ...] = get_args(Recurrence)

TABLE: Mapping[str, Mapping[str, Any]] = read_table(__file__)
"""What each computes, what decays, and by what it is known."""


def _which(name: str, *values: Any) -> frozenset[str]:
    return frozenset(each for each, row in TABLE.items() if row.get(name) in values)


CALIBRATING = _which("calibrates", True)
"""Those with a preconditioner that learns."""

REMEMBERING = _which("remembers", None)
"""Those with a memory."""

GATED = _which("gate", "token", "feature", "either")
"""Those whose memory decays."""

FEATURE_GATED = _which("gate", "feature")
"""Those whose memory always decays feature by feature."""

PRECONDITIONED = frozenset({"preconditioned_delta_net"})
OSDN = CALIBRATING & REMEMBERING
GATED_OSDN = OSDN & GATED


def needed_arguments(recurrence: str) -> frozenset[str]:
    """Arguments without which a kernel computes something else."""
    row = TABLE[recurrence]
    memory = {"q", "v", "beta"} if recurrence in REMEMBERING else set[str]()
    return frozenset({"k", *memory, *(["g"] if "gate" in row else []), *row.get("needs", ())})
