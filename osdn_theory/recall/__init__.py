"""The recall experiment in float64: exact measures of trained layers, statistics over seeds, and what they say.

Names load on first use; ``__init__.pyi`` lists them. Training is not here: it is registered by entry point.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
