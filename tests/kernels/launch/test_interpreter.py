"""Launches in Triton's interpreter replace the language once, and each launch anew; equal types are made once."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from osdn_kernels.launch import runtime
from osdn_kernels.launch.interpreter import INNER, INNER_OF_LANGUAGE, quicken
from support.kernels.quickened import put_back
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
    """Calls that looked through the language; what a test quickens above that count is as it was after it."""
    looks = []
    look = interpreter._patch_lang

    def count(function):
        looks.append(function)
        return look(function)

    put_back(monkeypatch)
    monkeypatch.setattr(interpreter, "_patch_lang", count)
    return looks


def test_this_process_is_quickened():
    assert runtime.INTERPRETED
    assert tl.block_type.__init__.__module__ == quicken.__module__


def test_the_language_is_looked_through_once_and_put_back_after_each_launch(counted):
    assert quicken(interpreter)
    before = tl.load
    for _ in range(2):
        assert double() == [-1.0, 0.0, 2.0, 4.0, 6.0]
        assert len(counted) == 1
        assert tl.load is before


def test_otherwise_it_is_looked_through_at_every_call(counted):
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


SHAPES = [(element, shape) for element in (tl.float32, tl.bfloat16) for shape in ([16], [16, 4], [4, 16])]


def test_types_of_one_element_and_shape_are_alike_and_others_are_not():
    types = [tl.block_type(*case) for case in SHAPES]
    for type, (element, shape) in zip(types, SHAPES, strict=True):
        assert type.shape.values == shape
        assert type.numel == np.prod(shape)
        assert type.scalar == element
        assert [type == other for other in types].count(True) == 1
        assert type == tl.block_type(element, tl.tuple([tl.constexpr(size) for size in shape]))


@pytest.mark.parametrize("type", [tl.int32, *(tl.block_type(*case) for case in SHAPES)], ids=str)
def test_a_tensor_says_what_its_type_does(type):
    first, second = tl.tensor("first", type), tl.tensor("second", type)
    assert (first.handle, second.handle) == ("first", "second")
    for tensor in (first, second):
        shape = type.shape.values if type.is_block() else []
        assert tensor.type == type
        assert tensor.dtype == type.scalar
        assert [size.value for size in tensor.shape] == shape
        assert tensor.numel.value == np.prod(shape)


def test_a_tuple_has_the_type_of_what_it_holds():
    mixed = tl.tuple([tl.constexpr(2), 3, tl.tuple([1.0])])
    assert str(mixed.type) == str(tl.core._type_for_tuple_values(mixed.values))
    assert tl.tuple([1, 2], tl.core.tuple_type([tl.int32] * 2, ["x", "y"])).y == 2
    for same in ([1, 2], (1, 2), tl.tuple([1, 2]), [tl.constexpr(1), 2]):
        assert tl.tuple([1, 2]) == same
    assert tl.tuple([1, 2]) != [2, 1]


@pytest.mark.parametrize(
    ("type", "bits"),
    [(tl.float32, np.float32), (tl.bfloat16, np.uint16), (tl.pointer_type(tl.float32), np.uint64)],
)
def test_numbers_are_those_of_their_type(type, bits):
    assert interpreter._get_np_dtype(type) == interpreter._get_np_dtype(tl.block_type(type, [16])) == bits


@pytest.mark.parametrize("debug", [False, True])
def test_overflow_is_looked_for_where_it_would_be_told(counted, debug):
    builder = interpreter.interpreter_builder
    builder.options = replace(builder.options, debug=debug, sanitize_overflow=True)
    assert quicken(interpreter)
    assert builder.options.sanitize_overflow == debug


@pytest.mark.parametrize("name", [*INNER, *INNER_OF_LANGUAGE])
def test_another_triton_is_left_as_it_is(name):
    language = SimpleNamespace(core=SimpleNamespace(**dict.fromkeys({*INNER_OF_LANGUAGE} - {name})))
    assert not quicken(SimpleNamespace(**dict.fromkeys({*INNER} - {name}), tl=language))
