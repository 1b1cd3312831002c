"""What a kernel's numbers show: observations, comparisons with exact ones, residuals, and what rounding explains."""
