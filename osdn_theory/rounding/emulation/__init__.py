"""A kernel of a given model, emulated in NumPy (T18)."""
