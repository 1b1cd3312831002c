"""The checks of a kernel against itself: the calls they make, and what rounding allows between their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from osdn_theory.base.brief import first_line
from osdn_theory.base.validation import require
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.limits import chunk_size_of, limits
from osdn_theory.crosscheck.examination.exercises.question import continuing
from osdn_theory.crosscheck.gradients.check import kernel_gradients
from osdn_theory.crosscheck.invariance.result import (
    Allowed,
    Invariance,
    conclude,
    difference,
    hold,
    together,
    total,
)
from osdn_theory.crosscheck.invariance.watched import Watched, copy, in_reverse, join, part, side_by_side
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import Form, Returned, ask, ask_packed
from osdn_theory.rounding import KernelModel

STEPS = 2
"""Single steps after a prefill."""

ONE_ROW = "the case has one batch row"

Answers = Mapping[str, Returned]
"""By how the question was put."""


def invariances(
    adapter: Adapter,
    case: Case,
    device: str,
    models: Sequence[KernelModel],
    *,
    chunk_size: int | None = None,
    gradients: bool = False,
) -> tuple[Invariance, ...]:
    """Hold a kernel against itself: run again, alone, packed, in pieces, step by step, laid out otherwise.

    Answers that are not equal bit for bit are inside the bound while they differ by no more than both may miss the
    exact result by (T18, `models`), so a wrong kernel may well be invariant, and an invariant one wrong.

    - `case`: With more than one batch row, head and chunk, and an incomplete last chunk; what it lacks is not
      exercised.
    - `models`: The rounding that the kernel is held to.
    - `chunk_size`: Tokens between the edges where pieces meet. Default: the kernel's own chunk in the chunk order,
      else 1.
    - `gradients`: Whether to run gradients twice as well.
    """
    own_chunk = chunk_size_of(adapter) if adapter.order == "chunk" else 1
    edge = own_chunk if chunk_size is None else chunk_size
    require(edge >= 1, f"chunk_size: expected >= 1, got {edge}")
    watched = Watched(adapter.call)
    run = _Asking(replace(adapter, call=watched), case, device, edge)
    twice, regrouped = allowances(adapter, case, models)
    # In this order: results are kept if a call of the same sizes with other numbers leaves them alone.
    found = [
        run.check("batch-invariant", _rows, twice),
        run.check("deterministic", _again, twice),
        run.check("head-invariant", _heads, twice),
        run.check("stride-invariant", _strided, twice),
        run.check("packed-invariant", _packed, twice),
        run.check("piecewise-invariant", _pieces, regrouped),
        run.check("off-edge-piecewise-invariant", _off_edge_pieces, regrouped),
        run.check("step-invariant", _steps, regrouped),
    ]
    if gradients:
        found.append(repeat_gradients(run.kernel, case, device))
    return (*found, watched.unchanged(), run.kept(watched))


def allowances(adapter: Adapter, case: Case, models: Sequence[KernelModel]) -> tuple[Allowed, Allowed]:
    """What two runs may differ by: both whole, and one whole and one in pieces.

    Errors are carried on by the exact transitions, so that a run in pieces misses by no more than a whole run (errors
    up to a cut) and one in single steps (errors after it, and those of handing on) together. Handing on d drops what a
    compensated kernel carries beside it.
    """
    exact = case.exact()
    stepped = replace(adapter, options={**adapter.options, "chunk_size": 1})
    plain = [replace(model, compensated=False) for model in models]
    # Bounds on a memory that blows up are infinite, and that is right.
    with np.errstate(over="ignore", invalid="ignore"):
        whole = limits(adapter, case, exact, models, reads=False)
        steps = limits(stepped, case, exact, plain, reads=False)
    return together(whole, whole), together(whole, whole, steps)


@dataclass(frozen=True, eq=False)
class _Asking:
    """A kernel, the case that it is asked again and again, and the answers that several checks need."""

    kernel: Adapter
    case: Case
    device: str
    edge: int

    @cached_property
    def whole(self) -> Returned:
        return self.ask(self.case, "the call on the whole case")

    @cached_property
    def prefill(self) -> Returned:
        return self.piece(0, self.off_edge)

    @property
    def length(self) -> int:
        return self.case.stream.length

    @property
    def on_edge(self) -> int:
        """The edge next to the middle, or the first one."""
        return self.edge * max(1, self.length // 2 // self.edge)

    @property
    def off_edge(self) -> int:
        """Where the last steps begin: inside a chunk, if chunks have an inside."""
        late = self.length - STEPS
        return late + 1 if self.edge > 1 and late % self.edge == 0 else late

    def ask(self, case: Case, what: str, form: Form = "contiguous") -> Returned:
        return copy(ask(self.kernel, case, self.device, form=form, what=what))

    def piece(self, start: int, stop: int, before: Returned | None = None) -> Returned:
        """Tokens ``start:stop``, from what the piece before handed on."""
        case = self.case.piece(start, stop)
        if before is not None:
            case = continuing(case, before)
        return self.ask(case, f"the call on the tokens {start + 1} to {stop}")

    def check(self, name: str, put: Callable[[_Asking], Answers | str], allowed: Allowed) -> Invariance:
        """`put` gives answers, or why there are none."""
        whole = self.whole
        try:
            answers = put(self)
        except NotImplementedError as error:
            answers = f"the kernel says: {first_line(error) or type(error).__name__}"
        if isinstance(answers, str):
            return Invariance(name, "not exercised", reason=answers)
        return hold(name, whole, answers, allowed)

    def kept(self, watched: Watched) -> Invariance:
        """Nothing is shown where no call had the same sizes and other numbers."""
        found = watched.kept()
        if found.outcome == "wrong" or self.case.stream.lead[0] > 1:
            return found
        return Invariance(found.name, "not exercised", reason=ONE_ROW)

    def no_continuation(self) -> str:
        """Why the kernel cannot go on from what it handed on; empty if it can."""
        takes = self.kernel.parameters
        if self.kernel.reads and "initial_state" not in takes:
            return "the kernel takes no initial_state"
        if self.kernel.reads and self.whole.state is None:
            return "the kernel hands no state on"
        if self.kernel.calibrates and "initial_preconditioner" not in takes:
            return "the kernel takes no initial_preconditioner"
        if self.kernel.calibrates and self.whole.handed_on is None:
            return "the kernel hands no preconditioner on"
        return ""


def _again(run: _Asking) -> Answers:
    return {"the same inputs": run.ask(run.case, "the same call again")}


def _rows(run: _Asking) -> Answers | str:
    rows = range(run.case.stream.lead[0])
    if len(rows) < 2:
        return ONE_ROW
    back = part(run.case, rows=slice(None, None, -1))
    reverse = run.ask(back, "the call with the batch rows in reverse")
    alone = [run.ask(part(run.case, rows=slice(b, b + 1)), f"the call on batch row {b} alone") for b in rows]
    return {
        "the rows in reverse": in_reverse(reverse),
        "each batch row alone": side_by_side(alone, axis=0),
    }


def _heads(run: _Asking) -> Answers | str:
    heads = range(run.case.stream.lead[1])
    if len(heads) < 2:
        return "the case has one head"
    alone = [run.ask(part(run.case, heads=slice(h, h + 1)), f"the call on head {h} alone") for h in heads]
    return {"each head alone": side_by_side(alone, axis=1)}


def _strided(run: _Asking) -> Answers:
    return {"strided inputs": run.ask(run.case, "the call on strided inputs", "strided")}


def _packed(run: _Asking) -> Answers | str:
    if "cu_seqlens" not in run.kernel.parameters:
        return "the kernel takes no cu_seqlens"
    rows = [part(run.case, rows=slice(b, b + 1)) for b in range(run.case.stream.lead[0])]
    if len(rows) < 2:
        return ONE_ROW
    found = ask_packed(run.kernel, rows, run.device, what="the call on packed batch rows")
    return {"packed batch rows": side_by_side([copy(one) for one in found], axis=0)}


def _pieces(run: _Asking) -> Answers | str:
    reason = run.no_continuation()
    if reason:
        return reason
    cut = run.on_edge
    if cut >= run.length:
        return f"the case has {run.length} tokens, and a chunk {run.edge}"
    first = run.piece(0, cut)
    return {f"a cut after token {cut}": join([first, run.piece(cut, run.length, first)])}


def _off_edge_pieces(run: _Asking) -> Answers | str:
    reason = run.no_continuation() or _too_short(run)
    if reason:
        return reason
    last = run.piece(run.off_edge, run.length, run.prefill)
    return {f"a cut after token {run.off_edge}": join([run.prefill, last])}


def _steps(run: _Asking) -> Answers | str:
    reason = run.no_continuation() or _too_short(run)
    if reason:
        return reason
    pieces = [run.prefill]
    for t in range(run.off_edge, run.length):
        pieces.append(run.piece(t, t + 1, pieces[-1]))
    return {f"single steps after token {run.off_edge}": join(pieces)}


def _too_short(run: _Asking) -> str:
    return "" if run.length > STEPS else f"the case has {run.length} tokens, and {STEPS + 1} are needed"


def repeat_gradients(adapter: Adapter, case: Case, device: str) -> Invariance:
    """Gradients of the same call twice, which may differ by what both may miss by."""
    name, how = "deterministic-gradients", "the same inputs"
    first, second = (kernel_gradients(adapter, case, device) for _ in range(2))
    if not first.found:
        return Invariance(name, "not exercised", reason="; ".join(first.notes))
    found = []
    for leaf, values in first.found.items():
        tokens = np.arange(1, values.shape[2] + 1)
        allowed = total(first.limits[leaf], second.limits[leaf])
        found.append(difference(how, f"grad {leaf}", values, second.found[leaf], tokens, allowed))
    return conclude(name, [one for one in found if one is not None])
