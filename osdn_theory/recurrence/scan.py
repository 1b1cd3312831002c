"""The preconditioner as a delta rule: its WY scan with the clip certificate (T11).

Within a block of tokens, with e = d - c and the gains u_j = eta w_j (1 - <d_j, x_j>),

    e_i = Gamma_i e_0 + sum_{j<i} P_ij u_j x_j,
    Gamma_i = gamma_0 ... gamma_{i-1},    P_ij = gamma_{j+1} ... gamma_{i-1},

so the gains solve one unit-lower-triangular system, which takes <e_0, x_j> and the features' Gram matrix only, and
the iterates follow from the gains without another reduction. From the first unprojected iterate outside the box
on, the block's tokens are stepped instead. That depends on earlier tokens only, and every sum runs in a fixed
order, so neither later tokens nor the other leading entries change a bit.
"""

import numpy as np

from osdn_theory.base.threads import map_leading
from osdn_theory.base.validation import Array
from osdn_theory.recurrence.rules import CalibrationRule

ELEMENTS_PER_THREAD = 1 << 16
"""Numbers to scan below which another thread costs more than it computes."""


def wy_scan(
    keys: Array,
    beta: Array,
    gamma: Array | None,
    initial: Array,
    anchor: Array,
    lower: Array,
    upper: Array,
    rule: CalibrationRule,
    period: int,
    out: Array,
) -> Array:
    """Write d_1 ... d_T to `out` (B, T, K) and return d_{T+1} (B, K).

    `keys` (B, T, K), `beta` and `gamma` (B, T), the others (B, K). Blocks start afresh every `period` tokens: a
    stream cut there has the same blocks.
    """
    from osdn_theory.recurrence.scan_loops import scan_leads

    count, length, dim = keys.shape
    final = np.empty((count, dim))
    inputs = [None if array is None else freeze(array) for array in (keys, beta, gamma, initial, anchor)]
    box = freeze(lower), freeze(upper)
    numbers = float(rule.eta), bool(rule.normalize_feedback), bool(rule.beta_aware), float(rule.epsilon)

    def work(part: slice) -> None:
        scan_leads(part.start, part.stop, period, *inputs, *box, numbers, out, final)

    map_leading(work, count, least=-(-ELEMENTS_PER_THREAD // max(1, length * dim)))
    return final


def freeze(array: Array) -> Array:
    """A contiguous read-only view: a compiled function is compiled again for every layout it meets."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
