"""What a calibrate scan reads and what it leaves."""

from ctypes import c_float
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..boundary.rule import Rule
from ..launch.runtime import tile
from ..launch.sequences import Chunks


def rule_numbers(rule: Rule) -> tuple[float, float, float, float]:
    """eta, what float32 leaves of it, d_min and d_max, as the float32 numbers that kernels take.

    Rounded here, so that the interpreter, which would keep them in float64, sees a clipped d that is stored in float32
    lie on the bound and not beside it.
    """
    eta, d_min, d_max = (c_float(x).value for x in (rule.eta, rule.d_min, rule.d_max))
    return eta, rule.eta - eta, d_min, d_max


class ScanCall(NamedTuple):
    """What a scan reads, and where it writes.

    k [B, T, H, K]; g [B, T, H] or None; anchor [N, H, K] float32 or None (0); feedback [B, T, H, 2] float32 or None. Of
    out [B, T, H, K], the rows of chunks that were stepped token by token (all, if sequential) are written: d_t, or
    d_t * k_t with `scale_key`. The same rows of `path` [B, T, H, K] float32, if given, get d_t.
    """

    k: Tensor
    g: Tensor | None
    anchor: Tensor | None
    feedback: Tensor | None
    rule: Rule
    out: Tensor
    path: Tensor | None
    scale_key: bool

    def constants(self, chunks: Chunks, initial: Tensor | None) -> dict[str, Any]:
        """Of the kernels."""
        heads, dim = self.k.shape[2:]
        return {
            "H": heads, "K": dim, "C": chunks.size, "BK": tile(dim), "HAS_GATE": self.g is not None,
            "HAS_ANCHOR": self.anchor is not None, "HAS_INITIAL": initial is not None,
            "BETA_AWARE": self.feedback is not None, "NORMALIZE": self.rule.normalize_feedback,
            "SCALE_KEY": self.scale_key, "KEEP": self.path is not None, "PACKED": chunks.packed,
        }  # fmt: skip


class Gains(NamedTuple):
    """What the scan leaves, from which every d_t follows.

    - `gain`, [B, T, H] float32: u_t = eta w_t (f_t - m_t a_t), also right inside chunks that clipped.
    - `entries`, [2, slots, H, K] float32: d at the first token of each chunk, and the rest of it that float32 does
      not hold.
    - `clipped`, [slots, H] int8: 1 where the chunk was stepped token by token.
    - `final`, [N, H, K] float32: d handed on by each sequence.
    - `rest`, [N, H, K] float32 or None: What float32 leaves of it, where chunks are gone through in order.
    - `written`: Whether all rows of `out` were written, and not only those of chunks that clipped.
    - `opened`, [sweeps, N, H] int32 or None: 1 where a sweep walked something, or, the last, found something left to
      walk; None where none is tried.
    """

    gain: Tensor
    entries: Tensor
    clipped: Tensor
    final: Tensor
    rest: Tensor | None = None
    written: bool = False
    opened: Tensor | None = None

    @property
    def entry(self) -> Tensor:
        """[slots, H, K]: d at the first token of each chunk."""
        return self.entries[0]


def new_gains(k: Tensor, chunks: Chunks, *, in_order: bool = False, sequential: bool = False) -> Gains:
    heads, dim = k.shape[2:]
    make: dict[str, Any] = {"dtype": torch.float32, "device": k.device}
    # Slots left over by packed sequences are part of what a registered operator returns, and stepping leaves no rest.
    per_slot = torch.zeros if chunks.packed else torch.empty
    per_entry = torch.zeros if chunks.packed or sequential else torch.empty
    return Gains(
        torch.empty(k.shape[:3], **make),
        per_entry(2, chunks.slots, heads, dim, **make),
        per_slot(chunks.slots, heads, dtype=torch.int8, device=k.device),
        torch.empty(chunks.sequences, heads, dim, **make),
        torch.zeros(chunks.sequences, heads, dim, **make) if in_order else None,
    )
