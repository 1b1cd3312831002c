"""Launches in Triton's interpreter replace the language once, and each launch anew."""

import pytest
import torch
import triton
import triton.language as tl
from osdn_kernels.launch import interpreter
from triton.runtime.interpreter import InterpreterError


@triton.jit
def twice(x):
    return tl.where(x > 0, 2.0 * x, x)


@triton.jit
def doubling_kernel(x, COUNT: tl.constexpr, BROKEN: tl.constexpr):
    for i in range(COUNT):
        tl.store(x + i, twice(tl.load(x + i)))
    tl.static_assert(not BROKEN)


def double(broken: bool = False) -> list[float]:
    x = torch.arange(-1.0, 4.0)
    doubling_kernel[(1,)](x, COUNT=5, BROKEN=broken)
    return x.tolist()


def test_the_language_is_replaced_once_a_launch_and_put_back(monkeypatch):
    replaced = []

    def counted(function):
        replaced.append(function)
        return replace(function)

    replace = interpreter.REPLACE
    monkeypatch.setattr(interpreter, "REPLACE", counted)
    before = tl.load
    for launches in (1, 2):
        assert double() == [-1.0, 0.0, 2.0, 4.0, 6.0]
        assert len(replaced) == launches
        assert tl.load is before


def test_a_launch_that_fails_leaves_the_next_one_whole():
    before = tl.load
    with pytest.raises(InterpreterError):
        double(broken=True)
    assert tl.load is before
    assert double() == [-1.0, 0.0, 2.0, 4.0, 6.0]


def test_a_launch_that_replaces_nothing_is_seen(monkeypatch):
    """As if an earlier launch had been here: its replacements are gone."""
    monkeypatch.setattr(interpreter, "_met", type("Everything", (set,), {"__contains__": lambda *_: True})())
    with pytest.raises(InterpreterError):
        double()
