"""Exact float64 theory of Online Scaled DeltaNet (OSDN, arXiv:2605.13473).

Streams, exact trajectories, Newton comparators, and the bounds of the theory with rigorous verdicts. Every public
name loads its module on first use; ``__init__.pyi`` lists them.
"""

import lazy_loader as lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
