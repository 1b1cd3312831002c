"""The whole recurrence as a registered operator: what every implementation of it takes, returns and differentiates."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from .registration import Operator
from .sequences import count

Options = TypeVar("Options", bound=tuple[Any, ...])
Outputs = TypeVar("Outputs", bound=tuple[Any, ...])


class Inputs(NamedTuple):
    """Tensors of one call, as in `osdn_kernels.boundary.inputs.Arguments`; anchors and states are float32.

    state_gate [B, T, HV] or [B, T, HV, K]: log gates of the memory. feedback [B, T, H, 2] float32: (f, m) of the
    feedback f - m <d_t, s_t>; None is (1, 1).
    initial_rest [N, H, K]: what float32 leaves of d_1, which `chunk_osdn` alone reads.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    g: Tensor | None = None
    anchor: Tensor | None = None
    initial_state: Tensor | None = None
    initial_preconditioner: Tensor | None = None
    state_gate: Tensor | None = None
    feedback: Tensor | None = None
    initial_rest: Tensor | None = None
    cu_seqlens: Tensor | None = None

    @property
    def sequences(self) -> int:
        """N: B, or the number of packed sequences."""
        return count(self.k, self.cu_seqlens)

    @property
    def per_feature(self) -> bool:
        """Whether the memory's gates are per feature."""
        return self.state_gate is not None and self.state_gate.dim() == 4


class Gradients(NamedTuple):
    """Of a loss for the fields of `Inputs`, in its order; None where nothing depends on the field."""

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    g: Tensor | None
    anchor: Tensor | None
    initial_state: Tensor | None
    initial_preconditioner: Tensor | None
    state_gate: Tensor | None = None
    feedback: Tensor | None = None


class Cotangents(NamedTuple):
    """Gradients of a loss for the output, the final state and the final preconditioner; None where it has none."""

    o: Tensor
    state: Tensor | None = None
    preconditioner: Tensor | None = None


class RecurrenceOperator(Operator[Inputs, Options, Outputs], Generic[Options, Outputs]):
    """An operator of `Inputs` whose outputs begin with o, state and preconditioner."""

    inputs = Inputs
    differentiable, results = len(Gradients._fields), len(Cotangents._fields)

    @abstractmethod
    def run(self, inputs: Inputs, options: Options) -> Outputs:
        """`forward` of at least one token."""

    @abstractmethod
    def differentiate(
        self, inputs: Inputs, options: Options, saved: Sequence[Tensor], grads: Cotangents
    ) -> Gradients:
        """`backward` of at least one token."""

    def forward(self, inputs: Inputs, options: Options) -> Outputs:
        if inputs.q.numel():
            return self.run(inputs, options)
        o, _, _, *others = self.allocate(inputs, options)
        return self.outputs(*[o, start_state(inputs), start_preconditioner(inputs), *others])

    def backward(
        self, inputs: Inputs, options: Options, saved: Sequence[Tensor], grads: Sequence[Any]
    ) -> Gradients:
        if inputs.q.numel():
            return self.differentiate(inputs, options, saved, Cotangents(*grads))
        through = {"initial_state": grads[1], "initial_preconditioner": grads[2]}
        return Gradients(*[_passed(getattr(inputs, x), through.get(x)) for x in Gradients._fields])


def start_state(inputs: Inputs) -> Tensor:
    """The memory that the sequences begin with, [N, H, K, V] float32, in memory of its own."""
    if inputs.initial_state is not None:
        return inputs.initial_state.clone()
    shape = (inputs.sequences, inputs.v.shape[2], inputs.k.shape[3], inputs.v.shape[3])
    return inputs.k.new_zeros(shape, dtype=torch.float32)


def start_preconditioner(inputs: Inputs) -> Tensor:
    """Likewise d_1, [N, H, K] float32."""
    if inputs.initial_preconditioner is not None:
        return inputs.initial_preconditioner.clone()
    return inputs.k.new_ones((inputs.sequences, *inputs.k.shape[2:]), dtype=torch.float32)


def start_rest(inputs: Inputs) -> Tensor:
    """Likewise what float32 leaves of d_1."""
    if inputs.initial_rest is not None:
        return inputs.initial_rest.clone()
    return inputs.k.new_zeros((inputs.sequences, *inputs.k.shape[2:]), dtype=torch.float32)


def sum_groups(x: Tensor, heads: int) -> Tensor:
    """[B, T, heads, ...] of what each of the value heads [B, T, H, ...] gives the key head that it shares."""
    return x if x.shape[2] == heads else x.unflatten(2, (heads, -1)).sum(3)


def _passed(given: Tensor | None, grad: Tensor | None) -> Any:
    """Gradient of an input that is handed on, or of which there is nothing."""
    if given is None or grad is None:
        return None if given is None else torch.zeros_like(given)
    return grad.clone()
