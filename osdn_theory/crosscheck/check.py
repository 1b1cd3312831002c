"""The cross-check: a kernel beside the exact trajectory, token by token."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from osdn_theory.base.validation import as_float64, require
from osdn_theory.bounds import BoundCheck
from osdn_theory.crosscheck.cases.case import Case, Dtype, pose
from osdn_theory.crosscheck.evidence.comparison import comparisons
from osdn_theory.crosscheck.evidence.limits import RoundingLimits, limits, models_of
from osdn_theory.crosscheck.evidence.observation import CUTS, Observation, observe
from osdn_theory.crosscheck.evidence.residuals import curve, residuals
from osdn_theory.crosscheck.gradients.check import REFERENCE, compare_gradients
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import Kernel
from osdn_theory.crosscheck.kernel.registry import resolve
from osdn_theory.crosscheck.results import Comparison, CrossCheck, NewtonDistances
from osdn_theory.crosscheck.verdicts.symptoms import symptoms
from osdn_theory.crosscheck.verdicts.theorems import Evidence, constants, theorem_checks, verdicts
from osdn_theory.measures.least_squares import recursive_least_squares, relative_distance
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.rounding import KernelModel
from osdn_theory.streams.stream import Stream

STILL = 1e-6
"""Movement of d that float32 hardly shows."""

NOTHING = "no token, and nothing that is handed on: there is nothing to look at"

RIDGE = 1e-6
"""Of the least squares that stand for exact Newton."""


def crosscheck(
    kernel: Kernel,
    stream: Stream,
    rule: CalibrationRule = BOUNDED,
    *,
    rule_label: str = "",
    dtype: Dtype = "float32",
    device: str | None = None,
    scale: float = 1.0,
    initial_state: Any = None,
    tokens: int | None = None,
    gradients: bool = False,
    reference: Kernel = REFERENCE,
    model: KernelModel | None = None,
    cuts: int = CUTS,
    copies: int = 1,
    group: int = 1,
    configuration: str = "",
    **options: Any,
) -> CrossCheck:
    """Hold a kernel against the exact recurrence, exact Newton and the theorems, on one stream.

    The inputs are rounded to `dtype` first, and the exact float64 run reads the rounded ones: what is compared is the
    kernel's own arithmetic. Its residuals come from its own reads: with the keys as queries the output after the
    write is the read that the residual needs, and with the next token's key the read before the next write. States,
    and d where the kernel returns no trajectory, are seen at `cuts` prefixes. Everything is held against the running
    error bounds of T18; gradients, and memories that decay, against stated allowances.

    - `kernel`, name, ``"module:function"``, callable, or Adapter: See `osdn_theory.crosscheck.kernel.adapters.adapt`
      for what is taken from a signature.
    - `stream`: At most two leading axes (batch, head).
    - `rule`: Not read by kernels that do not calibrate.
    - `rule_label`: Its name in the result.
    - `dtype`: "float32", "bfloat16" or "float16"
    - `device`: Default: a GPU where torch has one and Triton's interpreter is off, else the CPU.
    - `scale`: Factor of the read.
    - `initial_state` (B, H, V, K)
    - `tokens`: Only the first ones.
    - `gradients`: Compare all gradients with those of `reference` in float64.
    - `reference`, name, callable or Adapter: Differentiable by autograd, float64.
    - `model`: The rounding that the kernel is held to. Default: float32 sums in its order of operations.
    - `cuts`: Prefixes at which states are seen, evenly spaced in the logarithm.
    - `copies`, int >= 1: Repeat the batch so often, for a grid of another size. Every copy has the same exact result;
      of each number the copy that differs most from the first is compared.
    - `group`, int >= 1: How many heads of the stream in a row share their queries, keys, forgetting, anchor and d_1,
      those of the first, which the kernel is given once (grouped heads); gradients are not compared then.
    - `configuration`: Label of the configuration that is running.
    - `options`: Passed to the kernel in every call, ``chunk_size=32`` for instance.

    Raises TypeError, ValueError: a kernel that cannot be resolved or called, a stream or a rule that it has
    no arguments for.
    """
    adapter = resolve(kernel, **options)
    require(group == 1 or not gradients, "gradients: expected False for grouped heads")
    start: dict[str, Any] = {"initial_state": initial_state, "tokens": tokens, "group": group}
    case = pose(adapter, stream, rule, dtype, scale=scale, **start)
    place = default_device() if device is None else device
    run = KernelRun(adapter, case, place, gradients=resolve(reference) if gradients else None, cuts=cuts)
    seen, graded, notes = run.look(copies)
    rounding = models_of(adapter, dtype, interpreted=is_interpreted(place)) if model is None else (model,)
    labels = {"rule_label": rule_label, "device": place, "configuration": configuration}
    known = truth(adapter, case, rounding, prefixes=seen.tokens.tolist())
    return judge(adapter, known, seen, gradients=graded, notes=notes, **labels)


@dataclass(frozen=True, eq=False)
class KernelRun:
    """A kernel, a case, and how to look at it; `gradients` is their reference, or None."""

    adapter: Adapter
    case: Case
    device: str
    gradients: Adapter | None
    cuts: int

    def look(self, copies: int = 1) -> tuple[Observation, list[Comparison], tuple[str, ...]]:
        """Call the kernel: what it gives, its gradients compared, and notes."""
        seen = observe(self.adapter, self.case, device=self.device, cuts=self.cuts, copies=copies)
        if self.gradients is None:
            return seen, [], ()
        graded, notes = compare_gradients(self.adapter, self.case, self.gradients, self.device, copies=copies)
        return seen, graded, notes


@dataclass(frozen=True, eq=False)
class Truth:
    """What a kernel's numbers are held against: the exact run, what rounding explains, and the theory's bounds.

    With `alone` set the case is looked at by itself: its residuals, distance from Newton and symptoms.
    """

    case: Case
    exact: Trajectory
    limits: RoundingLimits
    checks: tuple[BoundCheck, ...]
    alone: bool = True


def truth(
    adapter: Adapter,
    case: Case,
    models: Sequence[KernelModel],
    *,
    theorems: bool = True,
    prefixes: Sequence[int] = (),
) -> Truth:
    """Calls no kernel. Without `theorems` neither the theory's bounds nor those of the kernel's reads.

    `prefixes` are numbers of tokens after which states were seen.
    """
    exact = case.exact()
    # Bounds on a memory that blows up are infinite, and that is right.
    with np.errstate(over="ignore", invalid="ignore"):
        bounds = limits(adapter, case, exact, models, reads=theorems, prefixes=prefixes)
    return Truth(case, exact, bounds, theorem_checks(exact) if theorems else (), theorems)


def judge(
    adapter: Adapter,
    known: Truth,
    seen: Observation,
    *,
    rule_label: str = "",
    device: str = "",
    gradients: Sequence[Comparison] = (),
    notes: Sequence[str] = (),
    configuration: str = "",
) -> CrossCheck:
    """Everything that follows from what a kernel was seen to give; runs nothing."""
    case, exact, bounds = known.case, known.exact, known.limits
    reads = residuals(case, exact, seen, bounds)
    compared = (*comparisons(case, exact, seen, bounds, reads), *gradients)
    evidence = Evidence(adapter, case, exact, seen, bounds, compared, reads, known.checks)
    stream = case.stream
    return CrossCheck(
        statement=adapter.statement(),
        stream=stream.name,
        rule=rule_label or _described(case.rule),
        dtype=case.dtype,
        device=device,
        shape={
            **dict(zip("BH", stream.lead, strict=True)),
            "T": stream.length,
            "K": stream.key_dim,
            "V": stream.value_dim,
        },
        comparisons=compared,
        verdicts=verdicts(evidence),
        symptoms=symptoms(evidence) if known.alone else (),
        curve=None if reads is None else curve(reads, constants(known.checks, stream.lead)),
        newton=_newton(case, exact, seen) if known.alone else None,
        configuration=configuration,
        notes=(
            *seen.notes,
            *notes,
            *(_stillness(adapter, exact) if known.alone else ()),
            *(() if compared else (NOTHING,)),
        ),
    )


def _stillness(adapter: Adapter, exact: Trajectory) -> tuple[str, ...]:
    """T15 at work: where d never moves, a wrong calibrate step looks right."""
    start = exact.initial_preconditioner[..., None, :]
    moved = float(np.max(np.abs(exact.preconditioner - start), initial=0.0))
    if not adapter.calibrates or moved > STILL:
        return ()
    return (
        f"d moves by at most {moved:.1g} here, so this stream shows no fault of the calibrate step or the clip",
    )


def _newton(case: Case, exact: Trajectory, seen: Observation) -> NewtonDistances | None:
    """Least squares knows no decay: None for memories that have one, and where no state was seen."""
    if seen.states is None or case.state_gate is not None or not np.isfinite(seen.states).all():
        return None
    tokens = seen.tokens.tolist()
    newton = recursive_least_squares(
        case.stream, ridge=RIDGE, initial_state=case.initial_state, positions=tokens
    )
    assert exact.states is not None
    alignment = seen.alignment if seen.alignment is not None else exact.alignment
    return NewtonDistances(
        tokens=seen.tokens,
        kernel=relative_distance(seen.states, newton.states),
        exact=relative_distance(exact.states[:, :, seen.tokens - 1], newton.states),
        ridge=RIDGE,
        right_newton=np.abs(1.0 - alignment),
        exact_right_newton=np.abs(1.0 - exact.alignment),
    )


def default_device() -> str:
    """A GPU if torch has one and Triton's interpreter is off, else the CPU."""
    import torch

    interpreted = os.environ.get("TRITON_INTERPRET", "0") == "1"
    return "cuda" if torch.cuda.is_available() and not interpreted else "cpu"


def is_interpreted(device: str) -> bool:
    """Whether a Triton kernel there runs in Triton's interpreter: on the CPU, with Triton loaded and told so."""
    return device == "cpu" and "triton" in sys.modules and os.environ.get("TRITON_INTERPRET", "0") == "1"


def _described(rule: CalibrationRule) -> str:
    low, high = (float(as_float64("box", side, check_finite=False)) for side in (rule.d_min, rule.d_max))
    forgets = ", forgetting" if rule.forgetting == "token" else ""
    return f"eta {rule.eta:.6g}, box [{low:.4g}, {high:.4g}]{forgets}"
