"""What is compared, each as one function of the same inputs.

Values are not checked in the timed calls (`check_values=False`): reading them would wait for the device.
"""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ... import ops
from .. import names
from . import osla
from .inputs import Tensors, feature_gates
from .regimes import FORGETTING, NOTHING, REGIMES, Regime

Operator = Callable[..., Any]


class Missing(Exception):
    """A provider that is not installed here, or that this device cannot run."""


@dataclass(frozen=True)
class Provider:
    """``load()(**arguments)`` gives o and more; `arguments` are taken from what is drawn for `regime`.

    `memory` is what each gate of the memory is of; `regime.gated` is of d, or of a memory without d.
    """

    name: str
    load: Callable[[], Operator]
    regime: Regime
    started: bool = False
    gpu: bool = True
    memory: Literal["head", "feature"] | None = None

    def arguments(self, tensors: Tensors) -> dict[str, Tensor]:
        given = self.regime.arguments(tensors)
        if not self.started:
            for name in ("initial_preconditioner", "anchor"):
                given.pop(name, None)
        if self.memory is not None:
            g = tensors["g"]
            given["g"] = g if self.memory == "head" else feature_gates(g, given["k"].shape[3])
        return given

    def gates(self, features: int) -> int:
        """Numbers of a token and head that are gates."""
        return self.regime.gated + {None: 0, "head": 1, "feature": features}[self.memory]


def installed(module: str, name: str) -> Callable[[], Operator]:
    """Load an operator of an optional package."""

    def load() -> Operator:
        # Else flash-linear-attention's Gated DeltaNet would be FlashQLA's where that is installed.
        os.environ["FLA_FLASH_QLA"] = "0"
        # Nor are its operators TileLang's where FlashQLA has brought that along.
        os.environ["FLA_TILELANG"] = "0"
        try:
            operator: Operator = getattr(importlib.import_module(module), name)
        except ImportError as error:
            raise Missing(f"not installed: {error}") from error
        return operator

    return load


def ours(operator: Operator = ops.chunk_osdn, **options: Any) -> Callable[[], Operator]:
    return lambda: lambda **tensors: operator(**tensors, **options, check_values=False)


def authors(checkout: Path | None, wy: bool) -> Callable[[], Operator]:
    def load() -> Operator:
        if checkout is None:
            raise Missing("needs a checkout: --osla")
        return osla.operator(checkout, wy, **NOTHING.options)

    return load


def chunkwise() -> list[Provider]:
    """Ours in every regime and with a memory that fades, and flash-linear-attention's operators without d."""
    return [
        *(Provider(regime.provider, ours(**regime.options), regime, started=True, gpu=False) for regime in REGIMES),
        Provider(names.PINNED, ours(d_min=1.0, d_max=1.0), NOTHING, gpu=False),
        Provider(names.OURS_GDN, ours(ops.chunk_osgdn), NOTHING, started=True, gpu=False, memory="head"),
        Provider(names.OURS_KDA, ours(ops.chunk_oskda), NOTHING, started=True, gpu=False, memory="feature"),
        Provider(names.DELTA, installed("fla.ops.delta_rule", "chunk_delta_rule"), NOTHING),
        Provider(names.GATED_DELTA, installed("fla.ops.gated_delta_rule", "chunk_gated_delta_rule"), FORGETTING),
        Provider(names.KDA, installed("fla.ops.kda", "chunk_kda"), NOTHING, memory="feature"),
    ]  # fmt: skip


def others(checkout: Path | None) -> list[Provider]:
    """Operators that few have installed."""
    return [
        Provider(names.FLASH_QLA, installed("flash_qla", "chunk_gated_delta_rule"), FORGETTING),
        Provider(names.AUTHORS, authors(checkout, wy=False), NOTHING, started=True),
        Provider(names.AUTHORS_WY, authors(checkout, wy=True), NOTHING, started=True),
    ]
