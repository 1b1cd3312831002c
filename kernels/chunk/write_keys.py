"""Where a chunk's write keys come from."""

from typing import NamedTuple

from torch import Tensor

IDENTITY, FIXED, LEARNED, STORED = 0, 1, 2, 3
"""Write keys: the keys themselves, the keys times a constant preconditioner, or times the scan's iterates; STORED where
the scan has written them all."""


class WriteKeys(NamedTuple):
    """The preconditioner as the chunk kernels take it.

    - `mode`: `IDENTITY`, `FIXED` or `LEARNED`.
    - `out`, [B, T, H, K]: Write keys k~ = d * k, in the keys' dtype; the keys themselves under `IDENTITY`.
    - `entry`, [N, H, K] or [slots, H, K] float32 or None: d_1 of each sequence under `FIXED`; d at each chunk's first
      token under `LEARNED`.
    - `gain`, [B, T, H] float32 or None: u_t = eta w_t (1 - a_t).
    - `clipped`, [slots, H] int8 or None: Chunks stepped token by token, whose rows of `out` the scan has written.
    - `gate`, [B, T, H] or None: Log forgetting gates.
    - `anchor`, [N, H, K] float32 or None: What forgetting returns to.
    - `path`, [B, T, H, K] float32 or None: Where to write the d_t that `out` is formed with; its rows of chunks that
      clipped the scan has written.
    - `stored`: Whether the scan has written all rows of `out` and `path`.
    """

    mode: int
    out: Tensor
    entry: Tensor | None = None
    gain: Tensor | None = None
    clipped: Tensor | None = None
    gate: Tensor | None = None
    anchor: Tensor | None = None
    path: Tensor | None = None
    stored: bool = False

    @property
    def constants(self) -> dict[str, int]:
        """What kernels that form write keys are compiled for."""
        if self.stored:
            return {"KEYS": STORED, "KEEP": False, "HAS_GATE": False, "HAS_ANCHOR": False}
        there = {"KEEP": self.path, "HAS_GATE": self.gate, "HAS_ANCHOR": self.anchor}
        return {"KEYS": self.mode} | {name: x is not None for name, x in there.items()}
