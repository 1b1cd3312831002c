"""Right kernels through the exercises of many seeds: ``python tests/support/crosscheck/false_alarms.py --seeds 50``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

from support.crosscheck.cases import CHUNK_REFERENCE, REFERENCE
from support.crosscheck.eager_faults import kernel

from osdn_theory.crosscheck.cases.case import DTYPES, Dtype
from osdn_theory.crosscheck.evidence.limits import models_of
from osdn_theory.crosscheck.examination.exercises.draw import SMALL
from osdn_theory.crosscheck.examination.exercises.table import questions
from osdn_theory.crosscheck.examination.marking import exercise_result, mark
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt
from osdn_theory.crosscheck.kernel.registry import resolve
from osdn_theory.crosscheck.kernel.signature.recognition import recognise

LOOPS = ("delta_net", "gated_delta_net", "kda", "osdn")
"""Recurrences of which there is a loop in plain PyTorch."""

REFERENCES = {"osdn_reference": REFERENCE, "chunk_osdn_reference": CHUNK_REFERENCE}
RIGHT = (*LOOPS, *REFERENCES)


@dataclass(frozen=True)
class Mark:
    """The largest part of its bound that a kernel's error reaches in one exercise, and which quantity reaches it."""

    exercise: str
    quantity: str
    excess: float
    within: bool


def right_kernel(name: str, dtype: Dtype) -> Adapter:
    """A kernel that is right, as the examination would recognise it."""
    if name in REFERENCES:
        return recognise(resolve(REFERENCES[name]), "cpu", dtype)
    loop = storing_outputs(kernel(name))
    return recognise(adapt(loop, "an eager recurrent loop", recurrence=name), "cpu", dtype)  # type: ignore[arg-type]


def storing_outputs(loop: Callable[..., Any]) -> Callable[..., Any]:
    """The same loop, returning its outputs in the dtype of its values."""

    @wraps(loop)
    def stored(q: Any, k: Any, v: Any, *rest: Any, **given: Any) -> Any:
        o, *others = loop(q, k, v, *rest, **given)
        return o.to(v.dtype), *others

    return stored


def marks(name: str, dtype: Dtype, seed: int) -> Iterator[Mark]:
    """Every exercise of one seed."""
    adapter = right_kernel(name, dtype)
    models = models_of(adapter, dtype)
    for question in questions(adapter, dtype, replace(SMALL, chunk=16), seed):
        result = exercise_result(adapter, mark(adapter, question, "cpu", models), "cpu")
        assert result.worst is not None
        compared = result.worst[1]
        yield Mark(question.name, compared.name, compared.worst_excess, result.within)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Put the exercises of many seeds to kernels that are right.")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--kernels", nargs="*", choices=RIGHT, default=RIGHT)
    options = parser.parse_args(given)
    alarms = 0
    for name in options.kernels:
        for dtype in DTYPES:
            found = [(seed, one) for seed in range(options.seeds) for one in marks(name, dtype, seed)]
            wrong = [(seed, one) for seed, one in found if not one.within]
            for seed, one in wrong:
                print(
                    f"  alarm: seed {seed}, '{one.exercise}', {one.quantity}: {one.excess:.3g} of its bound"
                )
            worst = max((one for _, one in found), key=lambda one: one.excess)
            print(
                f"{name}, {dtype}: {len(found)} exercises of {options.seeds} seeds, {len(wrong)} alarms; at most "
                f"{worst.excess:.2f} of a bound ({worst.quantity} in '{worst.exercise}')",
                flush=True,
            )
            alarms += len(wrong)
    return int(alarms > 0)


if __name__ == "__main__":
    sys.exit(main())
