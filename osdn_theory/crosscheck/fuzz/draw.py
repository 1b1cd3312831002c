"""Cases as a pure function of the kernel, a seed and a number."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case, pose
from osdn_theory.crosscheck.evidence.limits import chunk_size_of
from osdn_theory.crosscheck.examination.exercises.question import Question
from osdn_theory.crosscheck.fuzz import values
from osdn_theory.crosscheck.fuzz.menu import Hand, Takes, has_bound, menu_of
from osdn_theory.crosscheck.fuzz.trial import Trial, change_arrays
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.recurrence.rules import BOUNDED, FROZEN, CalibrationRule
from osdn_theory.streams.stream import Stream

BOXES: Mapping[str, tuple[float, float]] = {
    "wide": (1e-3, 1e3),
    "tight": (0.95, 1.05),
    "one point": (1.0, 1.0),
    "above alone": (-np.inf, 1.125),
    "below alone": (0.875, np.inf),
    "open": (-np.inf, np.inf),
}


@dataclass(frozen=True)
class FuzzSizes:
    """How large cases may be: tokens, features of a key or value, a size above which a tile is full, and T K V B H."""

    tokens: int
    features: int
    tile: int
    work: int


SMALL = FuzzSizes(tokens=70, features=32, tile=16, work=2**17)
"""On the CPU, where Triton's interpreter may be at work."""

LARGE = FuzzSizes(tokens=200, features=160, tile=64, work=2**21)
"""On a GPU; the float64 side costs more than the kernel."""


def draw(adapter: Adapter, takes: Takes, sizes: FuzzSizes, seed: int, number: int) -> Trial:
    """Case `number` of a run with `seed`."""
    rng = np.random.default_rng([seed, number])
    hand = Hand(rng, menu_of(adapter, takes))
    chosen = hand.draw("chunk_size")
    options = {} if chosen == "default" else {"chunk_size": int(chosen)}
    setting = _Setting.draw(adapter, hand, sizes)
    lengths = _lengths(hand, setting.put, sizes, options.get("chunk_size", chunk_size_of(adapter)))
    lengths = setting.fitted(lengths, sizes)
    cases = setting.cases(lengths)
    question = Question(
        name=f"case {number} of seed {seed}",
        about="drawn at random",
        uses=hand.uses,
        cases=cases,
        put=setting.put,  # type: ignore[arg-type]
        form=setting.form,  # type: ignore[arg-type]
    )
    return Trial(question, options)


def _lengths(hand: Hand, put: str, sizes: FuzzSizes, chunk: int) -> list[int]:
    """Tokens of each case."""
    known = {
        "0": 0,
        "1": 1,
        "a chunk less one": chunk - 1,
        "a chunk": chunk,
        "a chunk and one": chunk + 1,
        "any": int(hand.rng.integers(1, sizes.tokens + 1)),
        "few": int(hand.rng.integers(2, 12)),
    }
    if put == "apart":
        return [min(known[hand.draw("T")], sizes.tokens)]
    if put == "continued":
        pieces = int(hand.rng.integers(2, 4))
        return [known[str(hand.rng.choice(["1", "few", "few", "a chunk"]))] for _ in range(pieces)]
    lengths = [int(n) for n in hand.rng.integers(2, max(sizes.tokens // 3, 3), int(hand.rng.integers(1, 4)))]
    special = {"one empty": [0], "one of one token": [1], "none empty": []}[hand.draw("sequences")]
    lengths += special
    hand.rng.shuffle(lengths)
    return lengths


@dataclass(frozen=True, eq=False)
class _Setting:
    """What the cases of one question share; numbers are drawn as they are posed."""

    adapter: Adapter
    hand: Hand
    put: str
    form: str
    dtype: Any
    rows: int
    heads: int
    key_dim: int
    value_dim: int

    @classmethod
    def draw(cls, adapter: Adapter, hand: Hand, sizes: FuzzSizes) -> _Setting:
        """Everything but the lengths; kinds of numbers are chosen here, once for all cases."""
        put, form, dtype = hand.draw("put"), hand.draw("form"), hand.draw("dtype")
        if put == "packed":
            # Packed tensors are passed as they are.
            form = hand.settle("form", "contiguous")
        rows, heads = int(hand.draw("B")), int(hand.draw("H"))
        if put == "packed":
            rows = int(hand.settle("B", "1"))
        key_dim = _size(hand.rng, hand.draw("K"), sizes)
        kind = hand.draw("V", "as K")
        value_dim = key_dim if kind == "as K" else _size(hand.rng, kind, sizes)
        for name in ("keys", "queries", "values", "beta", "rows", "scale", "S_0"):
            hand.draw(name)
        for name in ("eta", "box", "d_1", "feedback", "awareness", "gate", "anchor"):
            hand.draw(name)
        _settle(hand, form, adapter.parameters)
        if put == "continued" and _grows(hand.chosen):
            # What leaves its format in one call is no start for the next.
            put = hand.settle("put", "apart")
        return cls(adapter, hand, put, form, dtype, rows, heads, key_dim, value_dim)

    def fitted(self, lengths: list[int], sizes: FuzzSizes) -> list[int]:
        """Lengths with which the work stays in its limit, and memories that grow do so for a few tokens only."""
        work = self.rows * self.heads * self.key_dim * self.value_dim
        most = max(sizes.work // work, 1)
        if self.chosen("keys") == "large" or (
            self.chosen("box") in ("open", "wide") and self.chosen("eta") == "large"
        ):
            most = min(most, 6)
        return [min(length, most) for length in lengths]

    def chosen(self, name: str) -> str:
        return self.hand.chosen.get(name, "")

    def cases(self, lengths: list[int]) -> tuple[Case, ...]:
        """One case of each length, with one scale and one step; no tokens are the beginning of a single one."""
        streams = [self._stream(max(length, 1)) for length in lengths]
        scale, eta = self._scale(), self._eta(streams)
        posed = [self._pose(stream, scale, eta) for stream in streams]
        return tuple(case.first(length) for case, length in zip(posed, lengths, strict=True))

    def _pose(self, stream: Stream, scale: float, eta: float) -> Case:
        start = self._start()
        if start is not None:
            stream = replace(stream, initial_preconditioner=start)
        rule = self._rule(stream, eta) if self.adapter.calibrates else FROZEN
        case = pose(self.adapter, stream, rule, self.dtype, scale=scale, initial_state=self._state())
        # The arrays of the case are all that counts from here on.
        return change_arrays(case)

    def _scale(self) -> float:
        usual = float(self.key_dim**-0.5)
        kinds = {
            "1": 1.0,
            "drawn": float(self.hand.rng.uniform(0.1, 2.0)),
            "negative": -0.5,
            "default": self.adapter.default("scale", usual),
        }
        return kinds.get(self.chosen("scale"), usual)

    def _eta(self, streams: list[Stream]) -> float:
        """A step relative to the one above which a single key overshoots."""
        norms = [float(np.max(np.sum(stream.squared_keys**2, axis=-1), initial=0.0)) for stream in streams]
        largest = max(*norms, 2.0**-20)
        steps = {
            "0": 0.0,
            "moderate": float(self.hand.rng.uniform(0.2, 1.0)) / largest,
            "large": 20.0 / largest,
        }
        return steps.get(self.chosen("eta"), self.adapter.default("eta", BOUNDED.eta))

    def _stream(self, length: int) -> Stream:
        rng, lead = self.hand.rng, (self.rows, self.heads)
        keys = values.draw_keys(
            rng, self.chosen("keys"), (*lead, length, self.key_dim), self.dtype, self._longest()
        )
        queries = values.draw_queries(rng, self.chosen("queries") or "keys", keys, self.dtype)
        drawn = values.draw_values(
            rng, self.chosen("values") or "normal", (*lead, length, self.value_dim), self.dtype
        )
        beta = values.draw_beta(rng, self.chosen("beta"), keys.shape[:-1], self.dtype)
        if self.form == "aliased":
            queries = keys
        gate = None
        if self.chosen("gate") not in ("", "none"):
            per_feature = self.adapter.gates_features
            gate = values.draw_gate(rng, self.chosen("gate"), keys.shape if per_feature else keys.shape[:-1])
        arrays = (keys, queries, drawn, beta)
        if self.chosen("rows") == "equal":
            keys, queries, drawn, beta = (np.broadcast_to(x[:1, :1], x.shape) for x in arrays)
            gate = None if gate is None else np.broadcast_to(gate[:1, :1], gate.shape)
        return Stream(
            keys=keys,
            values=drawn,
            queries=queries,
            beta=beta,
            state_gate=gate if self.adapter.gated else None,
            forget_gate=self._forget_gate(keys) if self.adapter.gated else gate,
            name=f"fuzz, {self.chosen('keys')} keys",
        )

    def _forget_gate(self, keys: Array) -> Array | None:
        """Of a memory that decays, the d's own gate, where it has one."""
        if not self.adapter.calibrates or self.adapter.forget_gate not in self.adapter.parameters:
            return None
        # d never forgets all, and forgets without a gate of the memory as well.
        kind = {"closing": "strong", "none": "mild"}.get(self.chosen("gate"), self.chosen("gate"))
        return values.draw_gate(self.hand.rng, kind, keys.shape[:-1])

    def _longest(self) -> float:
        """Norm of large keys, smaller where an allowance is all that is known, which says nothing of what grows."""
        if not self.adapter.gated or has_bound(self.adapter, (self.dtype,)):
            return 3.0
        if self.adapter.calibrates:
            return 1.125
        return 1.0 if self.chosen("beta") == "up to 2" else 1.375

    def _state(self) -> Array | None:
        kind = self.chosen("S_0")
        if kind in ("", "zero"):
            return None
        size = values.LARGE[self.dtype] if kind == "large" else 1.0
        return size * self.hand.rng.standard_normal((self.rows, self.heads, self.value_dim, self.key_dim))

    def _start(self) -> Array | None:
        kind = self.chosen("d_1")
        shape = (self.rows, self.heads, self.key_dim)
        return values.draw_start(self.hand.rng, kind, shape, *self._box()) if kind else None

    def _box(self) -> tuple[float, float]:
        if self.chosen("d_1") in ("inside", "on the faces") and self.chosen("box") == "one point":
            return 1.25, 1.25
        default = self.adapter.default
        own = default("d_min", float(BOUNDED.d_min)), default("d_max", float(BOUNDED.d_max))
        return BOXES.get(self.chosen("box"), own)

    def _rule(self, stream: Stream, eta: float) -> CalibrationRule:
        low, high = self._box()
        shape = (self.rows, self.heads, self.key_dim)
        anchors: Mapping[str, Any] = {
            "ones": 1.0,
            "drawn": self.hand.rng.uniform(0.5, 1.5, shape),
            "d_1": "initial",
        }
        return CalibrationRule(
            eta=eta,
            d_min=low,
            d_max=high,
            forgetting="token" if stream.forget_gate is not None else 1.0,
            anchor=anchors.get(self.chosen("anchor"), 0.0),
            normalize_feedback=self.chosen("feedback") == "normalized",
            beta_aware=self.adapter.beta_aware != (self.chosen("awareness") == "other"),
        )


def _size(rng: np.random.Generator, kind: str, sizes: FuzzSizes) -> int:
    if kind == "1":
        return 1
    if kind == "above a tile":
        return int(rng.integers(sizes.tile + 1, sizes.features + 1))
    half = int(rng.integers(1, sizes.tile // 2 + 1))
    return 2 * half if kind == "even" else 2 * half + 1 if half < sizes.tile // 2 else 3


def _grows(chosen: Mapping[str, str]) -> bool:
    """Whether a memory may grow from token to token, by beta a_t outside of [0, 2]."""
    unbounded = chosen.get("box") in ("wide", "above alone", "below alone", "open")
    return (
        chosen["keys"] in ("large", "mixed")
        or chosen["beta"] == "up to 2"
        or (chosen.get("eta") == "large" and unbounded)
    )


def _settle(hand: Hand, form: str, parameters: Collection[str]) -> None:
    """Choices that follow from others."""
    if form == "aliased":
        hand.settle("queries", "keys")
    if form == "defaults":
        for name in ("scale", "eta", "box"):
            hand.settle(name, "default")
    if hand.chosen.get("gate") == "none" and "g_d" not in parameters:
        hand.settle("anchor", "zero")
