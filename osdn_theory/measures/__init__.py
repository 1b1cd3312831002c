"""Measures of streams and runs: analyses, calibration times, exact online Newton, counts of sweeps, speed."""
