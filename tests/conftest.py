"""Kernels run in Triton's interpreter throughout, so that no test needs a GPU."""

import os

# Triton reads it once, when it is first imported.
os.environ["TRITON_INTERPRET"] = "1"
