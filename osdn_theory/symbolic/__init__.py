r"""The theory's objects in SymPy: derived, displayed, and turned into NumPy functions (T1-T4, T9, T11).

An object is stated once, as a matrix expression of any dimension, and its derivatives are computed from that
statement. Two forms of it are offered:

- dimension-free: ``Names()`` has the matrix symbols with symbolic sizes V, K, T;
- entry by entry: ``Names.sized(V=2, K=3)`` has the same symbols with numbers for sizes; ``entries`` writes an
  expression out, and ``entry_gradient`` differentiates it by SymPy's scalar calculus, which owes nothing to the
  matrix calculus of ``gradient``.

Both print as LaTeX in a notebook, and ``numpy_function`` makes either one a function of arrays. Importing
``osdn_theory`` does not import this package, nor SymPy.
"""

from osdn_theory.symbolic.calculus import directional, entries, entry_gradient, gradient, right_factor
from osdn_theory.symbolic.names import Names
from osdn_theory.symbolic.numeric import numpy_function
from osdn_theory.symbolic.objects import (
    alignment,
    calibrate_step,
    context_gap,
    context_gradient,
    context_loss,
    context_ratio,
    context_ratio_gradient,
    delta_rule_step,
    gram,
    hypergradient,
    inner,
    newton_step,
    norm_sq,
    residual_ratio,
    right_hessian,
    squared,
    surrogate,
    token_gradient,
    token_loss,
    write,
)

__all__ = [
    "Names",
    "alignment",
    "calibrate_step",
    "context_gap",
    "context_gradient",
    "context_loss",
    "context_ratio",
    "context_ratio_gradient",
    "delta_rule_step",
    "directional",
    "entries",
    "entry_gradient",
    "gradient",
    "gram",
    "hypergradient",
    "inner",
    "newton_step",
    "norm_sq",
    "numpy_function",
    "residual_ratio",
    "right_factor",
    "right_hessian",
    "squared",
    "surrogate",
    "token_gradient",
    "token_loss",
    "write",
]
