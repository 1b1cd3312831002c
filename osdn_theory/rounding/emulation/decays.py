"""Decays of an emulated chunk: exponentials of sums of log gates and of differences of these (T17, T18)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from osdn_theory.base.layouts import transpose
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.memory.features import halves
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
        self.reach = np.float32(model.feature_reach)
        if logs is None:
            return
        logs = logs if per_feature else logs[..., None]
        wide: Any = np.cumsum(logs, axis=-2, dtype=np.float64 if model.wide_gates else np.float32)
        carried = model.wide_gates and model.kept_sums < FLOAT32.unit_roundoff
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
        """Rows of 16 tokens: those before them through the edge between, their own as `halves` has them, and zeros."""
        length = rows.shape[-2]
        own = slice(start, min(start + BLOCK, length))
        met = np.zeros((*rows.shape[:-2], own.stop - start, length), dtype=np.float32)
        here = rows[..., own, :]
        met[..., own] = self._within(here, writes[..., own, :], own, scaled)
        if start > 0:
            edge, before = np.s_[..., start - 1 : start, :], np.s_[..., :start, :]
            left = here * self.between(np.s_[..., own, :], edge)
            met[..., :start] = scaled(left, transpose(writes[before] * self.between(edge, before)))
        return met

    def _within(self, rows: Single, writes: Single, own: slice, scaled: Product) -> Single:
        """Features that fade by at most the reach since the token before in one product, others half by half."""
        apart, size = self._since_edge(own), own.stop - own.start
        little = (-apart[..., -1:, :] <= self.reach) & (self.reach > 0)
        grown = np.exp(np.where(little, -apart, np.float32(0)))
        once = scaled(
            np.where(little, rows * np.exp(apart), 0), transpose(np.where(little, writes * grown, 0))
        )
        met: Single = np.where(np.tri(size, dtype=bool), once, np.float32(0))
        rows, writes = (np.where(little, np.float32(0), x) for x in (rows, writes))
        token = np.s_[..., own, :]
        for between, pair in halves(size):
            at = np.s_[..., own.start + between, :]
            left, right = rows * self.between(token, at), writes * self.between(at, token)
            met = met + np.where(pair, scaled(left, transpose(right)), np.float32(0))
        return met

    def _since_edge(self, own: slice) -> Single:
        """Logarithms of decays from the token before a block, of its own."""
        sums, rests = (np.concatenate((0 * x[..., :1, :], x), axis=-2) for x in (self.sums, self.rests))
        tokens, edge = slice(own.start + 1, own.stop + 1), slice(own.start, own.start + 1)
        apart: Single = (sums[..., tokens, :] - sums[..., edge, :]) + (
            rests[..., tokens, :] - rests[..., edge, :]
        )
        return apart
