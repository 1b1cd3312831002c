"""Exact arithmetic: propositions, arrays of rationals, random instances, and the theorems as laws on them."""
