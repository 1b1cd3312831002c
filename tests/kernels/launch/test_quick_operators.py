"""Operators that go straight to NumPy give what the language's own give: bits, types and refusals."""

import itertools
import warnings

import numpy as np
import pytest
import triton
import triton.language as tl
from osdn_kernels.launch import quick_operators, runtime
from osdn_kernels.launch.interpreter import quicken
from osdn_kernels.launch.quick_operators import COMPARISONS, OPERATORS, QuickOperators
from support.kernels.quickened import put_back
from triton.runtime import interpreter

NUMBERS = (tl.float32, tl.float64, tl.int32, tl.int64)
OTHERS = (tl.float16, tl.bfloat16, tl.int1, tl.int8, tl.uint32)
POINTERS = (tl.pointer_type(tl.float32), tl.pointer_type(tl.int1))
SHAPES = ((), (8,), (4, 1), (1, 8), (4, 8))
PLAIN_NUMBERS = (0, -0.0, 2, -3, 2**31, -(2**40), 2**63, 0.5, 1e-50, 1e39, -np.inf, np.nan, True, None)
BINARY = [f"__{side}{name}__" for name in OPERATORS for side in ("", "r")] + [f"__{x}__" for x in COMPARISONS]


@triton.jit
def probing_kernel(PROBE: tl.constexpr):
    PROBE()


def tensor(element, shape, seed):
    rng = np.random.default_rng(seed)
    data = 5 * rng.standard_normal(shape or (1,))
    data.flat[0] = 3.0
    if element.is_int1():
        data = data > 0
    kind = interpreter._get_np_dtype(element)
    if not element.is_floating():
        data = np.abs(np.round(data)) + 1 if kind.kind == "u" else np.round(data)
    data = data.astype(np.float32).view(np.uint32) >> 16 if element == tl.bfloat16 else data
    handle = interpreter.TensorHandle(data.astype(kind), element)
    return tl.tensor(handle, tl.block_type(element, list(shape)) if shape else element)


def told(call):
    """All that can be seen of what an operator gives, or that it refuses."""
    try:
        found = call()
    except Exception as error:
        return type(error)
    if not isinstance(found, tl.tensor):
        return found
    data = found.handle.data
    return (
        str(found.type),
        str(found.dtype),
        [x.value for x in found.shape],
        data.shape,
        data.dtype,
        data.tobytes(),
    )


def probed(probe):
    """What `probe` finds inside a launch."""
    found = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        probing_kernel[(1,)](PROBE=lambda: found.extend(probe()))
    return found


@pytest.fixture
def afresh(monkeypatch):
    """Probe in an interpreter that is quickened anew, with something of it changed."""
    assert runtime.INTERPRETED

    def probe(function, *change):
        with monkeypatch.context() as alone:
            put_back(alone)
            alone.setattr(interpreter, "_patch_lang", interpreter._patch_lang.__wrapped__)
            (alone.setitem if isinstance(change[0], dict) else alone.setattr)(*change)
            assert quicken(interpreter)
            return probed(function)

    return probe


@pytest.fixture
def slowly(afresh):
    """Probe the language as the interpreter has it."""
    return lambda function: afresh(function, QuickOperators, "replace", lambda self, owner, name, slow: slow)


def pairs():
    """Operands of equal and of different types, in all shapes that meet."""
    elements = (*NUMBERS, *OTHERS, *POINTERS)
    for left, right in itertools.product(elements, repeat=2):
        for one, other in itertools.product(SHAPES, repeat=2):
            if left == right or (one, other) in (((), (8,)), ((4, 1), (1, 8)), ((4, 8), (8,))):
                yield tensor(left, one, 1), tensor(right, other, 2)
    for element, shape, number in itertools.product(elements, SHAPES[::2], PLAIN_NUMBERS):
        yield tensor(element, shape, 3), number
        if not shape:
            yield tensor(element, shape, 3), tl.constexpr(number)


@pytest.mark.parametrize("name", BINARY)
def test_an_operator_gives_what_the_language_does(name, slowly):
    def probe():
        for left, right in pairs():
            yield told(lambda: getattr(left, name)(right))  # noqa: B023 -- called at once

    assert probed(probe) == slowly(probe)


def test_a_choice_gives_what_the_language_does(slowly):
    def probe():
        for wanted, (left, right) in itertools.product(SHAPES, pairs()):
            condition = tensor(tl.int1, wanted, 4)
            for x, y in ((left, right), (right, left)):
                yield told(lambda: tl.where(condition, x, y))  # noqa: B023
        yield told(lambda: tl.where(tensor(tl.int32, (8,), 5), tensor(tl.float32, (8,), 1), 0.0))
        yield told(lambda: tl.where(tensor(tl.int1, (8,), 5), 1.0, 0.0))

    assert probed(probe) == slowly(probe)


def test_new_axes_are_what_the_language_gives(slowly):
    indices = (
        None,
        slice(None),
        (None, slice(None)),
        (slice(None), None),
        (None, slice(None), None),
        0,
        slice(0, 2),
    )

    def probe():
        for element, shape, index in itertools.product((*NUMBERS, *OTHERS, *POINTERS), SHAPES, indices):
            yield told(lambda: tensor(element, shape, 6)[index])  # noqa: B023
            yield told(lambda: tensor(element, shape, 6)[tl.constexpr(None)])  # noqa: B023

    assert probed(probe) == slowly(probe)


FAULTS = {
    "halves divided as halves": ("__truediv__", quick_operators.FLOATS, "fp16", "float16"),
    "divided downwards": (
        "__floordiv__", quick_operators.OPERATORS, "floordiv", ("floor_divide", quick_operators.WHOLE)
    ),
    "the narrower of two types": ("__add__", QuickOperators, "_element", lambda self, found, like: like.dtype),
    "numbers that do not fit": ("__mul__", QuickOperators, "_holds", lambda self, kind, value: True),
    "pointers by bytes": ("__add__", quick_operators.WHOLE, "pointer<fp32>", "uint64"),
    "rests of halves as halves": ("__mod__", quick_operators.PLAIN, "fp16", "float16"),
    "without a check of the types": ("__sub__", QuickOperators, "_operand", lambda self, x, *_: x.handle.data),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_numpy_computes_otherwise_is_seen(fault, afresh, slowly):
    name, *change = FAULTS[fault]

    def probe():
        for left, right in pairs():
            yield told(lambda: getattr(left, name)(right))  # noqa: B023

    assert afresh(probe, *change) != slowly(probe)


def test_most_of_a_launch_takes_the_quick_way(monkeypatch):
    """What is not taken over is counted where a kernel adds, compares and chooses."""
    made = []
    finish = QuickOperators._made
    monkeypatch.setattr(QuickOperators, "_made", lambda *args: made.append(args[2].name) or finish(*args))

    def probe():
        x = tl.arange(0, 8)
        yield tl.where((x[:, None] + 2 * x[None, :]) < 5, 1.0 * tensor(tl.float32, (8, 8), 1), 0.0)

    (found,) = probed(probe)
    assert [size.value for size in found.shape] == [8, 8]
    assert made == ["int32", "int32", "int32", "int32", "int1", "fp32", "fp32"]
