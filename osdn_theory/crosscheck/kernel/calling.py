"""Calling a kernel: theory's arrays in, theory's arrays out. The only place of the cross-check that transposes.

Here tensors have the canonical layout, time first and states [B, H, K, V]; `call` turns them into the kernel's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from osdn_theory.base.brief import first_line
from osdn_theory.base.layouts import exchange_time_and_heads, transpose
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case, bounds_of, pack
from osdn_theory.crosscheck.kernel.adapters import Adapter

if TYPE_CHECKING:
    from torch import Tensor

Form = Literal["contiguous", "strided", "expanded", "aliased", "defaults"]
FORMS: tuple[Form, ...] = get_args(Form)
"""How arguments are passed: dense tensors; with gaps and permuted axes; what repeats by stride zero; equal queries and
keys as one tensor; and nothing that the kernel has a default for."""

PER_TOKEN = ("q", "k", "v", "beta", "g", "g_d", "g_atk", "beta_atk")
STATES = ("initial_state",)
TRAJECTORY = ("preconditioner", "alignment")
OF_D = ("d", "a", "final preconditioner", "the d handed on")
RESULTS = ("o", "state", "trajectory", "gram_diagonal")


class KernelError(ValueError):
    """A kernel that raises, or returns what no kernel of its kind returns."""


class KernelRaised(KernelError):
    """A kernel that raises."""

    def __init__(self, kernel: str, what: str, error: Exception) -> None:
        self.said = f"{type(error).__name__}: {first_line(error)}"
        super().__init__(f"kernel: {kernel} raised in {what}: {self.said}")


@dataclass(frozen=True, eq=False)
class Returned:
    """What one call gave, float64, leading axes (B, H); for packed sequences one of these each. None: not said.

    - `outputs` (B, H, T, V), `state` (B, H, V, K)
    - `handed_on` (B, H, K): The preconditioner in the final state.
    - `preconditioner` (B, H, T, K), `alignment` (B, H, T)
    """

    outputs: Array | None = None
    state: Array | None = None
    handed_on: Array | None = None
    preconditioner: Array | None = None
    alignment: Array | None = None


def ask(
    adapter: Adapter,
    case: Case,
    device: str,
    *,
    final: bool = True,
    form: Form = "contiguous",
    what: str = "the call",
) -> Returned:
    """One call of the kernel on a case.

    Raises KernelError: naming `what` was called, and what was expected of it.
    """
    whole = case.filled(adapter.multiple)
    given = arguments(adapter, whole, device, final=final, form=form)
    return read(adapter, case, own_call(adapter, given, what=what), what)


def read(adapter: Adapter, case: Case, parts: tuple[Any, ...], what: str) -> Returned:
    """What one call on a case returned, as the kernel returned it.

    Raises KernelError: naming what is not of the kind or shape expected.
    """
    length = case.stream.length
    returned = _first_tokens(canonical(adapter, parts), case.filled(adapter.multiple).stream.length, length)
    return _read(adapter, returned, [case], what)[0]


def ask_packed(
    adapter: Adapter, cases: Sequence[Case], device: str, *, what: str = "the packed call"
) -> list[Returned]:
    """One call on sequences of one batch row each, packed into one by `cu_seqlens`; some may have no tokens."""
    import torch

    given = arguments(adapter, pack(cases), device)
    given["cu_seqlens"] = torch.tensor(bounds_of(cases), dtype=torch.int64, device=device)
    return _read(adapter, call(adapter, given, what=what), cases, what)


def arguments(
    adapter: Adapter,
    case: Case,
    device: str,
    *,
    final: bool = True,
    exact: bool = False,
    form: Form = "contiguous",
) -> dict[str, Any]:
    """Arguments by their canonical names, as tensors on the device; all of them float64 if `exact`."""
    stream, rule = case.stream, case.rule

    def once(array: Any) -> Array:
        """What heads of a group have in common."""
        return np.asarray(array)[:, :: case.group]

    dtype, wide = ("float64", "float64") if exact else (case.dtype, "float32")
    given: dict[str, Any] = {
        "q": to_tokens(once(stream.queries), dtype, device),
        "k": to_tokens(once(stream.keys), dtype, device),
        "v": to_tokens(stream.values, dtype, device),
        "beta": to_tokens(stream.beta, dtype, device),
        "scale": case.scale,
        "output_final_state": final,
        "return_trajectory": final,
        "use_qk_l2norm_in_kernel": case.key_norm is not None,
    }
    if np.any(case.initial_state != 0):
        given["initial_state"] = to_tensor(transpose(case.initial_state), wide, device)
    forgets = adapter.calibrates and case.log_gate is not None
    gates = {adapter.forget_gate: once(case.log_gate)} if forgets else {}
    for name, gate in {**gates, **({"g": case.log_state_gate} if adapter.gated else {})}.items():
        if gate is not None:
            given[name] = to_tokens(gate, wide, device)
    if case.log_gram_decay is not None:
        given["g_atk"] = to_tokens(case.log_gram_decay, wide, device)
        given["beta_atk"] = to_tokens(case.gram_weight, dtype, device)
        if np.any(case.initial_preconditioner != 0):
            given["initial_A_state"] = to_tensor(case.initial_preconditioner, wide, device)
    if adapter.calibrates:
        given |= {"eta": rule.eta, "d_min": float(rule.d_min), "d_max": float(rule.d_max)}
        if rule.normalize_feedback:
            given["normalize_feedback"] = True
        if rule.beta_aware != adapter.beta_aware:
            given["beta_aware"] = rule.beta_aware
        if case.log_gate is not None and np.any(case.anchor != 0):
            given["anchor"] = to_tensor(once(case.anchor), wide, device)
        if np.any(case.initial_preconditioner != 1):
            given["initial_preconditioner"] = to_tensor(once(case.initial_preconditioner), wide, device)
    taken = {name: value for name, value in given.items() if name in adapter.parameters}
    return _formed(adapter, taken, form)


def call(adapter: Adapter, given: Mapping[str, Any], *, what: str = "the call") -> tuple[Any, ...]:
    """What the kernel returns for canonical arguments: (o, final state, trajectory), canonical; None: not returned.

    The preconditioner alone returns (d, the d handed on).

    Raises KernelError: if the kernel raises, or returns something else than tensors where they are expected.
    """
    return canonical(adapter, own_call(adapter, given, what=what))


def own_call(adapter: Adapter, given: Mapping[str, Any], *, what: str = "the call") -> tuple[Any, ...]:
    """What the kernel returns for canonical arguments, as it returns it; a single result as a tuple of one."""
    own = {
        adapter.names.get(name, name): _to_own(adapter, name, value)
        for name, value in given.items()
        if name in adapter.parameters
    }
    silent = (adapter.names.get(name, name) for name in adapter.required if name not in given)
    own |= {name: None for name in silent if name not in adapter.options}
    own |= {name: own[adapter.names.get(other, other)] for name, other in adapter.aliases.items()}
    try:
        returned = adapter.call(**own, **adapter.options)
    except NotImplementedError:
        raise
    except Exception as error:
        raise KernelRaised(adapter.name, what, error) from error
    return tuple(returned) if isinstance(returned, tuple | list) else (returned,)


def canonical(adapter: Adapter, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a kernel returned, as (o, final state, trajectory) in the canonical layout."""
    if not adapter.reads:
        return _from_own(adapter, _part(parts, 0)), *parts[1:]
    o, final, trajectory, gram = (_part(parts, adapter.results.get(name)) for name in RESULTS)
    final = _own_final(adapter, final)
    if gram is not None:
        final = _Final(final, gram)
    return _from_own(adapter, o), final, _own_trajectory(adapter, trajectory)


def _part(parts: tuple[Any, ...], place: int | None) -> Any:
    return None if place is None or place >= len(parts) else parts[place]


def _to_own(adapter: Adapter, name: str, value: Any) -> Any:
    if name == "g" and adapter.gate_form == "factor":
        value = value.double().exp().to(value.dtype)
    if name in PER_TOKEN and adapter.layout == "head first":
        return _as_dense(exchange_time_and_heads(value), value)
    if name in STATES and adapter.state_layout == "VK":
        return _as_dense(transpose(value), value)
    return value


def _as_dense(turned: Tensor, value: Tensor) -> Tensor:
    """`turned` dense if `value` was, so that what has gaps reaches the kernel with gaps."""
    return turned.contiguous() if value.is_contiguous() else turned


def _from_own(adapter: Adapter, tokens: Any) -> Any:
    turned = adapter.layout == "head first" and getattr(tokens, "ndim", 0) >= 3
    return exchange_time_and_heads(tokens) if turned else tokens


def _own_final(adapter: Adapter, final: Any) -> Any:
    """The final state, with [K, V] memories."""
    if final is None or adapter.state_layout == "KV":
        return final
    state = getattr(final, "state", final)
    if getattr(state, "ndim", 0) < 2:
        return final
    turned = transpose(state)
    return final._replace(state=turned) if hasattr(final, "_replace") else turned


def _own_trajectory(adapter: Adapter, trajectory: Any) -> Any:
    if trajectory is None or adapter.layout == "time first":
        return trajectory
    found = {name: getattr(trajectory, name, None) for name in TRAJECTORY}
    return _Trajectory(**{name: _from_own(adapter, value) for name, value in found.items()})


@dataclass(frozen=True, eq=False)
class _Final:
    state: Any
    preconditioner: Any


@dataclass(frozen=True, eq=False)
class _Trajectory:
    preconditioner: Any
    alignment: Any


def _first_tokens(returned: tuple[Any, ...], filled: int, length: int) -> tuple[Any, ...]:
    """Canonical results without the tokens that a case was filled up with."""
    o, *rest = returned
    if filled == length or getattr(o, "ndim", 0) < 2 or o.shape[1] != filled:
        return returned
    cut = [
        _Trajectory(*(_cut(getattr(part, name, None), length) for name in TRAJECTORY)) for part in rest[1:]
    ]
    return o[:, :length], *rest[:1], *cut


def _cut(tokens: Any, length: int) -> Any:
    return tokens if tokens is None else tokens[:, :length]


def _formed(adapter: Adapter, given: dict[str, Any], form: Form) -> dict[str, Any]:
    if form == "contiguous":
        return given
    if form == "aliased":
        return given | ({"q": given["k"]} if "q" in given else {})
    if form == "defaults":
        # None as a scale is K ** -0.5 everywhere; what it is as a step or a side of the box, nobody says.
        said = {name for name in ("eta", "d_min", "d_max") if adapter.defaults.get(name) is not None}
        kept = said | ({"scale"} & set(adapter.defaults))
        return {name: value for name, value in given.items() if name not in kept}
    return {name: _laid(value, form) for name, value in given.items()}


def _laid(value: Any, form: Form) -> Any:
    """The same tensor, laid out otherwise in memory."""
    import torch

    if not isinstance(value, torch.Tensor) or value.ndim < 3 or not value.numel():
        return value
    if form == "expanded":
        return _expanded(value)
    # Every second entry of a larger tensor whose axes are the other way round; NaN between them.
    order = list(range(value.ndim))[::-1]
    sizes = [2 * size for size in value.permute(order).shape]
    wide = torch.full(sizes, torch.nan, dtype=value.dtype, device=value.device)
    place = wide[tuple(slice(None, None, 2) for _ in order)].permute(order)
    return place.copy_(value)


def _expanded(value: Tensor) -> Tensor:
    """Axes along which nothing changes, with stride zero."""
    for axis in range(value.ndim - 1):
        first = value.narrow(axis, 0, 1)
        if bool((value == first).all()):
            value = first.expand_as(value)
    return value


def _read(adapter: Adapter, returned: tuple[Any, ...], cases: Sequence[Case], what: str) -> list[Returned]:
    """One `Returned` for each case; several are sequences packed into one batch row."""
    if not adapter.reads:
        return _read_scan(returned, cases, what)
    o, final, trajectory = returned
    state, handed = getattr(final, "state", final), getattr(final, "preconditioner", None)
    path, alignment = (getattr(trajectory, name, None) for name in TRAJECTORY)
    stream = cases[0].stream
    per_token = {
        "outputs": ("o", o, (stream.value_dim,)),
        "preconditioner": ("d", path, (stream.key_dim,)),
        "alignment": ("a", alignment, ()),
    }
    per_sequence = {
        "state": ("final state", state, (stream.key_dim, stream.value_dim)),
        "handed_on": ("final preconditioner", handed, (stream.key_dim,)),
    }
    if o is None:
        shape = [cases[0].stream.lead[0], "T", cases[0].stream.lead[1], stream.value_dim]
        raise KernelError(
            f"kernel: {adapter.name} returned no output in {what}, expected a tensor of shape {shape}"
        )
    found: list[dict[str, Any]] = [{} for _ in cases]
    for field, (name, tensor, rest) in per_token.items():
        for place, array in zip(found, _split_tokens(tensor, name, rest, cases, what), strict=True):
            place[field] = array
    for field, (name, tensor, rest) in per_sequence.items():
        for place, array in zip(found, _split_sequences(tensor, name, rest, cases, what), strict=True):
            place[field] = transpose(array) if field == "state" and array is not None else array
    return [Returned(**place) for place in found]


def _read_scan(returned: tuple[Any, ...], cases: Sequence[Case], what: str) -> list[Returned]:
    rest = (cases[0].stream.key_dim,)
    paths = _split_tokens(returned[0], "d", rest, cases, what)
    final = returned[1] if len(returned) > 1 else None
    handed = _split_sequences(final, "the d handed on", rest, cases, what)
    return [Returned(preconditioner=d, handed_on=last) for d, last in zip(paths, handed, strict=True)]


def _split_tokens(
    tensor: Any, name: str, rest: tuple[int, ...], cases: Sequence[Case], what: str
) -> list[Array | None]:
    if tensor is None:
        return [None] * len(cases)
    (batch, heads), group = cases[0].stream.lead, _group(name, cases)
    lengths = [case.stream.length for case in cases]
    shape = (batch, sum(lengths), heads // group, *rest)
    whole = np.repeat(exchange_time_and_heads(_numpy(tensor, name, shape, what)), group, axis=1)
    return list(np.split(whole, np.cumsum(lengths)[:-1], axis=2))


def _split_sequences(
    tensor: Any, name: str, rest: tuple[int, ...], cases: Sequence[Case], what: str
) -> list[Array | None]:
    if tensor is None:
        return [None] * len(cases)
    (batch, heads), group = cases[0].stream.lead, _group(name, cases)
    whole = _numpy(tensor, name, (batch * len(cases), heads // group, *rest), what)
    return list(np.split(np.repeat(whole, group, axis=1), len(cases)))


def _group(name: str, cases: Sequence[Case]) -> int:
    """Heads that share what is returned as `name`."""
    return cases[0].group if name in OF_D else 1


def to_tokens(array: Any, dtype: str, device: str) -> Tensor:
    """(B, H, T, ...) float64 as a tensor [B, T, H, ...]; exact where `dtype` holds the values."""
    return to_tensor(exchange_time_and_heads(np.asarray(array)), dtype, device)


def to_tensor(array: Array, dtype: str, device: str) -> Tensor:
    import torch

    # A copy: torch warns about arrays that cannot be written, such as broadcast ones.
    return torch.from_numpy(np.array(array, order="C")).to(device=device, dtype=getattr(torch, dtype))


def _numpy(tensor: Any, name: str, shape: Sequence[int], what: str) -> Array:
    import torch

    expected = f"expected a tensor of shape {list(shape)}"
    if not isinstance(tensor, torch.Tensor):
        raise KernelError(f"kernel: returned {name} as {type(tensor).__name__} in {what}, {expected}")
    if tuple(tensor.shape) != tuple(shape):
        raise KernelError(f"kernel: returned {name} of shape {list(tensor.shape)} in {what}, {expected}")
    if not tensor.dtype.is_floating_point:
        raise KernelError(f"kernel: returned {name} of dtype {tensor.dtype} in {what}, {expected} of floats")
    return tensor.detach().cpu().double().numpy()


Kernel = str | Callable[..., Any] | Adapter
"""What the cross-check takes as a kernel."""
