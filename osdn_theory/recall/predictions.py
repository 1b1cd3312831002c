r"""What T15 and T19 say of the trained models, each with a number measured and the limit that the theory sets.

Write e_t = d_t - 1. On keys of norm 1, without forgetting, the calibrate step is

.. math:: e_{t+1} = \Pi[e_t - \eta\, c_t s_t], \qquad c_t = \langle s_t, e_t\rangle = a_t - 1,

with a projection onto a box around 1, and :math:`\|s_t\| \le \|k_t\|^2 = 1`. The limits follow:

*Identity* (T15). From e_1 = 0 only rounding moves d. In float64, with u = 2^-53, k_t has norm 1 up to (K + 4) u in
its square, the K products and the sum of a_t add (K + 4) u, and storing d adds sqrt(K) u a token. As the step is
nonexpansive for :math:`\eta \le 2`, these add up to at most :math:`T (\eta (2K + 8) + \sqrt K)\,u`; twice
that is the limit, for terms of second order.

*Approach* (T15). Expanding the square, :math:`\|e_{t+1}\|^2 \le \|e_t\|^2 - \eta(2 - \eta) c_t^2`: for
:math:`\eta \le 2` no d is farther from 1 than d_1 is. The limit of rms |d_t - 1| / rms |d_1 - 1| is 1.

*Time* (T19). The largest eigenvalue of the moment matrix R is at most :math:`\max\|s_t\|^2 \le 1` and, as
:math:`\langle\mathbf 1, R\,\mathbf 1\rangle / K = 1/K`, at least 1/K. The fastest direction therefore takes between
:math:`1/\eta` and :math:`K/\eta` tokens, whatever the keys.

*Reach* (T19). The same inequality bounds :math:`\sum c_t^2 \le \|e_1\|^2 / (\eta(2 - \eta))`. The projection
only ever shortens a step, coordinate by coordinate, so with :math:`\lambda T` the largest eigenvalue of
:math:`\sum_t s_t s_t^\top` and :math:`\tau = 1/(\eta\lambda)` the time of the fastest direction

.. math:: \|d_t - d_1\| \le \eta\,\Bigl\|\sum_i |c_i| s_i\Bigr\| \le \eta\sqrt{\lambda T}\,\|c\|
          \le \|d_1 - 1\|\,\sqrt{\frac{T/\tau}{2 - \eta}},

whether or not the box cuts steps. At the step of `historic`, 1, d must go farther than that of `bounded` could take it
on the same keys, whose limit has :math:`\tau/\eta` of that step in place of :math:`\tau`.

*A static scale* (T19). To first order in d - 1 a trained model answers to a replacement of d in proportion to how far
that moves d. Of what replacing d by 1 changes, holding it at d_1 may therefore change no more than the share that the
reach gives. This is a rule of first order and no bound; the changes themselves are stated with it.

*No difference* (T19). A model trained with d frozen is as accurate as one whose d stays at d_1, as far as the seeds can
show: the limit is the level of the test, and p is taken as it is, for adjusting it would favour the prediction. That no
difference is found is weak evidence by itself, so the interval is stated with it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from osdn_theory.recall.comparisons import Series, compared
from osdn_theory.recall.document import LEVEL, AblationRow, Outcome, PairedDifference, Prediction
from osdn_theory.recall.experiment import ModelRuns
from osdn_theory.recall.observations import overall
from osdn_theory.recall.runs import MeasuredCell
from osdn_theory.recurrence.rules import BOUNDED, SETTINGS

SLOW, FAST, FROZEN = "osdn", ("osdn_eta1", "osdn_historic"), "static"

Models = Mapping[str, ModelRuns]

_MOVABLE = 1e-6
"""Least rms |d_1 - 1| of which shares are taken: below it d_1 is 1 in float32."""


def tested_predictions(models: Models, ablations: Iterable[AblationRow]) -> tuple[Prediction, ...]:
    """Every prediction that the finished runs allow to test, see the module; `ablations` are the summary's rows.

    Of several cells `value` and `limit` are those of the one that comes closest to its limit.
    """
    tests = (
        *_identities(models),
        *_approaches(models),
        *_times(models),
        *_reaches(models),
        _ablation(models, ablations),
        _frozen(models),
    )
    return tuple(row for row in tests if row is not None)


def _identities(models: Models) -> Iterator[Prediction | None]:
    cells = [cell for name in models for cell in _cells(models, name)]
    for setting, rule in SETTINGS.items():
        eta = f"{rule.eta:g}"
        pairs = [(_identity_drift(cell, eta), _rounding(cell, float(eta))) for cell in cells]
        yield _at_most(
            "T15",
            f"From d_1 = 1 without forgetting, d stays at 1 on the keys of every model at the step of {setting}, {eta}",
            pairs,
            "|d - 1| is at most {value:.2g} in float64, where rounding alone may reach {limit:.2g}",
        )


def _identity_drift(cell: MeasuredCell, eta: str) -> float:
    return cell.identity_drift[eta]


def _rounding(cell: MeasuredCell, eta: float) -> float:
    tokens, dim = cell.tokens, cell.key_dim
    return tokens * (eta * (2 * dim + 8) + math.sqrt(dim)) * float(np.finfo(np.float64).eps)


def _approaches(models: Models) -> Iterator[Prediction | None]:
    for name in (SLOW, *FAST):
        pairs = [(cell.drift_from_one / cell.start_from_one, 1.0) for cell in _movable(models, name)]
        yield _at_most(
            "T15",
            f"{_label(models, name)}: with keys of norm 1, no d is farther from 1 than the learned d_1",
            pairs,
            "rms |d - 1| over the context is at most {value:.4g} of that of d_1",
            slack=1e-9,
        )


def _times(models: Models) -> Iterator[Prediction | None]:
    slow = [(cell.context / _time(cell), 1.0) for cell in _cells(models, SLOW)]
    yield _at_most(
        "T19",
        f"{_label(models, SLOW)}: the context ends before the fastest direction of d calibrates",
        slow,
        "a context is at most {value:.3g} of the time of its fastest direction",
    )
    for name in FAST:
        yield _at_most(
            "T19",
            f"{_label(models, name)}: the fastest direction of d calibrates within K tokens",
            [(_time(cell), float(cell.key_dim)) for cell in _cells(models, name)],
            "it takes {value:.3g} tokens, K = {limit:.0f}",
            slack=1e-9,
        )


def _reaches(models: Models) -> Iterator[Prediction | None]:
    slow = [(_covered(cell), _reach(cell, BOUNDED.eta, _time(cell))) for cell in _movable(models, SLOW)]
    yield _at_most(
        "T19",
        f"{_label(models, SLOW)}: within a context d hardly leaves its learned start",
        slow,
        "rms |d - d_1| is {value:.3g} of rms |d_1 - 1|, where the theory allows {limit:.3g}",
    )
    for name in FAST:
        movable = _movable(models, name)
        yield _at_least(
            "T19",
            f"{_label(models, name)}: d leaves its learned start farther than the step of bounded could take it",
            [(_covered(cell), _reach(cell, BOUNDED.eta, _time(cell) / BOUNDED.eta)) for cell in movable],
            "rms |d - d_1| is {value:.3g} of rms |d_1 - 1|, where the step of bounded could reach {limit:.3g}",
        )


def _covered(cell: MeasuredCell) -> float:
    return cell.drift_from_start / cell.start_from_one


def _reach(cell: MeasuredCell, eta: float, time: float) -> float:
    return math.sqrt(cell.context / time / (2.0 - eta))


def _time(cell: MeasuredCell) -> float:
    return cell.calibration_tokens


def _ablation(models: Models, ablations: Iterable[AblationRow]) -> Prediction | None:
    changes = {row.ablation: row.difference for row in ablations if row.model == SLOW and row.difference}
    movable = _movable(models, SLOW)
    means = [changes[name].mean for name in ("initial", "ones") if name in changes]
    known = [abs(mean) for mean in means if mean is not None]
    if not movable or len(known) < 2:
        return None
    held, removed = known
    return _at_most(
        "T19",
        f"{_label(models, SLOW)}: holding d at d_1 changes a trained model's accuracy little beside setting it to 1",
        [
            (
                held / removed if removed else math.nan,
                max(_reach(cell, BOUNDED.eta, _time(cell)) for cell in movable),
            )
        ],
        f"by {100 * held:.2g} points against {100 * removed:.2g}: a share of {{value:.2g}}, where the reach of d is "
        "{limit:.2g}",
    )


def _frozen(models: Models) -> Prediction | None:
    if SLOW not in models or FROZEN not in models:
        return None
    series: dict[str, Series] = {
        name: {seed: value["accuracy"] for seed, run in models[name].tests.items() if (value := overall(run))}
        for name in (SLOW, FROZEN)
    }
    difference = compared({SLOW: series[SLOW]}, {SLOW: series[FROZEN]})[SLOW].difference
    statement = f"{_label(models, SLOW)} is as accurate as {_label(models, FROZEN)}"
    return _no_difference(statement, difference)


def _no_difference(statement: str, difference: PairedDifference | None) -> Prediction | None:
    """None where nothing could be tested: no pairs, or a single one."""
    if difference is None or difference.ends is None:
        return None
    mean, low, high = (f"{100 * end:+.2f}" for end in (difference.value, *difference.ends))
    interval = f"difference {mean} points, interval {low} to {high}".replace("-", "−")
    p = difference.p
    if p is None:
        # Every seed differs by the same amount, which leaves nothing to test but whether it is zero.
        met, said = difference.mean == 0, f"{interval}, the same for every seed"
    else:
        met, said = p >= LEVEL, f"{interval}, p = {p:.2g}"
    return _row("T19", statement, said, p, LEVEL, met)


def _at_most(
    theorem: str, statement: str, pairs: list[tuple[float, float]], said: str, *, slack: float = 0.0
) -> Prediction | None:
    """`slack` is relative, for the rounding of what is attained exactly."""
    if not pairs:
        return None
    value, limit = max(pairs, key=lambda pair: _share(pair, math.inf))
    return _row(
        theorem, statement, said.format(value=value, limit=limit), value, limit, value <= limit * (1 + slack)
    )


def _at_least(theorem: str, statement: str, pairs: list[tuple[float, float]], said: str) -> Prediction | None:
    if not pairs:
        return None
    value, limit = min(pairs, key=lambda pair: _share(pair, -math.inf))
    return _row(theorem, statement, said.format(value=value, limit=limit), value, limit, value > limit)


def _share(pair: tuple[float, float], undefined: float) -> float:
    """Value over limit; NaN counts as `undefined`, so that it is the one taken, and no comparison holds for it."""
    share = pair[0] / pair[1]
    return undefined if math.isnan(share) else share


def _row(
    theorem: str, statement: str, measured: str, value: float | None, limit: float, met: bool
) -> Prediction:
    outcome: Outcome = "as predicted" if met else "not as predicted"
    return Prediction(theorem, statement, measured, value, limit, outcome)


def _cells(models: Models, name: str) -> list[MeasuredCell]:
    tests = models[name].tests.values() if name in models else ()
    return [cell for run in tests for cell in run.measured or ()]


def _movable(models: Models, name: str) -> list[MeasuredCell]:
    return [cell for cell in _cells(models, name) if cell.start_from_one > _MOVABLE]


def _label(models: Models, name: str) -> str:
    return models[name].label if name in models else name
