"""Operators as PyTorch's dispatcher, compiler and autograd see them, registered from what each of them declares.

What is registered takes tensors and numbers one by one and returns tensors alone: one that is absent is empty.
Forward-mode and second derivatives, which PyTorch would take for zero, raise a NotImplementedError.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any, ClassVar, Generic, NoReturn, TypeVar, get_type_hints

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from ..boundary.values import in_transform
from .planned import Planned
from .runtime import on_device_of
from .sequences import clear_between

Inputs = TypeVar("Inputs", bound=tuple[Any, ...])
Options = TypeVar("Options", bound=tuple[Any, ...])
Outputs = TypeVar("Outputs", bound=tuple[Any, ...])

KINDS = {Tensor: "Tensor", Tensor | None: "Tensor?", float: "float", int: "SymInt", bool: "bool"}
"""Types of arguments, in the language of PyTorch's schemas."""

_PACKAGE = __name__.removesuffix(".launch.registration")
NAMESPACE = "osdn" if _PACKAGE == "osdn_kernels" else _PACKAGE.replace(".", "_")
"""Of the operators in `torch.ops`; a copy under another name, as Hugging Face's `kernels` loads one, has its own."""

PER_TOKEN = {"q", "k", "v", "beta", "g", "state_gate", "feedback", "o", "d", "path"}
"""Inputs and outputs [1, T, ...] of packed sequences, of which no kernel writes rows that belong to none."""


class Operator(ABC, Generic[Inputs, Options, Outputs]):
    """A function of tensors and numbers with a gradient, registered as osdn::{name}_forward and osdn::{name}_backward.

    Arguments and outputs are named tuples, which a subclass declares; making an instance of it registers them.

    - `inputs`: Of tensors, the first of which is always given. The first `differentiable` have gradients.
    - `options`: Of numbers, and of named tuples of numbers.
    - `outputs`: Of tensors: `results` that have gradients, then `saved` ones for the backward pass, then others.
    """

    name: ClassVar[str]
    inputs: type[Inputs]
    options: type[Options]
    outputs: type[Outputs]
    differentiable: ClassVar[int]
    results: ClassVar[int]
    saved: ClassVar[int]

    @abstractmethod
    def allocate(self, inputs: Inputs, options: Options) -> Outputs:
        """New tensors of the shapes and dtypes that `forward` returns; None where it returns none."""

    @abstractmethod
    def forward(self, inputs: Inputs, options: Options) -> Outputs:
        """Compute the outputs, none of which is an input, from contiguous tensors on the current device."""

    @abstractmethod
    def backward(
        self, inputs: Inputs, options: Options, saved: Sequence[Any], grads: Sequence[Any]
    ) -> Sequence[Tensor | None]:
        """Gradients of the differentiable inputs, from what was saved and from the gradients of the results.

        The first of the latter is given, others are None where the loss does not depend on the result.
        """

    def prepare(self, inputs: Inputs, options: Options) -> None:
        """Called before a first `forward` of its kind, or every one: to compile what it and its gradient launch."""

    def unreached(self, inputs: Inputs, options: Options) -> Collection[str]:
        """Names of inputs on which no result depends: they have no gradient."""
        return ()

    def count_flops(self, inputs: Inputs, options: Options) -> tuple[int, int]:
        """Of the matrix products forward and backward, two for each multiply-add, as `FlopCounterMode` asks."""
        return 0, 0

    def __init__(self) -> None:
        self._planned = Planned(self._compute, self._prepare)
        self._planned_backward = Planned(self._compute_backward)
        tensors, numbers = _declared(self.inputs), _declared(self.options)
        results, saved, _ = self._parts(list(_fields(self.outputs)))
        between = [*(f"Tensor {name}" for name in saved), *(f"Tensor? grad_{name}" for name in results)]
        returned = ", ".join(["Tensor"] * len(_fields(self.outputs)))
        self._forward = _define(
            f"{self.name}_forward",
            f"({', '.join(tensors + numbers)}) -> ({returned})",
            self._run,
            self._trace,
        )
        self._backward = _define(
            f"{self.name}_backward", f"({', '.join(tensors + between + numbers)}) -> Tensor[]",
            self._run_backward, self._trace_backward,
        )  # fmt: skip
        torch.library.register_autograd(
            f"{NAMESPACE}::{self.name}_forward", self._differentiate, setup_context=self._save
        )
        for way, op in enumerate((self._forward, self._backward)):
            torch.library.register_vmap(op.name(), _over_slices(op))
            register_flop_formula(op.overloadpacket, get_raw=True)(self._counting(way))
        self._transformed = _function(self._below_autograd, self._save, self._differentiate, self._refuse)
        self._differentiated = _function(self._backward, _save_nothing, self._refuse, self._refuse)

    def __call__(self, inputs: Inputs, options: Options) -> Outputs:
        """Call the registered operator; outputs that it leaves out are empty."""
        flat = (*inputs, *_flat(options))
        # Which of them have tangents a graph cannot ask.
        tangents = forward_ad._current_level >= 0
        if tangents and (torch.compiler.is_compiling() or any(_has_tangent(x) for x in inputs)):
            self._refuse()
        if torch.compiler.is_compiling():
            return self.outputs(*self._forward(*flat))
        # What is registered cannot say how torch.func differentiates it, and goes through its schema in every call.
        recorded = in_transform() or (
            torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
        )
        return self.outputs(*(self._transformed.apply if recorded else self._below_autograd)(*flat))

    def _below_autograd(self, *flat: Any) -> Sequence[Tensor]:
        """The registered operator without what is registered for gradients, which does nothing here but take time."""
        with nullcontext() if in_transform() else torch._C._AutoDispatchBelowAutograd():
            found: Sequence[Tensor] = self._forward(*flat)
            return found

    def _refuse(self, *_: Any) -> NoReturn:
        if torch.compiler.is_compiling():
            # Dynamo goes on with another branch where it meets an error itself.
            torch._dynamo.graph_break()
        raise NotImplementedError(
            f"{NAMESPACE}::{self.name} has first derivatives in reverse mode alone; osdn_reference has all"
        )

    def _counting(self, way: int) -> Callable[..., int]:
        def formula(*flat: Any, out_val: Any = None) -> int:
            inputs, options, _ = self._parse(flat)
            return self.count_flops(inputs, options)[way]

        return formula

    @torch.no_grad()
    def launch(self, inputs: Inputs, options: Options, *, backward: bool) -> None:
        """Launch what a call launches and, with `backward`, what its gradient does, of the first result alone."""
        results, saved, _ = self._parts(self._forward(*inputs, *_flat(options)))
        if backward:
            others = [None] * (self.results - 1)
            self._backward(*inputs, *saved, results[0], *others, *_flat(options))

    def _parts(self, outputs: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Results, what is saved, and the rest."""
        end = self.results + self.saved
        return outputs[: self.results], outputs[self.results : end], outputs[end:]

    def _parse(self, flat: Sequence[Any]) -> tuple[Inputs, Options, Sequence[Any]]:
        """The named tuples, and what stands between them."""
        first, last = len(_fields(self.inputs)), len(flat) - len(_declared(self.options))
        options = _rebuilt(self.options, iter(flat[last:]))
        return self.inputs(*flat[:first]), options, flat[first:last]

    def _run(self, *flat: Any) -> tuple[Tensor, ...]:
        with on_device_of(flat[0]):
            return self._planned([_contiguous(x) for x in flat])

    def _prepare(self, flat: Sequence[Any]) -> None:
        inputs, options, _ = self._parse(flat)
        self.prepare(inputs, options)

    def _compute(self, flat: Sequence[Any]) -> tuple[Tensor, ...]:
        inputs, options, _ = self._parse(flat)
        outputs = self.forward(inputs, options)
        _clear(inputs, outputs, self.outputs)
        return _present(inputs[0], outputs)

    def _trace(self, *flat: Any) -> tuple[Tensor, ...]:
        inputs, options, _ = self._parse(flat)
        return _present(inputs[0], self.allocate(inputs, options))

    def _run_backward(self, *flat: Any) -> list[Tensor]:
        with on_device_of(flat[0]):
            return list(self._planned_backward([_contiguous(x) for x in flat]))

    def _compute_backward(self, flat: Sequence[Any]) -> tuple[Tensor, ...]:
        inputs, options, between = self._parse(flat)
        first, *others = between[self.saved :]
        if first is None:
            first = self.allocate(inputs, options)[0].zero_()
        found: Sequence[Any] = self.backward(inputs, options, between[: self.saved], (first, *others))
        _clear(inputs, found, self.inputs)
        return self._gradients(inputs, options, lambda place, x: found[place].to(x.dtype))

    def _trace_backward(self, *flat: Any) -> list[Tensor]:
        inputs, options, _ = self._parse(flat)
        return list(self._gradients(inputs, options, lambda place, x: x.new_empty(x.shape)))

    def _gradients(
        self, inputs: Inputs, options: Options, gradient: Callable[[int, Tensor], Tensor]
    ) -> tuple[Tensor, ...]:
        """What `gradient` makes of the place and value of the differentiable inputs; empty where they have none."""
        unreached = self.unreached(inputs, options)
        given = list(zip(_fields(self.inputs), inputs, strict=True))[: self.differentiable]
        found = [
            None if x is None or name in unreached else gradient(place, x)
            for place, (name, x) in enumerate(given)
        ]
        return _present(inputs[0], found)

    def _save(self, ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
        given, _, _ = self._parse(inputs)
        _, saved, others = self._parts(output)
        ctx.save_for_backward(*given, *saved)
        ctx.options = inputs[len(given) :]
        ctx.mark_non_differentiable(*saved, *others)
        ctx.set_materialize_grads(False)

    def _differentiate(self, ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        backward = self._differentiated.apply if torch.is_grad_enabled() else self._backward
        saved = ctx.saved_tensors  # once: checkpointing gives them away, and hooks may have to fetch them
        found = backward(*saved, *grads[: self.results], *ctx.options)
        wanted = zip(found, saved, ctx.needs_input_grad, strict=False)
        reached = [grad if need and grad.shape == x.shape else None for grad, x, need in wanted]
        return (*reached, *[None] * (len(ctx.needs_input_grad) - len(reached)))


def _define(name: str, schema: str, run: Callable[..., Any], trace: Callable[..., Any]) -> Any:
    """What `torch.library.custom_op` makes of it, but that no call imports the compiler, which takes seconds."""
    qualified = f"{NAMESPACE}::{name}"
    torch.library.define(qualified, schema)
    torch.library.impl(qualified, "default", run)
    torch.library.register_fake(qualified, trace)
    return getattr(getattr(torch.ops, NAMESPACE), name).default


def _function(
    forward: Callable[..., Any],
    save: Callable[..., None],
    backward: Callable[..., Any],
    jvp: Callable[..., Any],
) -> Any:
    """An operator as `torch.func` differentiates it."""

    class Differentiable(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*flat: Any) -> Any:
            return tuple(forward(*flat))

    # Which PyTorch asks for in every call.
    vars(Differentiable.forward)["__signature__"] = inspect.signature(Differentiable.forward)
    for name, member in {"setup_context": save, "backward": backward, "jvp": jvp}.items():
        setattr(Differentiable, name, staticmethod(member))
    return Differentiable


def _save_nothing(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    pass


def _over_slices(op: Any) -> Callable[..., Any]:
    """How `vmap` calls an operator: once for each slice."""

    def call(info: Any, dims: Sequence[int | None], *flat: Any) -> Any:
        given = list(zip(flat, dims, strict=True))
        calls = [op(*[x if d is None else x.select(d, i) for x, d in given]) for i in range(info.batch_size)]
        found = type(calls[0])([torch.stack(slices) for slices in zip(*calls, strict=True)])
        return found, type(found)([0] * len(found))

    return call


def _has_tangent(x: Any) -> bool:
    if not isinstance(x, Tensor):
        return False
    while torch._C._functorch.is_batchedtensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return forward_ad.unpack_dual(x).tangent is not None


def _clear(inputs: Any, found: Sequence[Any], kind: Any) -> None:
    """Zeros for the tokens that belong to no packed sequence, in what is per token of the fields of `kind`."""
    bounds = getattr(inputs, "cu_seqlens", None)
    if bounds is not None:
        per_token = [x for name, x in zip(_fields(kind), found, strict=False) if name in PER_TOKEN]
        clear_between(bounds, [x for x in per_token if x is not None and x.numel()])


@cache
def _fields(kind: Any) -> dict[str, Any]:
    """Types of the fields of a named tuple, by name."""
    return get_type_hints(kind)


@cache
def _declared(kind: Any) -> list[str]:
    """Arguments of a schema for the fields of a named tuple, and of those in it."""
    found: list[str] = []
    for name, hint in _fields(kind).items():
        found += _declared(hint) if hint not in KINDS else [f"{KINDS[hint]} {name}"]
    return found


def _flat(values: Sequence[Any]) -> list[Any]:
    return [x for value in values for x in (value if isinstance(value, tuple) else (value,))]


def _rebuilt(kind: Any, flat: Iterator[Any]) -> Any:
    """The inverse of `_flat` for the named tuple `kind`."""
    hints = _fields(kind).values()
    return kind(*[_rebuilt(hint, flat) if hint not in KINDS else next(flat) for hint in hints])


def _contiguous(x: Any) -> Any:
    return x.contiguous() if isinstance(x, Tensor) else x


def _present(like: Tensor, outputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    return tuple(like.new_empty(0) if x is None else x for x in outputs)
