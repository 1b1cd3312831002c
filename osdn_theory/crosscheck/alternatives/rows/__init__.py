"""Rows of the table of known faults: `faults.toml` in words, and how those are made that switches do not make."""
