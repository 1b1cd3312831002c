"""The authors' own chunked operator under our names, from a checkout of their repository on the import path.

``PYTHONPATH=CHECKOUT osdn-theory crosscheck --kernel osdn_kernels.benchmarks.operators.osla:chunk_stepped
--dtype bfloat16``, the checkout being that of github.com/Lhongpei/OSLA, whose package ``fla`` then stands before
flash-linear-attention's. The benchmark takes it by --osla and has both.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...boundary.results import State

MODULE = "fla.ops.os_delta_rule.chunk_osgm"


def operator(checkout: Path, wy: bool, **options: Any) -> Callable[..., Any]:
    """The operator in a checkout, beside an installed flash-linear-attention, whose name it has."""
    with standing_before(checkout):
        module = importlib.import_module(MODULE)
    return partial(_chunk, wy, module.chunk_delta_rule_osgm, **options)


@contextmanager
def standing_before(checkout: Path) -> Iterator[None]:
    """What is imported inside as ``fla`` comes from `checkout`; other modules go on with what they have imported."""
    before = _take_out()
    sys.path.insert(0, str(checkout))
    try:
        yield
    finally:
        sys.path.remove(str(checkout))
        _take_out()
        sys.modules.update(before)


def _take_out() -> dict[str, Any]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "fla"}


def _chunk(
    wy: bool,
    theirs: Callable[..., Any] | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    eta: float = 1.0,
    d_min: float = 0.0,
    d_max: float = 1e9,
    normalize_feedback: bool = False,
    initial_state: Tensor | None = None,
    initial_preconditioner: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> Any:
    theirs = theirs or importlib.import_module(MODULE).chunk_delta_rule_osgm
    sequences = k.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    # Theirs starts at zero where it is given none.
    start = k.new_ones(sequences, *k.shape[2:], dtype=torch.float32)
    start = start if initial_preconditioner is None else initial_preconditioner
    o, final = theirs(
        q, k, v, beta, scale=scale, eta=eta, initial_state=(initial_state, start),
        output_final_state=output_final_state, cu_seqlens=cu_seqlens, use_denominator=normalize_feedback,
        d_min=d_min, d_max=d_max, use_wy_fast=wy,
    )  # fmt: skip
    return o, None if final is None else State(*final)


chunk_stepped = partial(_chunk, False, None)
"""d token by token."""

chunk_wy = partial(_chunk, True, None)
"""d by their triangular systems."""
