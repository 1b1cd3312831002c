"""The recurrences as plain Python loops over floats, following shared/THEORY.md line by line.

Deliberately independent of the package: no vectorisation, no shared helper, one stream without leading axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Naive:
    outputs: list = field(default_factory=list)
    preconditioner: list = field(default_factory=list)
    alignment: list = field(default_factory=list)
    residuals: list = field(default_factory=list)
    states: list = field(default_factory=list)
    final_state: list = field(default_factory=list)
    final_preconditioner: list = field(default_factory=list)


def run(
    keys,
    values,
    queries,
    beta,
    d1,
    *,
    eta=0.0,
    d_min=-math.inf,
    d_max=math.inf,
    gamma=None,
    anchor=0.0,
    normalize=False,
    beta_aware=False,
    epsilon=1e-5,
    gate=None,
    scale=1.0,
    state=None,
):
    """`gamma` per token; `gate` per token a number or one per feature; `d_min`, `d_max`, `anchor` scalars or lists."""
    T, K, V = len(keys), len(keys[0]) if keys else len(d1), len(values[0]) if values else 0
    S = [list(map(float, row)) for row in state] if state is not None else [[0.0] * K for _ in range(V)]
    d = list(map(float, d1))
    lo, hi, c = (x if isinstance(x, list) else [x] * K for x in (d_min, d_max, anchor))
    result = Naive()
    for t in range(T):
        k, v, q, b = keys[t], values[t], queries[t], beta[t]
        if gate is not None:
            alpha = gate[t] if isinstance(gate[t], list) else [gate[t]] * K
            S = [[S[i][j] * alpha[j] for j in range(K)] for i in range(V)]
        r = [v[i] - math.fsum(S[i][j] * k[j] for j in range(K)) for i in range(V)]
        S = [[S[i][j] + b * r[i] * d[j] * k[j] for j in range(K)] for i in range(V)]
        s = [x * x for x in k]
        result.outputs.append([scale * math.fsum(S[i][j] * q[j] for j in range(K)) for i in range(V)])
        result.preconditioner.append(d)
        result.alignment.append(math.fsum(d[j] * s[j] for j in range(K)))
        result.residuals.append(r)
        result.states.append(S)
        x = [b * y for y in s] if beta_aware else s
        w = 1.0 / (math.fsum(s) + epsilon) if normalize else 1.0
        u = eta * w * (1.0 - math.fsum(d[j] * x[j] for j in range(K)))
        g = 1.0 if gamma is None else gamma[t]
        d = [min(max(c[j] + g * (d[j] - c[j]) + u * x[j], lo[j]), hi[j]) for j in range(K)]
    result.final_state, result.final_preconditioner = S, d
    return result
