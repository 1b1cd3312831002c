"""What the layers of a trained model did on test sequences, by the exact recurrence in float64 (T3, T15, T17, T19)."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory.base.documents import read_typed
from osdn_theory.base.folders import write_atomically
from osdn_theory.base.jsonable import to_json
from osdn_theory.base.layouts import exchange_time_and_heads
from osdn_theory.base.tensor_files import TensorFile, open_tensors
from osdn_theory.base.threads import single_threaded_blas
from osdn_theory.base.validation import Array, as_float64, require
from osdn_theory.measures.analysis import (
    geometric_mean_ratio,
    root_mean_square,
    trajectory_measures,
    visited_preconditioners,
)
from osdn_theory.measures.calibration_times import calibration_times
from osdn_theory.measures.least_squares import recursive_least_squares
from osdn_theory.measures.read_twice import ratios_by_position, replaced_ratios
from osdn_theory.recall.runs import MEASURES, RESULT, MeasuredCell, Measures, TrainingResult
from osdn_theory.recurrence.calibrate import calibration_scan
from osdn_theory.recurrence.rules import SETTINGS, CalibrationRule
from osdn_theory.recurrence.solve import solver_of
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.activations import load_activations
from osdn_theory.streams.stream import Stream

IDENTITY_STEPS = tuple(rule.eta for rule in SETTINGS.values())
"""Hypergradient steps at which d_1 = 1 must stay where it is (T15)."""

NORM_EPSILON = 1e-6
"""What the trained layers add to the squared norm of queries and keys before they divide by its root."""

_NAME = re.compile(r"(?P<statistic>.+)-r(?P<repeats>\d+)-p(?P<pairs>\d+)")


def measure_run(folder: Path) -> None:
    """Measure a finished training run: ``measures.json`` from ``result.json`` and ``activations/``.

    One entry per file and layer. Measures are over the context, on queries and keys of norm 1, as in
    :func:`osdn_theory.measures.analysis.analyze`: ratios by their geometric mean over tokens, heads and sequences;
    `d_low`, `d_high` and `calibration_tokens` (the least) are extremes over them; drifts are root mean
    squares; the rest are means. `output_error` is over all tokens, the layer's own normalisation included.

    Raises FileNotFoundError: no result, or a test run without activations.
    Raises ValueError: a file that is damaged or does not fit the others, named.
    Raises OSError: if the measures cannot be written; nothing is left half written.
    """
    result = read_typed(folder / RESULT, TrainingResult)
    rule = _rule(folder / RESULT, result)
    files = sorted((folder / "activations").glob("*.safetensors"))
    if result.role == "test" and not files:
        raise FileNotFoundError(f"{folder / 'activations'}: no activations of a test run")
    with single_threaded_blas():
        cells = tuple(cell for path in files for cell in _measure_file(path, rule, result))
    write_atomically(folder / MEASURES, to_json(Measures(cells)).encode())


def _rule(file: Path, result: TrainingResult) -> CalibrationRule:
    try:
        return CalibrationRule(**result.rule)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: rule: {error}") from None


def _measure_file(path: Path, rule: CalibrationRule, result: TrainingResult) -> Iterator[MeasuredCell]:
    name = _NAME.fullmatch(path.stem)
    if name is None:
        raise ValueError(f"{path}: expected a name such as isotropic-r1-p16.safetensors")
    repeats, pairs = int(name["repeats"]), int(name["pairs"])
    context = result.context.get(f"{repeats}-{pairs}")
    if context is None:
        raise ValueError(f"{path.parents[1] / RESULT}: context.{repeats}-{pairs}: is missing")
    file = open_tensors(path)
    unit, raw = load_activations(path), load_activations(path, l2_normalize=False)
    for plain, given in zip(unit, raw, strict=True):
        layer = int(str(plain.metadata["layer"]).removeprefix("layer"))
        require(
            0 < context <= plain.length,
            f"{path}: expected at least the {context} tokens of the context, got {plain.length}",
        )
        gate = _state_gate(file, layer, plain) if result.gated_state else None
        stream, inputs = replace(plain, state_gate=gate), replace(given, state_gate=gate)
        outputs = _tensor(file, f"layer{layer}.o", stream.values.shape)
        yield MeasuredCell(
            name["statistic"],
            repeats,
            pairs,
            layer,
            **layer_measures(stream, rule, context),
            output_error=output_error(inputs, rule, outputs),
        )


def layer_measures(stream: Stream, rule: CalibrationRule, context: int) -> dict[str, Any]:
    """Measures of one layer on the first `context` tokens; a stream with a state gate decays its state.

    Drifts are root mean squares over tokens, coordinates, heads and sequences; `start_from_one` is that of d_1.
    """
    written = stream.tokens(0, context)
    run = exact_run(written, rule)
    newton = recursive_least_squares(written).final_state
    heads, ratios = trajectory_measures(run, newton), replaced_ratios(run)
    own = ratios["own"]
    visited, start = visited_preconditioners(run), run.initial_preconditioner
    return {
        "context": context,
        "tokens": stream.length,
        "key_dim": stream.key_dim,
        "token_residual_ratio": _geometric_mean(own),
        "replaced": {name: _geometric_mean(each) for name, each in ratios.items() if name != "own"},
        "by_head": tuple(_geometric_mean(own[..., head, :]) for head in range(own.shape[-2])),
        "by_position": tuple(map(float, ratios_by_position(own))),
        "missing_share": _geometric_mean(heads["missing_share"]),
        "d_low": heads["preconditioner_min"].min(),
        "d_high": heads["preconditioner_max"].max(),
        "start_from_one": root_mean_square(start - 1.0),
        "drift_from_one": root_mean_square(heads["drift_rms"]),
        "drift_from_start": root_mean_square(visited - start[..., None, :]),
        "clipped_fraction": heads["clipped_fraction"].mean(),
        "mean_alignment": heads["mean_alignment"].mean(),
        "newton_distance": heads["newton_distance"].mean(),
        "calibration_tokens": calibration_times(written, rule).times.min(),
        "identity_drift": {f"{eta:g}": identity_drift(stream.keys, eta) for eta in IDENTITY_STEPS},
    }


def exact_run(stream: Stream, rule: CalibrationRule, *, scale: float = 1.0) -> Trajectory:
    """The trajectory of a stream under a model's rule, with whatever gates its memory has."""
    return solver_of(stream)(stream, rule, scale=scale, method="chunk")


def output_error(inputs: Stream, rule: CalibrationRule, outputs: Array) -> float:
    r"""Relative distance of a layer's outputs from the exact trajectory of its inputs.

    .. math:: \|o - o^{\mathrm{exact}}\|_F / \|o^{\mathrm{exact}}\|_F, \qquad
              o^{\mathrm{exact}}_t = S_t q_t / \sqrt K

    - `inputs`: Queries and keys (..., T, K) before normalisation; they are divided by sqrt(|x|^2 + 1e-6).
    - `outputs` (..., T, V)
    """
    assert inputs.queries is not None
    normal = replace(inputs, keys=_normalised(inputs.keys), queries=_normalised(inputs.queries))
    exact = exact_run(normal, rule, scale=normal.key_dim**-0.5).outputs
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.linalg.norm(outputs - exact) / np.linalg.norm(exact))


def identity_drift(keys: Array, eta: float) -> float:
    """Largest |d_t - 1| from d_1 = 1 on keys (..., T, K) without forgetting and without a box (T15)."""
    rule = CalibrationRule(eta=eta, d_min=-np.inf, d_max=np.inf)
    path, last = calibration_scan(keys, rule)
    return float(max(np.abs(path - 1.0).max(), np.abs(last - 1.0).max()))


def _normalised(x: Array) -> Array:
    return np.asarray(x / np.sqrt(np.vecdot(x, x) + NORM_EPSILON)[..., None])


def _geometric_mean(ratios: Array) -> float:
    return float(geometric_mean_ratio(np.ravel(ratios))[1])


def _state_gate(file: TensorFile, layer: int, stream: Stream) -> Array:
    batch, heads, length = stream.keys.shape[:-1]
    name = f"layer{layer}.log_decay"
    log_decay = _tensor(file, name, (batch, heads, length))
    require(bool(np.all(log_decay <= 0)), f"{file.path}: {name}: expected log gates <= 0")
    return np.exp(log_decay)


def _tensor(file: TensorFile, name: str, shape: tuple[int, ...]) -> Array:
    """A tensor [B, T, H, ...] of a file in the layout of streams, whose `shape` it must have."""
    require(
        name in file.names, f"{file.path}: {name} is missing; the file has {', '.join(sorted(file.names))}"
    )
    array = as_float64(f"{file.path}: {name}", file.read(name), min_ndim=3)
    moved = exchange_time_and_heads(array)
    require(
        moved.shape == shape,
        f"{file.path}: {name}: expected {len(shape)} axes (B, H, T, ...) = {shape} with T and H exchanged, "
        f"got shape {array.shape}",
    )
    return moved
