"""What measures and providers are called in every output."""

FORWARD = "forward"
BACKWARD = "forward+backward"
MEMORY = "memory"
SCAN = "scan"
DECODE_EAGER = "decode"
DECODE_GRAPH = "decode, CUDA graph"

OURS = "ours"
GATED = "ours, gated"
PINNED = "ours, d = 1"
SEQUENTIAL = "ours, sequential scan"
DELTA = "fla DeltaNet"
GATED_DELTA = "fla Gated DeltaNet"

SCAN_ALONE = "scan"
SCAN_CLIPPING = "scan, every chunk clips"
SCAN_SEQUENTIAL = "scan, sequential"

STEP = "ours, decode_step_"
RECURRENT = "ours, fused_recurrent_osdn"
RECURRENT_DELTA = "fla fused_recurrent DeltaNet"

BASES = {
    FORWARD: DELTA,
    BACKWARD: DELTA,
    MEMORY: DELTA,
    SCAN: OURS,
    DECODE_EAGER: RECURRENT_DELTA,
    DECODE_GRAPH: RECURRENT_DELTA,
}
"""What the tables divide by."""
