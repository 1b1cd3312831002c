"""Evaluation counts what it says, and shows a model whose evaluation is not what it was trained with."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from osdn_kernels.experiments.models.architecture import build
from osdn_kernels.experiments.models.mixers import REPLACEMENTS, replacing
from osdn_kernels.experiments.plan import preset
from osdn_kernels.experiments.run import write_result
from osdn_kernels.experiments.specs import MODELS
from osdn_kernels.experiments.training import evaluation
from osdn_kernels.experiments.training.evaluation import counted, predictions, sequences
from osdn_kernels.experiments.training.loop import adamw, update
from safetensors.numpy import load_file, save_file
from support.kernels.experiment_cases import JOB, tiny

from osdn_theory.recall import measure_run


def measured(folder):
    """Cells of measures.json of the model in `folder`."""
    measure_run(folder)
    return json.loads((folder / "measures.json").read_text())["cells"]


def result_of(plan, model, job, folder):
    folder.mkdir()
    write_result(plan, job, folder, model, 0.0, "cpu")
    return json.loads((folder / "result.json").read_text())


def test_test_sequences_are_the_same_for_all_and_new_in_every_cell():
    task = preset("cpu").task
    first, second, third = task.cells[0], task.cells[1], task.cells[8]
    one = sequences(task, first, 8, "test")
    assert np.array_equal(one.tokens, sequences(task, first, 8, "test").tokens)
    assert not np.array_equal(one.tokens, sequences(task, first, 8, "validation").tokens)
    for other in (second, third):
        assert not np.array_equal(one.targets[:, :4], sequences(task, other, 8, "test").targets[:, :4])


def test_classes_of_distance_hold_every_query():
    distance = np.array([[1, 7, 8, 15], [16, 600, 40, 255]])
    right = np.array([[True, False, True, True], [False, True, False, True]])
    found = counted(distance, right)
    assert found[1].tolist() == [2, 2, 1, 1, 0, 1, 0, 1]
    assert found[0].tolist() == [1, 2, 0, 0, 0, 1, 0, 1]


def test_a_result_adds_up(tmp_path):
    plan = tiny()
    model = build(plan.task, "anchored_apf", plan.size, 0)
    result = result_of(plan, model, JOB, tmp_path / "run")
    assert len(result["cells"]) == len(plan.task.cells)
    queries = sum(cell["queries"] for cell in result["cells"])
    right = sum(cell["queries"] * cell["accuracy"] for cell in result["cells"])
    assert sum(d["queries"] for d in result["distances"]) == queries
    assert sum(d["correct"] for d in result["distances"]) == pytest.approx(right)
    plain = {tuple(a[k] for k in ("statistic", "repeats", "pairs")): a["accuracy"]
             for a in result["ablations"] if a["ablation"] == "none"}  # fmt: skip
    assert plain == {
        tuple(c[k] for k in ("statistic", "repeats", "pairs")): c["accuracy"] for c in result["cells"]
    }
    assert {a["ablation"] for a in result["ablations"]} == {"none", *REPLACEMENTS}
    tensors = load_file(tmp_path / "run" / "activations" / "isotropic-r1-p4.safetensors")
    assert tensors["layer0.k"].shape == (2, 13, 2, 8)
    assert set(tensors) == {f"layer0.{name}" for name in ("q", "k", "v", "beta", "g", "d0", "o")}


def test_tuning_runs_are_validated_and_not_tested(tmp_path):
    plan = tiny()
    model = build(plan.task, "deltanet", plan.size, 0)
    result = result_of(plan, model, JOB._replace(model="deltanet", role="tune"), tmp_path / "run")
    assert result["cells"] == []
    assert not (tmp_path / "run" / "activations").exists()
    expected = [
        predictions(model, sequences(plan.task, cell, plan.validation, "validation"))[0].mean()
        for cell in plan.task.cells
    ]
    assert result["validation"] == pytest.approx(np.mean(expected))


def trained_unscaled(plan, steps):
    """A model whose write key is unscaled in training: its d is there, and read again at evaluation alone."""
    model = build(plan.task, "osdn_eta1", plan.size, 0)
    with torch.no_grad():
        mixer = model.blocks[0].mixer
        start, rule = mixer.initial_preconditioner, mixer.rule
        start.copy_(torch.tensor((rule.d_min, rule.d_max)).repeat(start.shape[1] // 2).expand_as(start))
    optimizer = adamw(plan, model, 1e-2)
    with replacing(model, REPLACEMENTS["ones"]):
        for step in range(steps):
            batches = plan.lesson.batches(plan, JOB, step, slice(None))
            update(model, optimizer, 1e-2, plan.clip_norm, plan.lesson.judge, batches)
    return model


def test_a_write_key_scaled_in_evaluation_alone_is_visible(tmp_path, monkeypatch):
    # In the box [2/3, 3/2] a scale changes few answers of so small a model.
    spec = MODELS["osdn_eta1"]
    monkeypatch.setitem(MODELS, spec.name, replace(spec, step=spec.step._replace(d_min=0.2, d_max=2.5)))
    plan = preset("smoke", steps=150, batch=24, pairs=(8,))
    model = trained_unscaled(plan, plan.steps)
    job = JOB._replace(model="osdn_eta1")

    result = result_of(plan, model, job, tmp_path / "scaled")
    accuracy = {
        name: np.mean([a["accuracy"] for a in result["ablations"] if a["ablation"] == name])
        for name in ("none", "ones")
    }
    # The ablation that undoes the scale, which helps no model that was trained with it, helps this one.
    assert accuracy["ones"] > accuracy["none"] + 0.02

    # And the layer as it was in training does not compute what its rule says, by a wide margin.
    with replacing(model, REPLACEMENTS["ones"]):
        result_of(plan, model, job, tmp_path / "unscaled")
    errors = {
        name: max(cell["output_error"] for cell in measured(tmp_path / name))
        for name in ("scaled", "unscaled")
    }
    assert errors["scaled"] < 1e-5 < 1e-2 < errors["unscaled"]


@pytest.mark.parametrize(
    "name",
    [
        "deltanet",
        "osdn",
        "osdn_historic",
        "static",
        "apf",
        "anchored_apf",
        "gated_deltanet",
        "osgdn_historic",
    ],
)
def test_every_model_computes_what_its_rule_says(tmp_path, name):
    plan = tiny()
    model = build(plan.task, name, plan.size, 0)
    with torch.no_grad():
        model.blocks[0].mixer.initial_preconditioner.uniform_(0.7, 1.4)
        if model.blocks[0].mixer.forget_gate is not None:
            model.blocks[0].mixer.forget_gate.bias.fill_(1.0)
    result_of(plan, model, JOB._replace(model=name), tmp_path / "run")
    assert max(cell["output_error"] for cell in measured(tmp_path / "run")) < 1e-5


def test_a_chunk_that_never_was_written_is_seen(tmp_path, monkeypatch):
    plan = tiny()
    model = build(plan.task, "osdn_eta1", plan.size, 0)
    plain = evaluation.capture

    def late(model, batch, count, path):
        plain(model, batch, count, path)
        tensors = load_file(path)
        tensors["layer0.o"][:, -2:] = 0.0
        save_file(tensors, path)

    monkeypatch.setattr(evaluation, "capture", late)
    result_of(plan, model, JOB._replace(model="osdn_eta1"), tmp_path / "run")
    assert max(cell["output_error"] for cell in measured(tmp_path / "run")) > 1e-2
