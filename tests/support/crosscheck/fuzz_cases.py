"""What the fuzzer's tests share."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.recurrences import Recurrence

HERE = Path(__file__).parent


def own_layout(kernel: Callable[..., Any], recurrence: Recurrence) -> Adapter:
    """The adapter of a kernel that is head first, has states [V, K], and names of its own."""
    return Adapter(
        name=f"support.crosscheck.fuzz_kernels:{kernel.__name__}",
        call=kernel,
        recurrence=recurrence,
        order="recurrent",
        parameters=frozenset({"q", "k", "v", "g", "beta", "initial_state"}),
        names={"q": "query", "k": "key", "v": "value", "g": "decay", "initial_state": "h0"},
        layout="head first",
        state_layout="VK",
        fixed_scale="K^-1/2",
    )


def run_script(path: Path) -> subprocess.CompletedProcess[str]:
    """Run a failure's script from its folder, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, path.name], cwd=path.parent, env=environment, capture_output=True, text=True
    )


def run_with(path: Path, kernel: str) -> tuple[object, str]:
    """Exit code and output of a failure's script with another kernel of the same module, in this process."""
    text = path.read_text()
    (line,) = [line for line in text.splitlines() if line.endswith(" as kernel")]
    text = text.replace(line, f"from support.crosscheck.fuzz_kernels import {kernel} as kernel")
    found, printed = list(sys.path), io.StringIO()
    try:
        with redirect_stdout(printed):
            exec(compile(text, str(path), "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        return end.code, printed.getvalue()
    finally:
        sys.path[:] = found
    return 0, printed.getvalue()
