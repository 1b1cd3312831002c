"""The two files of a failure: one to replay, and a script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from osdn_theory.base.folders import write_atomically
from osdn_theory.crosscheck.examination.exercises.question import Answer
from osdn_theory.crosscheck.fuzz.failures.origin import origin_of
from osdn_theory.crosscheck.fuzz.failures.replay import save_recording
from osdn_theory.crosscheck.fuzz.failures.script import write_script
from osdn_theory.crosscheck.fuzz.failures.texts import RECURRENCES
from osdn_theory.crosscheck.fuzz.held import TrialFault
from osdn_theory.crosscheck.fuzz.shrinking.parts import Trial
from osdn_theory.crosscheck.kernel.adapters import Adapter


def write_failure(
    folder: Path,
    stem: str,
    adapter: Adapter,
    trial: Trial,
    fault: TrialFault,
    answers: Sequence[Answer],
    device: str,
) -> list[Path]:
    """Write them; a kernel that cannot be imported by name (a local function), or whose recurrence `texts` lacks, has
    no script.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    recording = folder / f"{stem}.safetensors"
    save_recording(recording, adapter, trial, fault, answers, device)
    origin = origin_of(adapter)
    if origin is None or adapter.recurrence not in RECURRENCES:
        return [recording]
    script = folder / f"{stem}.py"
    write_atomically(script, write_script(adapter, trial, fault, answers, origin, device).encode())
    return [recording, script]
