"""Layers are measured by the exact recurrence on what was captured; a bound that fails is no number."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.language_cases import write_experiment

from osdn_theory.base.documents import read_typed
from osdn_theory.language import measures
from osdn_theory.language.document import LanguageSummary
from osdn_theory.language.measures import check_layer, measure_layers, measure_length
from osdn_theory.language.runs import LayerValues
from osdn_theory.language.streams import HEADS, TOKENS, write_streams
from osdn_theory.language.summary import summarise_language
from osdn_theory.measures.analysis import token_residual_ratio
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.streams.activations import load_activations
from osdn_theory.streams.stream import Stream

RULE = {
    "eta": 0.5,
    "d_min": 0.0,
    "d_max": 1e9,
    "forgetting": "token",
    "anchor": 0.0,
    "normalize_feedback": False,
}
LENGTH = 24


def write_run(place: Path, *, length: int = LENGTH, state_gate: bool = False) -> Path:
    """A test run of two layers with one head each."""
    rng = np.random.default_rng(0)
    tensors = {}
    for layer in range(2):
        for name, shape in (("q", (1, length, 1, 8)), ("k", (1, length, 1, 8)), ("v", (1, length, 1, 8))):
            tensors[f"layer{layer}.{name}"] = rng.standard_normal(shape).astype(np.float32)
        tensors[f"layer{layer}.beta"] = rng.uniform(0.2, 1.0, (1, length, 1)).astype(np.float32)
        gate = -rng.uniform(0.001, 0.1, (1, length, 1)).astype(np.float32)
        tensors[f"layer{layer}.{'state_gate' if state_gate else 'g'}"] = gate
        tensors[f"layer{layer}.d0"] = np.full((1, 8), 1.1, dtype=np.float32)
    (place / "activations").mkdir()
    for name in ("read_twice", "long"):
        save_file(tensors, place / "activations" / f"{name}.safetensors", {"license": "CC0"})
    result = json.loads((place / "result.json").read_text())
    rule = {**RULE, "forgetting": 1.0} if state_gate else RULE
    (place / "result.json").write_text(json.dumps({**result, "rule": rule}))
    return place


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return write_experiment(tmp_path / "train", lambda model, seed: {("loss", ""): 1.0}, seeds=1)


@pytest.fixture
def place(experiment: Path) -> Path:
    return experiment / "runs" / "apf_bounded" / "lr0.002-seed0"


def measured(place: Path) -> dict[tuple[str, str], float]:
    measure_layers(place)
    return {(v.measure, v.place): v.value for v in read_typed(place / "measures.json", LayerValues).values}


def test_measures_are_those_of_the_exact_run(place: Path) -> None:
    found = measured(write_run(place))
    streams = load_activations(place / "activations" / "read_twice.safetensors")
    ratios = [token_residual_ratio(osdn(stream, CalibrationRule(**RULE))) for stream in streams]  # type: ignore[arg-type]
    for layer, ratio in enumerate(ratios):
        mean = np.exp(np.log(ratio).mean())
        assert found["token residual ratio", f"layer{layer}"] == pytest.approx(mean, rel=1e-9)
    both = np.exp(np.mean([np.log(ratio).mean() for ratio in ratios]))
    assert found["token residual ratio", "all layers"] == pytest.approx(both, rel=1e-9)
    assert (
        0
        < found["distance from DeltaNet", "layer0"]
        <= found["distance from DeltaNet, T26's bound", "layer0"]
    )
    assert found["T21, Distance from a comparator with forgetting: applies", "layer0"] == 1.0
    assert found["T20, Quadratic regret: applies", "layer0"] == 0.0
    assert found["T26, Near DeltaNet: slack", "layer1"] >= 0.0
    assert not any("slack" in measure and "T20" in measure for measure, _ in found)


def test_gated_memories_run_in_their_own_form(place: Path) -> None:
    found = measured(write_run(place, state_gate=True))
    assert 0 < found["token residual ratio", "all layers"] < 1
    assert ("distance from DeltaNet", "layer0") not in found
    assert found["T26, Near DeltaNet: applies", "layer0"] == 0.0


def test_a_violated_bound_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(place)
    stream = load_activations(place / "activations" / "read_twice.safetensors")[0]
    true = measures.check_bounds
    monkeypatch.setattr(
        measures,
        "check_bounds",
        lambda run, ids: [replace(check, outcome="violated") for check in true(run, ids)],
    )
    with pytest.raises(ArithmeticError, match=r"read_twice/layer0: T\d\d \(.*\) is violated"):
        list(check_layer(stream, CalibrationRule(**RULE), "layer0"))  # type: ignore[arg-type]


def constant(length: int, gate: float) -> Stream:
    """One unit key again and again, with forgetting."""
    keys = np.zeros((1, 1, length, 2))
    keys[..., 0] = 1.0
    return Stream(
        keys=keys, values=keys, queries=keys, beta=1.0, forget_gate=np.full((1, 1, length), gate),
        metadata={"layer": "layer0"},
    )  # fmt: skip


def test_forgetting_towards_zero_shows_in_the_alignment_far_out() -> None:
    """T13: for one key again and again a settles at eta / (1 - gamma + eta)."""
    rule = CalibrationRule(eta=0.01, d_min=0.0, d_max=10.0, forgetting="token")
    found = {v.measure: v.value for v in measure_length(constant(2000, 0.99), rule)}
    assert found["alignment far out"] == pytest.approx(0.5, rel=1e-6)
    assert found["growth of the state"] == pytest.approx(0.0, abs=1e-3)
    kept = {v.measure: v.value for v in measure_length(constant(2000, 1.0), rule)}
    assert kept["alignment far out"] == pytest.approx(1.0)


def test_a_state_that_grows_is_seen() -> None:
    length = 40
    keys = np.zeros((1, 1, length, 2))
    keys[..., 0] = 2.0
    stream = Stream(keys=keys, values=keys, beta=1.0, metadata={"layer": "layer0"})
    found = {v.measure: v.value for v in measure_length(stream, CalibrationRule(eta=0.0))}
    # Each write multiplies the residual by 1 - 4.
    assert found["growth of the state"] == pytest.approx(30 * np.log10(3), rel=1e-3)


def test_streams_to_deliver_are_cut_and_say_whose_they_are(experiment: Path, place: Path) -> None:
    write_run(place, length=600)
    summary: LanguageSummary = summarise_language(experiment)
    files = write_streams(experiment, summary)
    assert [path.name for path in files] == ["apf_bounded_streams.safetensors"]
    streams = load_activations(files[0])
    assert [stream.name for stream in streams] == ["apf_bounded/layer0", "apf_bounded/layer1"]
    whole = load_file(place / "activations" / "read_twice.safetensors")
    cut = load_file(files[0])
    assert set(cut) == set(whole)
    for name, tensor in cut.items():
        part = whole[name][..., :HEADS, :] if name.endswith("d0") else whole[name][:, :TOKENS, :HEADS]
        assert np.array_equal(tensor, part)
    assert streams[0].metadata["license"] == "CC0"
    assert streams[0].metadata["command"] == "osdn-theory train"


def test_a_run_without_activations_is_named(place: Path) -> None:
    with pytest.raises(FileNotFoundError, match="read_twice"):
        measure_layers(place)
