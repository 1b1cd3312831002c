"""The functions that are timed, from a provider and inputs: what is done outside of them is not measured."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..boundary.results import State
from ..boundary.rule import Rule
from ..launch.sequences import cut
from ..ops import fused_recurrent_osdn
from ..recurrent.decode import decode_step_
from ..scan.forward import scan_forward
from . import names
from .floors import CHUNK, Work, decode, forward, forward_backward, scan
from .inputs import CLIPPING_BOX, D_MAX, D_MIN, Drawn
from .providers import Provider, fla
from .shapes import Shape

ETA = 0.003


class Call(NamedTuple):
    """`run` returns its outputs; `prepare` gives it, or raises `Missing`."""

    provider: str
    prepare: Callable[[], Callable[[], tuple[Tensor, ...]]]
    work: Work | None
    repeats: int = 1


def forward_call(provider: Provider, drawn: Drawn, shape: Shape) -> Call:
    def prepare() -> Callable[[], tuple[Tensor, ...]]:
        operator = provider.load()
        tensors = {name: getattr(drawn, source) for name, source in provider.arguments.items()}

        def run() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (operator(**tensors),)

        return run

    item = drawn.q.element_size()
    work = forward(shape, item, gated=provider.gated, started=provider.started)
    return Call(provider.name, prepare, work)


def backward_call(provider: Provider, drawn: Drawn, shape: Shape) -> Call:
    """Forward and backward, with the gradient of every tensor that the provider is given."""

    def prepare() -> Callable[[], tuple[Tensor, ...]]:
        operator = provider.load()
        tensors = {
            name: getattr(drawn, source).detach().requires_grad_()
            for name, source in provider.arguments.items()
        }

        def run() -> tuple[Tensor, ...]:
            o = operator(**tensors)
            return o, *torch.autograd.grad(o, list(tensors.values()), drawn.grad)

        return run

    item = drawn.q.element_size()
    work = forward_backward(shape, item, gated=provider.gated, started=provider.started)
    return Call(provider.name, prepare, work)


def scan_calls(ours: Provider, drawn: Drawn, shape: Shape) -> list[Call]:
    """The scan as `chunk_osdn` runs it, beside the whole forward pass."""

    def alone(
        start: Tensor, d_min: float, *, sequential: bool
    ) -> Callable[[], Callable[[], tuple[Tensor, ...]]]:
        rule = Rule(ETA, d_min, D_MAX, False)
        chunks = cut(shape.batch, shape.length, CHUNK, None)

        def run() -> tuple[Tensor, ...]:
            out = torch.empty_like(drawn.k)
            gains = scan_forward(
                drawn.k, None, None, start, rule, chunks, out, scale_key=True, sequential=sequential
            )
            return gains.gain, gains.final

        return lambda: run

    at_bound = torch.full_like(drawn.start, CLIPPING_BOX)
    work = scan(shape, drawn.k.element_size())
    return [
        forward_call(ours, drawn, shape),
        Call(names.SCAN_ALONE, alone(drawn.start, D_MIN, sequential=False), work),
        Call(names.SCAN_CLIPPING, alone(at_bound, CLIPPING_BOX, sequential=False), work),
        Call(names.SCAN_SEQUENTIAL, alone(drawn.start, D_MIN, sequential=True), work),
    ]


def decode_calls(sets: list[Drawn], shape: Shape, *, graph: bool) -> list[Call]:
    """One token for each of `sets` in turn, so that states come from memory rather than from the cache.

    States are handed over as each operator does: in place by `decode_step_`, as a new tensor by the others.
    """
    heads, key_dim, value_dim = shape.heads, shape.key_dim, shape.value_dim
    item = sets[0].q.element_size()

    def zeros() -> Tensor:
        return torch.zeros(shape.batch, heads, key_dim, value_dim, device=sets[0].q.device)

    def plain(drawn: Drawn) -> dict[str, Any]:
        return {name: getattr(drawn, name) for name in ("q", "k", "v", "beta")}

    def step() -> Callable[[], tuple[Tensor, ...]]:
        states = [State(zeros(), drawn.start.clone()) for drawn in sets]
        outputs = [torch.empty_like(drawn.v) for drawn in sets]

        def run() -> tuple[Tensor, ...]:
            with torch.no_grad():
                for drawn, state, out in zip(sets, states, outputs, strict=True):
                    decode_step_(**plain(drawn), state=state, out=out)
            return tuple(outputs)

        return recorded(run) if graph else run

    def recurrent() -> Callable[[], tuple[Tensor, ...]]:
        states = [zeros() for _ in sets]

        def run() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return tuple(
                    fused_recurrent_osdn(
                        **plain(drawn), initial_state=State(state, drawn.start), output_final_state=True,
                        check_values=False,
                    )[0]
                    for drawn, state in zip(sets, states, strict=True)
                )  # fmt: skip

        return recorded(run) if graph else run

    def delta() -> Callable[[], tuple[Tensor, ...]]:
        operator = fla("delta_rule", "fused_recurrent_delta_rule")()
        states = [zeros() for _ in sets]

        def run() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return tuple(
                    operator(**plain(drawn), initial_state=state, output_final_state=True)[0]
                    for drawn, state in zip(sets, states, strict=True)
                )

        return recorded(run) if graph else run

    started = decode(shape, item, started=True)
    return [
        Call(names.STEP, step, started, len(sets)),
        Call(names.RECURRENT_DELTA, delta, decode(shape, item, started=False), len(sets)),
        Call(names.RECURRENT, recurrent, started, len(sets)),
    ]


def recorded(run: Callable[[], tuple[Tensor, ...]]) -> Callable[[], tuple[Tensor, ...]]:
    """The same as a CUDA graph's replay; the call before capture compiles."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run()

    def replay() -> tuple[Tensor, ...]:
        graph.replay()
        return outputs

    return replay
