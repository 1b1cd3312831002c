"""Running forward-error bounds on d_t, S_t and o_t along the exact trajectory (T18)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.threads import single_threaded_blas
from osdn_theory.base.validation import Array, require
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.recurrence.solve import solver_of
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.rounding.errors.error_set import Mask
from osdn_theory.rounding.errors.lemmas import SAFETY, UNIT, sum_error
from osdn_theory.rounding.formats import FLOAT32, round_to
from osdn_theory.rounding.inputs import round_rule, round_stream
from osdn_theory.rounding.memory.bound import Written, bound_memory
from osdn_theory.rounding.memory.reading import Reads
from osdn_theory.rounding.models import CHUNK_FP32, KernelModel
from osdn_theory.rounding.overflow import Overflow, Watch, earliest, tokens_of
from osdn_theory.rounding.preconditioner.calibrated import Calibrated
from osdn_theory.rounding.preconditioner.calibration import bound_preconditioner
from osdn_theory.rounding.setup import Setup
from osdn_theory.streams.stream import Stream


@show_briefly
@dataclass(frozen=True, eq=False)
class ReadBounds:
    """Bounds on what another set of queries reads of the same memory.

    - `queries` (..., T, K): As the kernel reads them.
    - `outputs`, `outputs_norm` (..., T, V) and (..., T): As those of `ErrorBounds`.
    - `overflows`: The first of every leading entry that has one, of reads, memory and d together.
    """

    queries: Array
    outputs: Array
    outputs_norm: Array
    overflows: tuple[Overflow, ...]


@show_briefly
@dataclass(frozen=True, eq=False)
class ErrorBounds:
    """How far a kernel that works as `model` says may be from the exact trajectory on the inputs it reads.

    - `stream`: The inputs as the kernel reads them (`round_stream`).
    - `rule`: The rule whose trajectory `trajectory` is.
    - `trajectory`: Exact (float64) on `stream`.
    - `preconditioner` (..., T, K): |d_t - exact|, componentwise, d_t as token t's write key uses it.
    - `preconditioner_norm` (..., T): Its Euclidean norm; never above that of the componentwise bound, and often far
      below.
    - `final_preconditioner` (..., K), `final_preconditioner_norm` (...)
    - `alignment` (..., T): |a_t - exact|, for a_t = <d_t, k_t^2> computed in float32 from the kernel's own d_t.
    - `write_keys` (..., T, K): |k~_t - d_t k_t| as stored.
    - `state` (..., T): ||S_t - exact||_F after token t's write; inside a chunk, for the state that the write values
      so far make.
    - `final_state` (...): The same for the state handed on.
    - `outputs` (..., T, V): |o_t - exact|, componentwise.
    - `outputs_norm` (..., T): ||o_t - exact||_2; never above that of the componentwise bound.
    - `recall` (..., T): ||(S_T - exact) k_t||_2: what the final state's error adds to the residual of pair t.
    - `reads`: One for every further set of queries.
    - `overflows`: What may overflow first in every leading entry, for those where something may. From its token on,
      in the chunk order from the first token of its chunk, bounds on what depends on it are infinite: d on d alone,
      the memory on both, outputs on all.
    - `overflow_token` (...) int: The tokens of `overflows`, counted from 1; 0 where nothing overflows.
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
    reads: tuple[ReadBounds, ...]
    overflows: tuple[Overflow, ...]
    overflow_token: npt.NDArray[np.int64]

    @property
    def overflow(self) -> Overflow | None:
        """The earliest of `overflows`, or None: then no format overflows, as T18 supposes."""
        return min(self.overflows, key=lambda found: found.token, default=None)


def error_bounds(
    stream: Stream,
    rule: CalibrationRule = BOUNDED,
    model: KernelModel = CHUNK_FP32,
    *,
    chunk_size: int = 64,
    scale: float = 1.0,
    initial_state: Array | None = None,
    initial_preconditioner: Array | float | None = None,
    reading: Sequence[Array] = (),
) -> ErrorBounds:
    r"""Running forward-error bounds of a kernel on a stream; a ``state_gate`` of it makes the memory fade (T17).

    Local errors follow the standard model fl(x o y) = (x o y)(1 + delta), with the magnitudes that the kernel meets
    (`lemmas`, `enclosed`), and are carried through the exact transitions of the trajectory (`error_set`): for d
    in `calibration`, for the memory in `memory`. Nothing is linearised; sums may be taken in any order, but for the
    matrix products of an ``ordered`` model (`ordered`).

    - `stream`: Rounded to the kernel's input formats first: see ``ErrorBounds.stream``.
    - `chunk_size`, int >= 1: Tokens per chunk; read in the chunk order only.
    - `scale`: Factor of the read.
    - `initial_state` (..., V, K): S_0, rounded to float32; default zero.
    - `initial_preconditioner` (..., K) or scalar: d_1, rounded to float32; default the stream's own, else ones.
    - `reading`, sequence of (..., T, K): Further sets of queries, for which `ErrorBounds.reads` has bounds: the same
      numbers as a stream with these queries gets for its outputs, at a fraction of the time.

    Raises TypeError, ValueError: as `osdn`; inputs that overflow the model's format, where there is nothing to bound;
    in the chunk order state gates per feature without `gate_sums`, or any beside substitution.

    Notes
    -----
    Bounds may be infinite: where storage is coarse and the stream long, errors may feed on themselves until float64
    overflows. Time grows as T (K^3 + K V) for every leading entry.
    """
    require(chunk_size >= 1, f"chunk_size: expected >= 1, got {chunk_size}")
    given = round_stream(stream, model, rule)
    _require_gates(given, model)
    start = initial_preconditioner
    run = solver_of(given)(
        given,
        round_rule(rule),
        scale=scale,
        initial_state=None if initial_state is None else round_to(initial_state, FLOAT32),
        initial_preconditioner=None if start is None else round_to(start, FLOAT32),
    )
    setup = Setup.of(run, round_rule(rule), model, chunk_size, _rounded_queries(reading, given, model))
    # A bound that overflows is infinite, which is what it then says.
    with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):
        moved = bound_preconditioner(setup)
        memory = bound_memory(setup, moved)
        return _bounds(setup, run, chunk_size, moved, memory)


def _require_gates(given: Stream, model: KernelModel) -> None:
    if given.state_gate is None or model.order == "recurrent":
        return
    whole = given.state_gate.ndim == np.ndim(given.beta)
    known = whole or model.gate_sums is not None
    require(known, "state_gate: expected one number per token in the chunk order without gate_sums")
    require(not model.substitution, "state_gate: expected none where systems are solved by substitution")


def _rounded_queries(reading: Sequence[Array], given: Stream, model: KernelModel) -> list[Array]:
    rounded = [round_to(queries, model.inputs) for queries in reading]
    for n, queries in enumerate(rounded):
        require(
            bool(np.isfinite(queries).all()), f"reading[{n}]: expected finite numbers of {model.inputs.name}"
        )
        shape = given.keys.shape
        require(
            queries.shape == shape,
            f"reading[{n}]: expected the shape of the keys, {shape}, got {queries.shape}",
        )
    return rounded


def _shaped(array: Array, lead: tuple[int, ...], unbounded: Mask) -> Array:
    """A bound on numbers of the first axis' leading entry, infinite where `unbounded`, (N,) or (N, T) like its axes."""
    bound = SAFETY * array
    # What overflowed to NaN on the way bounds nothing.
    unbounded = unbounded.reshape(unbounded.shape + (1,) * (array.ndim - unbounded.ndim))
    result: Array = np.where(np.isnan(bound) | unbounded, np.inf, bound)
    return result.reshape((*lead, *array.shape[1:]))


def _read_bounds(setup: Setup, lead: tuple[int, ...], reads: Reads, upstream: Sequence[Watch]) -> ReadBounds:
    # A component is never above the norm.
    outputs = np.minimum(reads.outputs, reads.norm[..., None])
    norm = np.minimum(reads.norm, np.linalg.norm(outputs, axis=-1))
    gone = reads.overflow.begins(setup.length) | _begin(setup, setup.length, upstream)
    return ReadBounds(
        queries=reads.queries.reshape((*lead, *reads.queries.shape[1:])),
        outputs=_shaped(outputs, lead, gone),
        outputs_norm=_shaped(norm, lead, gone),
        overflows=_located(earliest(*upstream, reads.overflow), lead),
    )


def _begin(setup: Setup, count: int, watches: Sequence[Watch]) -> Mask:
    gone = np.zeros((setup.count, count), dtype=bool)
    for watch in watches:
        gone |= watch.begins(count, setup.chunk)
    return gone


def _located(found: Sequence[Overflow | None], lead: tuple[int, ...]) -> tuple[Overflow, ...]:
    """With the index of the leading entry."""
    entries = np.ndindex(lead)
    return tuple(replace(x, entry=entry) for x, entry in zip(found, entries, strict=True) if x is not None)


def _bounds(
    setup: Setup, run: Trajectory, chunk_size: int, moved: Calibrated, memory: Written
) -> ErrorBounds:
    lead, tokens = run.stream.lead, setup.length
    watches = (moved.overflow, memory.overflow)
    of_d, of_state = (_begin(setup, tokens + 1, w) for w in (watches[:1], watches))
    # A component is never above the norm.
    used = np.minimum(moved.used, moved.norm[..., None])
    norm = np.minimum(moved.norm, np.linalg.norm(used, axis=-1))
    alignment = moved.alignment + alignment_rounding(setup, moved)
    own, *further = (_read_bounds(setup, lead, reads, watches) for reads in memory.reads)
    assert run.rule is not None
    return ErrorBounds(
        model=setup.model,
        chunk_size=chunk_size,
        stream=run.stream,
        rule=run.rule,
        trajectory=run,
        preconditioner=_shaped(used[:, :-1], lead, of_d[:, :-1]),
        preconditioner_norm=_shaped(norm[:, :-1], lead, of_d[:, :-1]),
        final_preconditioner=_shaped(used[:, -1], lead, of_d[:, -1]),
        final_preconditioner_norm=_shaped(moved.norm[:, -1], lead, of_d[:, -1]),
        alignment=_shaped(alignment, lead, of_d[:, :-1]),
        write_keys=_shaped(memory.keys, lead, of_state[:, :-1]),
        state=_shaped(memory.state[:, :-1], lead, of_state[:, :-1]),
        final_state=_shaped(memory.state[:, -1], lead, of_state[:, -1]),
        outputs=own.outputs,
        outputs_norm=own.outputs_norm,
        recall=_shaped(memory.along, lead, of_state[:, -1]),
        reads=tuple(further),
        overflows=own.overflows,
        overflow_token=tokens_of(own.overflows, lead),
    )


def alignment_rounding(setup: Setup, moved: Calibrated) -> Array:
    """Rounding of a_t = <d_t, k_t^2>, (N, T): K products of d_t with rounded squares, summed in any order."""
    size = np.sum((np.abs(setup.path[:, :-1]) + moved.used[:, :-1]) * setup.features, -1)
    return sum_error(size, size, setup.key_dim, UNIT + 2 * setup.square_error)
