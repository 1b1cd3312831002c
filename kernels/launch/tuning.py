"""Autotuning: the candidate configurations of every kernel, kept where the self-test can walk through them."""

import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
import triton
from torch import Tensor
from triton.runtime._async_compile import active_mode
from triton.runtime.autotuner import Autotuner

from . import choices, plans
from .repeats import Repeats
from .runtime import INTERPRETED, tile

TUNED: dict[str, Any] = {}
"""Every autotuned kernel by name, in order of definition."""


VARYING = ("per_sequence", "rows", "tokens_in_all", "crowd", "every", "parts")
"""Sizes that change from call to call: a kernel each for 1, for multiples of 16 and for the rest would gain nothing.

Not so `length`, the tokens of a sequence: where it is a multiple of 16, the masks of a block of 16 rows are all alike.
"""


class Unrolled(triton.Config):
    """A configuration for products in full float32.

    Tensor cores do not take these; the compiler unrolls them into multiply-adds, so that the tiles that suit tensor
    cores become programs that take minutes to compile and spill.
    """


class NarrowRows(triton.Config):
    """A configuration for launches of one warp a row whose rows are no wider than `widest` features, and the only one
    for these."""

    widest = 0


def narrow_rows(widest: int, registers: int) -> list[triton.Config]:
    """With a limit on the registers of a thread."""
    config = NarrowRows({}, num_warps=1, num_stages=2, maxnreg=registers)
    config.widest = widest
    return [config]


def crowd_of(programs: int) -> int:
    """How a chain's programs compare with a GPU's multiprocessors: few, as many, more. No result depends on it."""
    return (programs > 48) + (programs > 160)


def configurations(
    blocks: Iterable[dict[str, int]] = ({},), warps: Sequence[int] = (4,), stages: Sequence[int] = (2,),
    registers: int | None = None,
) -> list[triton.Config]:  # fmt: skip
    """All combinations of tile sizes, warps and pipeline stages, with a limit on the registers of a thread."""
    return [
        triton.Config(dict(block), num_warps=n, num_stages=s, maxnreg=registers)
        for block in blocks
        for n in warps
        for s in stages
    ]


def unrolled(warps: int = 8, **block: int) -> list[triton.Config]:
    """The one configuration of a kernel in full float32."""
    return [Unrolled(block, num_warps=warps, num_stages=1)]


def fitting(configs: list[triton.Config], named_args: dict[str, Any], **kwargs: Any) -> list[triton.Config]:
    """Those for the launch's precision, without tiles wider than the tensors need, unless nothing would be left.

    One stage stays as the last resort of rows so wide that there is no shared memory for more. A launch beside others
    says how wide its blocks are, and has one: what would be best alone leaves no room, and it waits for launches after
    it. So does a chain that WAITS, and what is launched BEHIND one.
    """
    full = kwargs.get("PRECISION") == "ieee"
    meant = [c for c in configs if isinstance(c, Unrolled) == full] or configs
    meant = [c for c in meant if isinstance(c, NarrowRows) and kwargs["K"] <= c.widest] or [
        c for c in meant if not isinstance(c, NarrowRows)
    ]
    beside = kwargs.get("BESIDE", 0)
    if beside:
        meant = [c for c in meant if c.kwargs.get("BV") == beside][:1] or meant[:1]
    if kwargs.get("WAITS") or kwargs.get("BEHIND"):
        meant = meant[:1]
    needed = {f"B{edge}": tile(kwargs[edge]) for edge in ("K", "V") if edge in kwargs}
    fit = [c for c in meant if all(c.kwargs.get(edge, 0) <= most for edge, most in needed.items())] or meant[
        :1
    ]
    return [c for c in meant if c in fit or c.num_stages == 1]


def sound(configs: list[triton.Config], capability: int) -> list[triton.Config]:
    """Without transposed memories from Blackwell (10) on: Triton 3.7.1 compiles some of them to nothing but a trap."""
    return [c for c in configs if not c.kwargs.get("FLIP")] if capability >= 10 else configs


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


LAUNCH = Autotuner.run


class Tuner(Autotuner):
    """An autotuner that measures only what nobody has chosen before on this card, and remembers what it chose."""

    measures: ClassVar[bool] = True

    def run(self, *args: Any, **options: Any) -> Any:
        """A launch with what was chosen for it.

        Triton looks at every argument to find that, which takes as long as the launch itself.
        """
        if Autotuner.run is not LAUNCH:  # something goes through launches that makes none
            plans.give_up()
            return Autotuner.run(self, *args, **options)
        config, key = self.configs[0], None
        if len(self.configs) > 1:
            key = self.short_key(args, options)
            if key not in self.cache:
                plans.give_up()
                result = super().run(*args, **options)
                self.cache[key] = self.best_config
                return result
            config = self.cache[key]
        recorder = plans.recorder()
        if recorder is not None:
            recorder.choose(self, key, config)
        if INTERPRETED or options["warmup"]:
            return plans.launch(self.fn.run, args, options | config.all_kwargs())
        constants = {**options, **config.kwargs}
        grid, _ = constants.pop("grid"), constants.pop("warmup")
        if id(config) not in self.for_compiler:
            options = {name: x for name, x in config.all_kwargs().items() if name not in config.kwargs}
            self.for_compiler[id(config)] = config, options
        compiler = self.for_compiler[id(config)][1]
        if constants.pop("launch_pdl", False):
            compiler = {**compiler, "launch_pdl": True}
        return self.repeats.launch(grid, args, constants, compiler)

    def takes(self, key: tuple[Any, ...] | None) -> triton.Config | None:
        """The configuration of launches with this `short_key`, of which there is none where all have one; None where
        it is yet to be chosen, or something else launches."""
        if "run" in vars(self):
            return None
        if key is None:
            return self.configs[0] if len(self.configs) == 1 else None
        return self.cache.get(key)

    @functools.cached_property
    def for_compiler(self) -> dict[int, tuple[triton.Config, dict[str, Any]]]:
        """Configurations by their id, and what of each is not a constant of the kernel."""
        return {}

    @functools.cached_property
    def repeats(self) -> Repeats:
        return Repeats(self.fn)

    def short_key(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        """What a launch is tuned for, as `launch` has it, and on which GPU."""
        first = next(x for x in args if isinstance(x, Tensor))
        sizes = [options[name] if name in options else args[i] for name, i in self.tuned_for]
        return (first.dtype, first.device, *sizes)

    @functools.cached_property
    def tuned_for(self) -> list[tuple[str, int]]:
        """Names and places of the arguments that launches are tuned apart by."""
        return [(name, self.arg_names.index(name)) for name in self.keys if name in self.arg_names]

    def prune_configs(self, kwargs: dict[str, Any]) -> list[triton.Config]:
        self.options = kwargs
        configs: list[triton.Config] = super().prune_configs(kwargs)
        if torch.cuda.is_available():
            configs = sound(configs, torch.cuda.get_device_capability()[0])
        if self.measures:
            return configs
        return [self.chosen(self.launch({**self.nargs, **kwargs}), configs) or self.first_with_room(configs)]

    def first_with_room(self, configs: list[triton.Config]) -> triton.Config:
        """The first that a multiprocessor has shared memory for; while compiling ahead, the first."""
        if len(configs) == 1 or not torch.cuda.is_available() or active_mode.get() is not None:
            return configs[0]
        room = torch.cuda.get_device_properties().shared_memory_per_block_optin  # type: ignore[attr-defined]
        sizes = ((c, self.compile(c, *self.nargs.values(), **self.options).metadata.shared) for c in configs)
        return next((config for config, size in sizes if size <= room), configs[0])

    def check_disk_cache(
        self, tuning_key: tuple[Any, ...], configs: list[triton.Config], bench_fn: Callable[[], None]
    ) -> bool:
        """Triton's hook for choices on disk, whose own files know neither the card nor a kernel that has moved.

        Where one configuration is left there is nothing to measure, nor to keep.
        """
        launch = self.launch({**self.nargs, **self.options})
        chosen = self.chosen(launch, configs) if self.measures and len(configs) > 1 else configs[0]
        if chosen is not None:
            self.cache[tuning_key] = chosen
            return True
        with compiling_at_once():
            for config in configs:
                self.compile(config, *self.nargs.values(), **self.options)
        bench_fn()
        times = {str(config): _median(time) for config, time in self.configs_timings.items()}
        choices.keep(launch, self.cache[tuning_key].all_kwargs(), times)
        return False

    def launch(self, given: dict[str, Any]) -> choices.Launch:
        """What a choice is for: what is tuned apart, and of the dtypes the first tensor's, which the others follow."""
        dtype = next(str(x.dtype) for x in given.values() if isinstance(x, Tensor))
        key = {name: given[name] for name in self.keys if name in self.arg_names}
        return choices.launch_of(function_of(self), {**key, "dtype": dtype})

    def chosen(self, launch: choices.Launch, configs: list[triton.Config]) -> triton.Config | None:
        """The one of `configs` that was chosen for a launch before."""
        found = choices.find(launch)
        return next((config for config in configs if config.all_kwargs() == found), None)

    def candidates(self, *args: Any, **options: Any) -> list[triton.Config]:
        """The configurations that a launch may need: the chosen one, or all that fit it."""
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        configs = self.prune_configs(options)
        chosen = self.chosen(self.launch({**self.nargs, **options}), configs)
        return configs if chosen is None else [chosen]

    def compile(self, config: triton.Config, *args: Any, **options: Any) -> Any:
        """Machine code of a launch, not launched."""
        return self.fn.run(*args, **{**options, **config.all_kwargs(), "warmup": True})


@contextmanager
def untuned() -> Iterator[None]:
    """Kernels take what was chosen before, else the first configuration that fits: tuning for seconds takes minutes."""
    before = {name: dict(kernel.cache) for name, kernel in TUNED.items()}
    Tuner.measures = False
    try:
        yield
    finally:
        Tuner.measures = True
        for name, cache in before.items():
            TUNED[name].cache.clear()
            TUNED[name].cache.update(cache)


def _median(times: Any) -> float:
    return float(times[0])


def compiling_at_once(seconds: float = math.inf) -> AbstractContextManager[object]:
    """Kernels compiled inside are compiled in threads, done when it ends; what fails is left to the launch.

    What has not begun after `seconds` fails.
    """
    if active_mode.get() is not None:
        return nullcontext()
    compilers = Compilers(time.monotonic() + seconds)
    mode: AbstractContextManager[object] = triton.AsyncCompileMode(compilers, ignore_errors=True)
    return mode


class Compilers:
    """What Triton takes for an executor."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def submit(self, compile: Callable[[], Any]) -> Future[Any]:
        return threads().submit(self.run, compile)

    def run(self, compile: Callable[[], Any]) -> Any:
        if time.monotonic() > self.deadline:
            raise TimeoutError
        return compile()


@functools.cache
def threads() -> ThreadPoolExecutor:
    """At most eight: compilers need memory. Most of their time holds no lock of Python's."""
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


def restoring(names: Sequence[str]) -> tuple[Callable[..., None], Callable[..., None]]:
    """What Triton calls before and after a launch that measures, to put back tensors, of which any may be None."""
    kept: dict[str, Tensor] = {}

    def before(given: dict[str, Any], reset_only: bool = False) -> None:
        if not reset_only:
            kept.update({name: given[name].clone() for name in names if given[name] is not None})

    def after(given: dict[str, Any], exception: Exception | None) -> None:
        for name, x in kept.items():
            given[name].copy_(x)
        kept.clear()

    return before, after


def autotune(
    configs: list[triton.Config], key: Sequence[str], restored: Sequence[str] = ()
) -> Callable[[Any], Any]:
    """A tuned kernel from one of `triton.jit`, recorded in `TUNED`; the interpreter gets the first configuration alone.

    Launches are tuned apart by the arguments in `key`, and by PRECISION where the kernel has it. Tensors that the
    kernel adds to, or of which configurations write different parts, by name in `restored`, are put back after each
    launch that only measures.
    """
    before, after = restoring(restored)

    def decorate(kernel: Any) -> Any:
        # Of its own kind: Triton's, Gluon's or the interpreter's.
        kernel = type(kernel)(kernel.fn, do_not_specialize=VARYING)
        tuned = TUNED[kernel.__name__] = Tuner(
            kernel,
            kernel.arg_names,
            configs[:1] if INTERPRETED else configs,
            [*key, "PRECISION"],
            reset_to_zero=None,
            restore_value=None,
            pre_hook=before if restored else None,
            post_hook=after if restored else None,
            prune_configs_by={"early_config_prune": fitting},
            do_bench=quick_bench,
            cache_results=True,
        )
        return tuned

    return decorate
