"""Rounding of the preconditioner: token by token, and by chunks (T11, T18)."""
