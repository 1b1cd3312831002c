"""The preconditioner as a delta rule: its WY scan with the clip certificate (T11).

Within a block of C tokens, with e = d - c and the gains u_j = eta w_j (1 - <d_j, x_j>),

    e_i = Gamma_i e_0 + sum_{j<i} P_ij u_j x_j,
    Gamma_i = gamma_0 ... gamma_{i-1},    P_ij = gamma_{j+1} ... gamma_{i-1},

so the gains solve one C x C unit-lower-triangular system and the iterates are one matrix product. Everything
that does not depend on e_0 is computed for a slab of blocks at once; the loop over blocks does what is left.

Two properties that callers rely on:

- A block keeps its WY values up to the first iterate, counting the one it was handed, that is not in the interior
  of the box; from there on its tokens are stepped. That depends on earlier tokens only. (Interior, because an
  iterate on the boundary has just been clipped, and the next step most likely clips again.)
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

CACHE_BYTES = 1 << 20
"""Features that are squared and multiplied in one go."""

SEGMENT_BLOCKS = 128
"""Blocks after which the threads meet, in case all that is left to do is stepping."""

ELEMENTS_PER_CALL = 1 << 14
"""Features per block step below which a second thread costs more than it computes."""

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
    count, length, dim = problem.keys.shape
    everything = _LeadScan(problem, block)
    parts: dict[int, _LeadScan] = {}
    d, first = np.array(problem.initial), 0

    def work(part: slice) -> None:
        if part.start not in parts:
            parts[part.start] = _LeadScan(problem.leads(part), block)
        d[part] = parts[part.start].run(d[part], first, stop, out[part])

    while first < length:
        # Steps are short calls, for which threads only wait for each other: all leading entries in this one.
        first, d[:] = everything.step_blocks(d, first, out)
        stop = min(first + SEGMENT_BLOCKS * block, length)
        map_leading(work, count, least=-(-ELEMENTS_PER_CALL // (block * dim)))
        first = stop
    return d


class _LeadScan:
    """Buffers and loop for the leading entries that one thread owns."""

    def __init__(self, problem: ScanInput, block: int) -> None:
        self.problem, self.block, self.rule = problem, block, problem.rule
        if max(np.ndim(problem.rule.d_min), np.ndim(problem.rule.d_max)) > 1:
            self.rule = replace(problem.rule, d_min=problem.lower, d_max=problem.upper)
        self.rows = np.empty(0)

    def _allocate(self) -> None:
        if self.rows.size:
            return
        (lead, length, dim), block = self.problem.keys.shape, self.block
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
        self.seen = np.empty((lead, block, 1))
        self.mixing = np.ones((lead, block + 1, block + 1))
        self.earlier = np.tril(np.ones((block + 1, block), dtype=bool), -1)
        self.weight = np.zeros((lead, count, block))
        self.decay = np.ones((lead, count, block))

    def run(self, d: Array, first: int, stop: int, out: Array) -> Array:
        """The iterates of the tokens ``first:stop``, `first` at the start of a block; returns the one handed on."""
        self._allocate()
        out = out[:, :stop]
        span = self.count * self.block
        with np.errstate(over="ignore", invalid="ignore"):  # unprojected iterates may diverge: see _inside
            while first < stop:
                if not self._inside(d).any():
                    first, d = self.step_blocks(d, first, out)
                    continue
                end = min(first + span, stop)
                self._load(first, end)
                d = self._advance(d, first, end, out)
                first = end
        return d

    def step_blocks(self, d: Array, first: int, out: Array) -> tuple[int, Array]:
        """Step whole blocks while no leading entry is handed an interior iterate: no WY value would be kept."""
        problem, length = self.problem, out.shape[1]
        while first < length and not self._inside(d).any():
            stop = min(first + self.block, length)
            for t in range(first, stop):
                out[:, t] = d
                feature, weight = problem.features(problem.keys[:, t], problem.beta[:, t], self.rule)
                gamma = None if problem.gamma is None else problem.gamma[:, t]
                d = problem.step(d, feature, weight, gamma, problem.anchor, self.rule)
            first = stop
        return first, d

    def _load(self, first: int, stop: int) -> None:
        """Features, triangular inverses and targets of the slab; tokens past `stop` change nothing."""
        problem, size, block = self.problem, stop - first, self.block
        self.used = -(-size // block)
        whole = size // block
        feature = self.rows[:, :, 1:]
        self._load_tokens(first, whole)
        if whole < self.used:
            rest = slice(whole, self.used)
            feature[:, rest] = 0.0
            self.weight[:, rest] = 0.0
            self.decay[:, rest] = 1.0
            self._load_rest(first + whole * block, stop, whole)
            self._product(self.rows[:, rest], self.gram[:, rest])
        used = self.used
        if problem.gamma is not None:
            self._spread_decay(used)
            anchor = problem.anchor[:, np.newaxis, :, np.newaxis]
            np.subtract(1.0, np.matmul(feature[:, :used], anchor), out=self.target[:, :used])
        self._invert(used)

    def _load_tokens(self, first: int, number: int) -> None:
        """`number` whole blocks from token `first`, a few leading entries at a time so that the Gram product
        finds their features in the cache."""
        problem = self.problem
        block, dim = self.block, self.rows.shape[-1]
        group = max(1, CACHE_BYTES // max(1, number * block * dim * 8))
        for begin in range(0, self.rows.shape[0], group):
            leads = slice(begin, begin + group)
            keys = problem.keys[leads, first : first + number * block]
            shape = (keys.shape[0], number, block)
            beta = problem.beta[leads, first : first + number * block].reshape(shape)
            rows = self.rows[leads, :number]
            self.weight[leads, :number] = problem.features(
                keys.reshape(*shape, dim), beta, problem.rule, out=rows[:, :, 1:]
            )[1]
            self._product(rows, self.gram[leads, :number])
        if problem.gamma is not None:
            gamma = problem.gamma[:, first : first + number * block]
            self.decay[:, :number] = gamma.reshape(self.rows.shape[0], number, block)

    @staticmethod
    def _product(rows: Array, gram: Array) -> None:
        # The extra column keeps the operands distinct: a symmetric product would take the slow syrk route.
        np.matmul(rows[..., 1:, :], rows.swapaxes(-1, -2), out=gram)

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

    def _advance(self, d: Array, first: int, stop: int, out: Array) -> Array:
        """All blocks of the slab as if nothing were clipped; where that fails, once more with care."""
        start, block, length = d, self.block, out.shape[1]
        for n in range(self.used):
            token = first + n * block
            # Row C is the iterate handed on, which is also where the next block writes its row 0.
            direct = token + block < length
            rows = out[:, token : token + block + 1] if direct else self.iterates
            self._block(d, n, rows)
            d = rows[:, min(block, stop - token)]
            if not direct:
                out[:, token:stop] = rows[:, : stop - token]
        d = np.array(d)
        finite = bool(np.isfinite(self.gains[:, : self.used]).all())
        if finite and self._certified(start):
            return d
        bad = self._first_outside(out[:, first:stop], d) if finite else 0
        if bad == self.used:
            return d
        handed = np.array(start if bad == 0 else out[:, first + bad * block])
        return self._advance_checked(handed, bad, out[:, first:stop])

    def _block(self, d: Array, n: int, out: Array, mask: bool = False) -> None:
        """Unprojected iterates of block n, the handed and the handed-on one included, to `out` (B, C + 1, K).

        With `mask`, a gain that overflowed does not reach the iterates before it (zero times infinity).
        """
        rows, gains, mixing, spread = self.rows[:, n], self.gains[:, n], self.mixing, self.spread[:, n]
        shifted = self.problem.gamma is not None
        if shifted:
            np.subtract(d, self.problem.anchor, out=rows[:, 0])
        else:
            rows[:, 0] = d
        np.matmul(rows[:, 1:], rows[:, 0, :, np.newaxis], out=self.seen)
        if shifted:
            self.seen *= spread[:, : self.block, :1]
            mixing[:, :, 0] = spread[:, :, 0]
        np.subtract(self.target[:, n], self.seen, out=self.seen)
        np.matmul(self.solve[:, n], self.seen, out=gains)
        np.multiply(spread[:, :, 1:], gains.swapaxes(-1, -2), out=mixing[:, :, 1:])
        if mask:
            np.copyto(mixing[:, :, 1:], 0.0, where=~self.earlier)
        np.matmul(mixing, rows, out=out)
        if shifted:
            out += self.problem.anchor[:, np.newaxis]
            out[:, 0] = d

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

    def _inside(self, d: Array) -> Flags:
        """Whether (B, K) or (B, n, K) iterates are in the interior of the box; NaN is not."""
        index = (slice(None), *(np.newaxis,) * (d.ndim - 2))
        inside: Flags = (d > self.problem.lower[index]) & (d < self.problem.upper[index])
        return np.asarray(inside.all(axis=-1))

    def _first_outside(self, out: Array, handed_on: Array) -> int:
        """Index of the first block that must be stepped, `used` if there is none."""
        inside = np.append(self._inside(out).all(axis=0), self._inside(handed_on).all())
        if inside.all():
            return self.used
        # An iterate at the start of a block was handed on by the one before, which has to answer for it.
        return max(int(np.argmin(inside)) - 1, 0) // self.block

    def _advance_checked(self, d: Array, first: int, out: Array) -> Array:
        """Block by block from block `first`, stepping what leaves the interior of the box."""
        block = self.block
        for n in range(first, self.used):
            self._block(d, n, self.iterates, mask=True)
            kept: Flags = np.logical_and.accumulate(self._inside(self.iterates), axis=-1)
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
        problem, rule = self.problem, self.rule
        if rule is not problem.rule:
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
