"""OSDN, DeltaNet and exact online Newton on one stream, token by token: what T6 bounds, and what it does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.jsonable import jsonable
from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, require
from osdn_theory.measures.least_squares import checkpoints, recursive_least_squares
from osdn_theory.objective import context_minimizer
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.recurrence.solve import delta_net, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream

Recurrence = Literal["osdn", "osdn_bounded", "delta_net", "newton"]
RECURRENCES: tuple[Recurrence, ...] = get_args(Recurrence)

LABELS: Mapping[str, str] = {
    "osdn": "OSDN, η = 1/M",
    "osdn_bounded": "OSDN, bounded",
    "delta_net": "DeltaNet",
    "newton": "exact online Newton",
}
"""What each recurrence is called in a legend."""


@show_briefly
@dataclass(frozen=True, eq=False)
class TokenCurves:
    """Curves of one stream under several recurrences, float64, base-10 logarithms; N heads or seeds.

    - `log10_product`, mapping from recurrence to (N, T): log10 of q_1 ... q_t, the token losses after their writes
      over those before (T3); minus infinity from the first token on whose residual a write removes exactly.
    - `log10_suboptimality`, mapping from recurrence to (N, T): log10 of (F(S_t) - F*) / (F(0) - F*), F the loss of
      the whole stream. No bound of ours speaks of it.
    - `log10_bound`, mapping from "osdn" and "osdn_bounded" to (N, T): t log10(C / t), the right side of T6 after t
      tokens; NaN where T6 does not apply.
    - `constants`, mapping from the same to (N,): C of T5. The bound says nothing until t > C.
    - `eta`, mapping from the same to (N,): The step.
    """

    stream: Stream
    log10_product: Mapping[str, Array]
    log10_suboptimality: Mapping[str, Array]
    log10_bound: Mapping[str, Array]
    constants: Mapping[str, Array]
    eta: Mapping[str, Array]

    def as_dict(self) -> dict[str, Any]:
        """Lowest, median and highest of every curve at some tokens, JSON-ready; infinities and NaN as strings."""
        tokens = checkpoints(self.stream.length)
        at = [token - 1 for token in tokens]
        document: dict[str, Any] = jsonable(
            {
                "stream": self.stream.name,
                "key_dim": self.stream.key_dim,
                "count": int(np.prod(self.stream.lead, dtype=int)),
                "tokens": tokens,
                "log10_product": curve_ranges(self.log10_product, at),
                "log10_suboptimality": curve_ranges(self.log10_suboptimality, at),
                "log10_bound": curve_ranges(self.log10_bound, at),
                "constants": self.constants,
                "eta": self.eta,
            }
        )
        return document


def token_curves(stream: Stream, *, ridge: float = 1e-6) -> TokenCurves:
    """OSDN at two steps, DeltaNet and exact online Newton on one stream, token by token (T3, T5, T6).

    ``"osdn"`` has the step 1/M, M = max |s_t|^2 over the tokens of a head, at which C of T5 is least;
    ``"osdn_bounded"`` that of `bounded`. Both start from the d_1 of the stream, or ones, in the box
    [2/3, 3/2]. ``"delta_net"`` has d = 1 throughout. ``"newton"`` is the ridge least-squares solution of every prefix.

    - `stream`: With at least one token, beta = 1 and a key that is not zero; its comparator is the u of T5.
    - `ridge`, float > 0: Of the least-squares solutions.

    N counts the leading axes in row-major order.

    Raises ValueError: for an empty stream, one whose keys are all zero, or write gates other than 1.
    """
    require(stream.length > 0, f"stream: {stream.name!r} has no tokens")
    require(bool(np.all(stream.beta == 1)), f"stream: expected beta = 1, the gate of T6, in {stream.name!r}")
    largest = np.sum(np.square(stream.squared_keys), axis=-1).max(axis=-1).reshape(-1)
    require(bool(np.all(largest > 0)), f"stream: all keys of {stream.name!r} are zero")
    heads = [stream.at(index) for index in np.ndindex(*stream.lead)]
    steps = {"osdn": 1.0 / largest, "osdn_bounded": np.full(largest.shape, BOUNDED.eta)}
    rows = [
        _head_curves(head, {name: float(step[n]) for name, step in steps.items()}, ridge)
        for n, head in enumerate(heads)
    ]
    products, losses, constants = (_stacked([row[part] for row in rows]) for part in range(3))
    return TokenCurves(
        stream=stream,
        log10_product=products,
        log10_suboptimality=losses,
        log10_bound={name: _log10_bound(constant, stream.length) for name, constant in constants.items()},
        constants=constants,
        eta=steps,
    )


def curve_ranges(curves: Mapping[str, Array], at: Sequence[int]) -> dict[str, Any]:
    """Lowest, median and highest over the leading axis of curves (N, P) at some points, (len(at), 3) each."""
    return {
        name: np.quantile(y[:, list(at)], (0, 0.5, 1), axis=0, method="nearest").T
        for name, y in curves.items()
    }


def interpolating_constant(run: Trajectory) -> float:
    r"""C of T5 for a run without leading axes; NaN where its hypotheses fail, all checked in float64.

    .. math:: C = \|d_1 - u\|^2 / (\eta (2 - \eta M))
    """
    rule, stream, u = run.rule, run.stream, run.stream.comparator
    if rule is None or u is None or u.ndim != 1:
        return np.nan
    margin = 2.0 - rule.eta * float(np.max(np.sum(np.square(stream.squared_keys), axis=-1)))
    meets = (
        rule.eta > 0
        and margin > 0
        and not (rule.normalize_feedback or rule.beta_aware)
        and np.ndim(rule.forgetting) == 0
        and rule.forgetting == 1.0
        and bool(np.all(stream.squared_keys @ u == 1.0))
        and bool(np.all((u >= rule.d_min) & (u <= rule.d_max)))
    )
    return float(np.sum(np.square(run.initial_preconditioner - u)) / (rule.eta * margin)) if meets else np.nan


def _head_curves(
    stream: Stream, steps: Mapping[str, float], ridge: float
) -> tuple[dict[str, Array], dict[str, Array], dict[str, float]]:
    learned = {
        name: osdn(stream, CalibrationRule(eta=eta), return_states=True) for name, eta in steps.items()
    }
    runs = {**learned, "delta_net": delta_net(stream, initial_preconditioner=1.0, return_states=True)}
    newton = recursive_least_squares(stream, ridge=ridge, return_states=True).states
    ratios = {name: run.residual_ratio for name, run in runs.items()} | {"newton": _ratios(stream, newton)}
    states = {name: np.asarray(run.states) for name, run in runs.items()} | {"newton": newton}
    return (
        {name: _log10_product(ratio) for name, ratio in ratios.items()},
        _log10_suboptimality(stream, states),
        {name: interpolating_constant(run) for name, run in learned.items()},
    )


def _log10_bound(constant: Array, length: int) -> Array:
    tokens = np.arange(1.0, length + 1)
    with np.errstate(divide="ignore"):  # from d_1 = u, C is 0
        bound: Array = tokens * np.log10(constant[:, None] / tokens)
    return bound


def _ratios(stream: Stream, states: Array) -> Array:
    """Token losses under S_t over those under S_{t-1}, (T,), from S_0 = 0."""
    before = np.concatenate([np.zeros_like(states[:1]), states[:-1]])
    after, start = (_token_losses(stream, each) for each in (states, before))
    ratio: Array = np.divide(after, start, out=np.full(after.shape, np.nan), where=start > 0)
    return ratio


def _token_losses(stream: Stream, states: Array) -> Array:
    missing = stream.values - np.einsum("tvk,tk->tv", states, stream.keys)
    total: Array = np.sum(np.square(missing), axis=-1)
    return total


def _log10_product(ratio: Array) -> Array:
    # A token without a residual has nothing to remove: it leaves the product as it is.
    with np.errstate(divide="ignore"):
        product: Array = np.cumsum(np.log10(np.where(np.isnan(ratio), 1.0, ratio)))
    return product


def _log10_suboptimality(stream: Stream, states: Mapping[str, Array]) -> dict[str, Array]:
    # F(S) - F* = |(S - S*) R^T|^2 / 2 with G = R^T R, without subtracting the losses.
    root = np.linalg.qr(stream.keys, mode="r")
    best = context_minimizer(stream.keys, stream.values)
    start = np.sum(np.square(best @ transpose(root)))
    with np.errstate(divide="ignore"):
        return {
            name: np.log10(np.sum(np.square((each - best) @ transpose(root)), axis=(-2, -1)) / start)
            for name, each in states.items()
        }


def _stacked(rows: list[Any]) -> dict[str, Any]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
