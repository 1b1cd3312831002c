"""A kernel's run as a file: written where the GPU is, audited where it is not.

``save_run`` needs torch and safetensors only. The tensors have the kernel's own layouts and dtypes:

==========================  ===================  ==================================================================
``q``, ``k``                [B, T, H, K]         queries and keys as the kernel read them; float32, bfloat16, float16
``v``                       [B, T, H, V]         values, same dtype
``beta``                    [B, T, H]            write gate
``o``                       [B, T, H, V]         output, same dtype
``g``                       [B, T, H]            optional; log gate: of d for ``osdn``, of the memory for
                                                 ``gated_delta_net``
``initial_state``           [B, H, K, V]         optional; zero without it
``initial_preconditioner``  [B, H, K]            optional; d_1, ones without it
``anchor``                  [B, H, K]            optional; what forgetting returns to, 0 without it
``state``                   [B, H, K, V]         optional; the final state
``preconditioner``          [B, H, K]            optional; the d handed on
``d``                       [B, T, H, K]         optional; d_t of every token
``alignment``               [B, T, H]            optional; a_t of every token
``o_keys``                  [B, T, H, V]         optional; output of the same call with q = k
``o_next_keys``             [B, T, H, V]         optional; output with q_t = k_{t+1} (any last query)
==========================  ===================  ==================================================================

The last two are what residual ratios, T3, T6 and T7 are read from. The rest is metadata: ``recurrence`` ("osdn",
"delta_net" or "gated_delta_net"), ``order`` ("chunk" or "recurrent"), ``kernel``, ``scale``, ``chunk_size``, and for
``osdn`` ``eta``, ``d_min``, ``d_max`` and ``normalize_feedback``.
"""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np

from osdn_theory._tensor_files import TensorFile, open_tensors
from osdn_theory._validation import Array, as_float64, require
from osdn_theory.crosscheck.adapters import ARGUMENTS, Adapter, Order, Recurrence
from osdn_theory.crosscheck.case import DTYPES, Case, pose
from osdn_theory.crosscheck.check import judge, truth
from osdn_theory.crosscheck.limits import models_of
from osdn_theory.crosscheck.observation import Observation, before_reads
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.rounding import KernelModel
from osdn_theory.rules import FROZEN, CalibrationRule
from osdn_theory.streams import Stream

INPUTS = {"q": 4, "k": 4, "v": 4, "beta": 3}
OPTIONAL_INPUTS = {"g": 3, "initial_state": 4, "initial_preconditioner": 3, "anchor": 3}
RESULTS = {"o": 4, "state": 4, "preconditioner": 3, "d": 4, "alignment": 3, "o_keys": 4, "o_next_keys": 4}
TENSORS = {**INPUTS, **OPTIONAL_INPUTS, **RESULTS}
"""Number of axes of every tensor that a run may hold."""

_RECURRENCES = ("osdn", "delta_net", "gated_delta_net")


def save_run(
    path: str | PathLike[str],
    *,
    q: Any,
    k: Any,
    v: Any,
    beta: Any,
    o: Any,
    recurrence: Recurrence = "osdn",
    order: Order = "chunk",
    kernel: str = "",
    scale: float | None = None,
    chunk_size: int = 64,
    eta: float = 0.003,
    d_min: float = 2 / 3,
    d_max: float = 3 / 2,
    normalize_feedback: bool = False,
    **tensors: Any,
) -> None:
    """Write a kernel's inputs and outputs for `audit_run`; torch tensors, on any device.

    `scale` is that of the call, by default K ** -0.5. `tensors` are the optional ones of the table above.

    Raises
    ------
    TypeError
        A name that is not in the table.
    ValueError
        A tensor of the wrong rank.
    """
    from safetensors.torch import save_file

    given = {"q": q, "k": k, "v": v, "beta": beta, "o": o, **tensors}
    unknown = sorted(set(given) - set(TENSORS))
    if unknown:
        raise TypeError(f"save_run: unknown tensors {', '.join(unknown)}; known: {', '.join(TENSORS)}")
    kept = {name: tensor for name, tensor in given.items() if tensor is not None}
    for name, tensor in kept.items():
        require(
            tensor.dim() == TENSORS[name], f"{name}: expected {TENSORS[name]} axes, got {list(tensor.shape)}"
        )
    numbers = {
        "scale": float(q.shape[-1] ** -0.5 if scale is None else scale),
        "chunk_size": chunk_size,
        "eta": float(eta),
        "d_min": float(d_min),
        "d_max": float(d_max),
    }
    metadata = {
        "recurrence": recurrence,
        "order": order,
        "kernel": kernel,
        "normalize_feedback": str(bool(normalize_feedback)),
        **{name: repr(value) for name, value in numbers.items()},
    }
    save_file({name: x.detach().cpu().contiguous() for name, x in kept.items()}, str(path), metadata)


def audit_run(path: str | PathLike[str], *, model: KernelModel | None = None) -> CrossCheck:
    """Cross-check a saved run; no kernel is called, and torch is not needed.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Not such a file; a tensor that is missing, of the wrong shape or dtype, or, of the inputs, not finite; or
        metadata that is missing or makes no sense.
    """
    file = open_tensors(Path(path))
    adapter = _adapter(file)
    arrays = {name: _read(file, name) for name in TENSORS if name in file.names}
    for name in (*INPUTS, "o"):
        require(name in arrays, f"{path}: {name} is missing; the file has {', '.join(sorted(file.names))}")
    _check_shapes(file, arrays)
    case = _case(file, adapter, arrays)
    seen = _observation(case, arrays)
    known = truth(adapter, case, models_of(adapter, case.dtype) if model is None else (model,))
    return judge(adapter, known, seen, device=f"file {Path(path).name}")


def _adapter(file: TensorFile) -> Adapter:
    recurrence = _word(file, "recurrence", _RECURRENCES)
    order = _word(file, "order", get_args(Order))
    return Adapter(
        name=file.metadata.get("kernel") or file.path.stem,
        call=_never,
        recurrence=recurrence,
        order=order,
        parameters=frozenset(ARGUMENTS),
        options={"chunk_size": int(_number(file, "chunk_size"))},
    )


def _never(**_: Any) -> Any:
    raise RuntimeError("a saved run cannot be called")


def _case(file: TensorFile, adapter: Adapter, arrays: dict[str, Array]) -> Case:
    stored = file.read("k").dtype.name
    require(stored in DTYPES, f"{file.path}: k: expected {', '.join(DTYPES)}, got {stored}")
    gate = None if "g" not in arrays else np.exp(_heads_first(arrays["g"]))
    gated = adapter.recurrence == "gated_delta_net"
    require(gate is not None or not gated, f"{file.path}: g is missing, which gated_delta_net needs")
    stream = Stream(
        keys=_heads_first(arrays["k"]),
        values=_heads_first(arrays["v"]),
        queries=_heads_first(arrays["q"]),
        beta=_heads_first(arrays["beta"]),
        state_gate=gate if gated else None,
        forget_gate=None if gated else gate,
        initial_preconditioner=arrays.get("initial_preconditioner"),
        name=file.path.stem,
    )
    start = arrays.get("initial_state")
    case = pose(
        adapter,
        stream,
        _rule(file, adapter, arrays),
        stored,
        scale=_number(file, "scale"),
        initial_state=None if start is None else np.swapaxes(start, -1, -2),
    )
    same = np.array_equal(case.stream.beta, stream.beta)
    # Kernels take beta in a dtype of its own; pose() rounds it to that of the keys.
    return case if same else replace(case, stream=replace(case.stream, beta=stream.beta))


def _rule(file: TensorFile, adapter: Adapter, arrays: dict[str, Array]) -> CalibrationRule:
    if not adapter.calibrates:
        return FROZEN
    return CalibrationRule(
        eta=_number(file, "eta"),
        d_min=_number(file, "d_min"),
        d_max=_number(file, "d_max"),
        forgetting="token" if "g" in arrays else 1.0,
        anchor=arrays.get("anchor", 0.0),
        normalize_feedback=_word(file, "normalize_feedback", ("True", "False")) == "True",
    )


def _observation(case: Case, arrays: dict[str, Array]) -> Observation:
    def tokens(name: str) -> Array | None:
        return _heads_first(arrays[name]) if name in arrays else None

    state, handed = arrays.get("state"), arrays.get("preconditioner")
    after, ahead = tokens("o_keys"), tokens("o_next_keys")
    reads = after is not None and ahead is not None
    missing = "residuals: the file has no o_keys and o_next_keys, so ratios, T3, T6 and T7 were not looked at"
    return Observation(
        outputs=tokens("o"),
        reads_after=after / case.scale if reads and after is not None else None,
        reads_before=before_reads(case, ahead / case.scale) if reads and ahead is not None else None,
        tokens=np.array([case.stream.length], dtype=np.int64),
        states=None if state is None else np.swapaxes(state, -1, -2)[:, :, None],
        handed_on=None if handed is None else handed[:, :, None],
        preconditioner=tokens("d"),
        alignment=tokens("alignment"),
        notes=() if reads else (missing,),
    )


def _read(file: TensorFile, name: str) -> Array:
    label = f"{file.path}: {name}"
    array = as_float64(label, file.read(name), check_finite=name not in RESULTS)
    require(array.ndim == TENSORS[name], f"{label}: expected {TENSORS[name]} axes, got shape {array.shape}")
    return array


def _check_shapes(file: TensorFile, arrays: dict[str, Array]) -> None:
    batch, length, heads, key_dim = arrays["k"].shape
    value_dim = arrays["v"].shape[-1]
    tokens, per_head = (batch, length, heads), (batch, heads)
    expected = {
        **dict.fromkeys(("q", "d"), (*tokens, key_dim)),
        **dict.fromkeys(("v", "o", "o_keys", "o_next_keys"), (*tokens, value_dim)),
        **dict.fromkeys(("beta", "g", "alignment"), tokens),
        **dict.fromkeys(("state", "initial_state"), (*per_head, key_dim, value_dim)),
        **dict.fromkeys(("preconditioner", "initial_preconditioner", "anchor"), (*per_head, key_dim)),
    }
    for name, shape in expected.items():
        found = arrays[name].shape if name in arrays else shape
        require(found == shape, f"{file.path}: {name}: expected shape {shape} beside k, got {found}")


def _word(file: TensorFile, name: str, known: tuple[str, ...]) -> Any:
    require(name in file.metadata, f"{file.path}: metadata {name!r} is missing (see save_run)")
    found = file.metadata[name]
    require(
        found in known, f"{file.path}: metadata {name}: expected one of {', '.join(known)}, got {found!r}"
    )
    return found


def _number(file: TensorFile, name: str) -> float:
    require(name in file.metadata, f"{file.path}: metadata {name!r} is missing (see save_run)")
    try:
        return float(file.metadata[name])
    except ValueError:
        raise ValueError(
            f"{file.path}: metadata {name}: expected a number, got {file.metadata[name]!r}"
        ) from None


def _heads_first(tensor: Array) -> Array:
    return np.swapaxes(tensor, 1, 2)
