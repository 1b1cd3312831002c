"""Speed, memory and accuracy of the kernels beside flash-linear-attention."""
