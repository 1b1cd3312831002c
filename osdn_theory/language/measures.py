"""What the layers of a trained model did on passages, by the exact recurrence (T3, T13, T20, T21, T26, T27)."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from osdn_theory.base.documents import read_typed
from osdn_theory.base.threads import single_threaded_blas
from osdn_theory.bounds.checking import check_bounds
from osdn_theory.language.runs import ACTIVATIONS, LONG, LanguageResult, MeasuredValue, write_layer_values
from osdn_theory.measures.beside_delta_net import difference_from_delta_net
from osdn_theory.recall.measures import exact_run, layer_measures
from osdn_theory.recall.observations import title
from osdn_theory.recall.runs import RESULT
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams.activations import load_activations
from osdn_theory.streams.stream import Stream

Q = title("token_residual_ratio")
"""The authors' measure: the passage is read twice."""

SHARED = (
    "token_residual_ratio", "missing_share", "d_low", "d_high", "drift_from_one", "drift_from_start",
    "clipped_fraction",
)  # fmt: skip
TITLES = {name: title(name) for name in SHARED} | {
    "calibration_tokens": "tokens to calibrate",
    "newton_distance": "distance from Newton",
}
"""Of the measures of :func:`osdn_theory.recall.measures.layer_measures`, those that are kept, and their names here."""

CHECKED = ("T20", "T21", "T26")
CHECKED_TOKENS = 128
"""First tokens that bounds are checked on: a second and a half for four heads of 64."""


def measure_layers(folder: Path) -> None:
    """Measure a finished test run: ``measures.json`` from ``result.json`` and its activations.

    Raises FileNotFoundError: no result or no activations.
    Raises ValueError: a file that is damaged, named.
    Raises OSError: if the measures cannot be written; nothing is left half written.
    """
    rule = CalibrationRule(**read_typed(folder / RESULT, LanguageResult).rule)
    passages = ((_measure, ACTIVATIONS), (measure_length, LONG))
    with single_threaded_blas():
        values = [
            found
            for measure, file in passages
            for stream in load_activations(folder / file)
            for found in measure(stream, rule)
        ]
    ratios = [found.value for found in values if found.measure == Q]
    mean = MeasuredValue(Q, "all layers", float(np.exp(np.mean(np.log(ratios)))))
    write_layer_values(folder, (mean, *values))


def _measure(stream: Stream, rule: CalibrationRule) -> Iterator[MeasuredValue]:
    place = str(stream.metadata["layer"])
    found = layer_measures(stream, rule, stream.length)
    yield from (MeasuredValue(named, place, float(found[name])) for name, named in TITLES.items())
    for way, value in found["replaced"].items():
        yield MeasuredValue(f"{Q}, d replaced: {way}", place, value)
    for part in ("head", "position"):
        for number, value in enumerate(found[f"by_{part}"]):
            yield MeasuredValue(f"{Q} by {part}", f"{place}, {part} {number}", value)
    if stream.state_gate is None:
        apart, limit = difference_from_delta_net(exact_run(stream, rule))
        yield MeasuredValue("distance from DeltaNet", place, float(np.mean(apart)))
        yield MeasuredValue("distance from DeltaNet, T26's bound", place, float(np.mean(limit)))
    yield from check_layer(stream, rule, place)


def measure_length(stream: Stream, rule: CalibrationRule) -> Iterator[MeasuredValue]:
    """What may explain loss that grows beyond the training context, on a document of four times its length.

    The mean of a_t in the last quarter: forgetting towards 0 would bring it down (T13). And by what factor, in log10,
    the norm of the state has grown since the first quarter's end, the most of all heads: nothing forbids it (T27).
    """
    quarter, place = stream.length // 4, str(stream.metadata["layer"])
    alignment, growth = np.nan, np.inf
    with suppress(FloatingPointError):  # the state has left float64
        run, before = exact_run(stream, rule), exact_run(stream.tokens(0, quarter), rule)
        sizes = [np.linalg.norm(each.final_state, axis=(-2, -1)) for each in (run, before)]
        alignment = float(np.mean(run.alignment[..., -quarter:]))
        growth = float(np.log10(sizes[0] / sizes[1]).max())
    yield MeasuredValue("alignment far out", place, alignment)
    yield MeasuredValue("growth of the state", place, growth)


def check_layer(stream: Stream, rule: CalibrationRule, place: str) -> Iterator[MeasuredValue]:
    """Of every bound of T20, T21 and T26 the shares of heads to which it applies, and where it says nothing new.

    And the median of its slack log10(rhs / lhs), where it does say something.
    """
    first = stream.tokens(0, min(stream.length, CHECKED_TOKENS))
    checks = check_bounds(exact_run(first, rule), CHECKED)
    broken = [check for check in checks if check.outcome == "violated"]
    if broken:
        raise ArithmeticError(f"{stream.name}: {broken[0].theorem} ({broken[0].title}) is violated")
    for key in dict.fromkeys(check.key for check in checks):
        own = [check for check in checks if check.key == key]
        name = f"{own[0].theorem}, {own[0].title}"
        outcomes = [check.outcome for check in own]
        yield MeasuredValue(f"{name}: applies", place, 1 - outcomes.count("not applicable") / len(own))
        yield MeasuredValue(f"{name}: vacuous", place, outcomes.count("holds, vacuously") / len(own))
        slack = [check.log10_slack for check in own if check.log10_slack is not None]
        if slack:
            yield MeasuredValue(f"{name}: slack", place, float(np.median(slack)))
