"""Gradients of a kernel against those that autograd gives of a float64 reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from osdn_theory._validation import Array, require
from osdn_theory.crosscheck.adapters import Adapter
from osdn_theory.crosscheck.calling import arguments, call
from osdn_theory.crosscheck.case import Case
from osdn_theory.crosscheck.comparison import compare, per_token
from osdn_theory.crosscheck.limits import relative_limit
from osdn_theory.crosscheck.observation import farthest_copy
from osdn_theory.crosscheck.results import Comparison

if TYPE_CHECKING:
    from torch import Tensor

REFERENCE = "osdn_reference"
"""Registered name of the float64 reference, differentiable by autograd."""

ALLOWED = {"float32": 5e-5, "float16": 1e-2, "bfloat16": 5e-2}
"""Error allowed, relative to the largest token of the head. Correct float32 kernels leave below 1e-5, and TF32 by
mistake 3e-4; 16-bit ones store every intermediate of both passes rounded by up to 2^-9 and 2^-12."""

LEAVES = ("q", "k", "v", "beta", "g", "anchor", "initial_state", "initial_preconditioner")
PER_TOKEN = ("q", "k", "v", "beta", "g")

SEED = 0
"""Of the cotangents: random, so that no error cancels."""


def compare_gradients(
    adapter: Adapter, case: Case, reference: Adapter, device: str, *, copies: int = 1
) -> tuple[list[Comparison], tuple[str, ...]]:
    """Gradients of a random linear form of everything the kernel returns, argument by argument; and notes.

    The reference runs in float64 on the CPU with the same inputs and the same form.
    """
    require(case.state_gate is None, "gradients: there is no float64 reference for decaying memories")
    try:
        repeated = _gradients(adapter, case.repeated(copies), device, exact=False, copies=copies)
    except NotImplementedError as error:
        reason = "".join(f": {line}" for line in str(error).splitlines()[:1])
        return [], (f"gradients: {adapter.name} has no backward pass{reason}",)
    found = {name: farthest_copy(value, copies) for name, value in repeated.items()}
    exact = _gradients(reference, case, "cpu", exact=True)
    return list(_compared(case, found, exact)), ()


def _compared(case: Case, found: dict[str, Array], exact: dict[str, Array]) -> Iterator[Comparison]:
    allowed = ALLOWED[case.dtype]
    basis = f"allowance, {allowed:g} of the largest token"
    for name, values in found.items():
        wide = name not in ("q", "k", "v", "beta")
        yield compare(
            f"grad {name}",
            f"gradient in {name} of a random linear form of all results",
            values,
            exact[name],
            tokens=np.arange(1, values.shape[2] + 1),
            dtype="float32" if wide else case.dtype,
            limit=relative_limit(allowed, per_token(exact[name]), basis),
            to_largest=True,
        )


def _gradients(
    adapter: Adapter, case: Case, device: str, *, exact: bool, copies: int = 1
) -> dict[str, Array]:
    """By argument, (B, H, T, ...), or (B, H, 1, ...) where it has no tokens."""
    import torch

    given = arguments(adapter, case, device, exact=exact)
    given.pop("return_trajectory", None)
    leaves = {name: given[name].requires_grad_() for name in LEAVES if name in given}
    outputs = _results(*call(adapter, given))
    cotangents = [_cotangent(output, case, position, copies) for position, output in enumerate(outputs)]
    values = torch.autograd.grad(
        outputs, list(leaves.values()), cotangents, allow_unused=True, materialize_grads=True
    )
    return {name: _heads_first(name, value) for name, value in zip(leaves, values, strict=True)}


def _results(first: Tensor, final: Any = None, *_: Any) -> list[Tensor]:
    """o, the state, and the preconditioner handed on, as far as they are part of the graph."""
    rest = (getattr(final, "state", final), getattr(final, "preconditioner", None))
    found = [first, *(tensor for tensor in rest if tensor is not None)]
    return [tensor for tensor in found if tensor.requires_grad]


def _cotangent(output: Tensor, case: Case, position: int, copies: int) -> Tensor:
    """The same numbers for the kernel, each of its copies, and the reference: those that the kernel's dtype holds."""
    import torch

    rng = np.random.default_rng([SEED, position])
    batch, *rest = output.shape
    drawn = torch.from_numpy(np.concatenate([rng.standard_normal((batch // copies, *rest))] * copies))
    held = drawn.to(getattr(torch, case.dtype if position == 0 else "float32"))
    return held.to(device=output.device, dtype=output.dtype)


def _heads_first(name: str, gradient: Tensor) -> Array:
    array: Array = gradient.detach().cpu().double().numpy()
    return np.swapaxes(array, 1, 2) if name in PER_TOKEN else array[:, :, None]
