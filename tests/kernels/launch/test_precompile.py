"""Compiling first: every variant once, by whichever process asks first, and nothing launched."""

import time
from types import SimpleNamespace

import pytest
import torch
from osdn_kernels.benchmarks import names, plan, shapes
from osdn_kernels.benchmarks.measuring import ahead
from osdn_kernels.benchmarks.operators.calls import Call
from osdn_kernels.launch import precompile
from osdn_kernels.launch.forced import forced
from support.kernels.compiler_process import outside_of_the_interpreter
from triton.runtime.autotuner import Autotuner

HASHES = """
import sys
import osdn_kernels.ops
from osdn_kernels.launch.tuning import TUNED, function_of
names = sorted(TUNED, reverse=sys.argv[1] == "backwards")
print(sorted((name, function_of(TUNED[name]).cache_key) for name in names))
"""


def test_kernels_are_hashed_alike_whichever_is_launched_first():
    """Else a process does not find in Triton's cache what another has compiled."""
    one, other = (outside_of_the_interpreter(HASHES, order) for order in ("forwards", "backwards"))
    assert "chain_kernel" in one
    assert one == other


SHARES = """
import sys
import time
from functools import partial
from pathlib import Path

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction


class Driver:
    def get_current_device(self): return 0
    def get_current_stream(self, device): return 0
    def get_current_target(self): return GPUTarget("cuda", 90, 32)


driver.set_active(Driver())
from osdn_kernels.launch import choices, precompile, runtime
from osdn_kernels.selftest.cases import CASES, draw, evaluate
from osdn_kernels.selftest.runs import launches
from osdn_kernels.launch.tuning import TUNED

runtime.can_launch = lambda device: True
choices.card = lambda: "no card"
seen = []


def note(function, *args, grid, warmup, **kwargs):
    assert warmup, function.__name__
    seen.append((function.__name__, kwargs["num_warps"], kwargs["num_stages"], str(sorted(kwargs))))


JITFunction.run = note
case = next(case for case in CASES if case.name == "chunk bf16")
calls = lambda: [partial(evaluate, draw(case), torch.device("cpu"))]
precompile.compile_share(Path(sys.argv[1]), time.time() + 60, calls)
first = len(seen)
precompile.compile_share(Path(sys.argv[1]), time.time() + 60, calls)
assert len(seen) == first, "a variant was compiled twice"
assert first == len(list(Path(sys.argv[1]).iterdir()))
walked = {name for name, *_ in seen}
assert first >= sum(len(TUNED[name].configs) for name in walked)
print(*sorted(walked))
"""


def test_every_configuration_is_compiled_once_and_none_is_launched(tmp_path):
    compiled = outside_of_the_interpreter(SHARES, tmp_path).split()
    assert {"operator_kernel", "chain_kernel", "memory_kernel", "gradients_kernel"} <= set(compiled)


def test_a_claim_is_granted_once(tmp_path):
    assert precompile.first_to_ask(tmp_path, "one")
    assert precompile.first_to_ask(tmp_path, "another")
    assert not precompile.first_to_ask(tmp_path, "one")


def test_nothing_is_started_after_the_time(tmp_path):
    called = []
    precompile.compile_share(tmp_path, time.time() - 1, lambda: [lambda: called.append("late")])
    precompile.compile_share(tmp_path, time.time() + 60, lambda: [lambda: called.append("in time")])
    assert called == ["in time"]


def test_autotuners_are_put_back():
    launch, within = Autotuner.run, []

    def fail():
        with precompile.compiling_only(lambda what: True):
            within.append(Autotuner.run)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert within != [launch]
    assert Autotuner.run is launch


def test_other_threads_launch_while_one_compiles(monkeypatch):
    launched = []
    monkeypatch.setattr(precompile, "LAUNCH", lambda *given, **options: launched.append((given, options)))
    with precompile.compiling_only(lambda what: True, thread=-1) as compiled:
        Autotuner.run("kernel", 1, grid=(2,))
    assert launched == [(("kernel", 1), {"grid": (2,)})]
    assert compiled == []


def test_what_is_compiled_is_loaded_on_the_gpu_of_its_launch(monkeypatch):
    """Which need not be the current one by then, and is each thread's own to choose."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for device in (1, None, 0):
        precompile.build(precompile.LoadableKernel(SimpleNamespace(run=None), device))
    assert chosen == [1, 0]


def test_what_changes_the_machine_code_changes_the_variant():
    parameters = [SimpleNamespace(name=name, is_constexpr=name == "K") for name in ("length", "K", "scale")]
    function = SimpleNamespace(
        params=parameters, arg_names=["length", "K", "scale"], module="m", __name__="f"
    )

    def variant(**given):
        return precompile.variant(function, given)

    base = variant(length=64, K=16, scale=0.5)
    assert variant(length=128, K=16, scale=0.25) == base
    assert len({base, *(variant(**x) for x in (
        {"length": 65, "K": 16, "scale": 0.5},
        {"length": 1, "K": 16, "scale": 0.5},
        {"length": 64, "K": 32, "scale": 0.5},
        {"length": 64, "K": 16, "scale": None},
    ))}) == 5  # fmt: skip


def test_rows_that_launch_the_same_are_compiled_once():
    """On their own shapes, but for more tokens than processes have room for."""

    def rows(only, size="small"):
        return ahead.rows(plan.tasks(only, size, smoke=False, graphs=True))

    found = rows({"forward", "backward", "memory", "decode"})
    assert {row.measure for row in found} == {names.FORWARD, names.BACKWARD, names.DECODE_EAGER}
    for measure in (names.FORWARD, names.BACKWARD):
        assert {row.shape for row in found if row.measure == measure} == set(shapes.small())
    assert {row.measure for row in rows({"memory"})} == {names.MEMORY}
    large = [row.shape for row in rows({"forward"}, "full")]
    assert max(shape.tokens for shape in large) == ahead.MOST < max(shape.tokens for shape in shapes.full())
    assert {shape.length for shape in large} == {shape.length for shape in shapes.full()}


def calling(monkeypatch, *prepared):
    monkeypatch.setattr(
        ahead, "calls_of", lambda task, device: [Call(name, prepare, None) for name, prepare in prepared]
    )
    return ahead.calls(plan.tasks({"forward"}, "small", smoke=True, graphs=False))


def test_what_fails_while_compiling_leaves_the_rest(monkeypatch, tmp_path):
    called = []

    def broken():
        raise RuntimeError("no such operator")

    found = calling(monkeypatch, ("one", broken), ("another", lambda: lambda: called.append("next")))
    precompile.compile_share(tmp_path, time.time() + 60, lambda: found)
    assert set(called) == {"next"}


def test_what_triton_does_not_compile_is_not_run_ahead(monkeypatch):
    called = []
    prepared = [
        (name, lambda name=name: lambda: called.append(name)) for name in (names.DELTA, names.FLASH_QLA)
    ]
    for call in calling(monkeypatch, *prepared):
        call()
    assert set(called) == {names.DELTA}


def test_backward_passes_compile_in_the_thread_that_calls_them(monkeypatch):
    """What Triton launches elsewhere would be launched."""
    seen = []
    call, *_ = calling(
        monkeypatch, ("one", lambda: lambda: seen.append(torch._C._is_multithreading_enabled()))
    )
    call()
    assert seen == [False]
    assert torch._C._is_multithreading_enabled()


def test_calls_of_a_kind_are_compiled_ahead_once(monkeypatch):
    called = []
    monkeypatch.setattr(precompile, "INTERPRETED", False)
    monkeypatch.setattr(precompile, "_met", set())
    for kind in ("one", "one", "other"):
        precompile.ahead_of_first(kind, lambda kind=kind: called.append(kind))
    assert called == ["one", "other"]
    with precompile.compiling_only(lambda what: True):
        precompile.ahead_of_first("inside", lambda: called.append("inside"))
    with forced({}):
        precompile.ahead_of_first("watched", lambda: called.append("watched"))
    with monkeypatch.context() as capturing:
        capturing.setattr(precompile, "captured", lambda: True)
        precompile.ahead_of_first("captured", lambda: called.append("captured"))
    assert called == ["one", "other"]
    precompile.ahead_of_first("watched", lambda: called.append("later"))
    assert called[-1] == "later"


TIMES = """
import time
import triton
from osdn_kernels.launch import tuning
from triton.runtime._async_compile import active_mode

tuning.threads = lambda pool=tuning.ThreadPoolExecutor(1): pool
done = []
started = time.monotonic()
with tuning.compiling_at_once(0.5):
    for number in range(100):
        active_mode.get().submit(number, lambda: time.sleep(0.2) or done.append(1), lambda kernel: None)
print(1 <= len(done) <= 4, time.monotonic() - started < 10, active_mode.get())
"""


def test_no_compilation_begins_after_its_time():
    """Twenty seconds of work in half a second and what was running."""
    assert outside_of_the_interpreter(TIMES).split() == ["True", "True", "None"]
