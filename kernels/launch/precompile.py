"""Compiling what is about to be launched in many processes first.

Triton compiles when a kernel is launched, one configuration after the other. Here every process goes through the same
calls; at each launch of an autotuned kernel, whoever's, it compiles the configurations that no other process has taken,
and launches nothing. What comes out lies in Triton's cache on disk.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import triton
from triton.runtime.autotuner import Autotuner

from .tuning import function_of

Calls = Callable[..., Iterable[Callable[[], object]]]
Claim = Callable[[str], bool]


def precompile(calls: Calls, *given: Any, workers: int, seconds: float = float("inf")) -> int:
    """Compile what the functions in ``calls(*given)`` launch, none after `seconds`; returns how many variants."""
    deadline = time.time() + seconds
    with TemporaryDirectory() as folder:
        with pool_of(workers) as pool:
            shares = [
                pool.submit(compile_share, Path(folder), deadline, calls, *given) for _ in range(workers)
            ]
            for share in shares:
                share.result()
        return len(list(Path(folder).iterdir()))


def pool_of(workers: int) -> ProcessPoolExecutor:
    """Processes with one thread each, so that they do not wait for each other's."""
    return ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )


def compile_share(folder: Path, deadline: float, calls: Calls, *given: Any) -> None:
    """One process's part. What fails is left to the launch, which says so."""

    def claim(what: str) -> bool:
        return time.time() < deadline and first_to_ask(folder, what)

    for call in calls(*given):
        if time.time() >= deadline:
            return
        with compiling_only(claim), suppress(Exception):
            call()


def first_to_ask(folder: Path, what: str) -> bool:
    """Whether no process has asked for `what` before: the file system decides."""
    try:
        os.close(os.open(folder / sha256(what.encode()).hexdigest(), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@contextmanager
def compiling_only(claim: Claim) -> Iterator[None]:
    """Launches of autotuned kernels compile the configurations that `claim` grants, and do nothing else."""
    launch = Autotuner.run

    def compile_claimed(tuner: Any, *args: Any, **kwargs: Any) -> None:
        tuner.nargs = dict(zip(tuner.arg_names, args, strict=False))
        what = variant(function_of(tuner), {**tuner.nargs, **kwargs})
        for config in tuner.prune_configs(kwargs):
            if claim(f"{what} {config}"):
                with suppress(Exception):  # tuning passes over it, or the launch says so
                    compiled = tuner.fn.run(*args, **{**kwargs, **config.all_kwargs(), "warmup": True})
                    compiled.run  # noqa: B018 -- builds the launcher

    Autotuner.run = compile_claimed
    try:
        yield
    finally:
        Autotuner.run = launch


def variant(function: triton.JITFunction, given: dict[str, Any]) -> str:
    """What of a launch's arguments goes into the machine code."""
    constant = {p.name for p in function.params if p.is_constexpr}
    parts = [f"{name} {_seen(given[name], name in constant)}" for name in function.arg_names if name in given]
    return " ".join([function.module, function.__name__, *parts])


def _seen(value: Any, constant: bool) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {value.data_ptr() % 16 == 0}"
    if constant or value is None or isinstance(value, triton.language.dtype):
        return str(value)
    return f"{value == 1} {value % 16 == 0}" if isinstance(value, int) else type(value).__name__
