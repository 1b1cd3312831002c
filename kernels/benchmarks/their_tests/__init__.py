"""flash-linear-attention's own tests, run from a checkout of it with operators of this project in the place of its."""
