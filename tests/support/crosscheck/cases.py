"""Streams and rules that the tests of the cross-check share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams import synthetic
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.transforms import with_gates

FAST = CalibrationRule(eta=1.0)
TIGHT = CalibrationRule(eta=1.0, d_min=0.95, d_max=1.1)
"""A box that clips many steps and lets many pass."""

ANCHORED = CalibrationRule(eta=1.0, d_min=0.95, d_max=1.1, forgetting="token", anchor=1.2)

REFERENCE = "osdn_kernels.reference:osdn_reference"
CHUNK_REFERENCE = "osdn_kernels.reference:chunk_osdn_reference"

ENTRY_POINTS = """
[osdn_theory.kernels]
osdn_reference = osdn_kernels.reference:osdn_reference
chunk_osdn_reference = osdn_kernels.reference:chunk_osdn_reference
absent = no_such_package.ops:kernel
broken = osdn_kernels.reference:no_such_kernel

[osdn_theory.kernel_configurations]
osdn_kernels = osdn_kernels.launch.configurations:every_configuration
"""


def interpolating(length: int = 56, heads: int = 2, **sizes: Any) -> Stream:
    """Keys that float32 holds exactly, with a hidden u in the box; 56 tokens are three chunks of 16 and a half."""
    sizes = {"key_dim": 8, "value_dim": 6, **sizes}
    return synthetic.interpolating(np.random.default_rng(0), lead=(heads,), length=length, **sizes)


def gated(length: int = 40) -> Stream:
    """The same with one state gate and one forget gate per token."""
    return with_gates(interpolating(length), np.random.default_rng(1), state="token", forget="random")


def register(folder: Path, monkeypatch: Any) -> None:
    """Make a distribution in `folder` that registers `ENTRY_POINTS`, and have it found."""
    home = folder / "fixture-1.0.dist-info"
    home.mkdir()
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: fixture\nVersion: 1.0\n")
    (home / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(folder)
