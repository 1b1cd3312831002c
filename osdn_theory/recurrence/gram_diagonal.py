"""The preconditioner of Preconditioned DeltaNet (arXiv:2604.21100): a squashed running key Gram diagonal."""

import numpy as np

from osdn_theory.base.validation import Array


def running_diagonal(keys: Array, decay: Array, weight: Array, initial: Array) -> Array:
    r"""A_t = decay_t A_{t-1} + weight_t k_t * k_t, (..., T, K), from A_0 = `initial` (..., K).

    `keys` is (..., T, K), `decay` and `weight` are (..., T). A token's own key is included.
    """
    path = np.empty(keys.shape)
    diagonal = initial
    for t in range(keys.shape[-2]):
        key = keys[..., t, :]
        diagonal = decay[..., t, np.newaxis] * diagonal + weight[..., t, np.newaxis] * (key * key)
        path[..., t, :] = diagonal
    return path


def squashed_inverse(diagonal: Array, squash: float, center: float, epsilon: float) -> Array:
    r"""d = x^{-softsign(log(A + epsilon) - center)}, x = `squash`, softsign(r) = r / (1 + |r|).

    Elementwise; between 1/x and x, large where the Gram diagonal A is small.
    """
    log_ratio = np.log(diagonal + epsilon) - center
    return squash ** -(log_ratio / (1.0 + np.abs(log_ratio)))
