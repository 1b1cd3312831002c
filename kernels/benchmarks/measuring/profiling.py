"""Time per kernel of one forward and backward pass, ours and flash-linear-attention's."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from ...launch.files import write_whole
from .. import names
from ..operators.calls import backward_call
from ..operators.inputs import draw
from ..operators.providers import Provider, chunkwise
from ..operators.regimes import FORGETTING, MIXED, NOTHING
from ..shapes import PROFILED, SMOKE, Shape
from .measure import ready, why

ACTIVE = 5
"""Passes under the profiler, after one that warms up."""

PROFILED_PROVIDERS = [NOTHING.provider, FORGETTING.provider, MIXED.provider, names.DELTA]


class Kernel(NamedTuple):
    name: str
    calls: float
    microseconds: float


def write_profile(path: Path, device: torch.device, note: str, *, smoke: bool) -> None:
    """kernels.md."""
    shape = SMOKE[0] if smoke else PROFILED
    parts = [f"**{note}**", f"Forward and backward, {shape.label}, bfloat16; mean of {ACTIVE} passes."]
    for provider in chunkwise():
        if provider.name in PROFILED_PROVIDERS:
            parts.append(section(provider, shape, device))
    write_whole(path, "\n\n".join(parts) + "\n")


def section(provider: Provider, shape: Shape, device: torch.device) -> str:
    """One provider's kernels, by their share."""
    try:
        run = ready(backward_call(provider, draw(shape, device), shape), cpu=device.type == "cpu")
        if device.type == "cpu":
            return f"## {provider.name}\n\nneeds a GPU"
        kernels = measured(run)
    except Exception as error:
        return f"## {provider.name}\n\n{why(error)}"
    return f"## {provider.name}\n\n" + table(kernels)


def measured(run: Callable[[], object]) -> list[Kernel]:
    run()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
        for _ in range(ACTIVE):
            run()
        torch.cuda.synchronize()
    events = [event for event in trace.key_averages() if event.device_type.name == "CUDA"]
    return [
        Kernel(event.key, event.count / ACTIVE, event.self_device_time_total / ACTIVE)
        for event in events
        if event.self_device_time_total > 0
    ]


def table(kernels: list[Kernel]) -> str:
    """Markdown: microseconds and calls of one pass, and the share of all kernels' time."""
    total = sum(kernel.microseconds for kernel in kernels)
    rows = ["| kernel | microseconds | calls | share |", "| --- | ---: | ---: | ---: |"]
    for kernel in sorted(kernels, key=lambda kernel: -kernel.microseconds):
        share = 100 * kernel.microseconds / total
        rows.append(
            f"| `{kernel.name[:90]}` | {kernel.microseconds:.1f} | {kernel.calls:g} | {share:.1f} % |"
        )
    rows.append(f"| all | {total:.1f} | {sum(kernel.calls for kernel in kernels):g} | 100 % |")
    return "\n".join(rows)
