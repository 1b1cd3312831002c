"""Rounding of the memory and of what is read from it (T12, T18)."""
