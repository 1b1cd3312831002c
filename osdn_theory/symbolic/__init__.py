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

from osdn_theory.symbolic.calculus import (
    directional as directional,
    entries as entries,
    entry_gradient as entry_gradient,
    gradient as gradient,
    right_factor as right_factor,
)
from osdn_theory.symbolic.names import Names as Names
from osdn_theory.symbolic.numeric import numpy_function as numpy_function
from osdn_theory.symbolic.objects import (
    alignment as alignment,
    calibrate_step as calibrate_step,
    context_gap as context_gap,
    context_gradient as context_gradient,
    context_loss as context_loss,
    context_ratio as context_ratio,
    context_ratio_gradient as context_ratio_gradient,
    delta_rule_step as delta_rule_step,
    gram as gram,
    hypergradient as hypergradient,
    inner as inner,
    newton_step as newton_step,
    norm_sq as norm_sq,
    residual_ratio as residual_ratio,
    right_hessian as right_hessian,
    squared as squared,
    surrogate as surrogate,
    token_gradient as token_gradient,
    token_loss as token_loss,
    write as write,
)
