"""The default cross-check: exercises, their power, explanations, invariances and theorems, and a verdict in words."""
