"""Autotuning: the candidate configurations of every kernel, kept where the self-test can walk through them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import triton

from .runtime import INTERPRETED, tile

TUNED: dict[str, Any] = {}
"""Every autotuned kernel by name, in order of definition."""


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


def fitting(configs: list[triton.Config], named_args: dict[str, Any], **kwargs: Any) -> list[triton.Config]:
    """Leave out tiles wider than the tensors need, unless nothing would be left."""
    needed = {f"B{edge}": tile(kwargs[edge]) for edge in ("K", "V") if edge in kwargs}
    fit = [c for c in configs if all(c.kwargs.get(edge, 0) <= most for edge, most in needed.items())]
    return fit or configs[:1]


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

    `updates` names the arguments that the kernel reads and overwrites, which tuning has to put back between runs.
    """

    def decorate(kernel: Any) -> Any:
        tuned = triton.autotune(
            configs=configs[:1] if INTERPRETED else configs,
            key=list(key),
            restore_value=list(updates) or None,
            prune_configs_by={"early_config_prune": fitting},
            do_bench=quick_bench,
        )(kernel)
        TUNED[kernel.__name__] = tuned
        return tuned

    return decorate
