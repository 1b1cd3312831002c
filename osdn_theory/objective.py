"""Losses of one token and of a whole context, with gradients and minimisers (T1, T2, T3, T4)."""

from typing import Any

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, as_float64, require


def residual_ratio(alignment: Any, beta: Any = 1.0) -> Array:
    r"""Ratio of the token loss after a write to the loss before it (T3).

    .. math:: q_t = f_t(S_t) / f_t(S_{t-1}) = (1 - \beta_t a_t)^2

    It depends on neither the state nor the value, so it is known before the write.

    - `alignment` (..., T) float64: :math:`a_t = \langle d_t, k_t^2 \rangle`, the fraction of the residual that a full
      write removes.
    - `beta` (..., T) float64: Write gate. Broadcasts against `alignment`.

    Returns (..., T) float64: In [0, 1] exactly when ``0 <= beta * alignment <= 2``.
    """
    a = as_float64("alignment", alignment, check_finite=False)
    b = as_float64("beta", beta, check_finite=False)
    return np.square(1.0 - b * a)


def token_loss(state: Any, key: Any, value: Any) -> Array:
    r"""Loss of one association under a state (T1).

    .. math:: f(S) = \tfrac12 \|S k - v\|^2

    - `state` (..., V, K), `key` (..., K), `value` (..., V)

    Returns (...) float64.

    Raises TypeError, ValueError: non-numeric or non-finite arguments, or feature dimensions that do not
    match.
    """
    s, k, v = _token(state, key, value)
    loss: Array = 0.5 * np.sum(np.square(_error(s, k, v)), axis=-1)
    return loss


def token_gradient(state: Any, key: Any, value: Any) -> Array:
    r"""Gradient of the token loss in the state, (..., V, K) (T1).

    .. math:: \nabla f(S) = (S k - v) k^\top

    Shapes and errors as in :func:`token_loss`.
    """
    s, k, v = _token(state, key, value)
    return _error(s, k, v)[..., :, None] * k[..., None, :]


def write(state: Any, key: Any, value: Any, preconditioner: Any, beta: Any = 1.0) -> Array:
    r"""One right-preconditioned gradient step on the token loss: the write of OSDN (T2).

    .. math:: S^+ = S - \beta\,\nabla f(S)\,\mathrm{Diag}(d) = S - \beta (S k - v)(d \odot k)^\top

    Erase with the key k, write with the scaled key d * k.

    - `state` (..., V, K), `key` (..., K), `value` (..., V)
    - `preconditioner` (..., K): d, the diagonal.
    - `beta` (...): Write gate, the step size.

    Returns (..., V, K) float64.

    Raises TypeError, ValueError: as :func:`token_loss`, and for a preconditioner that is not of length K.
    """
    s, k, v = _token(state, key, value)
    d = as_float64("preconditioner", preconditioner, min_ndim=1)
    require(d.shape[-1] == k.shape[-1], f"preconditioner: expected last axis {k.shape[-1]}, got {d.shape}")
    gate = as_float64("beta", beta)[..., None]
    return s - (gate * _error(s, k, v))[..., :, None] * (d * k)[..., None, :]


def surrogate(preconditioner: Any, squared_key: Any) -> Array:
    r"""Half the residual ratio of a full write, as a function of the preconditioner (T4).

    .. math:: \ell(d) = \tfrac12 (1 - \langle d, s \rangle)^2

    Convex, :math:`\|s\|^2`-smooth and self-bounding: :math:`\|\nabla\ell\|^2 = 2\|s\|^2 \ell`.

    - `preconditioner` (..., K): d.
    - `squared_key` (..., K): s = k * k.

    Returns (...) float64.

    Raises TypeError, ValueError: non-numeric or non-finite arguments, or lengths that do not match.
    """
    _, shortfall = _shortfall(preconditioner, squared_key)
    return 0.5 * np.square(shortfall)


def hypergradient(preconditioner: Any, squared_key: Any) -> Array:
    r"""Gradient of the surrogate loss in the preconditioner, (..., K) (T4).

    .. math:: \nabla\ell(d) = -(1 - \langle d, s \rangle)\, s

    The calibrate step moves *against* it. Shapes and errors as in :func:`surrogate`.
    """
    s, shortfall = _shortfall(preconditioner, squared_key)
    return -shortfall[..., None] * s


def gram(keys: Any) -> Array:
    r"""Gram matrix of a context, the right Hessian of its loss (T1).

    .. math:: G = \sum_t k_t k_t^\top

    - `keys` (..., T, K)

    Returns (..., K, K) float64: Symmetric to the last bit, positive semi-definite up to rounding.

    Raises TypeError, ValueError: non-numeric or non-finite keys, or fewer than two axes.
    """
    k = as_float64("keys", keys, min_ndim=2)
    product = transpose(k) @ k
    return 0.5 * (product + transpose(product))


def context_loss(state: Any, keys: Any, values: Any) -> Array:
    r"""Loss of a state over a whole context (T1).

    .. math:: F(S) = \tfrac12 \sum_t \|S k_t - v_t\|^2

    - `state` (..., V, K), `keys` (..., T, K), `values` (..., T, V)

    Returns (...) float64.

    Raises TypeError, ValueError: non-numeric or non-finite arguments, or shapes that do not match.
    """
    s, k, v = _context(state, keys, values)
    loss: Array = 0.5 * np.sum(np.square(_errors(s, k, v)), axis=(-2, -1))
    return loss


def context_gradient(state: Any, keys: Any, values: Any) -> Array:
    r"""Gradient of the context loss in the state, (..., V, K) (T1).

    .. math:: \nabla F(S) = \sum_t (S k_t - v_t) k_t^\top = (S - S^*) G

    Shapes and errors as in :func:`context_loss`.
    """
    s, k, v = _context(state, keys, values)
    return transpose(_errors(s, k, v)) @ k


def context_minimizer(keys: Any, values: Any) -> Array:
    r"""The state of least norm among the minimisers of the context loss (T1).

    .. math:: S^* = \Bigl(\sum_t v_t k_t^\top\Bigr) G^{+}

    It is computed from the singular values of the keys, not of G, whose condition number is the
    square. Singular values below ``max(T, K) * eps`` of the largest count as zero.

    - `keys` (..., T, K), `values` (..., T, V)

    Returns (..., V, K) float64: Zero for an empty context.

    Raises TypeError, ValueError: non-numeric or non-finite arguments, or different numbers of tokens.
    """
    k, v = _pairs(keys, values)
    # float64 arithmetic loses what lies below the rounding of the largest singular value.
    tolerance = max(k.shape[-2:]) * float(np.finfo(np.float64).eps)
    return transpose(np.linalg.pinv(k, rcond=tolerance) @ v)


def suboptimality(state: Any, keys: Any, values: Any) -> Array:
    r"""Distance of the context loss from its minimum, free of cancellation (T1).

    .. math:: F(S) - F^* = \tfrac12\,\mathrm{tr}\bigl((S - S^*) G (S - S^*)^\top\bigr)

    It is evaluated as :math:`\tfrac12\sum_t\|(S - S^*)k_t\|^2`, a sum of squares: never negative, and
    accurate where the difference of two losses would be all rounding. Shapes and errors as in
    :func:`context_loss`.
    """
    s, k, v = _context(state, keys, values)
    reads = k @ transpose(s - context_minimizer(k, v))
    gap: Array = 0.5 * np.sum(np.square(reads), axis=(-2, -1))
    return gap


def _error(state: Array, key: Array, value: Array) -> Array:
    read: Array = np.einsum("...vk,...k->...v", state, key)
    return read - value


def _errors(state: Array, keys: Array, values: Array) -> Array:
    reads: Array = keys @ transpose(state)
    return reads - values


def _shortfall(preconditioner: Any, squared_key: Any) -> tuple[Array, Array]:
    d = as_float64("preconditioner", preconditioner, min_ndim=1)
    s = as_float64("squared_key", squared_key, min_ndim=1)
    require(d.shape[-1] == s.shape[-1], f"squared_key: expected last axis {d.shape[-1]}, got {s.shape}")
    shortfall: Array = 1.0 - np.sum(d * s, axis=-1)
    return s, shortfall


def _token(state: Any, key: Any, value: Any) -> tuple[Array, Array, Array]:
    s = as_float64("state", state, min_ndim=2)
    k = as_float64("key", key, min_ndim=1)
    v = as_float64("value", value, min_ndim=1)
    require(k.shape[-1] == s.shape[-1], f"key: expected last axis {s.shape[-1]} as in state, got {k.shape}")
    require(v.shape[-1] == s.shape[-2], f"value: expected last axis {s.shape[-2]} as in state, got {v.shape}")
    return s, k, v


def _pairs(keys: Any, values: Any) -> tuple[Array, Array]:
    k = as_float64("keys", keys, min_ndim=2)
    v = as_float64("values", values, min_ndim=2)
    require(
        k.shape[-2] == v.shape[-2], f"values: expected {k.shape[-2]} tokens as in keys, got shape {v.shape}"
    )
    return k, v


def _context(state: Any, keys: Any, values: Any) -> tuple[Array, Array, Array]:
    s = as_float64("state", state, min_ndim=2)
    k, v = _pairs(keys, values)
    expected = (v.shape[-1], k.shape[-1])
    require(s.shape[-2:] == expected, f"state: expected last axes {expected}, got shape {s.shape}")
    return s, k, v
