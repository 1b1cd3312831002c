"""Auditing saved calls: the cross-check of what is in a file. No kernel is called, and torch is not needed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np

from osdn_theory.base.layouts import exchange_time_and_heads, transpose
from osdn_theory.base.validation import Array, as_float64, require
from osdn_theory.crosscheck.cases.case import Case, Dtype
from osdn_theory.crosscheck.check import judge, truth
from osdn_theory.crosscheck.evidence.limits import models_of
from osdn_theory.crosscheck.evidence.observation import Observation, before_reads, observe_answer
from osdn_theory.crosscheck.files.format import INPUTS, OPTIONAL_INPUTS, PER_SEQUENCE, STATES, SavedCall
from osdn_theory.crosscheck.files.reading import read_calls
from osdn_theory.crosscheck.kernel.adapters import ARGUMENTS, Adapter
from osdn_theory.crosscheck.kernel.calling import Returned
from osdn_theory.crosscheck.kernel.recurrences import CALIBRATING, GATED
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.recurrence.rules import FROZEN, CalibrationRule
from osdn_theory.rounding import KernelModel, in_interpreter, round_rule
from osdn_theory.rounding.declared import declared_model
from osdn_theory.streams.stream import Stream


def audit_run(path: str | PathLike[str], *, model: KernelModel | None = None) -> CrossCheck:
    """Cross-check a saved call that is alone in its file, and not packed.

    Raises FileNotFoundError, ValueError: as `audit_runs`; or if the file holds several calls or packed sequences.
    """
    pieces = list(_pieces(Path(path)))
    single = len(pieces) == 1 and pieces[0].call.cu_seqlens is None
    require(single, f"{path}: it holds several calls or packed sequences; use audit_runs")
    return _audited(Path(path), pieces[0], model)


def audit_runs(path: str | PathLike[str], *, model: KernelModel | None = None) -> list[CrossCheck]:
    """Cross-check every call in a file, and every packed sequence by itself; each names where it is from.

    - `model`: The rounding that kernels are held to. Default: what they declare, else the widest of their form.

    Raises FileNotFoundError: no such file.
    Raises ValueError: see `reading.read_calls`; or inputs that are not finite, or a gate above 1.
    """
    return [_audited(Path(path), piece, model) for piece in _pieces(Path(path))]


@dataclass(frozen=True, eq=False)
class _Piece:
    """A call, or one packed sequence of it, float64 with theory's axes: tokens (B, H, T, ...), states (B, H, V, K)."""

    name: str
    call: SavedCall
    arrays: Mapping[str, Array]


def _pieces(path: Path) -> Iterator[_Piece]:
    calls = read_calls(path)
    for number, call in enumerate(calls):
        name = path.stem if len(calls) == 1 else f"{path.stem}, call {number + 1} of {len(calls)}"
        arrays = {each: _canonical(path, call, each) for each in call.tensors}
        if call.cu_seqlens is None:
            yield _Piece(name, call, arrays)
            continue
        bounds = call.cu_seqlens
        for index, (start, stop) in enumerate(pairwise(bounds)):
            cut = {each: _cut(each, array, index, start, stop) for each, array in arrays.items()}
            yield _Piece(f"{name}, sequence {index + 1} of {len(bounds) - 1}", call, cut)


def _canonical(path: Path, call: SavedCall, name: str) -> Array:
    finite = name in INPUTS or name in OPTIONAL_INPUTS
    array = as_float64(f"{path}: {name}", call.tensors[name], check_finite=finite)
    if name in ("g", "g_d"):
        require(bool(np.all(array <= 0)), f"{path}: {name}: expected log gates <= 0, got {array.max():.6g}")
    if name in STATES and call.states_lie == "KV":
        array = transpose(array)
    array = array if name in PER_SEQUENCE else exchange_time_and_heads(array)
    if call.has_key_heads(name):
        array = np.repeat(array, call.group, axis=1)
    # Dense, so that sums have the same bits however a tensor lay in the file.
    return np.ascontiguousarray(array)


def _cut(name: str, array: Array, index: int, start: int, stop: int) -> Array:
    return array[index : index + 1] if name in PER_SEQUENCE else array[:, :, start:stop]


def _audited(path: Path, piece: _Piece, model: KernelModel | None) -> CrossCheck:
    adapter = _adapter(path, piece.call)
    where = f"file {path.name}" + (f", from {piece.call.device}" if piece.call.device else "")
    where += " in Triton's interpreter" if piece.call.interpreted else ""
    case = _case(piece)
    models = _models(adapter, piece.call, case.dtype) if model is None else (model,)
    seen = _observation(case, piece.arrays)
    tokens = case.stream.length > 0
    known = truth(adapter, case, models, theorems=tokens, prefixes=seen.tokens.tolist())
    found = judge(adapter, known, seen, device=where, rule_label="" if tokens else "no token")
    return replace(found, statement={**found.statement, **_origin(piece.call)})


def _adapter(path: Path, call: SavedCall) -> Adapter:
    return Adapter(
        name=call.kernel or path.stem,
        call=_never,
        recurrence=call.recurrence,
        order=call.order,
        parameters=frozenset(ARGUMENTS),
        options={"chunk_size": call.chunk_size},
        state_layout=call.states_lie,
    )


def _never(**_: Any) -> Any:
    raise RuntimeError("a saved run cannot be called")


def _models(adapter: Adapter, call: SavedCall, dtype: str) -> tuple[KernelModel, ...]:
    """Of the machine that the run was recorded on, not of this one."""
    declared = declared_model(call.numerics, dtype, tf32=call.tf32)
    if declared is None:
        return models_of(adapter, dtype, interpreted=call.interpreted)
    return (in_interpreter(declared) if call.interpreted else declared,)


def _origin(call: SavedCall) -> dict[str, str]:
    """What the statement says of where a run is from."""
    lie = f"[B, H, {', '.join(call.states_lie)}], {call.states_told}"
    versions = ", ".join(f"{name} {number}" for name, number in sorted(call.versions.items()))
    numerics = "declared by the kernel" if call.numerics else "not declared"
    told = {"states in the file": lie, "numerics": numerics, "recorded with": versions}
    return {name: text for name, text in told.items() if text}


def _case(piece: _Piece) -> Case:
    call, arrays = piece.call, piece.arrays
    keys, values = arrays["k"], arrays["v"]
    per_head = (*keys.shape[:2], keys.shape[-1])
    gated = call.recurrence in GATED
    log_state_gate = arrays.get("g") if gated else None
    log_gate = arrays.get("g_d" if gated else "g")
    stream = Stream(
        keys=keys,
        values=values,
        queries=arrays["q"],
        beta=arrays["beta"],
        state_gate=None if log_state_gate is None else np.exp(log_state_gate),
        forget_gate=None if log_gate is None else np.exp(log_gate),
        initial_preconditioner=arrays.get("initial_preconditioner"),
        name=piece.name,
    )
    return Case(
        stream=stream,
        rule=_rule(call, arrays),
        recurrence=call.recurrence,
        dtype=cast(Dtype, call.tensors["k"].dtype.name),
        scale=call.scale,
        initial_state=arrays.get(
            "initial_state", np.zeros((*keys.shape[:2], values.shape[-1], keys.shape[-1]))
        ),
        initial_preconditioner=arrays.get("initial_preconditioner", np.ones(per_head)),
        anchor=arrays.get("anchor", np.zeros(per_head)),
        log_gate=log_gate,
        log_state_gate=log_state_gate,
    )


def _rule(call: SavedCall, arrays: Mapping[str, Array]) -> CalibrationRule:
    if call.recurrence not in CALIBRATING:
        return FROZEN
    rule = CalibrationRule(
        eta=call.eta,
        d_min=call.d_min,
        d_max=call.d_max,
        forgetting="token" if ("g_d" if call.recurrence in GATED else "g") in arrays else 1.0,
        anchor=arrays.get("anchor", 0.0),
        normalize_feedback=call.normalize_feedback,
        beta_aware=call.aware,
    )
    return round_rule(rule)


def _observation(case: Case, arrays: Mapping[str, Array]) -> Observation:
    after, ahead = arrays.get("o_keys"), arrays.get("o_next_keys")
    names = ("o", "state", "preconditioner", "d", "alignment")
    returned = Returned(*(arrays.get(name) for name in names))
    missing = "residuals: the file has no o_keys and o_next_keys, so ratios, T3, T6 and T7 were not looked at"
    seen = observe_answer(returned, case.stream.length)
    if after is None or ahead is None:
        return replace(seen, notes=(missing,) if case.stream.length else ())
    reads = before_reads(case, ahead / case.scale)
    return replace(seen, reads_after=after / case.scale, reads_before=reads)
