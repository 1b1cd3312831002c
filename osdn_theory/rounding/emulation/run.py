"""A kernel of a given model, emulated in NumPy: what rounding does, without a kernel (T18).

Arithmetic is float32, one operation at a time; conversions and operands are rounded to the model's formats. In the
recurrent order every operation is that of the token-by-token kernel. In the chunk order d is stepped in float64 inside
a chunk, and the inverse of the triangular system is rounded once: a kernel at least as accurate as the model allows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array
from osdn_theory.recurrence import calibrate as calibration
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.rounding.emulation.decays import Decays, Single
from osdn_theory.rounding.formats import FLOAT32, TF32, Format, round_to, truncate_to
from osdn_theory.rounding.inputs import round_rule, round_stream
from osdn_theory.rounding.models import KernelModel
from osdn_theory.streams.stream import Stream


@show_briefly
@dataclass(frozen=True, eq=False)
class Emulated:
    """What the emulated kernel computes, as float64: preconditioner (..., T, K), outputs (..., T, V), final_state
    (..., V, K), final_preconditioner (..., K)."""

    preconditioner: Array
    outputs: Array
    final_state: Array
    final_preconditioner: Array


def emulate(
    stream: Stream,
    rule: CalibrationRule,
    model: KernelModel,
    *,
    chunk_size: int = 64,
    scale: float = 1.0,
    initial_state: Array | None = None,
    initial_preconditioner: Array | float | None = None,
) -> Emulated:
    """Run the model's kernel; arguments as in `error_bounds`.

    Raises TypeError, ValueError: as `osdn`.
    """
    given, rule = round_stream(stream, model, rule), round_rule(rule)
    d = round_to(calibration.resolve_initial_preconditioner(given, initial_preconditioner), FLOAT32)
    shape = (*given.lead, given.value_dim, given.key_dim)
    state = np.zeros(shape) if initial_state is None else np.broadcast_to(initial_state, shape)
    run = _Run(given, rule, model, scale, d, round_to(state, model.memory).astype(np.float32))
    size = 1 if model.order == "recurrent" else chunk_size
    for start in range(0, given.length, size):
        chunk = slice(start, min(start + size, given.length))
        if model.order == "recurrent":
            run.token(start)
        else:
            run.chunk(chunk)
    return Emulated(run.path, run.outputs, run.state.astype(np.float64), run.d.astype(np.float64))


class _Run:
    """The state of an emulated run: d (with its rest, if compensated) and the memory (..., V, K)."""

    def __init__(
        self, stream: Stream, rule: CalibrationRule, model: KernelModel, scale: float, d: Array, state: Single
    ) -> None:
        self.stream, self.rule, self.model = stream, rule, model
        self.scale = np.float32(scale)
        self.anchor = calibration.resolve_anchor(rule, d).astype(np.float32)
        self.d, self.rest, self.state = d.astype(np.float32), np.zeros_like(d, dtype=np.float32), state
        self.lower = np.asarray(rule.d_min, dtype=np.float32)
        self.upper = np.asarray(rule.d_max, dtype=np.float32)
        self.path, self.outputs = np.empty(stream.keys.shape), np.empty(stream.values.shape)
        gate = stream.state_gate
        self.log_gate = None if gate is None else np.log(gate).astype(np.float32)
        self.by_feature = gate is not None and gate.ndim == stream.keys.ndim

    def _rows(self, tokens: int | slice) -> tuple[Single, Single, Single, Single]:
        """Keys, queries, values and write gates of some tokens."""
        stream = self.stream
        per_feature = [x[..., tokens, :] for x in (stream.keys, np.asarray(stream.queries), stream.values)]
        key, query, value, beta = (
            x.astype(np.float32) for x in (*per_feature, np.asarray(stream.beta)[..., tokens])
        )
        return key, query, value, beta

    def token(self, t: int) -> None:
        """Read k, write, read q, calibrate, in float32."""
        key, query, value, beta = self._rows(t)
        self.path[..., t, :] = self.d
        if self.log_gate is not None:
            log = self.log_gate[..., t, :] if self.by_feature else self.log_gate[..., t, None]
            self.state = self._faded(self.state, log[..., None, :])
        residual = value - np.sum(self.state * key[..., None, :], axis=-1, dtype=np.float32)
        gained = beta[..., None] * residual
        self.state = self.state + gained[..., :, None] * (self.d * key)[..., None, :]
        read = np.sum(self.state * query[..., None, :], axis=-1, dtype=np.float32)
        self.outputs[..., t, :] = self._converted(self.scale * read, self.model.outputs)
        self.state = self._converted(self.state, self.model.memory).astype(np.float32)
        self._calibrate(t, key)

    def _faded(self, state: Single, log: Single) -> Single:
        """e^g S, weak gates by what they take away where the model does."""
        if not self.model.wide_gates:
            return state * np.exp(log)
        weak = log > -0.5
        factor = np.where(weak, np.expm1(log.astype(np.float64)).astype(np.float32), np.exp(log))
        return (weak * state + factor * state).astype(np.float32)

    def _calibrate(self, t: int, key: Single) -> None:
        square = key * key
        fixed = (
            np.asarray(self.stream.beta)[..., t].astype(np.float32) if self.rule.beta_aware else np.float32(1)
        )
        gap = fixed - fixed * fixed * np.sum(self.d * square, axis=-1, dtype=np.float32)
        gain = np.asarray(np.float32(self.rule.eta) * gap)
        if self.rule.normalize_feedback:
            gain = gain / (np.sum(square, axis=-1, dtype=np.float32) + np.float32(self.rule.epsilon))
        step = gain[..., None] * square + self.rest
        if self.stream.forget_gate is not None:
            forgotten = np.expm1(np.log(self.stream.forget_gate[..., t, None])).astype(np.float32)
            step = step + forgotten * (self.d - self.anchor + self.rest)
        moved = self.d + step
        if self.model.compensated:
            taken = moved - self.d
            self.rest = (self.d - (moved - taken)) + (step - taken)
        below, above = (moved - self.lower) + self.rest < 0, (moved - self.upper) + self.rest > 0
        self.rest = np.where(below | above, np.float32(0), self.rest)
        clipped = np.where(below, self.lower, np.where(above, self.upper, moved))
        self.d = self._converted(clipped, self.model.preconditioner).astype(np.float32)

    def chunk(self, tokens: slice) -> None:
        """The WY form of some tokens."""
        keys, queries, values, beta = self._rows(tokens)
        path = self._stepped(tokens)
        writes = self._stored(path.astype(np.float32) * keys)
        size = tokens.stop - tokens.start
        decays = self._decays(tokens)
        lower = np.tril(beta[..., None] * decays.met(keys, writes, self._product, self._scaled), -1)
        solve = np.linalg.inv(np.eye(size) + lower).astype(np.float32)
        memory = transpose(self._stored(self.state))
        found = self._solved(solve, keys, values, beta, memory, decays)
        gained = self._stored(found)
        seen = self._stored(np.tril(decays.met(queries, writes, self._product, self._scaled)))
        read = self._known(queries, memory, decays) + self._product(seen, gained)
        self.outputs[..., tokens, :] = self._converted(self.scale * read, self.model.outputs)
        if decays.total is not None:
            self.state = self._faded(self.state, decays.total[..., None, :])
        if self.by_feature:
            writes = self._stored(writes * decays.rest)
        else:
            gained = self._stored(found * decays.rest)
        self.state = self.state + self._product(transpose(gained), writes)

    def _decays(self, tokens: slice) -> Decays:
        place = (..., tokens, slice(None)) if self.by_feature else (..., tokens)
        return Decays(
            self.model,
            None if self.log_gate is None else self.log_gate[place],
            per_feature=self.by_feature,
        )

    def _known(self, rows: Single, memory: Single, decays: Decays) -> Single:
        """D_t0 Q S, of rows that have the decays of their features, or times what tokens keep."""
        if self.by_feature:
            return self._product(self._stored(rows * decays.entry), memory)
        result: Single = self._product(rows, memory) * decays.entry
        return result

    def _solved(
        self, inverse: Single, keys: Single, values: Single, beta: Single, memory: Single, decays: Decays
    ) -> Single:
        """T (V - D_t0 K S), T = (I + A)^-1 Diag(beta)."""
        if self.model.residuals:
            missing = beta[..., None] * (values - self._known(keys, memory, decays))
            return self._product(self._stored(inverse), self._stored(missing))
        solve, keys = self._stored(inverse * beta[..., None, :]), self._stored(keys * decays.entry)
        erase, target = self._stored(self._product(solve, keys)), self._stored(self._product(solve, values))
        return target - self._product(erase, memory)

    def _stepped(self, tokens: slice) -> Array:
        """d of every token of a chunk; the one handed on is rounded, its rest carried or dropped."""
        if 0 < self.model.swept >= self.rule.eta:
            return self._walked(tokens)
        d = self.d.astype(np.float64) + self.rest
        anchor = self.anchor.astype(np.float64)
        for t in range(tokens.start, tokens.stop):
            self.path[..., t, :] = round_to(d, FLOAT32)
            feature, weight = calibration.feature_and_weight(
                self.stream.keys[..., t, :], np.asarray(self.stream.beta)[..., t], self.rule
            )
            gamma = None if self.stream.forget_gate is None else self.stream.forget_gate[..., t]
            d = calibration.calibrate_step(d, feature, weight, gamma, anchor, self.rule)
        self.d = self._converted(d, self.model.preconditioner).astype(np.float32)
        if self.model.compensated and self.stream.forget_gate is None:
            self.rest = (d - self.d).astype(np.float32)
        return self.path[..., tokens, :]

    def _walked(self, tokens: slice) -> Array:
        """The same in float32, as sweeps walk a chunk once they have settled."""
        for t in range(tokens.start, tokens.stop):
            self.path[..., t, :] = self.d
            self._calibrate(t, self.stream.keys[..., t, :].astype(np.float32))
        return self.path[..., tokens, :]

    def _product(self, left: Single, right: Single) -> Single:
        """Matrix product of rounded operands, accumulated in float32."""
        if self.model.operands != self.model.storage:
            left, right = (self._converted(x, self.model.operands).astype(np.float32) for x in (left, right))
        if self.model.ordered:
            return _in_order(left, right)
        product: Single = np.matmul(left, right, dtype=np.float32)
        return product

    def _scaled(self, left: Single, right: Single) -> Single:
        """The same of rows and columns scaled by decays, float32 numbers, whose bits TF32 products drop."""
        if self.model.formation > TF32.unit_roundoff:
            left, right = (truncate_to(x.astype(np.float64), TF32).astype(np.float32) for x in (left, right))
        if self.model.ordered:
            return _in_order(left, right)
        product: Single = np.matmul(left, right, dtype=np.float32)
        return product

    def _stored(self, x: Array | Single) -> Single:
        return self._converted(x, self.model.storage).astype(np.float32)

    def _converted(self, x: npt.ArrayLike, fmt: Format) -> Array:
        wide = np.asarray(x, dtype=np.float64)
        return truncate_to(wide, fmt) if self.model.chopped and fmt != FLOAT32 else round_to(wide, fmt)


def _in_order(left: Single, right: Single) -> Single:
    """Product by fused multiply-adds from the first term to the last: float64 holds a product of two float32 numbers,
    and rounding its sums twice adds 2^-29 of what rounding them once does."""
    wide, other = left.astype(np.float64), right.astype(np.float64)
    total: Single = np.zeros((*left.shape[:-1], right.shape[-1]), dtype=np.float32)
    for k in range(left.shape[-1]):
        total = (total + wide[..., :, k, None] * other[..., None, k, :]).astype(np.float32)
    return total
