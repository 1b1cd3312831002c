"""Any kernel against the exact trajectory, exact Newton and the theorems, token by token.

Names load on first use; torch, Triton and the kernels when one is called, never before. ``__init__.pyi`` lists the
names.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
