"""The calls that the self-test makes: few, so that few variants compile, and each with what goes wrong in kernels.

Packed sequences whose lengths are no multiples of the chunk, one of them empty and one a single token; gates and an
anchor; a box that clips some chunks and not others; states in and out. Every case runs as drawn, and again repeated
until the grids have more than 1024 programs, which is compared with the same reference.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .. import ops
from ..boundary.results import State
from ..launch.runtime import INTERPRETED
from ..layers.norm import l2norm
from ..reference import tokenwise as reference

PROGRAMS = 1100
"""Programs of the large grid, at least."""

HEADS = 2
Operator = Callable[..., Any]


@dataclass(frozen=True)
class SelfTestCase:
    """One operator on one problem. `kernels` narrows what is walked through; empty means all that it launches.

    `form` is "osdn", or "osgdn" or "oskda", whose memory fades; `gated` is of d.
    """

    name: str
    operator: str
    dtype: torch.dtype
    key_dim: int = 64
    value_dim: int = 64
    lengths: tuple[int, ...] = (70, 1, 0, 129, 33)
    packed: bool = True
    gated: bool = True
    quick: bool = True
    alone: bool = False
    kernels: tuple[str, ...] = ()
    form: str = "osdn"
    options: dict[str, Any] = field(default_factory=dict)
    fades: float = 0.5
    """By how much, as a logarithm, a token's gates of the memory may fade it."""
    small: dict[str, Any] = field(default_factory=dict)
    """What is different in the interpreter beside `SMALL`."""

    @property
    def exact(self) -> bool:
        """Whether float32 accuracy is due."""
        return self.dtype == torch.float32


BOX: dict[str, Any] = {"eta": 0.4, "d_min": 0.56, "d_max": 1.18}
"""A fast rule whose box some chunks leave and some do not."""

SLOW = {"eta": 0.05, "d_min": 0.7, "d_max": 1.15}
"""A rule whose scan goes by sweeps; some chunks leave its box and some do not."""

SWEEPS = (
    "series_kernel", "sweep_kernel", "unsettled_kernel", "mark_kernel", "pattern_kernel",
    "sweep_back_kernel", "unsettled_back_kernel", "spread_clipped_kernel",
)  # fmt: skip

HALF, FULL = torch.bfloat16, torch.float32

SCANS: dict[str, Any] = {"sequential": ops.sequential_scan}

CASES = [
    SelfTestCase("chunk bf16", "chunk", HALF, 128, 128),
    SelfTestCase("sweeps bf16", "chunk", HALF, 128, 128, (300, 1, 0, 600, 33), options=SLOW, kernels=SWEEPS,
         small={"lengths": (70, 1, 0, 75), "options": SLOW | {"chunk_size": 16}}),
    SelfTestCase("walks bf16", "chunk", HALF, 128, 128, (70,) * 81, packed=False, gated=False,
         kernels=("memory_backward_kernel", "walk_back_kernel", "walk_kernel"), small={"lengths": (3,) * 81}),
    SelfTestCase("one long sequence bf16", "chunk", HALF, 128, 128, (16400,), packed=False, gated=False,
         options=SLOW | {"chunk_size": 16}, alone=True, kernels=("chain_kernel", "memory_kernel", "solve_kernel")),
    SelfTestCase("one long sequence OS-KDA bf16", "chunk", HALF, 128, 128, (16400,), packed=False, gated=False,
         form="oskda", options=SLOW | {"chunk_size": 16}, alone=True,
         kernels=("fold_kernel", "memory_kernel", "solve_kernel", "sum_gates_kernel")),
    SelfTestCase("sequential scan bf16", "sequential", HALF, 128, 128,
         kernels=("sequential_kernel", "sequential_adjoint_kernel")),
    SelfTestCase("preconditioner bf16", "preconditioner", HALF, 128, kernels=("expand_kernel",)),
    SelfTestCase("recurrent bf16", "recurrent", HALF),
    SelfTestCase("chunk OS-GDN bf16", "chunk", HALF, 128, 128, form="osgdn"),
    SelfTestCase("chunk OS-KDA bf16", "chunk", HALF, 128, 128, form="oskda"),
    SelfTestCase("chunk OS-KDA bf16, strong gates", "chunk", HALF, 128, 128, form="oskda", fades=6.0,
         kernels=("pair_kernel", "pair_backward_kernel")),
    SelfTestCase("recurrent OS-GDN bf16", "recurrent", HALF, form="osgdn"),
    SelfTestCase("recurrent OS-KDA bf16", "recurrent", HALF, form="oskda"),
    SelfTestCase("norm bf16", "norm", HALF, 128),
    SelfTestCase("chunk fp32, batch", "chunk", FULL, lengths=(150, 150), packed=False, gated=False, quick=False),
    SelfTestCase("chunk bf16, 32 rows, K 48, V 80", "chunk", HALF, 48, 80, quick=False, options={"chunk_size": 32}),
    SelfTestCase("chunk bf16, K 64, batch", "chunk", HALF, lengths=(150, 150), packed=False, gated=False, quick=False),
    SelfTestCase("chunk bf16, K 32", "chunk", HALF, 32, 32, quick=False),
    SelfTestCase("sweeps bf16, batch", "chunk", HALF, lengths=(600, 600), packed=False, gated=False, options=SLOW,
         kernels=("chain_kernel", *SWEEPS), small={"lengths": (140, 140), "options": SLOW | {"chunk_size": 16}}),
    SelfTestCase("sweeps bf16, wide", "chunk", HALF, 256, 16, (300, 600), quick=False, options=SLOW, kernels=SWEEPS,
         small={"lengths": (70, 75), "options": SLOW | {"chunk_size": 16}}),
    SelfTestCase("sweeps fp32", "chunk", FULL, lengths=(300, 1, 0, 600), quick=False, options=SLOW, kernels=SWEEPS,
         small={"lengths": (70, 1, 0, 75), "options": SLOW | {"chunk_size": 16}}),
    SelfTestCase("recurrent fp32", "recurrent", FULL, 48, 80, quick=False),
    SelfTestCase("chunk OS-GDN fp32", "chunk", FULL, quick=False, form="osgdn"),
    SelfTestCase("chunk OS-KDA fp32", "chunk", FULL, quick=False, form="oskda"),
    SelfTestCase("sweeps OS-GDN bf16", "chunk", HALF, 128, 128, (300, 1, 0, 600, 33), gated=False, quick=False,
         form="osgdn", options=SLOW, kernels=SWEEPS,
         small={"lengths": (70, 1, 0, 75), "options": SLOW | {"chunk_size": 16}}),
    SelfTestCase("recurrent OS-GDN fp32", "recurrent", FULL, 48, 80, quick=False, form="osgdn"),
    SelfTestCase("recurrent OS-KDA fp32", "recurrent", FULL, 48, 80, quick=False, form="oskda"),
    SelfTestCase("preconditioner fp32", "preconditioner", FULL, quick=False, kernels=("expand_kernel",)),
]  # fmt: skip

SMALL: dict[str, Any] = {"key_dim": 16, "value_dim": 16, "lengths": (20, 1, 0, 35)}
"""The same in the interpreter."""


def sized(case: SelfTestCase) -> SelfTestCase:
    """A case on its own sizes or, in the interpreter, on smaller ones."""
    if not INTERPRETED:
        return case
    return replace(case, **((SMALL if case.packed else {**SMALL, "lengths": (20, 20)}) | case.small))


@dataclass(frozen=True)
class CaseTensors:
    """Tensors of a case, float64 but with values that its dtype holds; `grads` are what meets its outputs."""

    case: SelfTestCase
    tensors: dict[str, Tensor]
    grads: dict[str, Tensor]


def draw(case: SelfTestCase, seed: int = 0) -> CaseTensors:
    rng = torch.Generator().manual_seed(seed)

    def held(x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.to(dtype).double()

    def normal(*shape: int, dtype: torch.dtype = case.dtype) -> Tensor:
        return held(torch.randn(*shape, generator=rng, dtype=torch.float64), dtype)

    def uniform(low: float, high: float, *shape: int, dtype: torch.dtype = FULL) -> Tensor:
        return held(low + (high - low) * torch.rand(*shape, generator=rng, dtype=torch.float64), dtype)

    sequences = len(case.lengths)
    rows, length = (1, sum(case.lengths)) if case.packed else (sequences, case.lengths[0])
    tokens = (rows, length, HEADS)
    key_dim, value_dim = case.key_dim, case.value_dim
    keys = normalize(normal(*tokens, key_dim, dtype=torch.float64), dim=-1) * uniform(0.8, 1.2, *tokens, 1)
    tensors = {"k": held(keys, case.dtype)}
    if case.operator == "norm":
        return CaseTensors(case, tensors, {"y": normal(*tokens, key_dim)})
    fades = case.form != "osdn"
    if fades:
        tensors["g"] = uniform(-case.fades, -0.001, *tokens, *([key_dim] if case.form == "oskda" else []))
    if case.gated:
        tensors["g_d" if fades else "g"] = uniform(-0.1, -0.001, *tokens)
        tensors["anchor"] = uniform(0.9, 1.1, sequences, HEADS, key_dim)
    tensors["initial_preconditioner"] = uniform(0.7, 1.15, sequences, HEADS, key_dim)
    if case.operator == "preconditioner":
        grads = {"d": normal(*tokens, key_dim, dtype=FULL)}
    else:
        tensors["q"] = normal(*tokens, key_dim)
        tensors["v"] = normal(*tokens, value_dim)
        tensors["beta"] = uniform(0.1, 1.0, *tokens, dtype=case.dtype)
        tensors["initial_state"] = 0.3 * normal(sequences, HEADS, key_dim, value_dim, dtype=HALF)
        grads = {
            "o": normal(*tokens, value_dim),
            "state": normal(sequences, HEADS, key_dim, value_dim, dtype=FULL),
        }
    grads["preconditioner"] = normal(sequences, HEADS, key_dim, dtype=FULL)
    return CaseTensors(case, tensors, grads)


def operator_of(case: SelfTestCase, *, exact: bool) -> Operator:
    """The operator, or its reference, giving a dictionary of outputs."""
    if case.operator == "norm":
        return normalised_exactly if exact else normalised
    if case.operator == "preconditioner":
        scan = reference.preconditioner_reference if exact else ops.osdn_preconditioner
        return lambda **given: dict(zip(("d", "preconditioner"), scan(**given), strict=True))
    way = "fused_recurrent" if case.operator == "recurrent" else "chunk"
    function: Callable[..., Any] = (
        getattr(reference, f"{case.form}_reference") if exact else getattr(ops, f"{way}_{case.form}")
    )

    def call(**given: Any) -> dict[str, Tensor]:
        with SCANS.get(case.operator, nullcontext)():
            o, state = function(**given, output_final_state=True)
        assert isinstance(state, State)
        return {"o": o, "state": state.state, "preconditioner": state.preconditioner}

    return call


def normalised(k: Tensor, **options: Any) -> dict[str, Tensor]:
    return {"y": l2norm(k)}


def normalised_exactly(k: Tensor, **options: Any) -> dict[str, Tensor]:
    return {"y": reference.unit(k)}


def options_of(case: SelfTestCase, device: torch.device, repeat: int = 1) -> dict[str, Any]:
    """What is not a differentiable input."""
    options: dict[str, Any] = {**BOX, **case.options}
    if case.packed:
        options["cu_seqlens"] = torch.tensor([0, *case.lengths * repeat], device=device).cumsum(0)
    return options


def scan_paths(problem: CaseTensors, device: torch.device) -> str:
    """Which way the scan of a case goes: chunks that clip, most sweeps, sequences and heads left open."""
    case = problem.case
    if case.operator != "chunk":
        return ""
    given: dict[str, Any] = {name: placed(x, name, case, device) for name, x in problem.tensors.items()}
    results: Any = getattr(ops, f"chunk_{case.form}")(
        **given, **options_of(case, device), return_trajectory=True
    )
    scan = results[-1].scan
    if scan is None:
        return ""
    clipped, sweeps, left = int(scan.clipped.sum()), int(scan.sweeps.max()), int(scan.unsettled.sum())
    return f"{clipped} of {scan.clipped.numel()} chunks clip, {sweeps} sweeps, {left} left open"


def evaluate(
    problem: CaseTensors, device: torch.device, *, exact: bool = False, repeat: int = 1, pinned: bool = False
) -> dict[str, Tensor]:
    """Outputs and gradients by name. `exact`: float64 by the reference. `pinned`: d = 1 throughout (T12 alone)."""
    case = problem.case
    given = {name: placed(x, name, case, device, exact, repeat) for name, x in problem.tensors.items()}
    if pinned:
        kept = {"q", "k", "v", "beta", "initial_state"} | ({"g"} if case.form != "osdn" else set())
        given = {name: x for name, x in given.items() if name in kept}
    leaves = {name: x.requires_grad_() for name, x in given.items()}
    options = options_of(case, device, repeat) | ({"d_min": 1.0, "d_max": 1.0} if pinned else {})
    outputs = operator_of(case, exact=exact)(**leaves, **options)
    if pinned:
        outputs = {name: x for name, x in outputs.items() if name in ("o", "state")}
    grads = [
        placed(problem.grads[name], name, case, device, exact, repeat).to(x.dtype)
        for name, x in outputs.items()
    ]
    found = torch.autograd.grad(list(outputs.values()), list(leaves.values()), grads)
    named = {f"grad {name}": x for name, x in zip(leaves, found, strict=True)}
    return {name: x.detach() for name, x in {**outputs, **named}.items()}


def split(values: dict[str, Tensor], case: SelfTestCase, repeat: int) -> dict[str, Tensor]:
    """[repeat, ...] of what `evaluate` gave for repeated sequences."""
    tokens = (
        {"o", "d", "y", *(f"grad {name}" for name in ("q", "k", "v", "beta", "g", "g_d"))}
        if case.packed
        else set()
    )
    return {
        name: x[0].unflatten(0, (repeat, -1)) if name in tokens else x.unflatten(0, (repeat, -1))
        for name, x in values.items()
    }


def repeats(case: SelfTestCase) -> int:
    """How often to repeat the sequences for a large grid; once where a single one goes another way."""
    if INTERPRETED or case.alone:
        return 1
    return -(-PROGRAMS // (HEADS * sum(length > 0 for length in case.lengths)))


PER_SEQUENCE = ("anchor", "initial_preconditioner", "initial_state", "state", "preconditioner")
WIDE = ("g", "g_d", *PER_SEQUENCE, "d")
"""Tensors that are float32 whatever the inputs are."""


def placed(
    x: Tensor, name: str, case: SelfTestCase, device: torch.device, exact: bool = False, repeat: int = 1
) -> Tensor:
    """On the device, in its dtype, repeated along sequences or, packed, along tokens."""
    dtype = torch.float64 if exact else FULL if name in WIDE else case.dtype
    along = 1 if case.packed and name not in PER_SEQUENCE else 0
    times = [1] * x.dim()
    times[along] = repeat
    return x.to(device=device, dtype=dtype).repeat(times)
