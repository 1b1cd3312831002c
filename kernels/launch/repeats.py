"""Launches of machine code that is at hand.

Around each launch Triton asks the environment for its options, writes those of the call out as text, and compares every
constant that the kernel sees with what it was when it was compiled, which takes the host longer than the launch does.
"""

from collections.abc import Callable, Sequence
from typing import Any

from triton.compiler.compiler import CompiledKernel
from triton.runtime.driver import driver


class Repeats:
    """A function of `triton.jit` that remembers what its calls were compiled to."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.compiled: dict[tuple[Any, ...], CompiledKernel] = {}

    def launch(
        self,
        grid: Sequence[int] | Callable[[dict[str, Any]], Sequence[int]],
        args: Sequence[Any],
        options: dict[str, Any],
    ) -> Any:
        """`function[grid](*args, **options)`; the first call of a kind goes through Triton.

        A kind is what Triton compiles apart: types, alignments, values of constants, and options.
        """
        if not self.compiled:
            return self.launch_anew(grid, args, options)
        bound, kind = self.bind(args, options)
        kernel = self.compiled.get(kind)
        if kernel is None:
            return self.launch_anew(grid, args, options)
        size = grid(bound) if callable(grid) else grid
        kernel[(*size, 1, 1)[:3]](*bound.values())
        return kernel

    def launch_anew(self, grid: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        kernel = self.function.run(*args, grid=grid, warmup=False, **options)
        if isinstance(kernel, CompiledKernel):
            self.compiled[self.bind(args, options)[1]] = kernel
        return kernel

    def bind(self, args: Sequence[Any], options: dict[str, Any]) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """All arguments in order, and a call's kind on the current device."""
        device = driver.active.get_current_device()
        *_, bind = self.function.device_caches[device]
        bound, kinds, others = bind(*args, **options)
        return bound, (device, *kinds, *others.values())
