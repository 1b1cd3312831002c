"""Measures of a run's activations against a plain loop, against `analyze`, and against layers that are broken."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.recall.cases import RULES, layer_inputs, layer_outputs, write_activations, write_result

from osdn_theory.measures.analysis import analyze
from osdn_theory.measures.read_twice import measure_read_twice
from osdn_theory.recall import measure_run
from osdn_theory.recall.measures import identity_drift
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams.activations import load_activations

CELL = ("anisotropic", 2, 8)
CONTEXT = 32
MODELS = list(RULES)


def measured(folder: Path) -> list[dict[str, Any]]:
    measure_run(folder)
    cells: list[dict[str, Any]] = json.loads((folder / "measures.json").read_text())["cells"]
    return cells


def run(folder: Path, model: str, seed: int = 0, **options: Any) -> dict[str, np.ndarray]:
    write_result(folder, model, seed)
    return write_activations(folder, model, CELL, seed, **options)


@pytest.mark.parametrize("model", MODELS)
def test_measures_are_those_of_a_plain_loop(model: str, tmp_path: Path) -> None:
    run(tmp_path, model)
    (cell,) = measured(tmp_path)
    inputs = layer_inputs(model, 0, 41)
    d = layer_outputs(model, inputs)[1]
    k = inputs["k"].astype(np.float64)
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    alignment = np.sum(d * k**2, axis=-1)[:, :CONTEXT]
    log_ratio = np.log((1 - inputs["beta"][:, :CONTEXT] * alignment) ** 2)
    assert (cell["statistic"], cell["repeats"], cell["pairs"], cell["layer"]) == (*CELL, 0)
    # The loop has the layer's epsilon of 1e-6 in its norms, the measures have keys of norm 1.
    assert cell["token_residual_ratio"] == pytest.approx(np.exp(log_ratio.mean()), rel=1e-4)
    assert cell["mean_alignment"] == pytest.approx(alignment.mean(), rel=1e-5)
    # Token CONTEXT is the first that is not of the context: its d is what the context handed on.
    visited = d[:, : CONTEXT + 1]
    assert cell["d_low"] == pytest.approx(visited.min(), rel=1e-5)
    assert cell["d_high"] == pytest.approx(visited.max(), rel=1e-5)
    assert cell["drift_from_one"] == pytest.approx(np.sqrt(np.mean((visited - 1) ** 2)), rel=1e-4)
    moved = np.sqrt(np.mean((visited - d[:, :1]) ** 2))
    assert cell["drift_from_start"] == pytest.approx(moved, rel=1e-4, abs=1e-12)
    assert cell["output_error"] < 1e-6


@pytest.mark.parametrize("model", MODELS)
def test_an_unscaled_write_key_is_visible(model: str, tmp_path: Path) -> None:
    run(tmp_path, model, scaled=False)
    (cell,) = measured(tmp_path)
    if model in ("deltanet", "gated_deltanet"):  # d = 1: there is no scale to leave out
        assert cell["output_error"] < 1e-6
    else:
        assert cell["output_error"] > 1e-2


@pytest.mark.parametrize(
    ("model", "change"),
    [
        ("apf", {"anchor": "initial"}),
        ("anchored_apf", {"anchor": 0.0}),
        ("osdn_eta1", {"eta": 0.003}),
        ("apf", {"forgetting": 1.0}),
        ("gated_deltanet", None),
    ],
)
def test_another_rule_than_the_layers_is_visible(
    model: str, change: dict[str, Any] | None, tmp_path: Path
) -> None:
    run(tmp_path, model)
    rule = {**RULES[model], "normalize_feedback": False}
    changes = {"gated_state": False} if change is None else {"rule": {**rule, **change}}
    write_result(tmp_path, model, 0, **changes)
    assert measured(tmp_path)[0]["output_error"] > 1e-3


def test_measures_are_those_of_analyze(tmp_path: Path) -> None:
    run(tmp_path, "apf", layers=2)
    rule = CalibrationRule(**RULES["apf"])
    cells = measured(tmp_path)
    streams = load_activations(tmp_path / "activations" / "anisotropic-r2-p8.safetensors")
    assert [cell["layer"] for cell in cells] == [0, 1]
    for cell, stream in zip(cells, streams, strict=True):
        heads = [head.measures["osdn"] for head in analyze([stream.tokens(0, CONTEXT)], rule)]
        log_ratio = np.mean([head.log_residual_ratio for head in heads])
        assert cell["token_residual_ratio"] == pytest.approx(np.exp(log_ratio), rel=1e-12)
        twice = measure_read_twice(stream.tokens(0, CONTEXT), rule, already=True)
        assert {"own": cell["token_residual_ratio"], **cell["replaced"]} == pytest.approx(
            twice.layer, rel=1e-9
        )
        assert cell["by_position"] == pytest.approx(list(twice.by_position["own"]), rel=1e-9)
        by_head = np.exp(np.mean(np.log(twice.by_head["own"]), axis=0))
        assert cell["by_head"] == pytest.approx(list(by_head), rel=1e-9)
        recall = np.exp(np.mean(np.log([head.missing_share for head in heads])))
        assert cell["missing_share"] == pytest.approx(recall, rel=1e-9)
        newton = np.mean([head.newton_distance for head in heads])
        assert cell["newton_distance"] == pytest.approx(newton, rel=1e-9)
        assert cell["clipped_fraction"] == np.mean([head.clipped_fraction for head in heads])
        assert cell["clipped_fraction"] > 0


def test_the_ratio_of_a_gated_model_is_against_its_decayed_state(tmp_path: Path) -> None:
    """T17: with d = 1 and keys of norm 1 it is (1 - beta)^2, whatever the gates."""
    tensors = run(tmp_path, "gated_deltanet")
    beta = tensors["layer0.beta"].astype(np.float64)[:, :CONTEXT]
    (cell,) = measured(tmp_path)
    expected = np.exp(np.mean(np.log((1 - beta) ** 2)))
    assert cell["token_residual_ratio"] == pytest.approx(expected, rel=1e-10)


def test_the_missing_share_of_one_pair_is_known(tmp_path: Path) -> None:
    """One key written twice by halves from zero: a quarter of the value is missing, a sixteenth of its square."""
    write_result(tmp_path, "deltanet", 0, context={"1-1": 2})
    ones = np.ones((1, 4, 1, 2), np.float32)
    gate = np.full((1, 4, 1), 0.5, np.float32)
    tensors = {"q": ones, "k": ones, "v": ones, "beta": gate, "o": ones}
    (tmp_path / "activations").mkdir()
    path = tmp_path / "activations" / "isotropic-r1-p1.safetensors"
    save_file({f"layer0.{name}": x for name, x in tensors.items()}, path)
    (cell,) = measured(tmp_path)
    assert cell["missing_share"] == pytest.approx(1 / 16, rel=1e-12)
    assert cell["token_residual_ratio"] == pytest.approx(1 / 4, rel=1e-12)
    assert cell["calibration_tokens"] == "inf"


def test_identity_drift_sees_a_norm_that_is_not_one() -> None:
    keys = np.random.default_rng(0).normal(size=(3, 50, 8))
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    assert identity_drift(keys, 1.0) < 1e-14
    assert identity_drift(keys.astype(np.float32).astype(np.float64), 1.0) > 1e-9


def test_a_tuning_run_has_nothing_to_measure(tmp_path: Path) -> None:
    write_result(tmp_path, "osdn", 1000, "tune")
    assert measured(tmp_path) == []


def test_a_damaged_older_file_is_replaced(tmp_path: Path) -> None:
    run(tmp_path, "osdn")
    (tmp_path / "measures.json").write_text("{")
    assert len(measured(tmp_path)) == 1
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_it_can_be_sent_to_a_worker() -> None:
    assert pickle.loads(pickle.dumps(measure_run)) is measure_run


def broken(folder: Path, fault: str) -> None:
    path = folder / "activations" / "anisotropic-r2-p8.safetensors"
    tensors = load_file(path)
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif fault == "no outputs":
        save_file({name: x for name, x in tensors.items() if name != "layer0.o"}, path)
    elif fault == "outputs of another shape":
        save_file({**tensors, "layer0.o": np.ascontiguousarray(tensors["layer0.o"][:, :5])}, path)
    elif fault == "not a number":
        tensors["layer0.k"][0, 0] = np.nan
        save_file(tensors, path)
    elif fault == "growing state":
        save_file({**tensors, "layer0.log_decay": -tensors["layer0.log_decay"]}, path)
    elif fault == "short":
        save_file({name: np.ascontiguousarray(x[:, :20]) for name, x in tensors.items()}, path)
    elif fault == "name":
        path.rename(path.with_name("isotropic.safetensors"))
    elif fault == "absent":
        path.unlink()


FAULTS = {
    "truncated": "anisotropic-r2-p8.safetensors: not a safetensors file",
    "no outputs": "anisotropic-r2-p8.safetensors: layer0.o is missing",
    "outputs of another shape": "anisotropic-r2-p8.safetensors: layer0.o: expected",
    "not a number": "anisotropic-r2-p8.safetensors: layer0.k: expected finite",
    "growing state": "anisotropic-r2-p8.safetensors: layer0.log_decay: expected log gates <= 0",
    "short": "anisotropic-r2-p8.safetensors: expected at least the 32 tokens",
    "name": "isotropic.safetensors: expected a name such as",
    "absent": "activations: no activations of a test run",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_activations_are_named_in_one_line(fault: str, tmp_path: Path) -> None:
    run(tmp_path, "gated_deltanet")
    broken(tmp_path, fault)
    with pytest.raises((ValueError, OSError)) as caught:
        measure_run(tmp_path)
    assert FAULTS[fault] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "measures.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "result.json: no such file"),
        ("{", "result.json: not a JSON document"),
        ("[]", "result.json: document: Expected `object`"),
        ({"role": "trial"}, "result.json: role: Invalid enum value 'trial'"),
        ({"rule": {"eta": -1.0}}, "result.json: rule: eta: expected finite and >= 0"),
        ({"rule": {"speed": 1}}, "result.json: rule: "),
        ({"context": {}}, "result.json: context.2-8: is missing"),
    ],
)
def test_a_wrong_result_is_named(content: Any, message: str, tmp_path: Path) -> None:
    run(tmp_path, "osdn")
    if isinstance(content, dict):
        write_result(tmp_path, "osdn", 0, **content)
    elif content is None:
        (tmp_path / "result.json").unlink()
    else:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises((ValueError, OSError)) as caught:
        measure_run(tmp_path)
    assert message in str(caught.value)
