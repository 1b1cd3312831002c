"""The machine: what it is, and the two rates that floors are computed from."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from ...launch.runtime import INTERPRETED
from ..operators.floors import Ceilings
from .timing import timer_of

GPU_NOTE = "Measured on a GPU; clocks and power limits as found."
SMOKE_GPU_NOTE = "SMOKE RUN: shapes too small to measure anything; these numbers are not benchmarks."
SMOKE_NOTE = "SMOKE RUN in Triton's interpreter on a CPU: these are not GPU measurements."


def device() -> torch.device:
    """CPU in the interpreter, else the current GPU."""
    return torch.device("cpu" if INTERPRETED else "cuda")


def note(*, smoke: bool) -> str:
    if INTERPRETED:
        return SMOKE_NOTE
    return SMOKE_GPU_NOTE if smoke else GPU_NOTE


def environment() -> dict[str, Any]:
    packages = ("torch", "triton", "flash-linear-attention", "fla-core")
    return {
        "gpu": None if INTERPRETED else torch.cuda.get_device_name(),
        "driver": None
        if INTERPRETED
        else _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cuda": torch.version.cuda,
        "interpreter": INTERPRETED,
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "revision": _output("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"),
        "modified": bool(_output("git", "-C", str(Path(__file__).parent), "status", "--porcelain")),
    }


def ceilings(device: torch.device, *, smoke: bool) -> Ceilings:
    """A copy of 1 GiB, bytes read and written; a bfloat16 product of 8192-row matrices. Random data."""
    timer = timer_of(device)
    count, edge = (1 << 16, 128) if smoke else (1 << 29, 8192)
    source = torch.randn(count, device=device, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    a = torch.randn(edge, edge, device=device, dtype=torch.bfloat16)
    b = torch.randn(edge, edge, device=device, dtype=torch.bfloat16)
    copy = timer(lambda: target.copy_(source)).median
    product = timer(lambda: a @ b).median
    return Ceilings(bandwidth=4 * count / (copy / 1e3), matrix_rate=2 * edge**3 / (product / 1e3))


def read_clock() -> tuple[float, float] | None:
    """MHz of the GPU's multiprocessors and the watts that it draws, at this moment; None where nobody says."""
    found = _output(
        "nvidia-smi",
        f"--id=GPU-{torch.cuda.get_device_properties().uuid}",
        "--query-gpu=clocks.sm,power.draw",
        "--format=csv,noheader,nounits",
    )
    try:
        clock, power = map(float, (found or "").split(","))
    except ValueError:
        return None
    return clock, power


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """First line that a command prints; None where it does not work."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.splitlines()), None)
