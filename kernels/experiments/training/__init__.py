"""Training: the loop, checkpoints, processes, logs, and evaluation."""
