"""The benchmark reports what it measured; no test asserts a time."""

import dataclasses
import json

import numpy as np
import pytest

from osdn_theory.measures import speed as benchmarks
from osdn_theory.measures.speed import chunk_flops, run_benchmarks


@pytest.fixture(scope="module")
def result():
    return run_benchmarks(quick=True)


def test_result_is_json(result):
    assert json.loads(json.dumps(result)) == result
    assert set(result) == {"quick", "machine", "dgemm", "scan", "chunk", "memory"}


@pytest.mark.parametrize(("part", "name"), [("scan", "bounded"), ("scan", "clipped"), ("chunk", "speedup")])
def test_ratios_are_those_of_the_times(result, part, name):
    times, found = result[part]["times"], result[part][name]
    expected = np.median(times[found["of"]]) / np.median(times[found["to"]])
    assert found["ratio"] == expected
    assert found["met"] == (expected >= float(found["goal"].removeprefix(">= ")))


def test_share_of_dgemm(result):
    chunk = result["chunk"]
    rate = chunk["flops"] / np.median(chunk["times"]["chunk"])
    assert chunk["dgemm_share"]["ratio"] == pytest.approx(rate / result["dgemm"]["rate"])


def test_memory_is_linear_whole_and_constant_streaming(result):
    memory = result["memory"]
    assert 1.5 < memory["whole_growth"] < 2.1
    assert 0.9 < memory["streaming_growth"] < 1.1


def test_flops_are_counted_per_product():
    lead, length, key_dim, value_dim, chunk = 2, 12, 5, 7, 4
    products = [(chunk, key_dim, value_dim)] * 3 + [(chunk, key_dim, chunk)] * 2 + [(chunk, chunk, value_dim)]
    per_chunk = sum(2 * m * k * n for m, k, n in products) + chunk * chunk * value_dim
    assert chunk_flops(lead, length, key_dim, value_dim, chunk) == lead * (length // chunk) * per_chunk


def test_the_clipping_rule_clips_in_every_chunk():
    keys = benchmarks._unit_keys(np.random.default_rng(0), (2, 64, 8))
    free = dataclasses.replace(benchmarks.CLIPPING, d_min=0.0)
    for start in range(0, 64, 8):
        chunk = keys[:, start : start + 8]
        clipped, _ = benchmarks.calibration_scan(chunk, benchmarks.CLIPPING, initial_preconditioner=1.2)
        unclipped, _ = benchmarks.calibration_scan(chunk, free, initial_preconditioner=1.2)
        assert np.all(clipped == 1.2)
        assert np.all(unclipped[:, 1:] < 1.2)
