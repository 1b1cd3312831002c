"""The streams and rules that `verify` covers: each stream is there for the hypotheses it meets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory.base.tables import read_table
from osdn_theory.recurrence import solve
from osdn_theory.recurrence.rules import SETTINGS, CalibrationRule
from osdn_theory.recurrence.solve import osdn, solver_of
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams import exhibits, synthetic
from osdn_theory.streams.activations import activation_layers, load_activations, packaged_streams
from osdn_theory.streams.exact_keys import nearest_unit_keys
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.transforms import repeated, with_gates

Build = Callable[[np.random.Generator], Stream]
Solver = Callable[..., Trajectory]

_STATES_LIMIT = 64_000_000
# Numbers in all states of a stream, 512 MB, up to which they are kept and checked token by token.


@dataclass(frozen=True)
class Entry:
    """One stream of the suite: how to make it, which recurrence runs it, and under which rules."""

    name: str
    description: str
    build: Build
    rules: tuple[str, ...]
    solver: Solver = osdn


def rule_named(label: str, stream: Stream) -> CalibrationRule:
    """A rule by its label; the steps that depend on the stream are half of 1/M, so that every regret bound applies."""
    fast = half_step(stream)
    named = {
        **SETTINGS,
        "fast": CalibrationRule(eta=fast),
        "fast from 5/4": CalibrationRule(eta=fast),
        "open box": CalibrationRule(eta=fast, d_min=-np.inf, d_max=np.inf),
        "narrow box": CalibrationRule(eta=fast, d_min=0.96875, d_max=1.03125),
        "forgetting": CalibrationRule(eta=fast, forgetting=0.9375),
        "open forgetting": CalibrationRule(eta=fast, d_min=-np.inf, d_max=np.inf, forgetting=0.9375),
        **dict.fromkeys(
            ("anchored", "anchored from 5/4"), CalibrationRule(eta=fast, forgetting=0.9375, anchor="initial")
        ),
        "token forgetting": CalibrationRule(eta=fast, forgetting="token", anchor=1.0),
        "normalised": CalibrationRule(eta=0.5, normalize_feedback=True),
        "beta-aware": CalibrationRule(eta=fast, beta_aware=True),
        "whole step": CalibrationRule(eta=2 * fast, d_min=-np.inf, d_max=np.inf),
        "growing": CalibrationRule(eta=1.9, forgetting=1 / 64, anchor="initial"),
    }
    return named[label]


def half_step(stream: Stream) -> float:
    """The largest power of two that is at most 1 / (2 M), M = max ||s_t||^2; 1/2 for an empty stream."""
    features = stream.squared_keys
    largest = float(np.max(np.sum(features * features, axis=-1), initial=0.0))
    return float(2.0 ** np.floor(-np.log2(2 * largest))) if largest > 0 else 0.5


def _attained(rng: np.random.Generator) -> Stream:
    # One constant key, d_1 - u along its feature: T5 holds with equality in the limit of many tokens.
    base = synthetic.constant_key(rng, length=48, key_dim=8, value_dim=4)
    key = np.array([0.5, 0.5, -0.5, 0.5, 0.0, 0.0, 0.0, 0.0])
    keys = np.broadcast_to(key, base.keys.shape)
    solution = np.asarray(base.solution)
    start = np.where(key != 0, 1.25, 1.0)
    return replace(
        base,
        keys=keys,
        values=keys @ solution.T,
        queries=keys,
        comparator=np.ones(8),
        initial_preconditioner=start,
        name="attained",
    )


def _scalar(rng: np.random.Generator) -> Stream:
    # K = 1: the first context step lands on P* = 1/G, so T10 holds with equality.
    solution = np.array([[1.5]])
    keys = rng.choice([-1.0, 1.0], size=(8, 1))
    return Stream(keys=keys, values=keys @ solution, comparator=np.ones(1), solution=solution, name="scalar")


OWN: Mapping[str, Build] = {
    "attained": _attained,
    "scalar": _scalar,
    "disjoint": exhibits.disjoint,
    "overlapping": exhibits.overlapping,
    "alternating": lambda _: exhibits.alternating(),
    "growing": lambda _: exhibits.growing(),
}
"""Streams that are drawn for one theorem alone."""

SIZES = {"length": 64, "key_dim": 8, "value_dim": 8}


def _drawn(name: str, row: Mapping[str, Any]) -> Build:
    """A stream as `suite.toml` states it."""

    def build(rng: np.random.Generator) -> Stream:
        generator = getattr(synthetic, row["draw"])
        stream: Stream = generator(rng, **row.get("sizes", SIZES), **row.get("options", {}))
        if "gates" in row:
            stream = with_gates(stream, rng, **row["gates"])
        if "repeats" in row:
            stream = repeated(stream, row["repeats"])
        return replace(stream, name=name)

    return build


SYNTHETIC: tuple[Entry, ...] = tuple(
    Entry(
        name,
        row["about"],
        _drawn(name, row) if "draw" in row else OWN[name],
        tuple(row["rules"]),
        getattr(solve, row.get("solver", "osdn")),
    )
    for name, row in read_table(__file__).items()
)

PACKAGED_ABOUT = {"minilm": "MiniLM self-attention on English text"}
"""What files of activations delivered with the package are of, where their metadata do not say."""

ACTIVATION_RULES = ("bounded", "historic", "fast from 5/4", "anchored from 5/4")
UNIT_RULES = ("bounded", "historic", "fast from 5/4")
UNIT = "/unit"

STARTS = {"fast from 5/4": 1.25, "anchored from 5/4": 1.25}
"""d_1 of the rules that start away from 1."""


def stream_names() -> dict[str, str]:
    """Every stream of the suite with its description, the packaged activations last."""
    described = {entry.name: entry.description for entry in SYNTHETIC}
    for name, path in packaged_streams().items():
        about = PACKAGED_ABOUT.get(name, f"trained layers of {name}, as the metadata of {path.name} say")
        for layer in activation_layers(path):
            described[f"{name}/{layer}"] = f"{about}, L2-normalised"
            described[f"{name}/{layer}{UNIT}"] = "the same, keys moved to the nearest of exactly unit norm"
    return described


def suite(names: Sequence[str], seed: int, repeat: int) -> Iterator[Entry]:
    """The entries called `names`; every synthetic one `repeat` times, each from a seed of its own."""
    for position, entry in enumerate(SYNTHETIC):
        if entry.name not in names:
            continue
        for draw in range(repeat):
            yield replace(entry, build=_seeded(entry, [seed, draw, position], draw if repeat > 1 else None))
    for name, path in packaged_streams().items():
        own = {layer: {f"{name}/{layer}", f"{name}/{layer}{UNIT}"} for layer in activation_layers(path)}
        layers = [layer for layer, called in own.items() if called & set(names)]
        for entry in activation_entries(path, layers) if layers else ():
            if entry.name in names:
                yield entry
            if entry.name + UNIT in names:
                yield _unit_entry(entry, seed)


def _unit_entry(entry: Entry, seed: int) -> Entry:
    """The entry with exactly normalised keys: what float64 normalisation only nearly meets is met exactly."""
    stream = entry.build(np.random.default_rng(seed))
    keys = nearest_unit_keys(np.random.default_rng(seed), stream.keys)
    exact = replace(stream, keys=keys, comparator=np.ones(stream.key_dim), name=stream.name + UNIT)
    description = f"{entry.description}; keys moved to the nearest of exactly unit norm"
    return Entry(exact.name, description, _given(exact), UNIT_RULES, entry.solver)


def _seeded(entry: Entry, entropy: list[int], draw: int | None) -> Build:
    def build(_: np.random.Generator) -> Stream:
        stream = entry.build(np.random.default_rng(entropy))
        return stream if draw is None else replace(stream, name=f"{stream.name} #{draw}")

    return build


def activation_entries(path: Path | None, layers: list[str] | None = None) -> Iterator[Entry]:
    """One entry per layer of captured activations, or per layer asked for; with state gates in its gated form."""
    for stream in load_activations(path, layers=layers):
        gates = {"beta-aware": stream.state_gate, "token forgetting": stream.forget_gate}
        yield Entry(
            stream.name,
            f"captured activations, {stream.length} tokens, {'x'.join(map(str, stream.lead))} heads",
            _given(stream),
            (*ACTIVATION_RULES, *(rule for rule, gate in gates.items() if gate is not None)),
            solver_of(stream),
        )


def _given(stream: Stream) -> Build:
    return lambda _: stream


def trajectories(entry: Entry) -> Iterator[tuple[str, Trajectory]]:
    """The entry's stream under each of its rules, states kept where they fit."""
    stream = entry.build(np.random.default_rng(0))
    numbers = int(np.prod(stream.lead)) * stream.length * stream.key_dim * stream.value_dim
    for label in entry.rules:
        rule = rule_named(label, stream)
        start = STARTS.get(label)
        keep = numbers <= _STATES_LIMIT
        yield label, entry.solver(stream, rule, initial_preconditioner=start, return_states=keep)
