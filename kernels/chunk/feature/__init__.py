"""What a gate for each key feature needs before the memory's chain: it does not come out of the matrix products."""
