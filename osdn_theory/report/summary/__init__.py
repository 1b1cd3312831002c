"""The run in a few lines: headlines, the matrix of theorems, and what was not run."""
