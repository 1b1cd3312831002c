"""The chunkwise operator: triangular systems, the memory from chunk to chunk, their gradients, and its registration."""
