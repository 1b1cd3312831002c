"""The functions that are timed, from a provider and inputs: what is done outside of them is not measured."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...boundary.results import State
from ...boundary.rule import Rule
from ...launch.sequences import cut
from ...ops import fused_recurrent_osdn
from ...recurrent.decode import decode_step_
from ...scan.calls import ScanCall
from ...scan.forward import scan_forward
from .. import names
from ..shapes import Shape
from .floors import CHUNK, Work, decode, forward, forward_backward, scan
from .inputs import Tensors, in_regime
from .providers import Provider, installed
from .regimes import CLIPPING, NOTHING, Regime

Run = Callable[[], tuple[Tensor, ...]]


class Call(NamedTuple):
    """`prepare` gives the function to time, which returns its outputs; or it raises `Missing`."""

    provider: str
    prepare: Callable[[], Run]
    work: Work | None
    repeats: int = 1
    gpu: bool = False


def forward_call(provider: Provider, drawn: Tensors, shape: Shape) -> Call:
    def prepare() -> Run:
        operator = provider.load()
        given = provider.arguments(in_regime(provider.regime, drawn))

        def run() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (operator(**given)[0],)

        return run

    work = forward(
        shape, drawn["q"].element_size(), gates=provider.gates(shape.key_dim), started=provider.started
    )
    return Call(provider.name, prepare, work, gpu=provider.gpu)


def backward_call(provider: Provider, drawn: Tensors, shape: Shape) -> Call:
    """Forward and backward, with the gradient of every tensor that the provider is given."""

    def prepare() -> Run:
        operator = provider.load()
        given = provider.arguments(in_regime(provider.regime, drawn))
        given = {name: x.detach().requires_grad_() for name, x in given.items()}

        def run() -> tuple[Tensor, ...]:
            o = operator(**given)[0]
            return o, *torch.autograd.grad(o, list(given.values()), drawn["grad"])

        return run

    work = forward_backward(
        shape, drawn["q"].element_size(), gates=provider.gates(shape.key_dim), started=provider.started
    )
    return Call(provider.name, prepare, work, gpu=provider.gpu)


def scan_calls(ours: Provider, drawn: Tensors, shape: Shape) -> list[Call]:
    """The scan as `chunk_osdn` runs it, beside the whole forward pass."""

    def alone(regime: Regime, *, sequential: bool) -> Callable[[], Run]:
        given = in_regime(regime, drawn)
        rule = Rule(**regime.options, normalize_feedback=False)
        chunks = cut(shape.batch, shape.length, CHUNK, None)

        def run() -> tuple[Tensor, ...]:
            k = given["k"]
            call = ScanCall(k, None, None, None, rule, torch.empty_like(k), None, True)
            gains = scan_forward(call, given["start"], chunks, sequential=sequential)
            return gains.gain, gains.final

        return lambda: run

    work = scan(shape, drawn["k"].element_size())
    return [
        forward_call(ours, drawn, shape),
        Call(names.SCAN_ALONE, alone(NOTHING, sequential=False), work),
        Call(names.SCAN_CLIPPING, alone(CLIPPING, sequential=False), work),
        Call(names.SCAN_SEQUENTIAL, alone(NOTHING, sequential=True), work),
    ]


def decode_calls(sets: list[Tensors], shape: Shape, *, graph: bool) -> list[Call]:
    """One token for each of `sets` in turn, so that states come from memory rather than from the cache.

    States are handed over as each operator does: in place by `decode_step_`, as a new tensor by the others. A pool has
    a row for each sequence, the same one in all of `sets`, as in the layers of a model.
    """
    plain = [{name: drawn[name] for name in ("q", "k", "v", "beta")} for drawn in sets]
    starts = [drawn["start"] for drawn in sets]
    per_head = [drawn["g"] for drawn in sets]
    per_feature = [drawn["g"][..., None].repeat(1, 1, 1, shape.key_dim) for drawn in sets]

    def zeros() -> list[Tensor]:
        size = (shape.batch, shape.heads, shape.key_dim, shape.value_dim)
        return [torch.zeros(size, device=start.device) for start in starts]

    def each(step: Callable[..., Tensor], *given: list) -> Run:
        """Steps over all sets, each with its own of the lists `given`."""

        def run() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return tuple(step(token, *own) for token, *own in zip(plain, *given, strict=True))

        return recorded(run) if graph else run

    def in_place(*, order: Callable[..., Tensor] | None = None, gates: list[Tensor] | None = None) -> Run:
        states = [State(memory, start.clone()) for memory, start in zip(zeros(), starts, strict=True)]
        outputs = [torch.empty_like(token["v"]) for token in plain]
        rows = None if order is None else order(shape.batch, device=starts[0].device)
        return each(
            lambda token, state, out, gate: decode_step_(
                **token, state=state, out=out, state_indices=rows, state_gate=gate
            ),
            states,
            outputs,
            [None] * len(sets) if gates is None else gates,
        )

    def recurrent() -> Run:
        return each(
            lambda token, memory, start: fused_recurrent_osdn(
                **token, initial_state=State(memory, start), output_final_state=True, check_values=False
            )[0],
            zeros(),
            starts,
        )

    def theirs(module: str, name: str, gates: list[Tensor] | None = None) -> Run:
        operator = installed(f"fla.ops.{module}", f"fused_recurrent_{name}")()
        given: list[dict[str, Tensor]] = (
            [{}] * len(sets) if gates is None else [{"g": gate} for gate in gates]
        )
        return each(
            lambda token, memory, gate: operator(
                **token, **gate, initial_state=memory, output_final_state=True
            )[0],
            zeros(),
            given,
        )

    item = sets[0]["q"].element_size()
    started, bare = (decode(shape, item, started=known) for known in (True, False))
    head, feature = 4 * shape.batch * shape.heads, 4 * shape.batch * shape.heads * shape.key_dim
    return [
        Call(names.STEP, in_place, started, len(sets)),
        Call(names.POOLED, partial(in_place, order=torch.arange), started, len(sets)),
        Call(names.SHUFFLED, partial(in_place, order=torch.randperm), started, len(sets)),
        Call(names.RECURRENT_DELTA, partial(theirs, "delta_rule", "delta_rule"), bare, len(sets), gpu=True),
        Call(names.RECURRENT, recurrent, started, len(sets)),
        Call(names.STEP_GDN, partial(in_place, gates=per_head), reading(started, head), len(sets)),
        Call(names.STEP_KDA, partial(in_place, gates=per_feature), reading(started, feature), len(sets)),
        Call(names.RECURRENT_GDN, partial(theirs, "gated_delta_rule", "gated_delta_rule", per_head),
             reading(bare, head), len(sets), gpu=True),
        Call(names.RECURRENT_KDA, partial(theirs, "kda", "kda", per_feature), reading(bare, feature), len(sets),
             gpu=True),
    ]  # fmt: skip


def reading(work: Work, bytes_: int) -> Work:
    """The same work with so many bytes more to move."""
    return replace(work, bytes=work.bytes + bytes_)


def recorded(run: Run) -> Run:
    """The same as a CUDA graph's replay; the call before capture compiles."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run()
    return partial(_replay, graph, outputs, run)


def _replay(graph: torch.cuda.CUDAGraph, outputs: tuple[Tensor, ...], run: Run) -> tuple[Tensor, ...]:
    """`run` is here for the tensors that it holds: the graph reads and writes where they are."""
    graph.replay()
    return outputs
