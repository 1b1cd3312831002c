"""Layouts: axes are exchanged in one module, NumPy's and torch's alike, and streams say where their tokens lie."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

import osdn_theory
from osdn_theory import Stream
from osdn_theory.base.layouts import exchange_time_and_heads, transpose
from osdn_theory.streams.stream import ARRAYS

ELSEWHERE = re.compile(r"\.(swapaxes|moveaxis|transpose)\(")
ALLOWED = {
    "base/layouts.py",
    # Axes of maps over tokens, brought to the front for a scan and back.
    "recurrence/sweeps.py",
    # Matrices of flint, which have this one method.
    "bounds/statements/calibration_time.py",
    "bounds/statements/context.py",
    "bounds/statements/gated.py",
    "bounds/statements/memory.py",
    "bounds/statements/span.py",
    "bounds/runs/states.py",
    # The text of a script that stands by itself.
    "crosscheck/fuzz/script.py",
}


def test_axes_are_exchanged_nowhere_else() -> None:
    package = Path(osdn_theory.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if ELSEWHERE.search(path.read_text())
    }
    assert found <= ALLOWED


def test_arrays_and_tensors_alike() -> None:
    array = np.arange(120.0).reshape(2, 3, 4, 5)
    tensor = torch.from_numpy(array)
    for exchange, axes in ((transpose, (0, 1, 3, 2)), (exchange_time_and_heads, (0, 2, 1, 3))):
        assert np.array_equal(exchange(array), array.transpose(axes))
        assert torch.equal(exchange(tensor), tensor.permute(axes))
        assert np.array_equal(exchange(exchange(array)), array)


def full(moving: bool, per_feature: bool) -> Stream:
    rng = np.random.default_rng(0)
    lead, length, width = (2, 3), 5, 4
    return Stream(
        keys=rng.standard_normal((*lead, length, width)),
        values=rng.standard_normal((*lead, length, 2)),
        queries=rng.standard_normal((*lead, length, width)),
        beta=rng.random((*lead, length)),
        state_gate=rng.random((*lead, length, width) if per_feature else (*lead, length)),
        forget_gate=rng.random((*lead, length)),
        comparator=rng.random((*lead, length, width) if moving else (*lead, width)),
        solution=rng.standard_normal((*lead, 2, width)),
        initial_preconditioner=rng.random((*lead, width)),
    )


def test_a_change_reaches_every_array_that_a_stream_has() -> None:
    for moving in (False, True):
        for per_feature in (False, True):
            stream = full(moving, per_feature)
            assert set(stream.arrays()) == set(ARRAYS)
            halved = stream.map(lambda array: 0.5 * array)
            for name, array in stream.arrays().items():
                assert np.array_equal(getattr(halved, name), 0.5 * array), name
            one = stream.map(lambda array: 0.5 * array, "beta")
            assert np.array_equal(one.beta, 0.5 * np.asarray(stream.beta))
            assert np.array_equal(one.keys, stream.keys)


def test_every_array_is_cut_along_its_tokens() -> None:
    for moving in (False, True):
        for per_feature in (False, True):
            stream = full(moving, per_feature)
            cut = stream.map_tokens(lambda array, axis: np.take(array, [1, 3], axis=axis))
            assert cut.length == 2
            for name, array in stream.arrays().items():
                axis = stream.token_axis(name)
                expected = array if axis is None else np.take(array, [1, 3], axis=axis)
                assert np.array_equal(getattr(cut, name), expected), name
            assert (stream.token_axis("comparator") is None) is not moving
            assert stream.token_axis("solution") is None


def test_an_array_that_a_stream_lacks_stays_absent() -> None:
    stream = Stream(keys=np.ones((3, 2)), values=np.ones((3, 2)))
    assert set(stream.arrays()) == {"keys", "values", "queries", "beta"}
    assert stream.map(np.negative, "keys", "solution").solution is None
