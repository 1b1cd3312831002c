"""What the self-test says of a configuration."""

import math
from dataclasses import dataclass, replace

from triton.compiler.errors import CompileTimeAssertionFailure
from triton.runtime.errors import OutOfResources, PTXASError

from ..launch.tuning import TUNED

NO_FIT = (OutOfResources, CompileTimeAssertionFailure, PTXASError)
"""What Triton's autotuner passes over as well."""

OK, WRONG, NO_ROOM, FAILED, UNREACHED = "ok", "WRONG", "does not fit", "FAILED", "NOT REACHED"
MISCOMPILED = "MISCOMPILED"


@dataclass(frozen=True)
class Finding:
    """What became of a configuration; `error` is the worst over what is `allowed`, and of `quantity`."""

    kernel: str
    configuration: str
    case: str
    verdict: str
    quantity: str = ""
    error: float = math.nan
    allowed: float = math.nan
    note: str = ""

    @property
    def good(self) -> bool:
        return self.verdict in (OK, NO_ROOM)


def failed(finding: Finding, error: Exception) -> Finding:
    """The finding when an unexpected error ended it."""
    return replace(finding, verdict=FAILED, note=f"{type(error).__name__}: {str(error)[:200]}")


def described(kernel: str, index: int) -> str:
    """A tuned kernel's configuration in words."""
    config = TUNED[kernel].configs[index]
    blocks = [f"{name} {size}" for name, size in config.kwargs.items()]
    most = [f"{config.maxnreg} registers"] if config.maxnreg else []
    return ", ".join([*blocks, f"{config.num_warps} warps", f"{config.num_stages} stages", *most])
