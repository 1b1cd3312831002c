"""Exact float64 theory of Online Scaled DeltaNet (OSDN, arXiv:2605.13473)."""

__version__ = "0.1.0"
