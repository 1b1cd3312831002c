"""Every figure of the project, one function each, returning ``(figure, axes)``.

Figures are built on :class:`matplotlib.figure.Figure` directly, so they need no display and no pyplot state.
Colours are the Okabe-Ito set, and every curve also has its own line style, so that figures survive
colour blindness and black-and-white print.

Names load on first use; ``__init__.pyi`` lists them.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
