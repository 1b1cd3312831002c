"""The same check for every configuration that autotuning may pick, through a hook of the kernel's package.

A package registers, in the entry point group ``osdn_theory.kernel_configurations`` under its own name, a function
that takes a callable without arguments, calls it once per configuration of every kernel that it launches, and yields
``(label, result)``. Real miscompilations hit single configurations, and some of them only gradients.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from typing import Any

from osdn_theory.base.validation import require
from osdn_theory.crosscheck.cases.case import Dtype, pose
from osdn_theory.crosscheck.check import KernelRun, default_device, is_interpreted, judge, truth
from osdn_theory.crosscheck.evidence.limits import models_of
from osdn_theory.crosscheck.evidence.observation import CUTS
from osdn_theory.crosscheck.gradients.check import REFERENCE
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import Kernel
from osdn_theory.crosscheck.kernel.registry import CONFIGURATIONS, resolve
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.measures.least_squares import checkpoints
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.streams.stream import Stream

PROGRAMS = 1100
"""Heads of the large grid, at least: more programs than any GPU runs at once, and than the 1024 of some faults."""

Hook = Callable[[Callable[[], Any]], Iterator[tuple[str, Any]]]


def crosscheck_configurations(
    kernel: Kernel,
    stream: Stream,
    rule: CalibrationRule = BOUNDED,
    *,
    rule_label: str = "",
    dtype: Dtype = "float32",
    device: str | None = None,
    tokens: int | None = None,
    gradients: bool = True,
    reference: Kernel = REFERENCE,
    hook: Hook | None = None,
    copies: tuple[int, ...] | None = None,
    **options: Any,
) -> Iterator[CrossCheck]:
    """`crosscheck` for every configuration of the kernel and for several grid sizes; one result each, labelled.

    Arguments as there, and

    hook : callable, optional
        Default: the one that the package of the kernel registers.
    copies : tuple of int, optional
        Grid sizes, as repetitions of the batch. Default: once, and so often that there are more than 1024 heads; in
        Triton's interpreter, which has no grid, once.

    Raises TypeError, ValueError: as `crosscheck`; or if the package of the kernel registers no hook.
    """
    adapter = resolve(kernel, **options)
    walk = hook or find_hook(adapter)
    place = default_device() if device is None else device
    case = pose(adapter, stream, rule, dtype, tokens=tokens)
    run = KernelRun(adapter, case, place, gradients=resolve(reference) if gradients else None, cuts=CUTS)
    cuts = checkpoints(case.stream.length, CUTS)
    known = truth(adapter, case, models_of(adapter, dtype, interpreted=is_interpreted(place)), prefixes=cuts)
    for count in grids(case.stream, place) if copies is None else copies:
        for label, (seen, graded, notes) in walk(partial(run.look, count)):
            grid = f"{label}; batch x {count}"
            labels = {"rule_label": rule_label, "device": place, "configuration": grid}
            yield judge(adapter, known, seen, gradients=graded, notes=notes, **labels)


def grids(stream: Stream, device: str) -> tuple[int, ...]:
    """Repetitions of the batch that make a small and a large grid."""
    if is_interpreted(device):
        return (1,)
    batch, heads = stream.lead
    return (1, -(-PROGRAMS // (batch * heads)))


def find_hook(adapter: Adapter) -> Hook:
    """The hook of the package that the kernel was defined in."""
    package = str(getattr(adapter.call, "__module__", "")).partition(".")[0]
    found = tuple(entry_points(group=CONFIGURATIONS, name=package))
    require(
        bool(found),
        f"kernel: the package {package or '?'} of {adapter.name} registers no {CONFIGURATIONS} hook",
    )
    hook: Hook = found[0].load()
    return hook
