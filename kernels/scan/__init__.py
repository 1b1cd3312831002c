"""The calibrate scan, forward and backward, and its registration."""
