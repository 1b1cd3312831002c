"""Gradients of a kernel against those that autograd gives of a float64 reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from osdn_theory.base.brief import first_line, show_briefly
from osdn_theory.base.layouts import exchange_time_and_heads
from osdn_theory.base.validation import Array, require
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.comparison import compare, per_token
from osdn_theory.crosscheck.evidence.limits import RELATIVE_ALLOWANCE, Limit, relative_limit
from osdn_theory.crosscheck.evidence.observation import farthest_copy
from osdn_theory.crosscheck.gradients.reference import (
    EXACT,
    Backward,
    calibration_reference,
    recurrence_reference,
)
from osdn_theory.crosscheck.kernel.adapters import ARGUMENTS, Adapter
from osdn_theory.crosscheck.kernel.calling import KernelError, arguments, call
from osdn_theory.crosscheck.kernel.recurrences import GATED_OSDN
from osdn_theory.crosscheck.results import Comparison

if TYPE_CHECKING:
    from torch import Tensor

REFERENCE = "osdn_theory.crosscheck.gradients.reference:recurrence_reference"
"""The float64 reference, differentiable by autograd; it knows every recurrence."""

ALLOWED = {"float32": 5e-5, "float16": 1e-2, "bfloat16": 5e-2}
"""Error allowed, relative to the largest token of the head. Correct float32 kernels leave below 1e-5, and TF32 by
mistake 3e-4; 16-bit ones store every intermediate of both passes rounded by up to 2^-9 and 2^-12. Memories that decay
have the allowance of their outputs."""

KNOWN = ("osdn", "osgdn", "oskda", "delta_net", "gated_delta_net", "kda", "preconditioner")
"""Recurrences of the reference."""

LEAVES = ("q", "k", "v", "beta", "g", "g_d", "anchor", "initial_state", "initial_preconditioner")
PER_TOKEN = ("q", "k", "v", "beta", "g", "g_d")

RESULTS = ("o", "final state", "d handed on", "d")
"""What a linear form may be made of; their order is the cotangents' seed. Only a kernel of the preconditioner alone
has d in it: the trajectory of the others is for looking at."""

SEED = 0
"""Of the cotangents: random, so that no error cancels."""

WHAT = "the call with gradients"


@show_briefly
@dataclass(frozen=True, eq=False)
class GradedGradients:
    """Gradients of one random linear form of a kernel's results, and the right ones.

    - `found`, `exact`, mapping from argument to array: (B, H, T, ...), or (B, H, 1, ...) where the argument has no
      tokens. Empty where the kernel has no gradients.
    - `results`: What the form is made of: the results of the kernel that carry gradients.
    - `notes`: What could not be compared, and why.
    """

    case: Case
    found: Mapping[str, Array] = field(default_factory=dict)
    exact: Mapping[str, Array] = field(default_factory=dict)
    results: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def allowed(self) -> float:
        """Error allowed, relative to the largest token of the head."""
        own = ALLOWED[self.case.dtype]
        return own if self.case.state_gate is None else max(own, RELATIVE_ALLOWANCE[self.case.dtype])

    @cached_property
    def limits(self) -> dict[str, Limit]:
        """What |found - exact| may be, by argument."""
        basis = f"allowance, {self.allowed:g} of the largest token"
        return {n: relative_limit(self.allowed, per_token(exact), basis) for n, exact in self.exact.items()}

    def compared(self) -> Iterator[Comparison]:
        """Argument by argument."""
        for name, values in self.found.items():
            yield compare(
                f"grad {name}",
                f"gradient in {name} of a random linear form of {', '.join(self.results)}",
                values,
                self.exact[name],
                tokens=np.arange(1, values.shape[2] + 1),
                dtype=self.case.dtype if name in ("q", "k", "v", "beta") else "float32",
                limit=self.limits[name],
                to_largest=True,
            )


def compare_gradients(
    adapter: Adapter, case: Case, reference: Adapter | None, device: str, *, copies: int = 1
) -> tuple[list[Comparison], tuple[str, ...]]:
    """Gradients compared argument by argument, and notes; see `kernel_gradients`."""
    graded = kernel_gradients(adapter, case, device, reference=reference, copies=copies)
    return list(graded.compared()), graded.notes


def kernel_gradients(
    adapter: Adapter,
    case: Case,
    device: str,
    *,
    reference: Adapter | None = None,
    copies: int = 1,
    final: bool = True,
    bounds: Sequence[int] = (),
) -> GradedGradients:
    """Gradients of a random linear form of everything the kernel returns, beside those of the reference.

    The reference runs in float64 on the CPU with the same inputs and the same form; a kernel of whole chunks gets, as
    it does, tokens that write nothing to fill them. A kernel that has no backward pass, or whose results carry no
    gradients, is a note.

    - `reference`: Differentiable by autograd, float64. Default: `reference.recurrence_reference`; a recurrence that
      it does not know is a note.
    - `copies`, int >= 1: Repeat the batch so often; of each number the copy that differs most from the first is
      taken.
    - `final`: Whether the kernel is asked for its final state.
    - `bounds`: Of packed sequences, where the case is several of them in one call (`cases.case.pack`).

    Raises KernelError: if the kernel raises, forward or backward, or its results are no tensors of the
    right shapes.
    Raises ValueError: if the reference computes another recurrence.
    """
    own = reference is None or reference.call is recurrence_reference
    if own and case.recurrence not in KNOWN:
        return GradedGradients(
            case, notes=(f"gradients: there is no float64 reference for {case.recurrence}",)
        )
    peer, case = _peer(reference, case), case if bounds else case.filled(adapter.multiple)
    if bounds and "cu_seqlens" not in peer.parameters:
        return GradedGradients(case, notes=(f"gradients: {peer.name} takes no packed sequences",))
    asked: dict[str, Any] = {"final": final, "bounds": bounds}
    try:
        leaves, returned = _forward(adapter, case.repeated(copies), device, **asked)
        unattached, attached = _attached(adapter, returned)
        if not attached:
            return GradedGradients(
                case, notes=(f"gradients: nothing that {adapter.name} returns carries any",)
            )
        cotangents = _cotangents(adapter, case, attached, copies, bounds)
        repeated = _backward(adapter, leaves, attached, cotangents)
    except NotImplementedError as error:
        reason = "".join(f": {line}" for line in str(error).splitlines()[:1])
        return GradedGradients(case, notes=(f"gradients: {adapter.name} has no backward pass{reason}",))
    notes = [f"gradients: the {name} that {adapter.name} returns carries none" for name in unattached]
    return GradedGradients(
        case,
        found={name: farthest_copy(value, copies) for name, value in repeated.items()},
        exact=_reference_gradients(peer, case, tuple(leaves), tuple(attached), **asked),
        results=tuple(attached),
        notes=tuple(notes),
    )


def altered_gradients(graded: GradedGradients, backward: Backward) -> dict[str, Array]:
    """What the float64 reference gives with another backward pass."""
    peer = _peer(None, graded.case, backward)
    return _reference_gradients(peer, graded.case, tuple(graded.found), graded.results)


def _peer(reference: Adapter | None, case: Case, backward: Backward = EXACT) -> Adapter:
    """The reference for the recurrence of a case; the one of this package knows all of them."""
    if reference is None or reference.call is recurrence_reference:
        scan = case.recurrence == "preconditioner"
        return Adapter(
            name="the float64 reference",
            call=calibration_reference if scan else recurrence_reference,
            recurrence=case.recurrence,
            order="recurrent",
            parameters=_parameters(scan),
            defaults={"beta_aware": False},
            options={"backward": backward, **({} if scan else {"decays": case.recurrence in GATED_OSDN})},
        )
    # OSDN that does not calibrate is DeltaNet.
    able = {case.recurrence, "osdn"} if case.recurrence == "delta_net" else {case.recurrence}
    require(
        reference.recurrence in able,
        f"reference: {reference.name} computes {reference.recurrence}, the kernel {case.recurrence}",
    )
    return reference


def _parameters(scan: bool) -> frozenset[str]:
    unused = {"chunk_size", "return_trajectory", "use_qk_l2norm_in_kernel"}
    memory = {"q", "v", "beta", "scale", "initial_state", "output_final_state", "cu_seqlens"}
    return frozenset(ARGUMENTS) - unused - (memory if scan else set())


def _forward(
    adapter: Adapter,
    case: Case,
    device: str,
    *,
    exact: bool = False,
    only: Sequence[str] = LEAVES,
    final: bool = True,
    bounds: Sequence[int] = (),
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The leaves among the arguments, and the results by name."""
    import torch

    given = arguments(adapter, case, device, exact=exact, final=final)
    given.pop("return_trajectory", None)
    if bounds:
        given["cu_seqlens"] = torch.tensor(bounds, dtype=torch.int64, device=device)
    leaves = {name: given[name].requires_grad_() for name in LEAVES if name in given and name in only}
    parts = call(adapter, given, what=WHAT)
    if not adapter.reads:
        named = dict(zip(("d", "d handed on"), parts, strict=False))
    else:
        told = parts[1]
        handed = getattr(told, "preconditioner", None)
        named = {"o": parts[0], "final state": getattr(told, "state", told), "d handed on": handed}
    return leaves, {name: value for name, value in named.items() if value is not None}


def _attached(adapter: Adapter, returned: dict[str, Any]) -> tuple[list[str], dict[str, Tensor]]:
    """Names of results that are no part of the graph, and those that are."""
    import torch

    for name, value in returned.items():
        if not isinstance(value, torch.Tensor):
            raise KernelError(
                f"kernel: {adapter.name} returned {name} as {type(value).__name__} in {WHAT}, expected a tensor"
            )
    loose = [name for name, value in returned.items() if not value.requires_grad]
    return loose, {name: value for name, value in returned.items() if value.requires_grad}


def _cotangents(
    adapter: Adapter,
    case: Case,
    outputs: Mapping[str, Tensor],
    copies: int = 1,
    bounds: Sequence[int] = (),
) -> list[Tensor]:
    """The same numbers for the kernel, each of its copies, and the reference: those that the kernel's dtype holds."""
    import torch

    cotangents = []
    for name, output in outputs.items():
        batch, *rest = _shape(case, name, len(bounds) - 1 if bounds else case.stream.lead[0])
        expected = (copies * batch, *rest)
        if tuple(output.shape) != expected:
            raise KernelError(
                f"kernel: {adapter.name} returned {name} of shape {list(output.shape)} in {WHAT}, expected "
                f"{list(expected)}"
            )
        rng = np.random.default_rng([SEED, RESULTS.index(name)])
        drawn = torch.from_numpy(np.concatenate([rng.standard_normal((batch, *rest))] * copies))
        held = drawn.to(getattr(torch, case.dtype if name == "o" else "float32"))
        cotangents.append(held.to(device=output.device, dtype=output.dtype))
    return cotangents


def _shape(case: Case, name: str, sequences: int) -> tuple[int, ...]:
    (batch, heads), length = case.stream.lead, case.stream.length
    key_dim, value_dim = case.stream.key_dim, case.stream.value_dim
    return {
        "o": (batch, length, heads, value_dim),
        "final state": (sequences, heads, key_dim, value_dim),
        "d handed on": (sequences, heads, key_dim),
        "d": (batch, length, heads, key_dim),
    }[name]


def _backward(
    adapter: Adapter, leaves: dict[str, Tensor], outputs: Mapping[str, Tensor], cotangents: list[Tensor]
) -> dict[str, Array]:
    """By argument, (B, H, T, ...), or (B, H, 1, ...) where it has no tokens."""
    import torch

    try:
        values = torch.autograd.grad(
            list(outputs.values()),
            list(leaves.values()),
            cotangents,
            allow_unused=True,
            materialize_grads=True,
        )
    except NotImplementedError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise KernelError(f"kernel: {adapter.name} raised in the backward pass: {said}") from error
    return {name: _heads_first(name, value) for name, value in zip(leaves, values, strict=True)}


def _reference_gradients(
    peer: Adapter,
    case: Case,
    names: tuple[str, ...],
    results: tuple[str, ...],
    *,
    final: bool = True,
    bounds: Sequence[int] = (),
) -> dict[str, Array]:
    leaves, returned = _forward(peer, case, "cpu", exact=True, only=names, final=final, bounds=bounds)
    _, attached = _attached(peer, returned)
    outputs = {name: attached[name] for name in results if name in attached}
    if not outputs:
        return {name: np.zeros_like(_heads_first(name, leaf)) for name, leaf in leaves.items()}
    return _backward(peer, leaves, outputs, _cotangents(peer, case, outputs, bounds=bounds))


def _heads_first(name: str, gradient: Tensor) -> Array:
    array: Array = gradient.detach().cpu().double().numpy()
    return exchange_time_and_heads(array) if name in PER_TOKEN else array[:, :, None]
