"""A memory kept in bfloat16 from token to token: the decoding step stays in its bound, and wrong roundings do not."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

from dataclasses import replace

import numpy as np
import pytest
import torch
from osdn_kernels.boundary.numerics import DECODE, DECODE_BFLOAT16, DECODE_SEEDED
from osdn_kernels.recurrent.by_steps import decode_osdn, decode_osdn_bfloat16, decode_osdn_seeded
from support.crosscheck.faulty_kernels import Fault, recurrent

from osdn_theory.crosscheck import crosscheck
from osdn_theory.recurrence.rules import FROZEN, CalibrationRule
from osdn_theory.rounding import BFLOAT16, CHUNK_FP32, KernelModel, in_interpreter
from osdn_theory.rounding.declared import declared_model
from osdn_theory.streams import synthetic
from osdn_theory.streams.stream import Stream

HALF = torch.bfloat16
FAST = CalibrationRule(eta=0.5)


def drawn(length=12):
    stream = synthetic.isotropic(np.random.default_rng(0), length=length, key_dim=6, value_dim=4)
    return replace(stream, keys=0.8 * stream.keys)


def nearly(part):
    """Numbers of one feature that all lie just short of `part` of a spacing above one of bfloat16."""
    tiny = 2.0**-16
    first, erased = 1 + part * 2.0**-7 - tiny, 0.75 - (1 - part) * 2.0**-8 - tiny
    beta = np.array([1.0, 1.0 - erased])
    second = (1 + (1 + part) * 2.0**-7 - tiny - (0.75 - 2.0**-8)) / beta[1]
    one, values = np.ones((1, 1, 2, 1)), np.array([first, second])[None, None, :, None]
    return Stream(keys=one, values=values, queries=one, beta=beta[None, None])


def checked(kernel, stream, rule=FROZEN, numerics=None):
    if numerics is not None:
        kernel.numerics = numerics
    model = declared_model(kernel.numerics, "float32")
    interpreted = kernel.__module__.startswith("osdn_kernels")
    return crosscheck(
        kernel, stream, rule, device="cpu", cuts=2, model=in_interpreter(model) if interpreted else model
    )


@pytest.mark.parametrize("kernel", [decode_osdn, decode_osdn_bfloat16, decode_osdn_seeded])
def test_the_decoding_step_stays_in_its_bound(kernel):
    found = checked(kernel, drawn(), FAST)
    assert found.within
    assert {"S", "d", "o"} <= {comparison.name for comparison in found.comparisons}


def test_its_bound_is_not_that_of_a_float32_memory():
    kernel = recurrent(Fault(store_state=HALF), "half")
    assert not checked(kernel, drawn(), FAST, DECODE)["S"].within
    assert checked(kernel, drawn(), FAST, DECODE_BFLOAT16).within


FAULTS = {
    "twice": (Fault(store_state=HALF, store_erased=HALF), DECODE_BFLOAT16, "S"),
    "bits dropped": (Fault(drop_bits=True), DECODE_BFLOAT16, "S"),
    "bits dropped twice": (Fault(drop_bits=True, store_erased=HALF), DECODE_SEEDED, "S"),
    "d too": (Fault(store_state=HALF, store_d=HALF), DECODE_BFLOAT16, "d"),
}
RIGHT = {
    "to nearest": (Fault(store_state=HALF), DECODE_BFLOAT16),
    "to nearest, where either way is right": (Fault(store_state=HALF), DECODE_SEEDED),
    "down, where either way is right": (Fault(drop_bits=True), DECODE_SEEDED),
}


def streams(numerics):
    """Near ties for roundings to nearest, which are off by half a spacing, else near the next number."""
    return nearly(0.5 if numerics is DECODE_BFLOAT16 else 1.0)


@pytest.mark.parametrize("case", RIGHT)
def test_right_roundings_are_within_where_they_are_worst(case):
    how, numerics = RIGHT[case]
    found = checked(recurrent(how, "right"), streams(numerics), FROZEN, numerics)
    assert found.within
    if "where" not in case or "down" in case:
        assert np.max(found["S"].error / found["S"].bound) > 0.9


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_roundings_are_refused(fault):
    how, numerics, quantity = FAULTS[fault]
    given = (drawn(), FAST) if quantity == "d" else (streams(numerics), FROZEN)
    assert not checked(recurrent(how, "wrong"), *given, numerics)[quantity].within


def test_only_the_recurrent_order_keeps_it_so():
    model = declared_model(DECODE_SEEDED, "float32")
    assert (model.memory, model.memory_factor, model.compensated) == (BFLOAT16, 2.0, False)
    assert declared_model(DECODE_BFLOAT16, "float32").memory_factor == 1.0
    with pytest.raises(ValueError, match=r"^memory: expected float32 between chunks"):
        KernelModel("chunk", "chunk", memory=BFLOAT16)
    assert CHUNK_FP32.memory_factor == 1.0
