"""Compiling every kernel for a GPU that is not here, so that what breaks in the compiler shows on any machine.

The self-test's cases are called on CPU tensors with each launch replaced by a note of its arguments; the notes are then
compiled, with every configuration, down to machine code.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.experimental.gluon._runtime import GluonASTSource

from ..boundary.results import State
from ..launch import descriptors, runtime
from ..launch.tuning import TUNED, fitting_indices, function_of, sound
from ..recurrent import decode
from ..selftest.cases import CASES, HEADS, SelfTestCase, draw, evaluate
from ..selftest.findings import FAILED, MISCOMPILED, NO_FIT, NO_ROOM, OK, Finding, described
from . import disassemble, faults, trapped

KIBI = 1024
SHARED = {80: 163 * KIBI, 86: 99 * KIBI, 89: 99 * KIBI, 90: 227 * KIBI, 100: 227 * KIBI, 120: 99 * KIBI}
"""Bytes of shared memory that one program may have, by compute capability (CUDA C++ Programming Guide)."""

HOPPER = descriptors.HOPPER
"""Major compute capability of the GPUs that `machine_code` knows faults of."""

TYPES = {
    torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.int8: "i8", torch.int32: "i32",
    torch.int64: "i64", torch.float64: "fp64",
}  # fmt: skip


WIDEST = [
    SelfTestCase("widest heads bf16", "chunk", torch.bfloat16, 256, 256, quick=False),
    SelfTestCase("widest heads fp32", "chunk", torch.float32, 256, 256, quick=False),
]
"""Sizes at which a program may not fit; too slow to compare with float64 as well."""


@dataclass(frozen=True)
class LaunchSignature:
    """A kernel's arguments as the compiler sees them, as sorted pairs so that equal launches compare equal."""

    kernel: str
    types: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    warps: int

    @property
    def label(self) -> str:
        sizes = dict(self.constants)
        return ", ".join(f"{name} {sizes[name]}" for name in ("K", "V", "C") if name in sizes)


@dataclass(frozen=True)
class Job:
    """A launch with one configuration, for one compute capability."""

    launch: LaunchSignature
    index: int
    capability: int


def jobs(capability: int, *, quick: bool) -> list[Job]:
    """Every configuration of every kernel that the self-test's cases and a decoding step launch."""
    with recording(capability) as launches:
        for case in [*CASES, *WIDEST]:
            if case.quick or not quick:
                evaluate(draw(case), torch.device("cpu"))
        step_once()
    return [
        Job(launch, i, capability) for launch in dict.fromkeys(launches) for i in indices(launch, capability)
    ]


def indices(launch: LaunchSignature, capability: int) -> list[int]:
    """Of the configurations that neither the launch's sizes nor the GPU rules out."""
    if launch.kernel not in TUNED:
        return [0]
    configs = TUNED[launch.kernel].configs
    return [
        i for i in fitting_indices(configs, **dict(launch.constants)) if sound([configs[i]], capability // 10)
    ]


@contextmanager
def recording(capability: int) -> Iterator[list[LaunchSignature]]:
    """Launches are noted, as for a GPU of that capability, and not made; what they would have written stays as the
    allocator left it."""
    launches: list[LaunchSignature] = []
    kernels = {**TUNED, "decode_kernel": decode.decode_kernel}
    may_launch, generation = runtime.can_launch, descriptors.generation
    runtime.can_launch = lambda device: True
    descriptors.generation = lambda device: capability // 10
    try:
        for name, kernel in kernels.items():
            kernel.run = _noted(name, kernel, launches)
        yield launches
    finally:
        runtime.can_launch, descriptors.generation = may_launch, generation
        for kernel in kernels.values():
            del kernel.run


def step_once() -> None:
    """The decoding step, which is not autotuned and belongs to no case: for few heads and many, each kind of gate."""
    for batch in (1, decode.FEW):
        q = torch.zeros(batch, 1, HEADS, 128, dtype=torch.bfloat16)
        state = State(torch.zeros(batch, HEADS, 128, 128), torch.ones(batch, HEADS, 128))
        for gate in (None, q[..., 0], q):
            decode.decode_step_(
                q, q, q, q[..., 0], state, g=q[..., 0], state_gate=gate, use_qk_l2norm_in_kernel=True
            )


def _noted(name: str, kernel: Any, launches: list[LaunchSignature]) -> Any:
    function = function_of(kernel)

    def note(*args: Any, grid: Any, warmup: bool, num_warps: int = 4, **kwargs: Any) -> None:
        given = {**dict(zip(function.arg_names, args, strict=False)), **kwargs}
        constant = {p.name for p in function.params if p.is_constexpr} & given.keys()
        constant |= {argument for argument, value in given.items() if value is None}
        types = {argument: type_of(value) for argument, value in given.items() if argument not in constant}
        constants = {argument: given[argument] for argument in constant}
        launches.append(LaunchSignature(name, _pairs(types), _pairs(constants), num_warps))

    return note


def _pairs(values: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(values.items()))


def type_of(value: Any) -> str:
    """An argument's type as Triton's compiler spells it."""
    if isinstance(value, Tensor):
        return f"*{TYPES[value.dtype]}"
    return "fp32" if isinstance(value, float) else "i32"


def compile_job(job: Job) -> Finding:
    """Machine code of one launch with one configuration: does a program of it fit on the GPU, is the code sound?"""
    launch = job.launch
    constants, options = dict(launch.constants), {"num_warps": launch.warps}
    label = f"{launch.warps} warps"
    kernel = decode.decode_kernel
    if launch.kernel in TUNED:
        kernel = TUNED[launch.kernel]
        config = kernel.configs[job.index]
        constants |= config.kwargs
        options = {"num_warps": config.num_warps, "num_stages": config.num_stages, "maxnreg": config.maxnreg}
        label = described(launch.kernel, job.index)
    found = Finding(launch.kernel, label, f"sm_{job.capability}, {launch.label}", OK)
    source = source_of(function_of(kernel), dict(launch.types), constants)
    try:
        code = triton.compile(source, target=GPUTarget("cuda", job.capability, 32), options=options)
    except NO_FIT as error:
        return replace(found, verdict=NO_ROOM, note=_first_line(error))
    except Exception as error:
        return replace(found, verdict=FAILED, note=_first_line(error))
    shared = code.metadata.shared
    if shared > SHARED[job.capability]:
        return replace(found, verdict=NO_ROOM, note=f"{shared} bytes of shared memory")
    text = disassemble(code.asm["cubin"])
    wrong = trapped(text) + (faults(text) if job.capability // 10 == HOPPER else [])
    return replace(found, verdict=MISCOMPILED, note=wrong[0]) if wrong else found


def source_of(function: triton.JITFunction, types: dict[str, str], constants: dict[str, Any]) -> ASTSource:
    """With pointers aligned to 16 bytes, as PyTorch's allocator gives them."""
    signature = {name: types.get(name, "constexpr") for name in function.arg_names}
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, type in enumerate(signature.values()) if type.startswith("*")
    }
    source = GluonASTSource if function.is_gluon() else ASTSource
    return source(function, signature, constants, aligned)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]
