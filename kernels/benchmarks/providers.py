"""What is compared, each as one function of the same inputs.

Values are not checked in the timed calls (`check_values=False`): reading them would wait for the device.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .. import ops
from . import names

Operator = Callable[..., Any]


class Missing(Exception):
    """A provider that is not installed here, or that this device cannot run."""


@dataclass(frozen=True)
class Provider:
    """`call(**tensors)` gives o; `arguments` maps its tensors to fields of `inputs.Drawn`."""

    name: str
    load: Callable[[], Operator]
    arguments: dict[str, str]

    @property
    def gated(self) -> bool:
        return "g" in self.arguments

    @property
    def started(self) -> bool:
        return "initial_preconditioner" in self.arguments


def fla(module: str, name: str) -> Callable[[], Operator]:
    """Load an operator of flash-linear-attention, which is optional and runs on GPUs only."""

    def load() -> Operator:
        try:
            operator: Operator = getattr(importlib.import_module(f"fla.ops.{module}"), name)
        except ImportError as error:
            raise Missing(f"not installed: {error}") from error
        return operator

    return load


def first(operator: Operator, **options: Any) -> Callable[[], Operator]:
    """An operator of ours with options, reduced to its output."""
    return lambda: lambda **tensors: operator(**tensors, **options, check_values=False)[0]


def stepped() -> Operator:
    def call(**tensors: Any) -> Tensor:
        with ops.sequential_scan():
            o: Tensor = ops.chunk_osdn(**tensors, check_values=False)[0]
            return o

    return call


def theirs(module: str, name: str) -> Callable[[], Operator]:
    def load() -> Operator:
        operator = fla(module, name)()
        return lambda **tensors: operator(**tensors)[0]

    return load


PLAIN = {name: name for name in ("q", "k", "v", "beta")}
STARTED = {**PLAIN, "initial_preconditioner": "start"}


def chunkwise() -> list[Provider]:
    """Forward, backward and memory."""
    ours = ops.chunk_osdn
    return [
        Provider(names.OURS, first(ours), STARTED),
        Provider(names.DELTA, theirs("delta_rule", "chunk_delta_rule"), PLAIN),
        Provider(names.PINNED, first(ours, d_min=1.0, d_max=1.0), PLAIN),
        Provider(names.GATED, first(ours), {**STARTED, "g": "g"}),
        Provider(
            names.GATED_DELTA, theirs("gated_delta_rule", "chunk_gated_delta_rule"), {**PLAIN, "g": "g"}
        ),
        Provider(names.SEQUENTIAL, stepped, STARTED),
    ]
