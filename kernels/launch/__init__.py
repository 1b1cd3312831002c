"""Launching: the machine, tile sizes, tuning, precompiling, and how tokens are cut into chunks."""
