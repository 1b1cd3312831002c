"""Streams of the suite for a cross-check: those that the theorems speak of, cut to size, with their rules."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from osdn_theory.crosscheck.cases.case import with_two_axes
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams.stream import Stream
from osdn_theory.verification.suite import STARTS, SYNTHETIC, rule_named, stream_names, suite

STREAMS = ("interpolating", "noisy", "minilm/layer0", "deltanet/layer0")
STARTED = ("apf_historic/layer0",)
GATED = ("gated", "gated_deltanet/layer0")
FEATURE_GATED = ("feature-gated",)
"""By default: for memories that do not decay (the second: if d may start anywhere), decay, decay by feature."""

UNIT_KEYS = ("isotropic", "minilm", "deltanet", "gated_deltanet")
"""Streams of unit keys, on which d stays at 1 (T15) unless it starts elsewhere."""

FORGETTING = ("apf",)
"""Streams of layers that were trained to forget, by gates of their own."""

AWAY, BY_TOKEN = "fast from 5/4", "token forgetting"

PosedStream = tuple[Stream, str, CalibrationRule]
"""A stream, the name of a rule, and the rule."""


def rule_names() -> list[str]:
    """Calibrate rules that the suite knows."""
    return list(dict.fromkeys([*(name for entry in SYNTHETIC for name in entry.rules), *STARTS]))


def default_streams(adapter: Adapter) -> tuple[str, ...]:
    """Streams that the kernel's recurrence has gates and a start for."""
    if adapter.gated:
        return FEATURE_GATED if adapter.gates_features else GATED
    starts = not adapter.calibrates or "initial_preconditioner" in adapter.parameters
    return STREAMS + STARTED if starts else STREAMS


def problems(
    adapter: Adapter,
    streams: Sequence[str] | None,
    rules: Sequence[str] | None,
    *,
    seed: int,
    tokens: int,
    heads: int,
) -> Iterator[PosedStream]:
    """Streams by name, each under each rule.

    Without `rules` the one that moves d fast: a step of about 1/(2M), and d_1 = 5/4 where keys have norm one and d
    would stay at 1, if the kernel takes a d_1; with the gates of layers that were trained to forget, if it takes gates.
    """
    for entry in suite(list(streams or default_streams(adapter)), seed, 1):
        source = _cut(entry.build(np.random.default_rng(seed)), tokens, heads)
        for label in rules or [_usual(adapter, source)]:
            start = np.full(source.key_dim, STARTS.get(label, 1.0))
            started = replace(source, initial_preconditioner=start) if label in STARTS else source
            yield started, label, rule_named(label, source)


def _usual(adapter: Adapter, stream: Stream) -> str:
    takes = adapter.parameters if adapter.calibrates else frozenset()
    if "initial_preconditioner" in takes and stream.name.startswith(UNIT_KEYS):
        return AWAY
    return BY_TOKEN if adapter.forget_gate in takes and stream.name.startswith(FORGETTING) else "fast"


def _cut(stream: Stream, tokens: int, heads: int) -> Stream:
    """The first tokens, and of (batch, head) the first batch and heads."""
    return with_two_axes(stream).tokens(0, tokens).map(lambda array: array[:1, :heads])


__all__ = ["PosedStream", "default_streams", "problems", "rule_names", "stream_names"]
