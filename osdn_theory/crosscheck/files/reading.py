"""Reading calls from a file, and refusing a broken one with its reason."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

from osdn_theory.base.tensor_files import TensorFile, open_tensors
from osdn_theory.base.validation import require
from osdn_theory.crosscheck.files.format import TENSORS, VERSION, SavedCall, check_call
from osdn_theory.crosscheck.kernel.recurrences import CALIBRATING

OF_THE_FILE = ("osdn_run", "calls", "format")
"""Metadata that belongs to no call; the last is what other tools put there."""

WORDS = ("recurrence", "order", "kernel", "state_layout", "device")
NUMBERS = ("scale", "eta", "d_min", "d_max")
FLAGS = ("normalize_feedback", "beta_aware", "interpreted", "tf32")
DOCUMENTS = ("versions", "numerics", "cu_seqlens")
METADATA = (*WORDS, *NUMBERS, *FLAGS, *DOCUMENTS, "chunk_size")

NEEDED = ("recurrence", "order", "scale", "chunk_size")
NEEDED_BY_OSDN = ("eta", "d_min", "d_max", "normalize_feedback")


def read_calls(path: str | PathLike[str]) -> list[SavedCall]:
    """Every call in a file of this version of the format, or of the first one, which has a single call.

    Raises FileNotFoundError: no such file.
    Raises ValueError: not such a file, a truncated one, or one of a later version; a tensor that is missing or of the
    wrong shape or dtype; or metadata that is missing, unknown, or makes no sense.
    """
    file = open_tensors(Path(path))
    number = _number_of_calls(file)
    places = [""] if number == 1 else [f"{index}/" for index in range(number)]
    _refuse_unknown(file, places)
    return [_call(file, place) for place in places]


def _number_of_calls(file: TensorFile) -> int:
    told = file.metadata.get("osdn_run", "1")
    require(told.isdigit(), f"{file.path}: metadata osdn_run: expected a version of the format, got {told!r}")
    require(
        int(told) <= VERSION,
        f"{file.path}: its format is version {told}, this osdn reads up to {VERSION}; upgrade it",
    )
    calls = file.metadata.get("calls", "1")
    sound = calls.isdigit() and int(calls) >= 1
    require(sound, f"{file.path}: metadata calls: expected a number of calls, got {calls!r}")
    return int(calls)


def _refuse_unknown(file: TensorFile, places: list[str]) -> None:
    for kind, found, known in (("tensor", file.names, TENSORS), ("metadata", file.metadata, METADATA)):
        expected = {f"{place}{name}" for place in places for name in known}
        unknown = sorted(set(found) - expected - set(OF_THE_FILE if kind == "metadata" else ()))
        require(not unknown, f"{file.path}: unknown {kind} {', '.join(unknown)}; known: {', '.join(known)}")


def _call(file: TensorFile, place: str) -> SavedCall:
    label = f"{file.path}: " if not place else f"{file.path}: call {int(place[:-1]) + 1}: "
    told = {name: file.metadata[place + name] for name in METADATA if place + name in file.metadata}
    needed = (*NEEDED, *(NEEDED_BY_OSDN if told.get("recurrence", "osdn") in CALIBRATING else ()))
    for name in needed:
        require(name in told, f"{label}metadata {name!r} is missing (see save_run)")
    given = {name: _value(f"{label}metadata {name}", name, text) for name, text in told.items()}
    tensors = {name: file.read(place + name) for name in TENSORS if place + name in file.names}
    call = SavedCall(tensors=tensors, **given)
    check_call(label, call)
    return call


def _value(label: str, name: str, text: str) -> Any:
    if name in WORDS:
        return text
    if name in FLAGS:
        require(text in ("True", "False"), f"{label}: expected one of True, False, got {text!r}")
        return text == "True"
    if name in DOCUMENTS:
        return _document(label, name, text)
    try:
        return int(text) if name == "chunk_size" else float(text)
    except ValueError:
        raise ValueError(f"{label}: expected a number, got {text!r}") from None


def _document(label: str, name: str, text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        raise ValueError(f"{label}: expected JSON, got {text[:40]!r}") from None
    if name != "cu_seqlens":
        require(isinstance(found, dict), f"{label}: expected a mapping, got {text[:40]!r}")
        return found
    # JSON's true is an int to Python.
    whole = isinstance(found, list) and all(type(bound) is int for bound in found)
    require(whole, f"{label}: expected a list of integers, got {text[:40]!r}")
    return tuple(found)
