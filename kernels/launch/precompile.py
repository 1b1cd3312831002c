"""Compiling what is about to be launched, all of it at once.

Triton compiles when a kernel is launched, one configuration after the other. Here calls are gone through with launches
that compile and do nothing else: in threads of this process, or in processes, each of which takes the configurations
that no other has taken. What comes out lies in Triton's cache on disk.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import triton
from triton.runtime.autotuner import Autotuner

from .processes import pool_of
from .runtime import INTERPRETED, captured
from .tuning import LAUNCH, TUNED, Tuner, compiling_at_once, function_of, threads

Calls = Callable[..., Iterable[Callable[[], object]]]
Claim = Callable[[str], bool]

_met: set[Hashable] = set()


def precompile(calls: Calls, *given: Any, workers: int, seconds: float = float("inf")) -> int:
    """Compile what the functions in ``calls(*given)`` launch, none after `seconds`; returns how many variants."""
    deadline = time.time() + seconds
    with TemporaryDirectory() as folder:
        with pool_of(workers, "cuda") as pool:
            shares = [
                pool.submit(compile_share, Path(folder), deadline, calls, *given) for _ in range(workers)
            ]
            for share in shares:
                share.result()
        return len(list(Path(folder).iterdir()))


def compile_share(folder: Path, deadline: float, calls: Calls, *given: Any) -> None:
    """One process's part. What fails is left to the launch, which says so."""

    def claim(what: str) -> bool:
        return time.time() < deadline and first_to_ask(folder, what)

    for call in calls(*given):
        if time.time() >= deadline:
            return
        with compiling_only(claim) as compiled, suppress(Exception):
            call()
        for each in compiled:
            build(each)


def first_to_ask(folder: Path, what: str) -> bool:
    """Whether no process has asked for `what` before: the file system decides."""
    try:
        os.close(os.open(folder / sha256(what.encode()).hexdigest(), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def compile_ahead(call: Callable[[], object], seconds: float = math.inf, thread: int | None = None) -> None:
    """Compile what `call` launches in threads of this process, beginning none after `seconds`.

    `thread`: Of this one alone; without, what others launch meanwhile is compiled too, as backward passes have threads
    of their own, and not launched. What fails is left to the launch, which says so.
    """
    with (
        compiling_at_once(seconds),
        compiling_only(lambda what: True, thread) as compiled,
        suppress(Exception),
    ):
        call()
    list(threads().map(build, compiled))


def ahead_of_first(kind: Hashable, call: Callable[[], object]) -> None:
    """`compile_ahead` once in a process for every `kind` of call, unless launches are watched, replaced or captured."""
    if kind in _met or INTERPRETED or launches_are_special():
        return
    _met.add(kind)
    compile_ahead(call, thread=threading.get_ident())


def launches_are_special() -> bool:
    """Whether a launch would be noted, compile alone, or become part of a graph."""
    watched = any("run" in vars(kernel) for kernel in TUNED.values())
    return watched or Autotuner.run is not LAUNCH or captured()


class LoadableKernel(NamedTuple):
    """A kernel, or what will be one, and the GPU whose launch it was compiled for."""

    kernel: Any
    device: int | None


def build(compiled: LoadableKernel) -> None:
    """Make a kernel ready to be launched on its GPU, which is each thread's own to choose: it is loaded into one."""
    kernel, device = compiled
    with suppress(Exception):
        if device is not None:
            torch.cuda.set_device(device)
        kernel = kernel.result() if isinstance(kernel, triton.FutureKernel) else kernel
        kernel.run  # noqa: B018 -- builds the launcher and loads the program


@contextmanager
def compiling_only(claim: Claim, thread: int | None = None) -> Iterator[list[LoadableKernel]]:
    """Launches of autotuned kernels, all or those of one `thread`, compile the configurations that `claim` grants, and
    do nothing else.

    Of those that are ours the chosen configuration is all that is compiled, where there is one. Yields the kernels.
    """
    compiled: list[LoadableKernel] = []

    def compile_claimed(tuner: Any, *args: Any, **kwargs: Any) -> Any:
        if thread not in (None, threading.get_ident()):
            return LAUNCH(tuner, *args, **kwargs)
        device = torch.cuda.current_device() if torch.cuda.is_available() else None
        tuner.nargs = dict(zip(tuner.arg_names, args, strict=False))
        what = variant(function_of(tuner), {**tuner.nargs, **kwargs})
        ours = isinstance(tuner, Tuner)
        for config in tuner.candidates(*args, **kwargs) if ours else tuner.prune_configs(kwargs):
            if claim(f"{what} {config}"):
                with suppress(Exception):  # tuning passes over it, or the launch says so
                    kernel = tuner.fn.run(*args, **{**kwargs, **config.all_kwargs(), "warmup": True})
                    compiled.append(LoadableKernel(kernel, device))
        return None

    Autotuner.run = compile_claimed
    try:
        yield compiled
    finally:
        Autotuner.run = LAUNCH


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
