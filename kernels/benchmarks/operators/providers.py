"""What is compared, each as one function of the same inputs.

Values are not checked in the timed calls (`check_values=False`): reading them would wait for the device.
"""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ... import ops
from .. import names
from . import osla
from .inputs import Tensors
from .regimes import FORGETTING, NOTHING, REGIMES, Regime

Operator = Callable[..., Any]


class Missing(Exception):
    """A provider that is not installed here, or that this device cannot run."""


@dataclass(frozen=True)
class Provider:
    """``load()(**arguments)`` gives o and more; `arguments` are taken from what is drawn for `regime`."""

    name: str
    load: Callable[[], Operator]
    regime: Regime
    started: bool = False
    gpu: bool = True

    def arguments(self, tensors: Tensors) -> dict[str, Tensor]:
        given = self.regime.arguments(tensors)
        if not self.started:
            for name in ("initial_preconditioner", "anchor"):
                given.pop(name, None)
        return given

    @property
    def gated(self) -> bool:
        return self.regime.gated


def installed(module: str, name: str) -> Callable[[], Operator]:
    """Load an operator of an optional package."""

    def load() -> Operator:
        # Else flash-linear-attention's Gated DeltaNet would be FlashQLA's where that is installed.
        os.environ["FLA_FLASH_QLA"] = "0"
        try:
            operator: Operator = getattr(importlib.import_module(module), name)
        except ImportError as error:
            raise Missing(f"not installed: {error}") from error
        return operator

    return load


def ours(**options: Any) -> Callable[[], Operator]:
    return lambda: lambda **tensors: ops.chunk_osdn(**tensors, **options, check_values=False)


def authors(checkout: Path | None, wy: bool) -> Callable[[], Operator]:
    def load() -> Operator:
        if checkout is None:
            raise Missing("needs a checkout: --osla")
        return osla.operator(checkout, wy, **NOTHING.options)

    return load


def chunkwise() -> list[Provider]:
    """Ours in every regime, and flash-linear-attention's operators without d."""
    return [
        *(Provider(regime.provider, ours(**regime.options), regime, started=True, gpu=False) for regime in REGIMES),
        Provider(names.PINNED, ours(d_min=1.0, d_max=1.0), NOTHING, gpu=False),
        Provider(names.DELTA, installed("fla.ops.delta_rule", "chunk_delta_rule"), NOTHING),
        Provider(names.GATED_DELTA, installed("fla.ops.gated_delta_rule", "chunk_gated_delta_rule"), FORGETTING),
    ]  # fmt: skip


def others(checkout: Path | None) -> list[Provider]:
    """Operators that few have installed."""
    return [
        Provider(names.FLASH_QLA, installed("flash_qla", "chunk_gated_delta_rule"), FORGETTING),
        Provider(names.AUTHORS, authors(checkout, wy=False), NOTHING, started=True),
        Provider(names.AUTHORS_WY, authors(checkout, wy=True), NOTHING, started=True),
    ]
