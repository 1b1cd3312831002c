"""Autotuning: the candidate configurations of every kernel, kept where the self-test can walk through them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import triton

from .runtime import INTERPRETED, tile

TUNED: dict[str, Any] = {}
"""Every autotuned kernel by name, in order of definition."""


class Unrolled(triton.Config):
    """A configuration for products in full float32.

    Tensor cores do not take these; the compiler unrolls them into multiply-adds, so that the tiles that suit tensor
    cores become programs that take minutes to compile and spill.
    """


def configurations(
    blocks: Iterable[dict[str, int]] = ({},), warps: Sequence[int] = (4,), stages: Sequence[int] = (2,)
) -> list[triton.Config]:
    """All combinations of tile sizes, warps and pipeline stages."""
    return [
        triton.Config(dict(block), num_warps=n, num_stages=s)
        for block in blocks
        for n in warps
        for s in stages
    ]


def unrolled(warps: int = 8, **block: int) -> list[triton.Config]:
    """The one configuration of a kernel in full float32."""
    return [Unrolled(block, num_warps=warps, num_stages=1)]


def fitting(configs: list[triton.Config], named_args: dict[str, Any], **kwargs: Any) -> list[triton.Config]:
    """Those for the launch's precision, without tiles wider than the tensors need, unless nothing would be left."""
    full = kwargs.get("PRECISION") == "ieee"
    meant = [c for c in configs if isinstance(c, Unrolled) == full] or configs
    needed = {f"B{edge}": tile(kwargs[edge]) for edge in ("K", "V") if edge in kwargs}
    fit = [c for c in meant if all(c.kwargs.get(edge, 0) <= most for edge, most in needed.items())]
    return fit or meant[:1]


def fitting_indices(configs: list[triton.Config], **given: Any) -> list[int]:
    """Places in `configs` of those that `fitting` leaves to a launch with the arguments `given`, in order."""
    fit = fitting(configs, {}, **given)
    return [i for i, config in enumerate(configs) if config in fit]


def settle_cache_keys() -> None:
    """Hash all kernels in one order.

    Triton's hash of a kernel depends on which of the functions that it calls were hashed before, by other kernels. In
    the order of launches, two processes that launch in different orders would not find each other's machine code.
    """
    if INTERPRETED:
        return
    for kernel in TUNED.values():
        function_of(kernel).cache_key  # noqa: B018 -- computed on access, then kept


def function_of(kernel: Any) -> triton.JITFunction:
    """The function under an autotuner."""
    while not isinstance(kernel, triton.JITFunction):
        kernel = kernel.fn
    return kernel


def quick_bench(call: Callable[[], object], quantiles: Sequence[float]) -> Any:
    """Time a configuration for a fifth of what Triton takes: the differences that matter are larger than its spread."""
    return triton.testing.do_bench(call, warmup=5, rep=20, quantiles=quantiles)


def autotune(
    configs: list[triton.Config], key: Sequence[str], updates: Sequence[str] = ()
) -> Callable[[Any], Any]:
    """`triton.autotune` that also records the kernel in `TUNED`; the interpreter gets the first configuration alone.

    Launches are tuned apart by the arguments in `key`, and by PRECISION where the kernel has it. `updates` names the
    arguments that the kernel reads and overwrites, which tuning has to put back between runs.
    """

    def decorate(kernel: Any) -> Any:
        tuned = triton.autotune(
            configs=configs[:1] if INTERPRETED else configs,
            key=[*key, "PRECISION"],
            restore_value=list(updates) or None,
            prune_configs_by={"early_config_prune": fitting},
            do_bench=quick_bench,
        )(kernel)
        TUNED[kernel.__name__] = tuned
        return tuned

    return decorate
