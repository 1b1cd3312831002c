"""Rows of the table of known faults, by the kind of fault."""
