"""The loss of a whole context: OSDN's steps on it, right-Newton, and the bounds between them (T1, T9, T10)."""
