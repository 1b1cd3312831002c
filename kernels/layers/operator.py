"""Which operator a layer's call goes through: by device, length, and whether a gradient is wanted.

Importable without Triton, which only the kernels need.
"""

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ..boundary.results import State
from ..reference.chunkwise import chunk_osdn_reference
from ..reference.tokenwise import osdn_reference, osgdn_reference, oskda_reference

Form = Literal["osdn", "osgdn", "oskda"]
TOKENWISE: Mapping[Form, Callable[..., Any]] = {
    "osdn": osdn_reference,
    "osgdn": osgdn_reference,
    "oskda": oskda_reference,
}
CHUNKWISE: Mapping[Form, Callable[..., Any]] = {"osdn": chunk_osdn_reference}

RECURRENT_LENGTH = 64
"""Up to so many tokens, one chunk, inference takes the recurrent kernel: one launch in place of one per stage."""

HAS_TRITON = importlib.util.find_spec("triton") is not None

_warned = False


def choose(mode: str, q: Tensor, form: Form = "osdn", *, in_chunks: bool = False) -> Callable[..., Any]:
    """The operator for queries [B, T, H, K] in a layer's mode; all of a form take the same arguments.

    `in_chunks` asks for one that goes through chunks, whatever the mode and the length.
    """
    length = q.shape[1]
    if in_chunks:
        mode, length = "chunk", RECURRENT_LENGTH + 1
    if not can_launch(q):
        # The chunkwise reference reads whether a chunk clips, so that only the other one traces.
        stepped = mode == "fused_recurrent" or length == 1
        return TOKENWISE[form] if stepped else CHUNKWISE.get(form, TOKENWISE[form])
    from .. import ops

    # An exported program is one for all lengths.
    short = not torch.is_grad_enabled() and not torch.compiler.is_exporting() and length <= RECURRENT_LENGTH
    way = "fused_recurrent" if mode == "fused_recurrent" or short else "chunk"
    operator: Callable[..., Any] = getattr(ops, f"{way}_{form}")
    return operator


def step_(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: State, **options: Any) -> Tensor:
    """`decode_step_`, imported when first needed."""
    from ..recurrent.decode import decode_step_

    return decode_step_(q, k, v, beta, state, **options)


def can_launch(x: Tensor) -> bool:
    """Whether the Triton kernels run on `x`; where they do not, a warning says so once per process."""
    reason = _obstacle(x)
    # A warning is a side effect that a compiled graph cannot hold.
    if reason is not None and not torch.compiler.is_compiling():
        _warn_once(reason)
    return reason is None


def _obstacle(x: Tensor) -> str | None:
    if x.dtype == torch.float64:
        return "the kernels take no float64"
    if not HAS_TRITON:
        return "Triton is not installed"
    if x.is_meta:
        return None
    from ..launch import runtime

    if not runtime.can_launch(x.device):
        return f"the kernels need a CUDA device, and the tensors are on {x.device.type}"
    return None


def _warn_once(reason: str) -> None:
    """Say that the layer is slow, and why, whichever layer and reason come first."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            "OnlineScaledDeltaNet runs through its PyTorch reference, many times slower than the Triton kernels: "
            f"{reason}.",
            stacklevel=2,
        )
