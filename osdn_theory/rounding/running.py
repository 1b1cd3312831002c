"""Running forward-error bounds on d_t, S_t and o_t along the exact trajectory (T18)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osdn_theory._threads import single_threaded_blas
from osdn_theory._validation import Array, require
from osdn_theory.recurrence import osdn
from osdn_theory.rounding.calibrated import Calibrated
from osdn_theory.rounding.calibration import calibrated
from osdn_theory.rounding.formats import FLOAT32, round_to
from osdn_theory.rounding.inputs import rounded_rule, rounded_stream
from osdn_theory.rounding.lemmas import SAFETY, UNIT, sum_error
from osdn_theory.rounding.memory import Written, written
from osdn_theory.rounding.models import CHUNK_FP32, KernelModel
from osdn_theory.rounding.setup import Setup
from osdn_theory.rules import PUBLISHED, CalibrationRule
from osdn_theory.streams import Stream
from osdn_theory.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class ErrorBounds:
    """How far a kernel that works as `model` says may be from the exact trajectory on the inputs it reads.

    Attributes
    ----------
    model : KernelModel
    chunk_size : int
    stream : Stream
        The inputs as the kernel reads them (`rounded_stream`).
    rule : CalibrationRule
        The rule whose trajectory `trajectory` is.
    trajectory : Trajectory
        Exact (float64) on `stream`.
    preconditioner : (..., T, K)
        |d_t - exact|, componentwise, d_t as token t's write key uses it.
    preconditioner_norm : (..., T)
        Its Euclidean norm; never above that of the componentwise bound, and often far below.
    final_preconditioner : (..., K)
    final_preconditioner_norm : (...)
    alignment : (..., T)
        |a_t - exact|, for a_t = <d_t, k_t^2> computed in float32 from the kernel's own d_t.
    write_keys : (..., T, K)
        |k~_t - d_t k_t| as stored.
    state : (..., T)
        ||S_t - exact||_F after token t's write; inside a chunk, for the state that the write values so far make.
    final_state : (...)
        The same for the state handed on.
    outputs : (..., T, V)
        |o_t - exact|, componentwise.
    outputs_norm : (..., T)
        ||o_t - exact||_2; never above that of the componentwise bound.
    recall : (..., T)
        ||(S_T - exact) k_t||_2: what the final state's error adds to the residual of pair t.
    """

    model: KernelModel
    chunk_size: int
    stream: Stream
    rule: CalibrationRule
    trajectory: Trajectory
    preconditioner: Array
    preconditioner_norm: Array
    final_preconditioner: Array
    final_preconditioner_norm: Array
    alignment: Array
    write_keys: Array
    state: Array
    final_state: Array
    outputs: Array
    outputs_norm: Array
    recall: Array


def error_bounds(
    stream: Stream,
    rule: CalibrationRule = PUBLISHED,
    model: KernelModel = CHUNK_FP32,
    *,
    chunk_size: int = 64,
    scale: float = 1.0,
    initial_state: Array | None = None,
    initial_preconditioner: Array | float | None = None,
) -> ErrorBounds:
    r"""Running forward-error bounds of a kernel on a stream.

    Local errors follow the standard model fl(x o y) = (x o y)(1 + delta), with the magnitudes that the kernel meets
    (`lemmas`, `enclosed`), and are carried through the exact transitions of the trajectory (`error_set`): for d
    in `calibration`, for the memory in `memory`. Nothing is linearised; sums may be taken in any order, but for the
    matrix products of an ``ordered`` model (`ordered`).

    Parameters
    ----------
    stream : Stream
        Rounded to the kernel's input formats first: see ``ErrorBounds.stream``.
    rule : CalibrationRule
    model : KernelModel
    chunk_size : int >= 1
        Tokens per chunk; read in the chunk order only.
    scale : float
        Factor of the read.
    initial_state : (..., V, K), optional
        S_0, rounded to float32; default zero.
    initial_preconditioner : (..., K) or scalar, optional
        d_1, rounded to float32; default the stream's own, else ones.

    Returns
    -------
    ErrorBounds

    Raises
    ------
    TypeError, ValueError
        As `osdn`; a beta-aware rule, which no kernel here computes; inputs that overflow the model's format.

    Notes
    -----
    Bounds may be infinite: where storage is coarse and the stream long, errors may feed on themselves until float64
    overflows. Time grows as T (K^3 + K V) for every leading entry.
    """
    require(not rule.beta_aware, "rule: expected beta_aware=False, which kernels compute")
    require(chunk_size >= 1, f"chunk_size: expected >= 1, got {chunk_size}")
    given = rounded_stream(stream, model, rule)
    start = initial_preconditioner
    run = osdn(
        given,
        rounded_rule(rule),
        scale=scale,
        initial_state=None if initial_state is None else round_to(initial_state, FLOAT32),
        initial_preconditioner=None if start is None else round_to(start, FLOAT32),
    )
    setup = Setup.of(run, rounded_rule(rule), model, chunk_size)
    # A bound that overflows is infinite, which is what it then says.
    with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):
        moved = calibrated(setup)
        memory = written(setup, moved)
        return _bounds(setup, run, chunk_size, moved, memory)


def _bounds(
    setup: Setup, run: Trajectory, chunk_size: int, moved: Calibrated, memory: Written
) -> ErrorBounds:
    lead = run.stream.lead

    def shaped(array: Array) -> Array:
        bound: Array = SAFETY * array.reshape((*lead, *array.shape[1:]))
        # What overflowed to NaN on the way bounds nothing.
        return np.where(np.isnan(bound), np.inf, bound)

    # A component is never above the norm.
    used = np.minimum(moved.used, moved.norm[..., None])
    outputs = np.minimum(memory.outputs, memory.outputs_norm[..., None])
    assert run.rule is not None
    return ErrorBounds(
        model=setup.model,
        chunk_size=chunk_size,
        stream=run.stream,
        rule=run.rule,
        trajectory=run,
        preconditioner=shaped(used[:, :-1]),
        preconditioner_norm=shaped(np.minimum(moved.norm, np.linalg.norm(used, axis=-1))[:, :-1]),
        final_preconditioner=shaped(used[:, -1]),
        final_preconditioner_norm=shaped(moved.norm[:, -1]),
        alignment=shaped(moved.alignment + alignment_rounding(setup, moved)),
        write_keys=shaped(memory.keys),
        state=shaped(memory.state[:, :-1]),
        final_state=shaped(memory.state[:, -1]),
        outputs=shaped(outputs),
        outputs_norm=shaped(np.minimum(memory.outputs_norm, np.linalg.norm(outputs, axis=-1))),
        recall=shaped(memory.along),
    )


def alignment_rounding(setup: Setup, moved: Calibrated) -> Array:
    """Rounding of a_t = <d_t, k_t^2>, (N, T): K products of d_t with rounded squares, summed in any order."""
    size = np.sum((np.abs(setup.path[:, :-1]) + moved.used[:, :-1]) * setup.features, -1)
    return sum_error(size, size, setup.key_dim, UNIT + 2 * setup.square_error)
