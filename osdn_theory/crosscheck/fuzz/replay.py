"""A failure as one file: the bits of a trial and where it was put, to be put again bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory import __version__
from osdn_theory.base.folders import write_atomically
from osdn_theory.base.source import installed_versions
from osdn_theory.base.tensor_files import TensorFile, open_tensors
from osdn_theory.base.validation import Array, require
from osdn_theory.crosscheck.cases.case import DTYPES, Case
from osdn_theory.crosscheck.check import default_device, is_interpreted, judge
from osdn_theory.crosscheck.evidence.observation import observe_answer
from osdn_theory.crosscheck.examination.exercises.question import Answer, Question, answer
from osdn_theory.crosscheck.fuzz.held import TrialFault, known_of
from osdn_theory.crosscheck.fuzz.trial import AXES, Trial, parts, rebuild
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt
from osdn_theory.crosscheck.kernel.calling import FORMS
from osdn_theory.crosscheck.kernel.recurrences import CALIBRATING, GATED_OSDN
from osdn_theory.crosscheck.kernel.registry import resolve
from osdn_theory.crosscheck.kernel.signature.recognition import recognise
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.recurrence.rules import FROZEN, CalibrationRule
from osdn_theory.streams.stream import Stream

FORMAT = "osdn-fuzz/1"
"""A reader that knows another one leaves the file alone."""

PACKAGES = ("torch", "triton")
PUTS = ("apart", "packed", "continued")
_RULE = ("eta", "d_min", "d_max", "normalize_feedback", "beta_aware", "epsilon")


@dataclass(frozen=True, eq=False)
class Recording:
    """What a replay file holds.

    - `parameters`: Arguments that the kernel was called with, by their names here.
    - `options`: Passed in every call, those of the trial among them.
    - `interpreted`: Whether Triton kernels ran in its interpreter.
    - `answered`: Digest of what the kernel returned; "" where it raised.
    """

    trial: Trial
    kernel: str
    recurrence: str
    parameters: tuple[str, ...]
    stated: Mapping[str, Any]
    options: Mapping[str, Any]
    device: str
    interpreted: bool
    versions: Mapping[str, str]
    fault: str
    answered: str


def versions() -> dict[str, str]:
    """Of this package and of those that kernels run on, as far as they are installed."""
    missing = dict.fromkeys(PACKAGES, "not installed")
    return {"osdn": __version__, **missing, **installed_versions(*PACKAGES)}


def save_recording(
    path: Path, adapter: Adapter, trial: Trial, fault: TrialFault, answers: Sequence[Answer], device: str
) -> None:
    """Write a failure; the arrays as float64, which holds every number of every dtype.

    Raises OSError: if it cannot be written.
    """
    from safetensors.numpy import save

    question = trial.question
    arrays: dict[str, Array] = {}
    for place, case in enumerate(question.cases):
        arrays |= {f"{place}.{name}": np.array(x, order="C") for name, x in parts(case).items()}
    first = question.cases[0]
    about = {
        "kernel": adapter.name,
        "recurrence": adapter.recurrence,
        "parameters": sorted(adapter.parameters),
        "stated": {name: getattr(adapter, name) for name in adapter.stated},
        "options": {**adapter.options, **trial.options},
        "device": device,
        "interpreted": is_interpreted(device),
        "versions": versions(),
        "fault": fault.detail,
        "answered": digest(answers),
        "question": {
            "name": question.name,
            "uses": sorted(question.uses),
            "put": question.put,
            "form": question.form,
            "dtype": first.dtype,
            "scale": first.scale,
            "rule": {name: getattr(first.rule, name) for name in _RULE},
            "cases": len(question.cases),
        },
    }
    text = json.dumps(about, sort_keys=True)
    content = save(arrays, {"format": FORMAT, "about": text, "sha256": _checksum(arrays, text)})
    write_atomically(path, content)


def load_recording(path: Path) -> Recording:
    """Read a replay file."""
    file = open_tensors(path)
    found = file.metadata.get("format", "")
    require(found.startswith("osdn-fuzz/"), f"{path}: not a replay file of osdn-theory fuzz")
    require(
        found == FORMAT,
        f"{path}: expected format {FORMAT}, got {found}; replay it with the version that wrote it",
    )
    text = file.metadata.get("about", "")
    try:
        arrays = {name: np.asarray(file.read(name)) for name in sorted(file.names)}
        sound = file.metadata.get("sha256") == _checksum(arrays, text)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error})") from None
    require(sound, f"{path}: damaged, its checksum is another one")
    return _recording(file, json.loads(text), arrays)


def replay(
    path: str | os.PathLike[str],
    kernel: str | Callable[..., Any] | Adapter | None = None,
    device: str | None = None,
) -> list[CrossCheck]:
    """Put the trial of a replay file again: the same bits, options, dtype, layout in memory, and order of calls.

    - `path`: Written by ``osdn-theory fuzz``.
    - `kernel`, name, ``"module:function"``, callable or Adapter: Default: that of the file, by its name. Another one
      must take what the file's was called with.
    - `device`: Default: that of the file.

    Returns one for every case. Its notes say what differs from the recording: versions, and whether the kernel gave the
    same bits.

    Raises FileNotFoundError, ValueError: a file that cannot be read, a kernel that is not there or takes
    something else, a device that is not there.
    Raises KernelError: if the kernel raises; that may be the failure that was recorded.
    """
    known = load_recording(Path(path))
    place = _settle_device(known, device, str(path))
    adapter = _same_kernel(known, known.kernel if kernel is None else kernel, place, str(path))
    answers = answer(adapter, known.trial.question, place)
    notes = (*_differences(known, place), _repeated(known, digest(answers)))
    return [_judged(adapter, item, known.trial, place, notes) for item in answers]


def digest(answers: Sequence[Answer]) -> str:
    """A hash of everything that a kernel returned; "" for nothing."""
    if not answers:
        return ""
    hashed = hashlib.sha256()
    for item in answers:
        for name, value in sorted(vars(item.returned).items()):
            hashed.update(name.encode() + (b"" if value is None else np.ascontiguousarray(value).tobytes()))
    return hashed.hexdigest()


def _checksum(arrays: Mapping[str, Array], about: str) -> str:
    hashed = hashlib.sha256(about.encode())
    for name in sorted(arrays):
        hashed.update(f"{name} {arrays[name].shape}".encode() + arrays[name].tobytes())
    return hashed.hexdigest()


def _recording(file: TensorFile, about: Mapping[str, Any], arrays: Mapping[str, Array]) -> Recording:
    """Sound by its checksum, so what is missing was never written: a file of other making."""
    try:
        asked = about["question"]
        cases = tuple(_case(about, asked, arrays, place) for place in range(asked["cases"]))
        require(asked["put"] in PUTS and asked["form"] in FORMS and asked["dtype"] in DTYPES, "unknown words")
        question = Question(
            asked["name"], "drawn at random", frozenset(asked["uses"]), cases, asked["put"], asked["form"]
        )
        kept = {name: value for name, value in about.items() if name not in ("question", "parameters")}
        return Recording(trial=Trial(question, {}), parameters=tuple(about["parameters"]), **kept)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file.path}: not a replay file of this version ({error})") from None


def _case(
    about: Mapping[str, Any], asked: Mapping[str, Any], arrays: Mapping[str, Array], place: int
) -> Case:
    own = {name: arrays[f"{place}.{name}"] for name in AXES if f"{place}.{name}" in arrays}
    calibrates = about["recurrence"] in CALIBRATING
    empty = Case(
        stream=Stream(keys=own["keys"], values=own["values"], name=asked["name"]),
        rule=CalibrationRule(**asked["rule"]) if calibrates else FROZEN,
        recurrence=about["recurrence"],
        dtype=asked["dtype"],
        scale=asked["scale"],
        initial_state=own["initial_state"],
        initial_preconditioner=own["initial_preconditioner"],
        anchor=own["anchor"],
        log_gate=None,
        log_state_gate=None,
    )
    return rebuild(empty, own)


def _settle_device(known: Recording, device: str | None, path: str) -> str:
    """Where it is put; Triton's interpreter is switched on before anything imports Triton."""
    place = known.device if device is None else device
    require(
        place.split(":")[0] != "cuda" or default_device() == "cuda",
        f"{path}: recorded on {known.device}, but torch sees no GPU here: choose --device cpu",
    )
    if known.interpreted and place == "cpu" and os.environ.get("TRITON_INTERPRET", "0") != "1":
        require(
            "triton" not in sys.modules,
            f"{path}: recorded in Triton's interpreter, but Triton is loaded: set TRITON_INTERPRET=1",
        )
        os.environ["TRITON_INTERPRET"] = "1"
    return place


def _same_kernel(
    known: Recording, kernel: str | Callable[..., Any] | Adapter, device: str, path: str
) -> Adapter:
    """The kernel, recognised as it was for the recording; an Adapter says itself what it is."""
    try:
        adapter = adapt(resolve(kernel), **known.stated)
        if not isinstance(kernel, Adapter):
            adapter = recognise(adapter, device, known.trial.question.cases[0].dtype)
    except ValueError as error:
        raise ValueError(f"{path}: recorded from {known.kernel}: {error}") from None
    require(
        adapter.recurrence == known.recurrence,
        f"{path}: recorded from {known.kernel}, {known.recurrence}; {adapter.name} is {adapter.recurrence}",
    )
    missing = sorted({*_needed(known), *known.options} - adapter.parameters)
    require(
        not missing, f"{path}: recorded from {known.kernel}; {adapter.name} takes no {', '.join(missing)}"
    )
    return replace(adapter, options={**adapter.options, **known.options})


def _needed(known: Recording) -> set[str]:
    """Arguments without which the question would be another one."""
    cases, given = known.trial.question.cases, set(known.parameters)
    uses = {
        "initial_state": any(np.any(case.initial_state != 0) for case in cases),
        "initial_preconditioner": any(np.any(case.initial_preconditioner != 1) for case in cases),
        "normalize_feedback": cases[0].rule.normalize_feedback,
        "beta_aware": cases[0].rule.beta_aware,
        "g": cases[0].log_gate is not None or cases[0].log_state_gate is not None,
        "g_d": cases[0].log_gate is not None and cases[0].recurrence in GATED_OSDN,
        "anchor": any(np.any(case.anchor != 0) for case in cases),
        "cu_seqlens": known.trial.question.put == "packed",
        "scale": True,
        "eta": True,
        "d_min": True,
        "d_max": True,
    }
    return {name for name, used in uses.items() if used and name in given}


def _differences(known: Recording, device: str) -> tuple[str, ...]:
    here = {**versions(), "device": device, "Triton's interpreter": str(is_interpreted(device))}
    then = {**known.versions, "device": known.device, "Triton's interpreter": str(known.interpreted)}
    return tuple(
        f"replay: recorded with {name} {value}, here {here.get(name)}"
        for name, value in then.items()
        if here.get(name) != value
    )


def _repeated(known: Recording, found: str) -> str:
    if not known.answered:
        return f"replay: recorded was {known.fault}; now the kernel answers"
    same = "the bits" if found == known.answered else "other bits than those"
    return f"replay: the kernel gave {same} that were recorded"


def _judged(adapter: Adapter, item: Answer, trial: Trial, device: str, notes: tuple[str, ...]) -> CrossCheck:
    seen = observe_answer(item.returned, item.case.stream.length)
    found = judge(adapter, known_of(adapter, item.case, device), seen, device=device, notes=notes)
    return replace(found, stream=trial.question.name)
