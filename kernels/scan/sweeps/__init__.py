"""The scan by sweeps over all blocks of chunks at once, forward and adjoint (T29)."""
