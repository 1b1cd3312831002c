"""Launches in Triton's interpreter replace the language once, and each launch anew."""

from types import SimpleNamespace

import pytest
import torch
import triton
import triton.language as tl
from osdn_kernels.launch.interpreter import quicken
from triton.runtime import interpreter
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


@pytest.fixture
def counted(monkeypatch):
    """Functions at whose call the language was replaced, with the interpreter quickened above that count."""
    replaced = []
    replace = interpreter._patch_lang

    def count(function):
        replaced.append(function)
        return replace(function)

    monkeypatch.setattr(interpreter, "_patch_lang", count)
    monkeypatch.setattr(interpreter.GridExecutor, "__call__", interpreter.GridExecutor.__call__)
    return replaced


def test_the_language_is_replaced_once_a_launch_and_put_back(counted):
    assert quicken(interpreter)
    before = tl.load
    for launches in (1, 2):
        assert double() == [-1.0, 0.0, 2.0, 4.0, 6.0]
        assert len(counted) == launches
        assert tl.load is before


def test_otherwise_it_is_replaced_at_every_call(counted):
    assert double() == [-1.0, 0.0, 2.0, 4.0, 6.0]
    assert len(counted) == 6


def test_a_launch_that_fails_leaves_the_next_one_whole():
    before = tl.load
    with pytest.raises(InterpreterError):
        double(broken=True)
    assert tl.load is before
    assert double() == [-1.0, 0.0, 2.0, 4.0, 6.0]


def test_a_launch_that_replaces_nothing_is_seen(counted, monkeypatch):
    """As if an earlier launch had been here: its replacements are gone."""
    monkeypatch.setattr(interpreter, "_patch_lang", lambda _: interpreter._LangPatchScope())
    with pytest.raises(InterpreterError):
        double()


def test_another_triton_is_left_as_it_is():
    assert not quicken(SimpleNamespace(_patch_lang=None))
