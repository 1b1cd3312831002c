"""Errors and how they spread: the standard model, enclosed matrices, sets of errors (T18)."""
