"""The figures and tables of the verification report, each with a caption that states its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from osdn_theory import plotting
from osdn_theory.base.validation import Array
from osdn_theory.bounds import check_bounds
from osdn_theory.context.convergence import LABELS, convergence_rates
from osdn_theory.measures.calibration_times import CalibrationTimes, calibration_times
from osdn_theory.measures.sweep_counts import count_sweeps
from osdn_theory.recurrence.calibrate import calibration_scan
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, SETTINGS, CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.report.exhibit import Exhibit, make_exhibit
from osdn_theory.report.memory_gallery import memory_exhibits
from osdn_theory.streams.activations import KeyDtype, activation_layers, load_activations
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import interpolating, isotropic
from osdn_theory.verification.digest import format_slack
from osdn_theory.verification.suite import activation_entries, half_step, suite
from osdn_theory.verification.tightness import TIGHTENABLE, tighten

if TYPE_CHECKING:
    from osdn_theory.verification.run import Verification

PRECISIONS: tuple[KeyDtype, ...] = ("bfloat16", "float32", "float64")
EXACT = "exactly normalised"
HISTORIC_BFLOAT16 = "bfloat16, η = 1"


def exhibits(verification: Verification, *, seed: int = 0, file: Path | None = None) -> list[Exhibit]:
    """Everything the report shows beside its verdicts, in reading order; of a part, what is about its streams.

    - `verification`: With at least one check.
    - `seed`: Of the illustrations; the streams of the calibration table are those of `verification`.
    - `file`: The activations that `verification` was given.
    """
    own = [slack_exhibit(verification), calibration_exhibit(verification, file)]
    if not verification.selection.complete:
        return own
    return [
        *own,
        tightness_exhibit(seed),
        fixed_point_exhibit(seed),
        *interpolating_exhibits(seed),
        convergence_exhibit(seed),
        forgetting_exhibit(seed),
        *memory_exhibits(seed),
        sweeps_exhibit(seed),
    ]


def slack_exhibit(verification: Verification) -> Exhibit:
    """How much room each bound leaves."""
    figure, _ = plotting.slack_per_bound(verification.checks)
    return make_exhibit("slack", {}, figure)


def tightness_exhibit(seed: int, *, restarts: int = 2, evaluations: int = 200) -> Exhibit:
    """The smallest slack that a short search finds for each inequality."""
    rng = np.random.default_rng(seed)
    found = [
        result
        for theorem in TIGHTENABLE
        for result in tighten(theorem, rng, restarts=restarts, evaluations=evaluations)
    ]
    attained = sum(result.attained for result in found)
    return make_exhibit(
        "tightness",
        {"starts": restarts + 1, "attained": attained, "found": len(found)},
        header=("bound", "smallest slack", "attained", "what is known"),
        rows=[
            (
                f"{result.theorem} {result.title}",
                f"{result.slack:.8g}",
                "yes" if result.attained else "no",
                result.note,
            )
            for result in found
        ],
        data={"results": found},
    )


def fixed_point_exhibit(seed: int) -> Exhibit:
    """T15: with exactly normalised keys OSDN is DeltaNet; with rounded ones it is not."""
    layer = activation_layers()[0]
    drifts: dict[str, Array] = {}
    for precision in PRECISIONS:
        (stream,) = load_activations(layers=[layer], normalize_dtype=precision)
        drifts[precision] = identity_drift(stream, BOUNDED)
        if precision == "bfloat16":
            drifts[HISTORIC_BFLOAT16] = identity_drift(stream, HISTORIC)
    exact = isotropic(
        np.random.default_rng(seed), lead=stream.lead, length=stream.length, key_dim=stream.key_dim
    )
    drifts[EXACT] = identity_drift(exact, BOUNDED)
    figure, _ = plotting.identity_fixed_point(drifts)
    largest = {label: float(drift.max()) for label, drift in drifts.items()}
    numbers: dict[str, float] = {
        **{name: largest[name] for name in PRECISIONS},
        "exact": largest[EXACT],
        "historic_bfloat16": largest[HISTORIC_BFLOAT16],
        "bounded": BOUNDED.eta,
        "historic": HISTORIC.eta,
    }
    told = {"layer": layer, "length": exact.length}
    data = {"largest_drift": largest, **told}
    return make_exhibit("identity-fixed-point", {**numbers, **told}, figure, data=data)


def identity_drift(stream: Stream, rule: CalibrationRule) -> Array:
    """max over heads and features of |d_t - 1| from d_1 = 1, (T,) (T15)."""
    d, _ = calibration_scan(stream.keys, rule)
    drift: Array = np.abs(d - 1).max(axis=(*range(len(stream.lead)), -1))
    return drift


def calibration_exhibit(verification: Verification, file: Path | None) -> Exhibit:
    """T19: time constants of both settings on every stream, beside its length."""
    columns = ("fastest", "slowest", "calibrated directions")
    header = ("stream", "tokens", "K", *(f"{column}, {name}" for name in SETTINGS for column in columns))
    rows: list[tuple[str, ...]] = []
    data = {}
    for stream in _streams(verification, file):
        found = {name: _summed_up(calibration_times(stream, rule)) for name, rule in SETTINGS.items()}
        cells = (format_slack(value) for of in found.values() for value in of.values())
        rows.append((stream.name, f"{stream.length}", f"{stream.key_dim}", *cells))
        data[stream.name] = {"length": stream.length, **found}
    settings = " and ".join(f"{name} (eta = {rule.eta:g})" for name, rule in SETTINGS.items())
    return make_exhibit("calibration-times", {"settings": settings}, header=header, rows=rows, data=data)


def _summed_up(times: CalibrationTimes) -> dict[str, float]:
    return {
        "fastest": float(times.times.min()),
        "slowest": float(times.times.max()),
        "calibrated_directions": float(np.mean(times.calibrated_directions)),
    }


def _streams(verification: Verification, file: Path | None) -> Iterator[Stream]:
    # The names of repeated draws end in " #2"; one draw of each tells the time constants.
    names = list(dict.fromkeys(name.split(" #")[0] for name in verification.streams))
    entries = list(suite(names, verification.seed, 1))
    if file is not None:
        entries.extend(activation_entries(file))
    for entry in entries:
        yield entry.build(np.random.default_rng(0))


def interpolating_exhibits(seed: int) -> Sequence[Exhibit]:
    """T5 and the preconditioner itself on one interpolating stream."""
    stream = interpolating(np.random.default_rng(seed), length=400, key_dim=16)
    rule = CalibrationRule(eta=half_step(stream))
    run = osdn(stream, rule)
    (check,) = check_bounds(run, ["T5"], rule_label="half step")
    assert check.lhs is not None, check.reason
    assert check.rhs is not None, check.reason
    setting = f"{stream.length} tokens, K = {stream.key_dim}, eta = {rule.eta:g}, the box [2/3, 3/2]"
    heat, _ = plotting.preconditioner_heatmap(run)
    regret, _ = plotting.regret(run, check.rhs)
    data = {"lhs": check.lhs, "rhs": check.rhs, "eta": rule.eta, "outcome": check.outcome}
    return [
        make_exhibit("preconditioner", {"setting": setting}, heat),
        make_exhibit("regret", data, regret, data=data),
    ]


def convergence_exhibit(seed: int) -> Exhibit:
    """T10: rates on a whole context, with the stretch where the bound is vacuous."""
    data = convergence_rates(np.random.default_rng(seed), condition=6.0, key_dim=8, steps=300)
    figure, _ = plotting.convergence_rates(data, labels=LABELS, title="K = 8, condition number 6")
    until = "in all of these steps" if data.vacuous_until is None else f"until step {data.vacuous_until}"
    spoken = " and ".join(LABELS[rule] for rule in data.bound_rules)
    return make_exhibit("convergence", {"spoken": spoken, "until": until}, figure, data=data.as_dict())


def forgetting_exhibit(seed: int) -> Exhibit:
    """T13: half-life and bias, with points measured on isotropic keys."""
    gammas, key_dim, eta = np.array([0.9, 0.99, 0.999]), 32, 0.05
    measured = measured_alignment(np.random.default_rng(seed), gammas, key_dim=key_dim, eta=eta)
    label = "measured, anchor 0"
    figure, _ = plotting.forgetting(eta=eta, key_dim=key_dim, measured={label: (gammas, measured)})
    points = ", ".join(f"{value:.3g} at {gamma:g}" for gamma, value in zip(gammas, measured, strict=True))
    setting = {"eta": eta, "key_dim": key_dim}
    data = {"gamma": gammas, "mean_alignment": measured, **setting}
    return make_exhibit("forgetting", {**setting, "points": points}, figure, data=data)


def sweeps_exhibit(seed: int, *, length: int = 256, key_dim: int = 32, most: int = 30) -> Exhibit:
    """T29: how many sweeps over all tokens at once give the scan."""
    etas = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    counts = count_sweeps(
        np.random.default_rng(seed), length=length, key_dim=key_dim, etas=etas, boxes=("bounded",), most=most
    )
    figure, _ = plotting.sweep_counts(
        counts, most=most, title=f"{length} tokens, K = {key_dim}, box [2/3, 3/2]"
    )
    slowest = [count.sweeps for count in counts if count.eta == BOUNDED.eta]
    unsettled = sum(count.sweeps is None for count in counts)
    settled = [count for count in slowest if count is not None]
    numbers = {
        "length": length, "key_dim": key_dim, "fewest": min(settled), "most": max(settled), "unsettled": unsettled,
        "found": len(counts), "limit": most,
    }  # fmt: skip
    return make_exhibit("sweeps", numbers, figure, data={"counts": counts, "most": most})


def measured_alignment(rng: np.random.Generator, gammas: Array, *, key_dim: int, eta: float) -> Array:
    """Mean alignment over the second half of a long isotropic stream with forgetting towards 0, one per gamma (T13)."""
    length = int(np.ceil(20 / (1 - gammas.max() + eta / key_dim)))
    stream = isotropic(rng, lead=(1,), length=length, key_dim=key_dim)
    keys = np.broadcast_to(stream.keys, (gammas.size, length, key_dim))
    rule = CalibrationRule(eta=eta, d_min=-np.inf, d_max=np.inf, forgetting=gammas)
    d, _ = calibration_scan(keys, rule)
    alignment: Array = np.sum(d * keys * keys, axis=-1)[:, length // 2 :].mean(axis=-1)
    return alignment
