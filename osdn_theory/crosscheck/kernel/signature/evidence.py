"""What one small call of a kernel, made under a reading of its conventions, says for and against that reading."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case, Dtype, pose
from osdn_theory.crosscheck.kernel.adapters import KEY_FLOOR, Adapter, FixedScale, KeyNorm
from osdn_theory.crosscheck.kernel.calling import TRAJECTORY, KernelError, Returned, arguments, own_call, read
from osdn_theory.recurrence.rules import BOUNDED
from osdn_theory.streams.stream import Stream


@dataclass(frozen=True)
class SampleSizes:
    """Of a call: batch rows, tokens, heads, features of keys and values."""

    batch: int
    tokens: int
    heads: int
    key_dim: int
    value_dim: int

    def __str__(self) -> str:
        return f"B={self.batch}, T={self.tokens}, H={self.heads}, K={self.key_dim}, V={self.value_dim}"


SIZES = (
    SampleSizes(2, 5, 3, 16, 32),
    *(SampleSizes(2, tokens, 3, 16, 32) for tokens in (16, 32, 64, 128, 256)),
    SampleSizes(2, 64, 4, 64, 64),
    SampleSizes(2, 64, 4, 128, 128),
)
"""Tried in turn: a kernel may want powers of two of tokens, or one size of head."""

FEW_SIZES = SIZES[:4]
"""For a dtype after one that was refused at every size."""


def sample(adapter: Adapter, sizes: SampleSizes, dtype: Dtype) -> Case:
    """A case in which every argument matters: gates, a state, norms that are not one, beta inside (0, 1)."""
    rng = np.random.default_rng(12)
    lead = (sizes.batch, sizes.heads)
    tokens = (*lead, sizes.tokens)
    stream = Stream(
        keys=_vectors(rng, (*tokens, sizes.key_dim)),
        queries=_vectors(rng, (*tokens, sizes.key_dim)),
        values=rng.standard_normal((*tokens, sizes.value_dim)),
        beta=rng.uniform(0.2, 0.9, tokens),
        state_gate=_gate(rng, adapter, tokens, sizes.key_dim),
        name="probe",
    )
    rule = BOUNDED
    # Other gates of d are left out: no convention depends on them.
    if may_decay(adapter):
        stream = replace(stream, forget_gate=rng.uniform(0.6, 0.99, tokens))
        rule = replace(BOUNDED, forgetting="token")
    state = None
    if "initial_state" in adapter.parameters:
        state = 0.5 * rng.standard_normal((*lead, sizes.value_dim, sizes.key_dim))
    return pose(adapter, stream, rule, dtype, scale=0.7, initial_state=state)


def may_decay(adapter: Adapter) -> bool:
    """Whether g of what is taken for OSDN may decay the memory all the same: an anchor speaks of a d that forgets."""
    return adapter.recurrence == "osdn" and "g" in adapter.parameters and "anchor" not in adapter.parameters


def _vectors(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Norms between 0.1 and 1.1."""
    found = rng.standard_normal(shape)
    norms = rng.uniform(0.1, 1.1, (*shape[:-1], 1))
    vectors: Array = found / np.linalg.norm(found, axis=-1, keepdims=True) * norms
    return vectors


def _gate(rng: np.random.Generator, adapter: Adapter, tokens: tuple[int, ...], key_dim: int) -> Array | None:
    if not adapter.gated:
        return None
    return rng.uniform(0.6, 0.99, (*tokens, key_dim) if adapter.gates_features else tokens)


AGREES = {"float32": 1e-2, "float16": 2e-2, "bfloat16": 1e-1}
"""Largest relative distance at which a result is taken to be of a convention: conventions differ by far more."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A reading, and how far the kernel's results are from the float64 run under it.

    - `adapter`: With every convention of the reading.
    - `distance`: Largest |kernel - exact| over the largest |exact|; of the worse of output and final state.
    - `settled`: Whether the final state's shape alone shows the layouts of tokens and states.
    - `complaint`: What is wrong with what it returned, under every reading of this call; empty if nothing is.
    - `unread`: Results that are none of those known.
    """

    adapter: Adapter
    case: Case
    returned: Returned
    distance: float
    settled: bool
    complaint: str = ""
    unread: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return self.distance <= AGREES[self.case.dtype]


WHAT = "a call that probes its signature"


def call_under(adapter: Adapter, case: Case, device: str) -> Reading:
    """One call, read under the reading's own conventions of the output as well, the best of them.

    Raises KernelError: the kernel raises.
    """
    parts = own_call(adapter, arguments(adapter, case, device), what=WHAT)
    places = _places(adapter, case, parts)
    placed = replace(adapter, results=places)
    try:
        returned = read(placed, case, parts, WHAT)
    except KernelError as error:
        return Reading(placed, case, Returned(), np.inf, settled=False, complaint=str(error))
    shown = returned.state is not None and case.stream.key_dim != case.stream.value_dim
    unread = tuple(_unread(parts, places)) if adapter.reads else ()
    readings = [
        Reading(reading, again, returned, _distance(reading, again, returned), shown, unread=unread)
        for reading, again in _output_conventions(placed, case)
    ]
    return min(readings, key=lambda one: one.distance)


def _unread(parts: tuple[Any, ...], places: Mapping[str, int]) -> Iterator[str]:
    for at, part in enumerate(parts):
        if at not in places.values() and part is not None:
            shape = getattr(part, "shape", None)
            of = "" if shape is None else f" of shape {list(shape)}"
            yield f"result {at + 1}, a {type(part).__name__}{of}, is not read"


def _places(adapter: Adapter, case: Case, parts: tuple[Any, ...]) -> dict[str, int]:
    """Which of the returned things is what, by shapes and fields.

    What a kernel that takes `output_final_state` returns second is its final state, whatever its shape.
    """
    if not adapter.reads:
        return {"o": 0, "state": 1}
    shapes = _shapes(adapter, case)
    found: dict[str, int] = {}
    for at, part in enumerate(parts):
        name = _kind(part, {name: known for name, known in shapes.items() if name not in found})
        if name is not None:
            found[name] = at
    found = {"o": 0, **found}
    left = [at for at, part in enumerate(parts) if at not in found.values() and hasattr(part, "shape")]
    if left and "state" not in found and "output_final_state" in adapter.parameters:
        found["state"] = left[0]
    return found


def _shapes(adapter: Adapter, case: Case) -> dict[str, set[tuple[int, ...]]]:
    (batch, heads), length = case.stream.lead, case.stream.length
    key_dim, value_dim = case.stream.key_dim, case.stream.value_dim
    rows = (batch, length, heads) if adapter.layout == "time first" else (batch, heads, length)
    return {
        "o": {(*rows, value_dim)},
        "state": {(batch, heads, key_dim, value_dim), (batch, heads, value_dim, key_dim)},
        "gram_diagonal": {(batch, heads, key_dim)} if adapter.preconditioned else set(),
    }


def _kind(part: Any, shapes: Mapping[str, set[tuple[int, ...]]]) -> str | None:
    if hasattr(part, "state"):
        return "state"
    if all(hasattr(part, name) for name in TRAJECTORY):
        return "trajectory"
    shape = tuple(getattr(part, "shape", ()))
    return next((name for name, known in shapes.items() if shape in known), None)


def _output_conventions(adapter: Adapter, case: Case) -> Iterator[tuple[Adapter, Case]]:
    """Readings that the same call is evidence for: the scale where it takes none, and norms that it makes one."""
    scales: tuple[FixedScale | None, ...] = (adapter.fixed_scale,)
    if "scale" not in adapter.parameters and adapter.reads and "fixed_scale" not in adapter.stated:
        scales = ("K^-1/2", "1")
    norms: tuple[KeyNorm | None, ...] = (None, *KEY_FLOOR) if adapter.preconditioned else (adapter.key_norm,)
    for scale in scales:
        for norm in norms:
            reading = replace(adapter, fixed_scale=scale, key_norm=norm)
            factor = reading.scale(case.scale, case.stream.key_dim)
            yield reading, replace(case, scale=factor, key_norm=norm)


def _distance(adapter: Adapter, case: Case, returned: Returned) -> float:
    exact = case.exact()
    if not adapter.reads:
        return _relative(returned.preconditioner, exact.preconditioner)
    return max(_relative(returned.outputs, exact.outputs), _relative(returned.state, exact.final_state))


def _relative(seen: Array | None, exact: Array) -> float:
    """Zero where nothing was seen; infinite where it is not finite."""
    if seen is None:
        return 0.0
    far = float(np.max(np.abs(seen - exact)) / np.max(np.abs(exact)))
    return far if np.isfinite(far) else np.inf


def own_scale(one: Reading) -> float | None:
    """The factor between the last output and the read of the kernel's own final state; None if there is none.

    It depends on no write, so that a kernel with a wrong one still shows its scale.
    """
    outputs, state = one.returned.outputs, one.returned.state
    if outputs is None or state is None:
        return None
    queries = np.asarray(one.case.read_stream().queries)[..., -1, :]
    read = np.matmul(state, queries[..., None])[..., 0]
    size = float(np.sum(read * read))
    if not size > 0:
        return None
    factor = float(np.sum(outputs[..., -1, :] * read)) / size
    left = float(np.linalg.norm(outputs[..., -1, :] - factor * read))
    explained = left <= AGREES[one.case.dtype] * float(np.linalg.norm(outputs[..., -1, :]))
    return factor if explained else None


def reach(adapter: Adapter, case: Case, device: str) -> tuple[float, float]:
    """How far the first token's value reaches: other tokens of its head, and other heads at its token.

    A kernel that is read in the right layout carries it along the tokens.

    Raises KernelError.
    """
    values = np.array(case.stream.values)
    values[:, 0, 0] += 1.0
    moved = replace(case, stream=replace(case.stream, values=values))
    before, after = (_outputs(adapter, one, device) for one in (case, moved))
    change = np.abs(after - before)
    return float(change[:, 0, 1:].sum()), float(change[:, 1:, 0].sum())


def _outputs(adapter: Adapter, case: Case, device: str) -> Array:
    outputs = read(
        adapter, case, own_call(adapter, arguments(adapter, case, device), what=WHAT), WHAT
    ).outputs
    assert outputs is not None
    return outputs
