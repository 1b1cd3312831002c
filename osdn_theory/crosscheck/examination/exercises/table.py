"""The exercises: a fixed, named set of questions that together use all that a kernel's signature takes."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from osdn_theory.base.tables import read_table
from osdn_theory.crosscheck.cases.case import Case, Dtype
from osdn_theory.crosscheck.examination.exercises.bench import STATES, STEP, Bench
from osdn_theory.crosscheck.examination.exercises.draw import ExerciseSizes, draw_stream, generator
from osdn_theory.crosscheck.examination.exercises.question import Put, Question
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import Form
from osdn_theory.crosscheck.kernel.recurrences import GATED_OSDN
from osdn_theory.recurrence.rules import BOUNDED, FROZEN

DrawCases = Callable[[Bench, np.random.Generator], tuple[Case, ...]]

BASE = ("q", "k", "v", "beta", "heads", "batch rows")
SHARED_KEYS = "heads that share keys"
RULE = ("eta", "d_min", "d_max", "initial_preconditioner")


@dataclass(frozen=True)
class Exercise:
    """A named way to ask, as `exercises.toml` states it.

    `needs` are arguments without which it cannot be asked, `only` the recurrences that it concerns; with
    `gates_optional` it is for kernels that do without g, one that is `refusable` a kernel may raise on, and one that is
    `on_request` is put where it is asked for by name. Without a `draw` it is one case with these settings.
    """

    name: str
    about: str
    uses: frozenset[str]
    needs: frozenset[str] = frozenset()
    only: tuple[str, ...] = ()
    gates_optional: bool = False
    put: Put = "apart"
    form: Form = "contiguous"
    final: bool = True
    refusable: bool = False
    on_request: bool = False
    draw: DrawCases | None = None
    sizes: Literal["all", "fewer", "square", "narrow", "odd"] = "all"
    stream: Mapping[str, Any] = field(default_factory=dict)
    pose: Mapping[str, Any] = field(default_factory=dict)

    def question(self, bench: Bench) -> Question | None:
        """None where the kernel does not take what the exercise is about."""
        if not self.needs <= bench.adapter.parameters:
            return None
        if self.only and bench.adapter.recurrence not in self.only:
            return None
        if self.gates_optional and not bench.adapter.gate_optional:
            return None
        cases = (self.draw or self._posed)(bench, generator(self.name, bench.seed))
        if not cases:
            return None
        named = tuple(
            replace(case, stream=replace(case.stream, name=_piece_name(self.name, at, len(cases))))
            for at, case in enumerate(cases)
        )
        uses = frozenset(name for name in self.uses if bench.takes(name) or name in PROPERTIES)
        return Question(self.name, self.about, uses, named, self.put, self.form, self.final, self.refusable)

    def _posed(self, bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
        sizes = bench.sizes if self.sizes == "all" else getattr(bench.sizes, self.sizes)()
        return (bench.pose(draw_stream(rng, sizes, **self.stream), rng, sizes=sizes, **self.pose),)


def _read(table: Mapping[str, Any]) -> Iterator[Exercise]:
    groups = {"base": BASE, "rule": RULE}
    for name, row in table.items():
        uses = frozenset(each for used in row.pop("uses") for each in groups.get(used, (used,)))
        needs, only = frozenset(row.pop("needs", ())), tuple(row.pop("only", ()))
        yield Exercise(name=name, uses=uses, needs=needs, only=only, draw=DRAWS.get(name), **row)


PROPERTIES = frozenset(
    (
        "heads",
        "batch rows",
        "K = V",
        "K != V",
        "K > V",
        "lengths",
        "strides",
        "norms",
        "repeated keys",
        "q = k",
        "pieces",
    )
)
"""What exercises vary beside arguments."""


def _piece_name(name: str, at: int, count: int) -> str:
    return name if count == 1 else f"{name}, {at + 1} of {count}"


def questions(
    adapter: Adapter, dtype: Dtype, sizes: ExerciseSizes, seed: int = 0, requested: Collection[str] = ()
) -> list[Question]:
    """Every exercise that the kernel's signature admits, the most telling first; on request those `requested`."""
    bench = Bench(adapter, dtype, sizes, seed)
    wanted = (exercise for exercise in EXERCISES if not exercise.on_request or exercise.name in requested)
    asked = (exercise.question(bench) for exercise in wanted)
    return [question for question in asked if question is not None]


def exercise_names() -> list[str]:
    return [exercise.name for exercise in EXERCISES]


def find_unexercised(adapter: Adapter, asked: list[Question]) -> Iterator[str]:
    """What no question used, with the reason."""
    used = frozenset().union(*(question.uses for question in asked))
    wanted = frozenset().union(
        *(exercise.uses | exercise.needs for exercise in EXERCISES if _concerns(exercise, adapter))
    )
    for name in sorted(wanted - used - PROPERTIES):
        if _makes_sense(adapter, name):
            yield f"{name} (the kernel does not take it)"
    for name in find_unused_arguments(adapter):
        yield f"{name} (left at its default)"
    yield from _left_open(adapter, {question.name for question in asked})


def _left_open(adapter: Adapter, asked: Collection[str]) -> Iterator[str]:
    """What is not asked, or not unless it is wanted, as right kernels differ in it, or need not take it."""
    if adapter.calibrates and {"initial_preconditioner", "d_min"} <= adapter.parameters:
        yield "d_1 outside the box"
    if adapter.gated and adapter.recurrence not in GATED_OSDN:
        yield "gates that are exactly zero"
    if adapter.reads and SHARED_KEYS not in asked:
        asking = f"`--exercise '{SHARED_KEYS}'`, or `crosscheck(..., group=...)`"
        yield f"{SHARED_KEYS} ({'gates per feature' if adapter.gates_features else asking})"


def find_unused_arguments(adapter: Adapter) -> list[str]:
    """Arguments of the kernel that no call passes."""
    known = {adapter.names.get(name, name) for name in adapter.parameters}
    known |= {*adapter.aliases, *adapter.options}
    found = inspect.signature(adapter.call).parameters.values()
    return [item.name for item in found if item.name not in known and "VAR" not in item.kind.name]


def _concerns(exercise: Exercise, adapter: Adapter) -> bool:
    return not exercise.only or adapter.recurrence in exercise.only


CALIBRATION = frozenset(
    {"eta", "d_min", "d_max", "anchor", "normalize_feedback", "beta_aware", "initial_preconditioner"}
)
MEMORY = frozenset({"q", "v", "beta", "scale", "initial_state"})


def _makes_sense(adapter: Adapter, name: str) -> bool:
    """Whether an argument could concern the recurrence at all."""
    if name in CALIBRATION:
        return adapter.calibrates
    if name == "g_d":
        return adapter.calibrates and adapter.gated
    if name in MEMORY:
        return adapter.reads
    return name != "g" or adapter.recurrence != "delta_net"


def _defaults(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    """Only what has no default is passed; what the signature says no number of is the rule `bounded`, and K ** -0.5."""
    sizes = bench.sizes.fewer()
    known = bench.adapter
    rule = FROZEN
    if known.calibrates:
        eta, low, high = (known.default(name, getattr(BOUNDED, name)) for name in ("eta", "d_min", "d_max"))
        rule = replace(BOUNDED, eta=eta, d_min=low, d_max=high, beta_aware=known.beta_aware)
    scale = known.default("scale", sizes.key_dim**-0.5)
    return (bench.pose(draw_stream(rng, sizes), rng, sizes=sizes, plain=True, scale=scale, rule=rule),)


def _norms_in_the_kernel(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    """Queries and keys that the kernel is asked to normalise."""
    sizes = bench.sizes.fewer()
    case = bench.pose(draw_stream(rng, sizes, padded=True), rng, sizes=sizes, forgets=False)
    return (replace(case, key_norm="floored"),)


def _without_gates(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    """A memory that may decay, and does not; d forgets all the same."""
    sizes = bench.sizes.fewer()
    case = bench.pose(draw_stream(rng, sizes), rng, sizes=sizes)
    return (replace(case, stream=replace(case.stream, state_gate=None), log_state_gate=None),)


def _strong_gates(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    """Some of them e^-20; those of OS-GDN's and OS-KDA's memories, which are promised to close, exactly zero."""
    sizes = bench.sizes.fewer()
    closed = 0.05 if bench.adapter.recurrence in GATED_OSDN else 0.0
    gate = {"least": 0.02, "kept": 0.0, "strong": 0.1}
    return (bench.pose(draw_stream(rng, sizes), rng, sizes=sizes, gate=gate, closed=closed),)


def _lengths(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    """Less than a chunk, a token more than one, and chunks without rest; each of two states without the other."""
    sizes = bench.sizes.fewer()
    chunk = sizes.chunk
    wanted = {chunk - 3: (), chunk + 1: ("initial_preconditioner",), 3 * chunk: ("initial_state",)}
    return tuple(
        bench.pose(draw_stream(rng, sizes, tokens=length), rng, sizes=sizes, without=without)
        for length, without in wanted.items()
    )


def _no_tokens(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    sizes = bench.sizes.fewer()
    return (bench.pose(draw_stream(rng, sizes, tokens=1), rng, sizes=sizes).piece(0, 0),)


def _continued(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    whole = bench.pose(draw_stream(rng, bench.sizes), rng)
    chunk = bench.sizes.chunk
    cuts = (0, chunk, chunk + 7, chunk + 8, bench.sizes.tokens)
    return tuple(whole.piece(a, b) for a, b in pairwise(cuts))


def _packed(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    return _packed_lengths(bench, rng, (7, bench.sizes.chunk + 3, 1, 0, 5), without=())


def _packed_without(*without: str) -> DrawCases:
    """Short sequences in one call that is not given some of the states."""
    return lambda bench, rng: _packed_lengths(bench, rng, (3, 0, 5), without)


def _packed_lengths(
    bench: Bench, rng: np.random.Generator, lengths: Sequence[int], without: Collection[str]
) -> tuple[Case, ...]:
    sizes = replace(bench.sizes, batch=1)
    cases = []
    for length in lengths:
        stream = draw_stream(rng, sizes, tokens=max(length, 1))
        cases.append(bench.pose(stream, rng, sizes=sizes, without=without).piece(0, length))
    return tuple(cases)


def _strided(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    return (bench.pose(draw_stream(rng, bench.sizes, tokens=bench.sizes.chunk + 5), rng),)


def _expanded(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    """Keys shared by all heads, beta by all batch rows."""
    stream = draw_stream(rng, bench.sizes, tokens=bench.sizes.chunk + 5)
    shared = replace(
        stream,
        keys=np.broadcast_to(stream.keys[:, :1], stream.keys.shape),
        queries=np.broadcast_to(np.asarray(stream.queries)[:, :1], stream.keys.shape),
        beta=np.broadcast_to(np.asarray(stream.beta)[:1], stream.keys.shape[:-1]),
    )
    return (bench.pose(shared, rng, forgets=False),)


def _shared_keys(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    """Two heads of keys for four of values, with the feedback that these have in common."""
    aware = bench.adapter.calibrates and bench.adapter.beta_aware
    if bench.adapter.gates_features or (aware and not bench.takes("beta_aware")):
        return ()
    sizes = replace(bench.sizes, heads=4)
    stream = draw_stream(rng, sizes, tokens=sizes.chunk + 5)
    return (bench.pose(stream, rng, sizes=sizes, switched=aware, group=2),)


def _same_queries(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    stream = draw_stream(rng, bench.sizes, tokens=bench.sizes.chunk + 5)
    return (bench.pose(replace(stream, queries=stream.keys), rng, forgets=False),)


def _special_keys(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    """Zero keys, keys with one nonzero feature that is exactly one, and keys that come again."""
    sizes = bench.sizes.fewer()
    stream = draw_stream(rng, sizes)
    keys = stream.keys.copy()
    keys[..., 1::7, :] = 0.0
    keys[..., 3::7, :] = np.eye(stream.key_dim)[rng.integers(stream.key_dim, size=keys[..., 3::7, 0].shape)]
    keys[..., 4::7, :] = keys[..., 2:3, :]
    return (bench.pose(replace(stream, keys=keys), rng, sizes=sizes, forgets=False),)


def _sizes_of_numbers(bench: Bench, rng: np.random.Generator) -> tuple[Case, ...]:
    sizes = bench.sizes.fewer()
    small = draw_stream(rng, sizes, norms=(1e-3, 0.05), value_size=1e-3)
    large = draw_stream(rng, sizes, norms=(0.5, 1.2), value_size=50.0)
    # A step of zero is a number too, and no default; d stays where it starts.
    return tuple(
        bench.pose(stream, rng, sizes=sizes, forgets=False, eta=eta)
        for stream, eta in ((small, STEP), (large, 0.0))
    )


DRAWS: Mapping[str, DrawCases] = {
    "defaults": _defaults,
    "normalised in the kernel": _norms_in_the_kernel,
    "strong gates": _strong_gates,
    "without gates": _without_gates,
    "lengths": _lengths,
    "no tokens": _no_tokens,
    "continued": _continued,
    "packed sequences": _packed,
    "packed from nothing": _packed_without(*STATES),
    "packed from S_0 alone": _packed_without("initial_preconditioner"),
    "packed from d_1 alone": _packed_without("initial_state"),
    "strided inputs": _strided,
    "expanded inputs": _expanded,
    SHARED_KEYS: _shared_keys,
    "queries are keys": _same_queries,
    "special keys": _special_keys,
    "small and large numbers": _sizes_of_numbers,
}
"""How those are drawn that are no single case with a few settings."""

EXERCISES = tuple(_read(read_table(Path(__file__).with_name("exercises.toml"))))


def alone_and_together(adapter: Adapter, dtype: Dtype, sizes: ExerciseSizes, seed: int = 0) -> Case:
    """A case to hold a kernel against itself with: several batch rows and heads, a chunk and a piece of one."""
    bench = Bench(adapter, dtype, sizes, seed)
    rng = generator("invariance", seed)
    return bench.pose(draw_stream(rng, sizes, tokens=sizes.chunk + 8), rng)
