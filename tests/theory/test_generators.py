"""Randomness comes from a numpy.random.Generator alone: a seed in its place says what to pass, everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import numpy as np
import pytest

import osdn_theory
from osdn_theory.base.validation import require_generator
from osdn_theory.context.convergence import conditioned_keys, convergence_rates
from osdn_theory.measures.speed import run_benchmarks
from osdn_theory.measures.sweep_counts import count_sweeps, draw_keys
from osdn_theory.streams import exact_keys, exhibits, synthetic
from osdn_theory.streams.activations import load_activations
from osdn_theory.streams.transforms import with_gates
from osdn_theory.verification.tightness import tighten

STREAM = synthetic.isotropic(np.random.default_rng(0), length=3, key_dim=8)

CALLS: dict[str, Callable[[Any], Any]] = {
    "streams.synthetic.isotropic": synthetic.isotropic,
    "streams.synthetic.constant_key": synthetic.constant_key,
    "streams.synthetic.interpolating": synthetic.interpolating,
    "streams.synthetic.ill_conditioned": synthetic.ill_conditioned,
    "streams.synthetic.orthogonal": synthetic.orthogonal,
    "streams.synthetic.non_stationary": synthetic.non_stationary,
    "streams.synthetic.associative_recall": synthetic.associative_recall,
    "streams.exhibits.disjoint": exhibits.disjoint,
    "streams.exhibits.overlapping": exhibits.overlapping,
    "streams.exact_keys.uniform_on_grid": lambda rng: exact_keys.uniform_on_grid(rng, (2,), 3),
    "streams.exact_keys.unit_keys": lambda rng: exact_keys.unit_keys(rng, (8,)),
    "streams.exact_keys.weighted_unit_keys": lambda rng: exact_keys.weighted_unit_keys(rng, np.ones(8), (8,)),
    "streams.exact_keys.nearest_unit_keys": lambda rng: exact_keys.nearest_unit_keys(rng, np.ones(8)),
    "streams.exact_keys.dyadic_comparator": lambda rng: exact_keys.dyadic_comparator(rng, (), 8),
    "streams.exact_keys.four_squares": lambda rng: exact_keys.four_squares(rng, [4]),
    "streams.transforms.with_gates": lambda rng: with_gates(STREAM, rng),
    "streams.activations.load_activations": lambda rng: load_activations(layers=[0], beta="random", rng=rng),
    "context.convergence.conditioned_keys": lambda rng: conditioned_keys(rng, condition=2.0, key_dim=2),
    "context.convergence.convergence_rates": lambda rng: convergence_rates(rng, steps=1),
    "verification.tightness.tighten": lambda rng: tighten("T5", rng, restarts=1, evaluations=1),
    "measures.speed.run_benchmarks": lambda rng: run_benchmarks(quick=True, rng=rng),
    "measures.sweep_counts.draw_keys": lambda rng: draw_keys("isotropic", rng, 2, 2),
    "measures.sweep_counts.count_sweeps": lambda rng: count_sweeps(rng, length=2, key_dim=2, most=1),
}

# Rooms whose functions are only called by their own commands, with generators that these make.
INSIDE = ("crosscheck.", "sweep.", "report.", "recall.", "commands.")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("seed", [7, np.int64(7)])
def test_a_seed_says_what_to_pass(name: str, seed: Any) -> None:
    with pytest.raises(TypeError, match=r"^rng: expected a numpy.random.Generator, got .*default_rng\(7\)$"):
        CALLS[name](seed)


@pytest.mark.parametrize("wrong", [None, "7", np.random, np.random.RandomState(7)])
def test_anything_else_is_named(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"rng: expected a numpy.random.Generator, got .*default_rng\(0\)"):
        require_generator(wrong)
    require_generator(np.random.default_rng(0))


def test_no_public_function_with_a_generator_is_left_out() -> None:
    found = set()
    for module in walk_packages(osdn_theory.__path__, "osdn_theory."):
        room = module.name.removeprefix("osdn_theory.")
        if room.startswith(INSIDE) or room == "__main__":
            continue
        loaded = import_module(module.name)
        for name, member in inspect.getmembers(loaded, inspect.isfunction):
            own = member.__module__ == module.name and not name.startswith("_")
            if own and "rng" in inspect.signature(member).parameters:
                found.add(f"{room}.{name}")
    assert found == set(CALLS) | {"base.validation.require_generator"}
