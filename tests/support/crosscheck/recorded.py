"""A saved run of a kernel, whole or with a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from support.crosscheck.cases import FAST

from osdn_theory.crosscheck import pose, resolve, save_run
from osdn_theory.crosscheck.kernel.calling import arguments
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams.stream import Stream


def record(
    path: Path, kernel: Any, stream: Stream, rule: CalibrationRule = FAST, dtype: Any = "float32", group: int = 1,
    **more: Any,
) -> Path:  # fmt: skip
    """What a user does on their machine: three calls, and everything that they return."""
    adapter = resolve(kernel)
    given = arguments(adapter, pose(adapter, stream, rule, dtype, group=group), "cpu")
    o, final, *path_of_d = kernel(**given)
    keys = given["k"]
    ahead = torch.cat([keys[:, 1:], keys[:, -1:]], 1)
    scalars = {name: given[name] for name in ("eta", "d_min", "d_max") if name in given}
    tensors = {name: given[name] for name in ("g", "anchor", "initial_preconditioner") if name in given}
    if hasattr(final, "preconditioner"):
        tensors |= {"state": final.state, "preconditioner": final.preconditioner}
    else:
        tensors |= {"state": final}
    if path_of_d:
        tensors |= {"d": path_of_d[0].preconditioner, "alignment": path_of_d[0].alignment}
    save_run(
        path, q=given["q"], k=keys, v=given["v"], beta=given["beta"], o=o, scale=1.0, order="recurrent",
        recurrence=adapter.recurrence, kernel="recorded", o_keys=kernel(**{**given, "q": keys})[0],
        o_next_keys=kernel(**{**given, "q": ahead})[0], **scalars, **tensors, **more,
    )  # fmt: skip
    return path
