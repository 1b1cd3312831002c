"""The preconditioner as a delta rule: its WY scan with the clip certificate (T11).

Within a block of C tokens, with e = d - c and the gains u_j = eta w_j (1 - <d_j, x_j>),

    e_i = Gamma_i e_0 + sum_{j<i} P_ij u_j x_j,
    Gamma_i = gamma_0 ... gamma_{i-1},    P_ij = gamma_{j+1} ... gamma_{i-1},

so the gains solve one C x C unit-lower-triangular system and the iterates are one matrix product. Everything
that does not depend on e_0 is computed for a slab of blocks at once; the loop over blocks does what is left.

Two properties that callers rely on:

- Iterate i of a block keeps its WY value iff the unprojected iterates 1 ... i of the block lie in the box; from
  the first one that does not, the block is stepped sequentially. That depends on earlier tokens only.
- Every product has the same shape whatever the length, and sums run in a fixed order, so neither the number of
  blocks nor the number of leading axes changes a bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from osdn_theory._threads import map_leading
from osdn_theory._validation import Array
from osdn_theory.rules import CalibrationRule

SLAB_BYTES = 2 << 20
"""Features of one slab; larger ones leave the cache between the Gram product and the loop over blocks."""

CERTIFICATE_SLACK = 1e-12
"""Relative room for rounding in the quick certificate, far above the error of the iterates it vouches for."""

Features = Callable[..., tuple[Array, Array]]
Step = Callable[..., Array]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ScanInput:
    """A calibration to scan, leading axes flattened to one (B).

    `keys` (B, T, K), `beta` (B, T), `gamma` (B, T) or None, `initial`, `anchor`, `lower`, `upper` (B, K).
    `features` and `step` are the definitions of the features and of the calibrate step.
    """

    keys: Array
    beta: Array
    gamma: Array | None
    initial: Array
    anchor: Array
    lower: Array
    upper: Array
    rule: CalibrationRule
    features: Features
    step: Step

    def leads(self, part: slice) -> ScanInput:
        """The same for some of the leading entries."""
        return ScanInput(
            self.keys[part],
            self.beta[part],
            None if self.gamma is None else self.gamma[part],
            self.initial[part],
            self.anchor[part],
            self.lower[part],
            self.upper[part],
            self.rule,
            self.features,
            self.step,
        )


def wy_scan(problem: ScanInput, block: int, out: Array) -> Array:
    """Write d_1 ... d_T to `out` (B, T, K) and return d_{T+1} (B, K)."""
    final = np.array(problem.initial)

    def work(part: slice) -> None:
        final[part] = _LeadScan(problem.leads(part), block).run(out[part])

    map_leading(work, problem.keys.shape[0])
    return final


class _LeadScan:
    """Buffers and loop for the leading entries that one thread owns."""

    def __init__(self, problem: ScanInput, block: int) -> None:
        lead, length, dim = problem.keys.shape
        self.problem, self.block = problem, block
        per_block = max(1, lead * block * dim * 8)
        self.count = int(np.clip(SLAB_BYTES // per_block, 1, max(1, -(-length // block))))
        count = self.count
        # Row 0 of a block is e_0, so that one product gives e_0 plus the gained part.
        self.rows = np.zeros((lead, count, block + 1, dim))
        self.spread = np.empty((lead, count, block + 1, block + 1))
        self.spread[:] = np.tril(np.ones((block + 1, block + 1)))
        self.spread[..., 0] = 1.0
        self.gram = np.empty((lead, count, block, block + 1))
        self.solve = np.empty((lead, count, block, block))
        self.target = np.ones((lead, count, block, 1))
        self.gains = np.zeros((lead, count, block, 1))
        self.iterates = np.empty((lead, block + 1, dim))
        self.mixing = np.zeros((lead, block + 1, block + 1))
        self.earlier = np.tril(np.ones((block + 1, block), dtype=bool), -1)
        self.weight = np.zeros((lead, count, block))
        self.decay = np.ones((lead, count, block))

    def run(self, out: Array) -> Array:
        d = self.problem.initial
        length, span = out.shape[1], self.count * self.block
        with np.errstate(over="ignore", invalid="ignore"):  # unprojected iterates may diverge: see _inside
            for first in range(0, length, span):
                stop = min(first + span, length)
                self._load(first, stop)
                d = self._advance(d, out[:, first:stop])
        return d

    def _load(self, first: int, stop: int) -> None:
        """Features, triangular inverses and targets of the slab; tokens past `stop` change nothing."""
        problem, size, block = self.problem, stop - first, self.block
        self.used = -(-size // block)
        whole = size // block
        feature = self.rows[:, :, 1:]
        self._load_tokens(first, slice(0, whole), feature[:, :whole])
        if whole < self.used:
            rest = slice(whole, self.used)
            feature[:, rest] = 0.0
            self.weight[:, rest] = 0.0
            self.decay[:, rest] = 1.0
            self._load_rest(first + whole * block, stop, whole)
        used = self.used
        if problem.gamma is not None:
            self._spread_decay(used)
            anchor = problem.anchor[:, np.newaxis, :, np.newaxis]
            np.subtract(1.0, np.matmul(feature[:, :used], anchor), out=self.target[:, :used])
        # The extra column keeps the operands distinct: a symmetric product would take the slow syrk route.
        np.matmul(feature[:, :used], self.rows[:, :used].swapaxes(-1, -2), out=self.gram[:, :used])
        self._invert(used)

    def _load_tokens(self, first: int, blocks: slice, feature: Array) -> None:
        lead, _, block, dim = feature.shape
        number = blocks.stop - blocks.start
        tokens = slice(first, first + number * block)
        shape = (lead, number, block)
        keys = self.problem.keys[:, tokens].reshape(*shape, dim)
        beta = self.problem.beta[:, tokens].reshape(shape)
        weight = self.problem.features(keys, beta, self.problem.rule, out=feature)[1]
        self.weight[:, blocks] = weight
        if self.problem.gamma is not None:
            self.decay[:, blocks] = self.problem.gamma[:, tokens].reshape(shape)

    def _load_rest(self, first: int, stop: int, index: int) -> None:
        problem, number = self.problem, stop - first
        keys, beta = problem.keys[:, first:stop], problem.beta[:, first:stop]
        weight = problem.features(keys, beta, problem.rule, out=self.rows[:, index, 1 : 1 + number])[1]
        self.weight[:, index, :number] = weight
        if problem.gamma is not None:
            self.decay[:, index, :number] = problem.gamma[:, first:stop]

    def _spread_decay(self, used: int) -> None:
        """Gamma_i in column 0 and P_ij in column j + 1, by products only: nothing is divided by a decay."""
        spread, decay = self.spread[:, :used], self.decay[:, :used]
        for i in range(self.block):
            np.multiply(
                spread[:, :, i, : i + 1], decay[:, :, i, np.newaxis], out=spread[:, :, i + 1, : i + 1]
            )

    def _invert(self, used: int) -> None:
        """(I + Diag(eta w) tril(P * G, -1))^{-1} Diag(eta w), by substitution for all blocks at once."""
        lead, block = self.gram.shape[0], self.block
        coupling = self.gram[:, :used, :, 1:]
        if self.problem.gamma is not None:
            coupling = coupling * self.spread[:, :used, :block, 1:]
        rate = self.problem.rule.eta * self.weight[:, :used]
        scaled = np.multiply(coupling, -rate[..., np.newaxis])
        # Blocks last: the substitution then runs over long contiguous vectors.
        scaled = np.ascontiguousarray(scaled.reshape(lead * used, block, block).transpose(1, 2, 0))
        inverse = np.zeros((block, block, lead * used))
        inverse[np.arange(block), np.arange(block)] = rate.reshape(lead * used, block).T
        for j in range(block - 1):
            inverse[j + 1 :, : j + 1] += scaled[j + 1 :, j, np.newaxis] * inverse[j, : j + 1]
        self.solve[:, :used] = inverse.transpose(2, 0, 1).reshape(lead, used, block, block)

    def _advance(self, d: Array, out: Array) -> Array:
        """All blocks of the slab as if nothing were clipped; where that fails, once more with care."""
        start, block, used = d, self.block, self.used
        handed = []
        for n in range(used):
            d = self._block(d, n)
            tokens = out[:, n * block : (n + 1) * block]
            tokens[:] = self.iterates[:, : tokens.shape[1]]
            if tokens.shape[1] < block:
                d = np.array(self.iterates[:, tokens.shape[1]])
            handed.append(d)
        if self._certified(start):
            return d
        first = self._first_outside(out, handed)
        if first == used:
            return d
        return self._advance_checked(start if first == 0 else handed[first - 1], first, out)

    def _block(self, d: Array, n: int) -> Array:
        """Unprojected iterates of block n to ``self.iterates``; returns the one it hands on."""
        rows, gains = self.rows[:, n], self.gains[:, n]
        shifted = self.problem.gamma is not None
        rows[:, 0] = d - self.problem.anchor if shifted else d
        alignment = np.matmul(rows[:, 1:], rows[:, 0, :, np.newaxis])
        if shifted:
            alignment *= self.spread[:, n, : self.block, :1]
        np.matmul(self.solve[:, n], self.target[:, n] - alignment, out=gains)
        # Masked, not multiplied by zero: a gain that overflowed must not reach the iterates before it.
        np.multiply(
            self.spread[:, n, :, 1:], gains.swapaxes(-1, -2), out=self.mixing[:, :, 1:], where=self.earlier
        )
        self.mixing[:, :, 0] = self.spread[:, n, :, 0]
        np.matmul(self.mixing, rows, out=self.iterates)
        if shifted:
            self.iterates += self.problem.anchor[:, np.newaxis]
            self.iterates[:, 0] = d
        return np.array(self.iterates[:, self.block])

    def _certified(self, start: Array) -> bool:
        """Whether the gains are too small to carry any entry from `start` to the box: sufficient, cheap."""
        problem, used = self.problem, self.used
        diagonal = np.diagonal(self.gram[:, :used, :, 1:], axis1=-2, axis2=-1)
        reach = np.sum(np.abs(self.gains[:, :used, :, 0]) * np.sqrt(diagonal), axis=(1, 2))
        size = np.max(np.abs(start), axis=-1)
        if problem.gamma is not None:
            away = np.max(np.abs(start - problem.anchor), axis=-1)
            reach = reach + (1.0 - np.prod(self.decay[:, :used], axis=(1, 2))) * away
            size = size + np.max(np.abs(problem.anchor), axis=-1)
        room = np.minimum(start - problem.lower, problem.upper - start).min(axis=-1)
        return bool(np.all(reach + CERTIFICATE_SLACK * (size + reach) < room))

    def _inside(self, d: Array, extra_axes: int) -> Flags:
        index = (slice(None), *(np.newaxis,) * extra_axes)
        inside: Flags = (d >= self.problem.lower[index]) & (d <= self.problem.upper[index])
        return np.asarray(inside.all(axis=-1))

    def _first_outside(self, out: Array, handed: list[Array]) -> int:
        """Index of the first block with an iterate outside the box, `used` if there is none."""
        inside: Flags = np.logical_and.reduce(self._inside(out, 1), axis=0)
        inside[:: self.block] = True  # handed in, or handed on by the block before: checked there
        ends = [bool(self._inside(d, 0).all()) for d in handed]
        for n in range(self.used):
            if not (ends[n] and inside[n * self.block : (n + 1) * self.block].all()):
                return n
        return self.used

    def _advance_checked(self, d: Array, first: int, out: Array) -> Array:
        """Block by block from block `first`, stepping sequentially what leaves the box."""
        block = self.block
        for n in range(first, self.used):
            self._block(d, n)
            inside = self._inside(self.iterates, 1)
            inside[:, 0] = True
            kept: Flags = np.logical_and.accumulate(inside, axis=-1)
            leads = np.flatnonzero(~kept[:, block])
            if leads.size:
                stepped = self._stepped(d, n, leads)
                self.iterates[leads] = np.where(kept[leads, :, np.newaxis], self.iterates[leads], stepped)
            tokens = out[:, n * block : (n + 1) * block]
            tokens[:] = self.iterates[:, : tokens.shape[1]]
            d = np.array(self.iterates[:, tokens.shape[1]])
        return d

    def _stepped(self, d: Array, n: int, leads: Indices) -> Array:
        """The projected iterates of block n, token by token, for some leading entries."""
        problem = self.problem
        rule = problem.rule
        if max(np.ndim(rule.d_min), np.ndim(rule.d_max)) > 1:
            rule = replace(rule, d_min=problem.lower[leads], d_max=problem.upper[leads])
        stepped = np.empty((leads.size, self.block + 1, d.shape[-1]))
        stepped[:, 0] = d[leads]
        feature, anchor = self.rows[leads, n, 1:], problem.anchor[leads]
        for i in range(self.block):
            gamma = None if problem.gamma is None else self.decay[leads, n, i]
            stepped[:, i + 1] = problem.step(
                stepped[:, i], feature[:, i], self.weight[leads, n, i], gamma, anchor, rule
            )
        return stepped
