"""A kernel's gradients against those of a float64 reference, and what explains a difference."""
