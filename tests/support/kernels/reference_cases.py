"""Calls of the operators, drawn by name: which rule, which gates, which box, batch or packed."""

from dataclasses import dataclass, field
from typing import Any

import torch
from osdn_kernels.boundary.results import State
from torch import Tensor

BOUNDED = {"eta": 0.003, "d_min": 2 / 3, "d_max": 1.5}
NARROW = {"eta": 0.8, "d_min": 0.9, "d_max": 1.1}

RULES: dict[str, dict[str, Any]] = {
    "bounded": BOUNDED,
    "fast": {"eta": 0.4, "d_min": 0.0, "d_max": 4.0},
    "normalised": {"eta": 0.5, "d_min": 0.0, "d_max": 4.0, "normalize_feedback": True},
    "some clip": {"eta": 0.4, "d_min": 0.56, "d_max": 1.18},
    "most clip": NARROW,
    "historic": {"eta": 1.0, "d_min": 0.0, "d_max": 1e9},
    "no box": {"eta": 0.4, "d_min": float("-inf"), "d_max": float("inf")},
    "frozen": {"eta": 0.0, "d_min": 0.0, "d_max": 4.0},
    "one point": {"eta": 0.4, "d_min": 1.0, "d_max": 1.0},
}

GATES = ("none", "to zero", "to anchor")


@dataclass
class Call:
    """Arguments of an operator; `tensors` are the differentiable ones present."""

    tensors: dict[str, Tensor]
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, operator: Any, **more: Any) -> Any:
        return operator(**self.tensors, **self.options, **more)

    def leaves(self) -> "Call":
        """The same call on fresh leaves of autograd."""
        tensors = {name: x.detach().clone().requires_grad_() for name, x in self.tensors.items()}
        return Call(tensors, self.options)


def draw(
    rule: str,
    gates: str = "none",
    *,
    seed: int = 0,
    batch: int = 2,
    length: int = 37,
    heads: int = 2,
    key_dim: int = 6,
    value_dim: int = 5,
    cu_seqlens: list[int] | None = None,
    value_heads: int | None = None,
    start: bool = True,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> Call:
    """A call with keys near unit length, and with `start` an initial state and a d_1 inside the box.

    `value_heads`, a multiple of `heads`, share those of the keys.
    """
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    if cu_seqlens is not None:
        batch, length = 1, cu_seqlens[-1]
        options["cu_seqlens"] = torch.tensor(cu_seqlens)
    sequences = batch if cu_seqlens is None else len(cu_seqlens) - 1
    tokens, value_heads = (batch, length, heads), value_heads or heads
    written = (batch, length, value_heads)
    keys = torch.nn.functional.normalize(normal(*tokens, key_dim), dim=-1)
    tensors = {
        "q": normal(*tokens, key_dim),
        "k": keys * (0.8 + 0.5 * uniform(*tokens, 1)),
        "v": normal(*written, value_dim),
        "beta": uniform(*written),
    }
    if gates != "none":
        tensors["g"] = -0.15 * uniform(*tokens) - 1e-3
    if gates == "to anchor":
        tensors["anchor"] = 0.9 + 0.3 * uniform(sequences, heads, key_dim)
    box = RULES[rule]
    if start:
        inside = (0.9 + 0.2 * uniform(sequences, heads, key_dim)).clamp(box["d_min"], box["d_max"])
        tensors["initial_state"] = 0.3 * normal(sequences, value_heads, key_dim, value_dim)
        tensors["initial_preconditioner"] = inside
    return Call({name: x.to(dtype) for name, x in tensors.items()}, {**box, **options})


def draw_gated(rule: str, gates: str = "none", *, state_gate: str, seed: int = 0, **more: Any) -> Call:
    """Likewise of a gated operator, whose memory fades by a gate for each "head" or "feature"; `g_d` is d's."""
    call = draw(rule, gates, seed=seed, **more)
    rng = torch.Generator().manual_seed(seed + 1)
    tensors = {"g_d" if name == "g" else name: x for name, x in call.tensors.items()}
    shape = tensors["beta"].shape
    if state_gate == "feature":
        shape = torch.Size((*shape, tensors["k"].shape[3]))
    gate = -0.5 * torch.rand(shape, generator=rng, dtype=torch.float64) - 1e-3
    return Call(tensors | {"g": gate.to(tensors["k"].dtype)}, call.options)


def results(call: Call, operator: Any) -> dict[str, Tensor]:
    """All that an operator returns, by name."""
    o, state, trajectory = call(operator, output_final_state=True, return_trajectory=True)
    assert isinstance(state, State)
    return {
        "o": o,
        "state": state.state,
        "preconditioner": state.preconditioner,
        "path": trajectory.preconditioner,
        "alignment": trajectory.alignment,
        "residual_ratio": trajectory.residual_ratio,
    }


def gradients(call: Call, operator: Any, outputs: tuple[str, ...], seed: int = 1) -> dict[str, Tensor]:
    """Gradients of one random linear form of the named outputs, for every differentiable argument present."""
    return differentiated(call, operator, outputs, seed)[1]


def differentiated(
    call: Call, operator: Any, outputs: tuple[str, ...], seed: int = 1
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Results and such gradients of one call."""
    call = call.leaves()
    found = results(call, operator)
    rng = torch.Generator().manual_seed(seed)
    loss = sum(
        (found[name] * torch.randn(found[name].shape, generator=rng, dtype=torch.float64)).sum()
        for name in outputs
    )
    values = torch.autograd.grad(loss, list(call.tensors.values()), allow_unused=True, materialize_grads=True)
    return found, dict(zip(call.tensors, values, strict=True))


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Frobenius; absolute where what is expected vanishes."""
    assert found.shape == expected.shape
    size = expected.detach().double().norm().item()
    return (found.detach().double() - expected.detach().double()).norm().item() / (size or 1.0)
