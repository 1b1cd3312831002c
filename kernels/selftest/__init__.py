"""Correctness on this machine, and equality of bits: every configuration of every kernel. Not part of the runtime."""
