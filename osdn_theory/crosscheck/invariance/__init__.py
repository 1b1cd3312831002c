"""A kernel held against itself: again, alone, packed, in pieces, step by step, and laid out otherwise in memory."""

from osdn_theory.crosscheck.invariance.checks import invariances
from osdn_theory.crosscheck.invariance.result import TITLES, Difference, Invariance, required

__all__ = ["TITLES", "Difference", "Invariance", "invariances", "required"]
