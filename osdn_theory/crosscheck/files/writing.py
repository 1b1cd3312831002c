"""Writing calls to a file: tensors on any device, of torch or NumPy, whatever they share."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory.base.folders import write_atomically
from osdn_theory.base.jsonable import jsonable
from osdn_theory.base.source import installed_versions
from osdn_theory.base.validation import require
from osdn_theory.crosscheck.check import is_interpreted as runs_interpreted
from osdn_theory.crosscheck.evidence.limits import tf32_allowed
from osdn_theory.crosscheck.files.format import TENSORS, VERSION, RawArray, SavedCall, check_call

SETTINGS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("recurrence", "order", "state_layout"), lambda word: word),
    **dict.fromkeys(("eta", "d_min", "d_max"), float),
    "chunk_size": int,
    **dict.fromkeys(("normalize_feedback", "beta_aware"), bool),
}
"""Fields of a saved call that are recorded as they were passed."""


def save_run(path: str | PathLike[str], **call: Any) -> None:
    """Write one call of a kernel for `audit_run`; arguments as in `make_saved_call`.

    Raises TypeError, ValueError: as there; nothing is written then.
    """
    save_runs(path, [call])


def save_runs(path: str | PathLike[str], calls: Sequence[Mapping[str, Any]]) -> None:
    """Write several calls to one file for `audit_runs`: mappings of arguments as in `make_saved_call`.

    Raises TypeError, ValueError: as there, naming the call; nothing is written then.
    """
    from safetensors.numpy import save

    require(len(calls) > 0, "calls: expected at least one")
    tensors: dict[str, RawArray] = {}
    metadata = {"osdn_run": str(VERSION), "calls": str(len(calls))}
    for number, given in enumerate(calls):
        several = len(calls) > 1
        call = make_saved_call(f"call {number + 1}: " if several else "", **given)
        place = f"{number}/" if several else ""
        tensors |= {f"{place}{name}": tensor for name, tensor in call.tensors.items()}
        metadata |= {f"{place}{name}": text for name, text in _metadata(call).items()}
    write_atomically(Path(path), save(tensors, metadata))


def make_saved_call(
    label: str = "",
    *,
    kernel: str | Callable[..., Any] = "",
    scale: float | None = None,
    cu_seqlens: Any = None,
    device: str | None = None,
    interpreted: bool | None = None,
    **given: Any,
) -> SavedCall:
    """A call as the file holds it, from what a kernel was given and returned.

    - `label`: What errors begin with.
    - `kernel`: Its name; or itself, of which the name, the version of its package and the attribute `numerics` are
      recorded.
    - `scale`: That of the call. Default: K ** -0.5.
    - `cu_seqlens` (N + 1,) integers, optional: Of packed sequences.
    - `device`: Default: where q is, and its name.
    - `interpreted`: Whether it ran in Triton's interpreter. Default: whether Triton is told so here.
    - `given`: Tensors of the table above, None being as good as absent; and what else was passed: `recurrence`,
      `order`, `chunk_size`, `eta`, `d_min`, `d_max`, `normalize_feedback`, `beta_aware`, and `state_layout`, how
      states lie where K = V and their shape does not tell; with the defaults of `SavedCall`.
    """
    settings: dict[str, Any] = {name: given.pop(name) for name in SETTINGS if name in given}
    unknown = sorted(set(given) - set(TENSORS))
    if unknown:
        raise TypeError(f"{label}unknown tensors {', '.join(unknown)}; known: {', '.join(TENSORS)}")
    arrays = {name: _array(label + name, x) for name, x in given.items() if x is not None}
    require("q" in arrays, f"{label}q is missing")
    kind = str(getattr(getattr(given["q"], "device", None), "type", "cpu"))
    name, package = kernel, ""
    numerics: Mapping[str, Any] = {}
    if not isinstance(kernel, str):
        name = getattr(kernel, "__name__", type(kernel).__name__)
        package = str(getattr(kernel, "__module__", "")).partition(".")[0]
        numerics = getattr(kernel, "numerics", {})
    call = SavedCall(
        tensors=arrays,
        kernel=str(name),
        scale=float(arrays["q"].shape[-1] ** -0.5 if scale is None else scale),
        cu_seqlens=_bounds(label, cu_seqlens),
        device=_device(kind, given["q"]) if device is None else device,
        interpreted=runs_interpreted(kind) if interpreted is None else interpreted,
        tf32=tf32_allowed(),
        versions=installed_versions("osdn", "torch", "triton", package),
        numerics=numerics,
        **{name: SETTINGS[name](value) for name, value in settings.items()},
    )
    check_call(label, call)
    return call


def _metadata(call: SavedCall) -> dict[str, str]:
    """Every field but the tensors as text: words as they are, the rest as JSON or as Python writes it."""
    given = {item.name: getattr(call, item.name) for item in fields(call) if item.name != "tensors"}
    return {name: _text(value) for name, value in given.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return repr(value) if isinstance(value, bool | int | float) else json.dumps(jsonable(value))


def _array(name: str, x: Any) -> RawArray:
    """A copy of a tensor as an array of the same dtype."""
    import ml_dtypes

    if hasattr(x, "detach"):
        import torch

        dense = x.detach().cpu().contiguous()
        halves = dense.dtype == torch.bfloat16
        x = dense.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if halves else dense.numpy()
    array: RawArray = np.array(x, order="C")
    floats = array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16
    require(floats, f"{name}: expected floating-point numbers, got {array.dtype.name}")
    return array


def _bounds(label: str, cu_seqlens: Any) -> tuple[int, ...] | None:
    if cu_seqlens is None:
        return None
    array = np.asarray(cu_seqlens.detach().cpu() if hasattr(cu_seqlens, "detach") else cu_seqlens)
    require(
        array.ndim == 1 and array.dtype.kind in "iu",
        f"{label}cu_seqlens: expected integers on one axis, got {array.dtype.name} of shape {array.shape}",
    )
    return tuple(int(bound) for bound in array)


def _device(kind: str, x: Any) -> str:
    if kind == "cuda":
        import torch

        return f"cuda ({torch.cuda.get_device_name(x.device)})"
    return f"{kind} ({platform.processor() or platform.machine()})" if kind == "cpu" else kind
