"""What measures and providers are called in every output."""

FORWARD = "forward"
BACKWARD = "forward+backward"
MEMORY = "memory"
SCAN = "scan"
DECODE_EAGER = "decode"
DECODE_GRAPH = "decode, CUDA graph"
DECODE = DECODE_EAGER, DECODE_GRAPH

PINNED = "ours, d = 1"
DELTA = "fla DeltaNet"
GATED_DELTA = "fla Gated DeltaNet"
KDA = "fla KDA"
FLASH_QLA = "FlashQLA Gated DeltaNet"
AUTHORS = "the authors' OSDN, stepped"
AUTHORS_WY = "the authors' OSDN, WY scan"

SCAN_ALONE = "scan"
SCAN_CLIPPING = "scan, every chunk clips"
SCAN_SEQUENTIAL = "scan, sequential"

MINE = "ours", "scan"
"""What the names of our own begin with."""

STEP = "ours, decode_step_"
POOLED = "ours, decode_step_ on a pool"
SHUFFLED = "ours, decode_step_ on a pool, rows in any order"
RECURRENT = "ours, fused_recurrent_osdn"
RECURRENT_DELTA = "fla fused_recurrent DeltaNet"
STEP_GDN = "ours, decode_step_ of OS-GDN"
STEP_KDA = "ours, decode_step_ of OS-KDA"
RECURRENT_GDN = "fla fused_recurrent Gated DeltaNet"
RECURRENT_KDA = "fla fused_recurrent KDA"


def ours(regime: str) -> str:
    """`chunk_osdn` in a regime."""
    return f"ours, {regime}"


OURS = ours("nothing clips")
OURS_GDN = ours("OS-GDN")
OURS_KDA = ours("OS-KDA")

PEAKS = OURS, DELTA, OURS_GDN, GATED_DELTA, OURS_KDA, KDA
"""Of which the peak of memory is measured."""

BASES = {
    FORWARD: DELTA,
    BACKWARD: DELTA,
    MEMORY: DELTA,
    SCAN: OURS,
    DECODE_EAGER: RECURRENT_DELTA,
    DECODE_GRAPH: RECURRENT_DELTA,
}
"""What the tables divide by."""
