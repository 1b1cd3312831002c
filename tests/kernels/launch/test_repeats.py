"""Launches of machine code that is at hand are those that Triton would make, and are told apart as Triton does."""

import pytest
from support.kernels.compiler_process import outside_of_the_interpreter

KERNEL = """
import triton
import triton.language as tl


@triton.jit(do_not_specialize=["rows"])
def copy(x, y, scale, count, rows, BK: tl.constexpr, NAME: tl.constexpr):
    at = tl.program_id(0) * count + tl.arange(0, BK) + rows
    value = tl.load(x + at) * scale
    if y is not None:
        value += tl.load(y + at)
    tl.store(x + at, value)
"""

LAUNCHES = """
import sys
from types import SimpleNamespace

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

launched = []


class Launcher:
    def __init__(self, source, metadata): pass
    def __call__(self, x, y, z, stream, function, *rest):
        launched.append(((x, y, z), stream, function, rest[4:]))


class Driver:
    device = 0
    launcher_cls = Launcher
    utils = SimpleNamespace(
        load_binary=lambda *code: ("module", object(), 32, 0, 1024),
        get_device_properties=lambda device: {"max_shared_mem": 232448},
    )
    def get_current_device(self): return self.device
    def get_current_stream(self, device): return ("stream", device)
    def get_current_target(self): return GPUTarget("cuda", 90, 32)


driver.set_active(Driver())
from osdn_kernels.launch.repeats import Repeats


sys.path.insert(0, sys.argv[1])
from copying import copy

through_triton = []
run = JITFunction.run


def watched(self, *args, **options):
    through_triton.append(self)
    return run(self, *args, **options)


JITFunction.run = watched
repeats = Repeats(copy)
x, half = torch.zeros(64), torch.zeros(64, dtype=torch.float16)
constants, options = {"BK": 32, "NAME": "one"}, {"num_warps": 1}


def launch(args, grid=(4,), **changes):
    through_triton.clear()
    changed = {**constants, **{name: x for name, x in changes.items() if name not in options}}
    more = {**options, **{name: x for name, x in changes.items() if name in options}}
    repeats.launch(grid, args, changed, more)
    new, ours = bool(through_triton), launched.pop()
    copy[grid](*args, **changed, **more)
    assert ours == launched.pop(), (args, changes)
    return new
"""

SAME = """
base = (x, None, 0.5, 32, 3)
assert launch(base)
assert not launch(base)
assert not launch((torch.ones(64), None, 0.25, 64, 16))
assert not launch(base, grid=lambda constants: (constants["BK"] // 8, 2))
for other in ((x[1:], None, 0.5, 32, 3), (half, None, 0.5, 32, 3), (x, x, 0.5, 32, 3), (x, None, 0.5, 31, 3),
                (x, None, 0.5, 1, 3), (x, None, 0.5, 2**40, 3)):
    assert launch(other), other
    assert not launch(other), other
for changes in ({"BK": 64}, {"NAME": "other"}, {"num_warps": 2}):
    assert launch(base, **changes), changes
    assert not launch(base, **changes), changes
assert launch((x, None, 0.5, 32), rows=3) and launch((x, None, 0.5, 32), rows=3)  # no constant: always through Triton
Driver.device = 1
assert launch(base) and not launch(base)
"""

BLIND = """
repeats.kind = lambda *call: ()
base = (x, None, 0.5, 32, 3)
launch(base)
try:
    launch((x[1:], None, 0.5, 32, 3))
except AssertionError:
    print("caught")
"""


FOLLOWING = """
from osdn_kernels.launch.tuning import autotune, configurations

follows = []
Launcher.__init__ = lambda self, source, metadata: follows.append(metadata.launch_pdl)
tuned = autotune(configurations([{"BK": 32}], warps=(1,)), [])(copy)
codes = []
for more in ({}, {"launch_pdl": True}, {}, {"launch_pdl": True}):
    through_triton.clear()
    tuned[(4,)](x, None, 0.5, 32, 3, NAME="one", **more)
    codes.append((launched.pop()[2], bool(through_triton)))
alike = [codes[i][0] is codes[j][0] for i, j in ((0, 2), (1, 3), (0, 1))]
print(follows, [new for _, new in codes], alike)
"""


PLANNED = """
from osdn_kernels.launch.plans import Recorder
from osdn_kernels.launch.tuning import autotune, configurations

tuned = autotune(configurations([{"BK": 32}], warps=(1,)), [])(copy)


def record(z):
    with Recorder([z]) as recorder:
        tuned[(4, 2)](z, None, 0.5, 32, 3, NAME="one")
    return recorder.plan([z])


print(record(x))  # it was compiled in this call
plan, watched = record(x), launched.pop()
other = torch.zeros(64)
plan.run([other])
again = launched.pop()
print(again[:3] == watched[:3], again[3][0] is other, again[3][1:] == watched[3][1:], len(plan.choices))
"""


@pytest.fixture
def folder(tmp_path):
    """Of a kernel, whose source Triton reads from a file."""
    (tmp_path / "copying.py").write_text(KERNEL)
    return tmp_path


def test_a_kind_goes_through_triton_once_and_is_launched_alike_after_that(folder):
    outside_of_the_interpreter(LAUNCHES + SAME, folder)


def test_calls_that_are_not_told_apart_get_another_s_code(folder):
    assert outside_of_the_interpreter(LAUNCHES + BLIND, folder).split() == ["caught"]


def test_a_launch_that_follows_another_has_code_of_its_own_at_hand_as_well(folder):
    told = outside_of_the_interpreter(LAUNCHES + FOLLOWING, folder)
    assert told.strip() == "[False, True] [True, True, False, False] [True, True, False]"


def test_a_plan_launches_what_the_call_did_with_other_tensors(folder):
    found = outside_of_the_interpreter(LAUNCHES + PLANNED, folder).split()
    assert found == ["None", "True", "True", "True", "1"]
