"""Launches of machine code that is at hand.

Around each launch Triton asks the environment for its options, writes those of the call out as text, and compares every
constant that the kernel sees with what it was when it was compiled, which takes the host longer than the launch does.
"""

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import torch
from triton.compiler.compiler import CompiledKernel
from triton.runtime.driver import driver

from . import plans

try:
    from triton._C.libtriton import native_specialize_impl as kind_of
except ImportError:  # a Triton that tells arguments apart in another way makes every launch itself
    kind_of = None

LIMITED = 49152
"""Bytes up to which a kernel's shared memory is limited to what it was compiled with."""


class Repeats:
    """A function of `triton.jit` that remembers what its calls were compiled to."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.compiled: dict[tuple[Any, ...], CompiledKernel] = {}
        self.flags = [
            (x.is_const, not x.do_not_specialize, not x.do_not_specialize_on_alignment)
            for x in function.params
        ]

    def launch(
        self,
        grid: Sequence[int] | Callable[[dict[str, Any]], Sequence[int]],
        args: Sequence[Any],
        constants: dict[str, Any],
        options: dict[str, Any],
    ) -> Any:
        """`function[grid](*args, **constants, **options)`; the first call of a kind goes through Triton.

        A kind is what Triton compiles apart: types and alignments of `args`, and values of the rest, where these are
        the kernel's constants and the compiler's options.
        """
        if not self.compiled:
            return self.launch_anew(grid, args, constants, options)
        kernel = self.compiled.get(self.kind(args, constants, options))
        if kernel is None:
            return self.launch_anew(grid, args, constants, options)
        size = grid(constants) if callable(grid) else grid
        launch = kernel[(*size, 1, 1)[:3]]
        given = [*args, *[constants[name] for name in self.function.arg_names[len(args) :]]]
        plans.launch(launch, given, {})
        return kernel

    def launch_anew(
        self, grid: Any, args: Sequence[Any], constants: dict[str, Any], options: dict[str, Any]
    ) -> Any:
        plans.give_up()
        kernel = self.function.run(*args, grid=grid, warmup=False, **constants, **options)
        if constants.get("ALONE") and isinstance(kernel, CompiledKernel):
            take_shared_memory(kernel)
        known = {self.function.arg_names[i] for i in self.function.constexprs} == constants.keys()
        if known and kind_of is not None and isinstance(kernel, CompiledKernel):
            self.compiled[self.kind(args, constants, options)] = kernel
        return kernel

    def kind(
        self, args: Sequence[Any], constants: dict[str, Any], options: dict[str, Any]
    ) -> tuple[Any, ...]:
        device = driver.active.get_current_device()
        backend = self.function.device_caches[device][3]
        kinds = map(kind_of, repeat(backend), args, *zip(*self.flags[: len(args)], strict=True))
        return (device, *kinds, *constants, *constants.values(), *options.values())


def take_shared_memory(kernel: CompiledKernel) -> None:
    """Have launches ask for all the shared memory of a multiprocessor, which leaves none to programs beside them."""
    room = torch.cuda.get_device_properties().shared_memory_per_block_optin  # type: ignore[attr-defined]
    if kernel.metadata.shared > LIMITED and hasattr(kernel, "packed_metadata"):
        kernel.packed_metadata = (*kernel.packed_metadata[:2], room)
