"""Fuzzing: cases drawn from what a kernel takes, held against float64; failures shrunk and written to be repeated."""
