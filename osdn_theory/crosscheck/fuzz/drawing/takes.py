"""What a kernel takes beyond what its signature says: found out by a few calls on harmless input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from osdn_theory.crosscheck.cases.case import DTYPES, Case, Dtype, pose
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import KernelError, ask
from osdn_theory.recurrence.rules import PUBLISHED
from osdn_theory.streams.stream import Stream

CHUNK_SIZES = (16, 32, 64)
"""Tokens per chunk that are tried."""

_SIZE = 16
"""Tokens and features of the harmless input: a size that even a kernel with narrow tastes has."""


@dataclass(frozen=True)
class Takes:
    """What cases are drawn from besides the signature.

    Attributes
    ----------
    dtypes : tuple of str
    chunk_sizes : tuple of int
        Beside the kernel's default; none where it takes no `chunk_size`, or it is fixed.
    empty : bool
        Whether T = 0 is taken.
    refused : tuple of str
        What the kernel raised at, and so is not drawn.
    """

    dtypes: tuple[Dtype, ...]
    chunk_sizes: tuple[int, ...]
    empty: bool
    refused: tuple[str, ...] = ()


def find_out(adapter: Adapter, device: str, dtypes: Sequence[Dtype] = ()) -> Takes:
    """Call the kernel on harmless input, in every dtype and chunk size, and without tokens.

    `dtypes` that are asked for by name are drawn whatever the kernel says to them.

    Raises
    ------
    KernelError
        If it takes harmless input in no dtype.
    """
    refused: list[str] = []

    def takes(what: str, kernel: Adapter, case: Case) -> bool:
        try:
            ask(kernel, case, device, what=f"a call on harmless input, {what}")
        except (KernelError, NotImplementedError) as error:
            refused.append(f"{what} ({' '.join(str(error).split())})")
            return False
        return True

    taken = tuple(dtypes) or tuple(name for name in DTYPES if takes(name, adapter, _harmless(adapter, name)))
    if not taken:
        raise KernelError(f"kernel: {adapter.name} takes harmless input in no dtype: {refused[0]}")
    case = _harmless(adapter, taken[0])
    free = "chunk_size" in adapter.parameters and "chunk_size" not in adapter.options
    default = adapter.defaults.get("chunk_size")
    sizes = tuple(
        size
        for size in (CHUNK_SIZES if free else ())
        if size != default and takes(f"chunk_size={size}", _with(adapter, size), case)
    )
    return Takes(taken, sizes, takes("T = 0", adapter, case.piece(0, 0)), tuple(refused))


def _with(adapter: Adapter, chunk_size: int) -> Adapter:
    return replace(adapter, options={**adapter.options, "chunk_size": chunk_size})


def _harmless(adapter: Adapter, dtype: Dtype) -> Case:
    """Orthonormal keys, one head, and none of the options."""
    keys = np.eye(_SIZE)[None, None]
    gate = np.ones(keys.shape if adapter.gates_features else keys.shape[:-1]) if adapter.gated else None
    stream = Stream(keys=keys, values=keys, state_gate=gate, name="harmless")
    return pose(adapter, stream, PUBLISHED, dtype)
