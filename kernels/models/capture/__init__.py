"""What the delta-rule layers of a local checkpoint are given while it reads a text; needs transformers.

`osdn-theory analyze --checkpoint` finds it by its entry point. Nothing is fetched, and no code of a checkpoint runs.
"""

from .checkpoint import capture

__all__ = ["capture"]
