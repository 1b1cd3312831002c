"""These tests run kernels in Triton's interpreter, so that they need no GPU."""

import os

# Triton reads it once, when it is first imported.
os.environ["TRITON_INTERPRET"] = "1"
