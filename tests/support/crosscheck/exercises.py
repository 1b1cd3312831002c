"""Single cases of the exercises, for kernels that are not called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.crosscheck.eager_faults import kernel

from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.examination.exercises.draw import SMALL
from osdn_theory.crosscheck.examination.exercises.table import questions
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt


def adapter(recurrence: str, order: Any = "recurrent") -> Adapter:
    found = adapt(kernel(recurrence), recurrence=recurrence)  # type: ignore[arg-type]
    return replace(found, order=order, gate_optional=found.gated)


def exercise(name: str, recurrence: str = "osdn", dtype: Any = "float32") -> Case:
    found = {each.name: each for each in questions(adapter(recurrence), dtype, SMALL)}
    return found[name].cases[0]
