"""What kernels are asked: one case, and those cut from the suite's streams."""
