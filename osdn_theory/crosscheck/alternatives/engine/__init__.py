"""The recurrence with faults switched on, in float64."""
