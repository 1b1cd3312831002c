"""Cases are a function of seed and number, and reach everything that a kernel takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from support.crosscheck import fuzz_kernels
from support.crosscheck.fuzz_cases import own_layout

from osdn_theory.crosscheck.fuzz.draw import BOXES, LARGE, SMALL, FuzzSizes, draw
from osdn_theory.crosscheck.fuzz.menu import Takes, find_out, has_bound, menu_of
from osdn_theory.crosscheck.fuzz.trial import Trial, parts
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt
from osdn_theory.rounding import FORMATS, round_to

EVERYTHING = Takes(("float32", "bfloat16", "float16"), (16, 32), empty=True)


RIGHT = adapt(fuzz_kernels.right)
CHUNKED = replace(
    RIGHT, parameters=RIGHT.parameters | {"chunk_size"}, defaults={**RIGHT.defaults, "chunk_size": 64}
)
"""As if it worked in chunks of a size to choose."""


def drawn(adapter: Adapter, count: int, sizes: FuzzSizes = SMALL, takes: Takes = EVERYTHING) -> list[Trial]:
    return [draw(adapter, takes, sizes, 0, number) for number in range(count)]


KERNELS = [
    CHUNKED,
    adapt(fuzz_kernels.delta_net),
    adapt(fuzz_kernels.path_alone),
    own_layout(fuzz_kernels.gated, "gated_delta_net"),
    own_layout(fuzz_kernels.kda, "kda"),
    adapt(fuzz_kernels.oskda, "oskda"),
]


@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("adapter", KERNELS, ids=lambda adapter: adapter.recurrence)
def test_300_cases_reach_every_kind_of_everything(adapter: Adapter, sizes: FuzzSizes) -> None:
    trials = drawn(adapter, 300, sizes)
    used = frozenset[str]().union(*(trial.question.uses for trial in trials))
    offered = {f"{name}: {kind}" for name, kinds in menu_of(adapter, EVERYTHING).items() for kind in kinds}
    assert offered - used == set()


def test_what_is_counted_is_what_is_in_the_cases() -> None:
    """The names would be worth nothing if the numbers behind them were others."""
    for trial in drawn(CHUNKED, 300):
        case, uses = trial.question.cases[-1], trial.question.uses
        arrays, rule = parts(case), case.rule
        said = {
            "put: packed": trial.question.put == "packed",
            "put: continued": trial.question.put == "continued",
            "form: strided": trial.question.form == "strided",
            "chunk_size: 16": trial.options == {"chunk_size": 16},
            "keys: zero": not arrays["keys"].any(),
            "queries: keys": np.array_equal(arrays["queries"], arrays["keys"]),
            "values: zero": not arrays["values"].any(),
            "beta: zeros": not arrays["beta"].any(),
            "S_0: zero": not arrays["initial_state"].any(),
            "d_1: ones": bool((arrays["initial_preconditioner"] == 1).all()),
            "gate: none": "log_gate" not in arrays,
            "feedback: normalized": rule.normalize_feedback,
            "eta: 0": rule.eta == 0,
            "box: open": (rule.d_min, rule.d_max) == BOXES["open"],
            "box: one point": rule.d_min == rule.d_max,
            "dtype: float16": case.dtype == "float16",
            "scale: negative": case.scale < 0,
        }
        exactly = {"put: packed", "put: continued", "form: strided", "gate: none", "dtype: float16"}
        for name, found in said.items():
            if name in uses:
                assert found, (trial.question.name, name)
            elif name in exactly:
                assert not found, (trial.question.name, name)


def test_extremes_occur() -> None:
    trials = drawn(CHUNKED, 300)
    cases = [case for trial in trials for case in trial.question.cases]
    sizes = {name: {trial.shape[name] for trial in trials} for name in "BHTKV"}
    assert all(1 in sizes[name] for name in "BHKV")
    assert {case.stream.length for case in cases} >= {0, 1, 15, 16, 17, 63, 64, 65}
    assert max(sizes["K"]) > 16
    assert max(sizes["V"]) > 16
    assert any(case.stream.key_dim != case.stream.value_dim for case in cases)
    betas = np.concatenate([np.ravel(case.stream.beta) for case in cases])
    assert betas.min() == 0
    assert betas.max() > 1.5
    norms = np.concatenate([np.linalg.norm(case.stream.keys, axis=-1).ravel() for case in cases])
    assert norms.min() == 0
    assert norms[norms > 0].min() < 1e-2
    assert norms.max() > 2


def test_what_grows_is_drawn_where_a_bound_is_known_of_it() -> None:
    """T18 speaks of beta-aware feedback and of memories that fade; of chunks that fade by feature only if declared."""
    aware = replace(RIGHT, parameters=RIGHT.parameters | {"beta_aware"})
    known, unknown = (adapt(getattr(fuzz_kernels, name), name) for name in ("osgdn", "oskda"))
    assert (has_bound(known, EVERYTHING.dtypes), has_bound(unknown, EVERYTHING.dtypes)) == (True, False)
    assert "other" in menu_of(aware, EVERYTHING)["awareness"]
    growing = [("beta", "up to 2"), ("eta", "large"), ("box", "open")]
    for adapter, offered in ((aware, True), (known, True), (unknown, False)):
        menu = menu_of(adapter, EVERYTHING)
        assert [kind in menu[name] for name, kind in growing] == [offered] * 3
    for adapter, longest in ((known, 3.0), (unknown, 1.125)):
        norms = [
            np.linalg.norm(case.stream.keys, axis=-1).max(initial=0.0)
            for trial in drawn(adapter, 100)
            for case in trial.question.cases
        ]
        assert max(norms) == pytest.approx(longest, rel=0.01)


def test_what_grows_is_not_continued() -> None:
    """A float16 kernel may refuse to start from what left its range in the call before."""
    for trial in drawn(CHUNKED, 200):
        if trial.question.put == "continued":
            assert not trial.question.uses & {"keys: large", "keys: mixed", "beta: up to 2"}
            assert not {"eta: large", "box: open"} <= trial.question.uses


def test_a_case_depends_on_seed_and_number_alone() -> None:
    adapter = CHUNKED
    first, second = (draw(adapter, EVERYTHING, SMALL, 3, 11) for _ in range(2))
    other = draw(adapter, EVERYTHING, SMALL, 4, 11)

    def bits(trial: Trial) -> list[tuple[str, bytes]]:
        return [
            (name, value.tobytes()) for case in trial.question.cases for name, value in parts(case).items()
        ]

    assert bits(first) == bits(second)
    assert first.question.uses == second.question.uses
    assert bits(first) != bits(other)


def test_inputs_are_numbers_of_their_formats_and_valid() -> None:
    for adapter in KERNELS:
        for item in drawn(adapter, 100):
            for case in item.question.cases:
                arrays = parts(case)
                for name in ("queries", "keys", "values", "beta"):
                    assert np.array_equal(arrays[name], round_to(arrays[name], FORMATS[case.dtype]))
                start = arrays["initial_preconditioner"]
                low, high = case.rule.d_min, case.rule.d_max
                assert np.all((start >= low) & (start <= high)), (item.question.uses, low, high, start)
                for name in ("log_gate", "log_state_gate"):
                    assert name not in arrays or np.all(arrays[name] <= 0)
                state = arrays["initial_state"]
                assert np.array_equal(state, round_to(state, FORMATS["float32"]))


def test_cases_that_share_a_call_share_its_numbers() -> None:
    for trial in drawn(CHUNKED, 200):
        rules = {
            (case.rule.eta, float(case.rule.d_min), float(case.rule.d_max), case.rule.normalize_feedback, case.scale)
            for case in trial.question.cases
        }  # fmt: skip
        assert len(rules) == 1


def test_nothing_is_drawn_that_the_kernel_does_not_take() -> None:
    def plain(q: Any, k: Any, v: Any, beta: Any) -> Any:
        raise NotImplementedError

    adapter = adapt(plain)
    takes = Takes(("float32",), (), empty=False)
    uses = frozenset[str]().union(*(trial.question.uses for trial in drawn(adapter, 200, takes=takes)))
    kinds = {item.split(":")[0] for item in uses}
    assert kinds.isdisjoint({"scale", "S_0", "eta", "box", "d_1", "feedback", "gate", "anchor", "sequences"})
    assert not uses & {"put: packed", "put: continued", "T: 0", "dtype: bfloat16"}


@pytest.mark.parametrize(
    "own", [{"eta": 0.0, "d_min": 0.0, "d_max": 1e9, "scale": 2.0}, dict.fromkeys(("eta", "d_min", "d_max"))]
)
def test_what_is_left_at_its_default_is_the_number_of_the_signature(own: dict[str, Any]) -> None:
    kernel = replace(RIGHT, defaults={**RIGHT.defaults, **own})
    usual = {"eta": 0.003, "d_min": 2 / 3, "d_max": 1.5}
    numbers = {name: value for name, value in own.items() if value is not None}
    alone = [trial.question.cases[-1] for trial in drawn(kernel, 60) if trial.question.form == "defaults"]
    assert alone
    for case in alone:
        rule = case.rule
        found = {"eta": rule.eta, "d_min": rule.d_min, "d_max": rule.d_max, "scale": case.scale}
        wanted = usual | {"scale": case.stream.key_dim**-0.5} | numbers
        assert found == pytest.approx(wanted, rel=1e-6)


def test_a_kernel_is_asked_which_dtypes_and_chunks_it_takes() -> None:
    def picky(**given: Any) -> Any:
        if given.pop("chunk_size", 64) == 32 or str(given["q"].dtype) == "torch.float16":
            raise ValueError("no")
        if given["q"].shape[1] == 0:
            raise ValueError("no tokens")
        return fuzz_kernels.right(**given)

    adapter = replace(CHUNKED, call=picky)
    takes = find_out(adapter, "cpu")
    assert takes.dtypes == ("float32", "bfloat16")
    assert takes.chunk_sizes == (16,)
    assert not takes.empty
    assert [what.split(" (")[0] for what in takes.refused] == ["float16", "chunk_size=32", "T = 0"]
    assert msgspec.convert(msgspec.to_builtins(takes), Takes) == takes
    asked = find_out(adapter, "cpu", ["float16"])
    assert asked.dtypes == ("float16",)
