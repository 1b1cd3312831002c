"""Decays of an emulated chunk: exponentials of sums of log gates and of differences of these (T17, T18)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from osdn_theory.base.layouts import transpose
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.memory.triangular import BLOCK
from osdn_theory.rounding.models import KernelModel

Single = npt.NDArray[np.float32]
Product = Callable[[Single, Single], Single]


class Decays:
    """Of C tokens, in float32: `entry` and `rest`, D_t0 and D_Cj, (..., C, 1) or (..., C, K), and `total`, the log of
    D_C0; ones and None without gates."""

    entry: Any = np.float32(1)
    rest: Any = np.float32(1)
    total: Single | None = None

    def __init__(self, model: KernelModel, logs: Single | None, *, per_feature: bool) -> None:
        self.per_feature, self.fades = per_feature, logs is not None
        if logs is None:
            return
        logs = logs if per_feature else logs[..., None]
        wide: Any = np.cumsum(logs, axis=-2, dtype=np.float64 if model.wide_gates else np.float32)
        carried = model.wide_gates
        if per_feature:
            carried = (model.feature_sums or 0.0) < FLOAT32.unit_roundoff
        self.sums = wide.astype(np.float32)
        self.rests = (wide - self.sums).astype(np.float32) if carried else np.zeros_like(self.sums)
        self.entry, self.total = np.exp(self.sums), self.sums[..., -1, :]
        self.rest = self.between(np.s_[..., -1:, :], np.s_[..., :, :])

    def between(self, to: Any, since: Any) -> Single:
        """e^{G_t - G_j} of the sums at two places; one where that is positive."""
        apart = (self.sums[to] - self.sums[since]) + (self.rests[to] - self.rests[since])
        result: Single = np.exp(np.minimum(apart, np.float32(0)))
        return result

    def met(self, rows: Single, writes: Single, product: Product, scaled: Product) -> Single:
        """What rows meet of write keys, (..., C, C), decays included, by a product of rows as they are or `scaled`."""
        if self.per_feature and self.fades:
            starts = range(0, rows.shape[-2], BLOCK)
            return np.concatenate([self._block(rows, writes, a, scaled) for a in starts], axis=-2)
        met = product(rows, transpose(writes))
        return met * self.between(np.s_[..., :, None, 0], np.s_[..., None, :, 0]) if self.fades else met

    def _block(self, rows: Single, writes: Single, start: int, scaled: Product) -> Single:
        """Rows of 16 tokens: those before them through the edge between, their own pair by pair, and zeros."""
        length = rows.shape[-2]
        own = slice(start, min(start + BLOCK, length))
        met = np.zeros((*rows.shape[:-2], own.stop - start, length), dtype=np.float32)
        here, near = rows[..., own, :], writes[..., own, :]
        pairs = near[..., None, :, :] * self.between(np.s_[..., own, None, :], np.s_[..., None, own, :])
        met[..., own] = np.sum(here[..., :, None, :] * pairs, axis=-1, dtype=np.float32)
        if start > 0:
            edge, before = np.s_[..., start - 1 : start, :], np.s_[..., :start, :]
            left = here * self.between(np.s_[..., own, :], edge)
            met[..., :start] = scaled(left, transpose(writes[before] * self.between(edge, before)))
        return met
