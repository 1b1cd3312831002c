"""How long the preconditioner takes to calibrate, and where forgetting makes it settle (T13, T19)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, as_float64, require
from osdn_theory.context.problem import invert
from osdn_theory.recurrence.calibrate import features, forgetting
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams.stream import Stream


@show_briefly
@dataclass(frozen=True, eq=False)
class CalibrationTimes:
    """How fast each direction of the preconditioner calibrates on a stream, float64.

    - `eigenvalues` (..., K): lambda_i of the moment matrix, ascending.
    - `rates` (..., K): eta * lambda_i + (1 - gamma), per token.
    - `times` (..., K): 1 / rates, in tokens; infinite where nothing moves.
    - `length`: T, the context length in tokens to hold the times against.
    """

    eigenvalues: Array
    rates: Array
    times: Array
    length: int

    @property
    def calibrated_fraction(self) -> Array:
        r"""Share of the feature variance in directions that calibrate within the context, (...).

        .. math:: \sum_{i:\,\tau_i \le T} \lambda_i \Big/ \sum_i \lambda_i

        NaN where there is no variance at all.
        """
        within = np.where(self.times <= self.length, self.eigenvalues, 0.0)
        with np.errstate(invalid="ignore"):
            share: Array = np.sum(within, axis=-1) / np.sum(self.eigenvalues, axis=-1)
        return share

    @property
    def calibrated_directions(self) -> Array:
        """How many of the K directions calibrate within the context, (...)."""
        count: Array = np.sum(self.times <= self.length, axis=-1, dtype=np.float64)
        return count


def moment_matrix(features: Any, weight: Any = 1.0) -> Array:
    r"""Weighted second moments of the features of the preconditioner's problem (T19).

    .. math:: R = \frac1T \sum_t w_t\, x_t x_t^\top

    - `features` (..., T, K): x_t, the squared keys for instance. At least one token.
    - `weight` (..., T) or scalar: w_t of the feedback, not negative.

    Returns (..., K, K) float64: Symmetric to the last bit.

    Raises TypeError, ValueError: non-numeric or non-finite arguments, no tokens, or negative weights.
    """
    x = as_float64("features", features, min_ndim=2)
    w = as_float64("weight", weight)
    require(x.shape[-2] > 0, "features: expected at least one token")
    require(bool(np.all(w >= 0)), "weight: expected numbers >= 0")
    rooted = np.sqrt(w)[..., None] * x
    moments = transpose(rooted) @ rooted / x.shape[-2]
    symmetric: Array = 0.5 * (moments + transpose(moments))
    return symmetric


def calibration_times(stream: Stream, rule: CalibrationRule) -> CalibrationTimes:
    r"""Time constants of the calibrate step on a stream (T19).

    .. math:: E[d_{t+1} - u] = (\gamma I - \eta R)\,E[d_t - u], \qquad
              \tau_i = \frac{1}{\eta\lambda_i + (1 - \gamma)}

    with :math:`\lambda_i` the eigenvalues of the stream's own weighted moment matrix R (beta-aware and
    normalised feedback included). The law is exact for independent keys and an inactive box; on
    measured keys it is a prediction. A forgetting factor that varies along the stream enters by its mean.

    - `stream`: With at least one token.

    Raises ValueError: for an empty stream, or a rule that needs forget gates which the stream lacks.
    """
    feature, weight = features(stream, rule)
    eigenvalues: Any = np.linalg.eigvalsh(moment_matrix(feature, weight))
    # Rounding leaves the null directions of R at +-eps of the largest, which is no calibration at all.
    noise = eigenvalues[..., -1:] * max(feature.shape[-2:]) * np.finfo(np.float64).eps
    eigenvalues = np.where(eigenvalues > noise, eigenvalues, 0.0)
    decay = np.mean(1.0 - forgetting(stream, rule), axis=-1)
    with np.errstate(divide="ignore", over="ignore"):
        rates = rule.eta * eigenvalues + decay[..., None]
        times = 1.0 / rates
    return CalibrationTimes(eigenvalues=eigenvalues, rates=rates, times=times, length=stream.length)


def isotropic_eigenvalues(key_dim: int) -> tuple[float, float]:
    r"""Eigenvalues of :math:`E[s s^\top]` for keys uniform on the unit sphere of dimension K (T19).

    .. math:: \lambda_{\mathbf 1} = \frac1K \ (\text{once}), \qquad
              \lambda_\perp = \frac{2}{K(K+2)} \ (K - 1 \text{ times})

    from :math:`E[k_i^4] = 3/(K(K+2))` and :math:`E[k_i^2 k_j^2] = 1/(K(K+2))`.

    Raises ValueError: unless ``key_dim >= 1``.
    """
    require(key_dim >= 1, f"key_dim: expected >= 1, got {key_dim}")
    return 1.0 / key_dim, 2.0 / (key_dim * (key_dim + 2.0))


def half_life(gamma: Any) -> Array:
    r"""Tokens after which half of the initial preconditioner's influence is forgotten (T13).

    .. math:: \ln 2 / (-\ln\gamma)

    Infinite at 1. Raises ``ValueError`` for a gamma outside (0, 1].
    """
    g = _forgetting_factor(gamma)
    with np.errstate(divide="ignore"):
        tokens: Array = np.log(2.0) / np.abs(np.log(g))
    return tokens


def constant_key_alignment(squared_key: Any, anchor: Any, *, eta: Any, gamma: Any) -> Array:
    r"""Alignment at which a constant key settles under forgetting (T13).

    .. math:: a_\infty = \frac{(1 - \gamma)\langle c, s\rangle + \eta\|s\|^2}{(1 - \gamma) + \eta\|s\|^2}

    - `squared_key` (..., K): s.
    - `anchor` (..., K) or scalar: c.
    - `eta` (...) >= 0, `gamma` (...) in (0, 1]

    Raises TypeError, ValueError: non-numeric or non-finite arguments, a negative eta, a gamma outside (0, 1].

    Returns (...) float64: Where the iteration converges: eta * |s|^2 < 1 + gamma and an inactive box. NaN if nothing
    moves.
    """
    s = as_float64("squared_key", squared_key, min_ndim=1)
    c = as_float64("anchor", anchor)
    drive = _step(eta) * np.sum(np.square(s), axis=-1)
    return _settled(np.sum(c * s, axis=-1), drive, 1.0 - _forgetting_factor(gamma))


def isotropic_alignment(key_dim: int, *, eta: Any, gamma: Any, anchor: float = 0.0) -> Array:
    r"""Mean alignment at which fresh isotropic unit keys settle under forgetting (T13).

    .. math:: a_\infty = \frac{(1 - \gamma)c + \eta/K}{(1 - \gamma) + \eta/K},
              \qquad \kappa = \frac{\eta/K}{(1 - \gamma) + \eta/K} \ \text{ at } c = 0

    The mean of d follows (T19) with rate :math:`\eta/K` along the ones; an anchor of one removes the bias.

    - `key_dim`, int >= 1: K.
    - `eta`, `gamma` (...)
    - `anchor`: c, the same in every coordinate.

    Raises TypeError, ValueError: as :func:`constant_key_alignment`.

    Returns (...) float64.
    """
    drive = _step(eta) * isotropic_eigenvalues(key_dim)[0]
    return _settled(as_float64("anchor", anchor), drive, 1.0 - _forgetting_factor(gamma))


def _settled(held: Array, drive: Array, decay: Array) -> Array:
    total = decay + drive
    settled: Array = (decay * held + drive) * invert(total)
    return np.where(total > 0, settled, np.nan)


def _forgetting_factor(gamma: Any) -> Array:
    g = as_float64("gamma", gamma)
    require(bool(np.all((g > 0) & (g <= 1))), "gamma: expected values in (0, 1]")
    return g


def _step(eta: Any) -> Array:
    e = as_float64("eta", eta)
    require(bool(np.all(e >= 0)), "eta: expected values >= 0")
    return e
