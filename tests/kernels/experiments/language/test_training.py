"""Training goes on bit for bit where it was killed, whatever the micro batch, and says what it cannot do."""

import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from osdn_kernels.experiments.language import entry, evaluation, lesson
from osdn_kernels.experiments.language.data import load, prepare
from osdn_kernels.experiments.language.plan import MODELS, PRESETS, preset
from osdn_kernels.experiments.run import run_experiment
from osdn_kernels.experiments.run_plan import PlannedRun
from osdn_kernels.experiments.training import loop as training
from osdn_kernels.experiments.training.checkpoints import CheckpointError
from osdn_kernels.experiments.training.loop import train, update
from support.kernels.language_cases import make_corpus, tiny_plan, write_folder

CPU = torch.device("cpu")
JOB = PlannedRun("apf_bounded", 4e-3, 0, "test")
ROOT = Path(__file__).parents[4]


class KilledHere(BaseException):
    pass


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def kill(step):
    if step >= 6:
        raise KilledHere


def nothing(folder):
    pass


def test_a_killed_run_ends_in_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 4)
    monkeypatch.setattr(training, "LOG_EVERY", 2)
    plan = tiny_plan(tmp_path)
    whole, _ = train(plan, JOB, tmp_path / "whole", CPU)
    with pytest.raises(KilledHere):
        train(plan, JOB, tmp_path / "cut", CPU, tick=kill)
    steps = []
    again, _ = train(plan, JOB, tmp_path / "cut", CPU, tick=steps.append)
    assert steps == [6, 8, 10, 12]
    assert torch.equal(weights(whole), weights(again))
    other, _ = train(plan, JOB._replace(seed=1), tmp_path / "other", CPU)
    assert not torch.equal(weights(whole), weights(other))


def test_micro_batches_are_one_batch(tmp_path):
    """Their mean gradient is that of all, but for rounding."""
    plan = tiny_plan(tmp_path)
    found = []
    for micro in (1, 2, 4):
        cut = replace(plan, micro_batch=micro)
        model = lesson.build(cut, JOB)
        batches = lesson.batches(cut, JOB, 3, slice(None))
        assert [len(batch) for batch in batches] == [micro] * (4 // micro)
        loss = update(model, training.adamw(cut, model, 0.0), 0.0, 1e9, lesson.judge, batches)[0]
        found.append((loss, torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])))
    for loss, gradient in found[1:]:
        assert torch.allclose(loss, found[0][0], rtol=1e-5)
        assert torch.allclose(gradient, found[0][1], rtol=1e-3, atol=1e-7)
    assert replace(plan, micro_batch=1).fingerprint == plan.fingerprint


def test_all_models_read_the_same_text_in_the_same_order(tmp_path):
    plan = tiny_plan(tmp_path)
    jobs = [PlannedRun(model, rate, 0, "test") for model, rate in (("deltanet", 1e-3), ("apf_bounded", 2e-3))]
    first, second = (np.concatenate(lesson.batches(plan, job, 5, slice(None))) for job in jobs)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, np.concatenate(lesson.batches(plan, jobs[0], 6, slice(None))))
    halves = [lesson.batches(plan, jobs[0], 5, rows) for rows in (slice(0, 2), slice(2, 4))]
    assert np.array_equal(np.concatenate([*halves[0], *halves[1]]), first)
    assert [len(batch) for batch in lesson.batches(plan, jobs[0], 5, slice(0, 1))] == [1]
    with pytest.raises(
        ValueError, match="micro_batch: expected a divisor of the 3 sequences of a process, got 2"
    ):
        lesson.batches(plan, jobs[0], 5, slice(0, 3))


def test_the_last_token_that_can_begin_a_sequence_ends_with_the_stream(tmp_path, monkeypatch):
    plan = tiny_plan(tmp_path)
    length = len(load(plan.data, 257).train)

    class Last:
        def integers(self, high, size):
            return np.full(size, high - 1)

    monkeypatch.setattr(np.random, "default_rng", lambda key: Last())
    last = np.concatenate(lesson.batches(plan, JOB, 0, slice(None)))
    assert last.shape == (4, 33)
    assert np.array_equal(last[0], load(plan.data, 257).train[length - 33 :])


def test_training_learns_and_scores_are_those_of_the_loss(tmp_path):
    plan = tiny_plan(tmp_path, steps=40, hidden=32)
    data = load(plan.data, 257)
    model, _ = train(plan, JOB, tmp_path / "run", CPU)
    trained = evaluation.validation_loss(plan, model, data)
    assert trained < evaluation.validation_loss(plan, lesson.build(plan, JOB), data) - 1
    tokens = data.windows("test", 2, 40).tokens
    scores = evaluation.score(model, plan, tokens)
    judged = lesson.judge(model, tokens.astype(np.int64))
    assert float(judged[0].detach()) == pytest.approx(scores.loss.mean(), rel=1e-5)
    assert float(judged[1].detach()) == pytest.approx(scores.right.mean(), abs=1e-6)


def test_measures_are_of_where_they_say(tmp_path, monkeypatch):
    """A model that is wrong at one position only, and only on what it has not read before."""
    plan = tiny_plan(tmp_path)
    data = load(plan.data, 257)

    def fake(model, plan, tokens):
        loss = np.zeros(tokens[:, 1:].shape)
        loss[:, 70:80] = 1.0
        return evaluation.Scores(loss, np.ones(loss.shape, dtype=bool))

    monkeypatch.setattr(evaluation, "score", fake)
    found = {(each.measure, each.place): each.value for each in evaluation.measure(plan, None, data)}
    assert found["loss at", "64 to 95"] == pytest.approx(10 / 32)
    assert {value for (name, place), value in found.items() if name == "loss at" and place != "64 to 95"} == {
        0.0
    }
    assert found["loss growth", ""] == 0.0
    assert found["loss", ""] == found["bits per byte", ""] == 0.0
    assert found["line accuracy", "8 pairs, read 1 times"] == 1.0
    assert found["line loss", "8 pairs, read 1 times"] == 0.0
    assert found["line loss", "8 pairs, read 2 times"] == 0.0

    def wrong(model, plan, tokens):
        scores = fake(model, plan, tokens)
        right = scores.right.copy()
        right[0] = False
        return scores._replace(right=right)

    monkeypatch.setattr(evaluation, "score", wrong)
    found = {(each.measure, each.place): each.value for each in evaluation.measure(plan, None, data)}
    assert found["line accuracy", "8 pairs, read 1 times"] == 1 - 1 / len(data.windows("test", 2, 32).tokens)


def test_merged_tokens_are_trained_on_and_counted_in_bytes(tmp_path):
    pytest.importorskip("tokenizers")
    plan = tiny_plan(tmp_path, vocabulary=300)
    data = load(plan.data, 300)
    assert data.train.max() > 257
    model, _ = train(plan, JOB, tmp_path / "run", CPU)
    found = {(each.measure, each.place): each.value for each in evaluation.measure(plan, model, data)}
    windows = data.windows("test", plan.windows, 128)
    read = [
        text.encode()[: int(data.tokenizer.lengths(row[1:33]).sum())]
        for row, text in zip(*windows, strict=True)
    ]
    per_token = len(b"".join(read)) / (32 * len(read))
    assert per_token > 1.5
    assert found["bits per byte", ""] == pytest.approx(found["loss", ""] / np.log(2) / per_token)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path, monkeypatch):
    plan = tiny_plan(tmp_path)
    train(plan, JOB, tmp_path / "run", CPU)
    with pytest.raises(CheckpointError, match="belongs to another experiment"):
        train(replace(plan, hidden=32), JOB, tmp_path / "run", CPU)
    monkeypatch.setattr(
        training, "fingerprint", lambda plan, job: f"{tiny_plan(tmp_path).fingerprint}/{JOB.folder}"
    )
    with pytest.raises(CheckpointError, match="is of a model of another shape"):
        train(replace(plan, hidden=32), JOB, tmp_path / "run", CPU)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
        MemoryError("Unable to allocate 24.6 GiB for an array"),
    ],
)
def test_memory_that_runs_out_names_the_run_and_what_to_ask_for(tmp_path, monkeypatch, error):
    def fail(*given):
        raise error

    plan = tiny_plan(tmp_path)
    monkeypatch.setattr(training, "update", fail)
    with pytest.raises(
        ValueError, match=r"deltanet, .* seed 1000: does not fit the memory of CPU.*--micro-batch"
    ):
        run_experiment(plan, tmp_path / "out", measure=nothing)
    monkeypatch.setattr(
        training, "update", lambda *given: (_ for _ in ()).throw(RuntimeError("something else"))
    )
    with pytest.raises(RuntimeError, match="something else"):
        run_experiment(plan, tmp_path / "out", measure=nothing)


def outcomes(folder):
    results = {path.parent.name: json.loads(path.read_text()) for path in folder.rglob("result.json")}
    return {
        name: {k: v for k, v in result.items() if k not in ("seconds", "tokens_per_second")}
        for name, result in results.items()
    }


def test_an_experiment_goes_on_and_belongs_to_its_text(tmp_path):
    texts = write_folder(tmp_path / "texts")
    plan = tiny_plan(tmp_path, models=("deltanet",), tuning=1)
    options = {"corpus": texts, "measure": nothing, "device": "cpu", "workers": None, "tensorboard": False,
               "command": "", "progress": lambda *tick: None}  # fmt: skip
    assert entry.run(plan, tmp_path / "out", **options)
    first = outcomes(tmp_path / "out")
    assert {result["role"] for result in first.values()} == {"tune", "test"}
    assert all((result["values"] != []) == (result["role"] == "test") for result in first.values())
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    entry.run(plan, tmp_path / "out", **options)
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    assert {path.name for path in again if again[path] != times.get(path)} == {"plan.json"}
    (texts / "00.txt").write_text("another text\n")
    with pytest.raises(ValueError, match="holds an experiment of other sizes; choose another --out"):
        entry.run(plan, tmp_path / "out", **options)


def two_processes(folder):
    plan = tiny_plan(folder, steps=20, models=("deltanet", "apf_bounded"))
    run_experiment(plan, folder / "out", measure=nothing)


SCRIPT = f"""
import sys
from pathlib import Path
from osdn_kernels.experiments.run import run_experiment
sys.path.insert(0, "tests")
from support.kernels.language_cases import tiny_plan

{inspect.getsource(nothing)}
{inspect.getsource(two_processes)}
two_processes(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_data_parallel_training_is_the_same_training(tmp_path):
    found = []
    (tmp_path / "script.py").write_text(SCRIPT)
    for name, launcher in (
        ("one", []),
        ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
    ):
        place = tmp_path / name
        tiny_plan(place)  # so that the processes find the tokens, and none is written twice at once
        command = [sys.executable, *launcher, str(tmp_path / "script.py"), str(place)]
        assert subprocess.run(command, cwd=ROOT, timeout=300, check=False).returncode == 0
        found.append(outcomes(place / "out"))
    assert found[0].keys() == found[1].keys() != set()
    for name, one in found[0].items():
        for a, b in zip(one["values"], found[1][name]["values"], strict=True):
            # Means of halves differ in rounding alone.
            assert a["value"] == pytest.approx(b["value"], rel=5e-3, abs=1e-3)


def test_presets_are_what_was_promised():
    assert set(PRESETS) == {"smoke", "cpu", "gpu", "gpu-large"}
    for name, heads in (("gpu", 64), ("gpu-large", 128)):
        plan = preset(name)
        assert plan.models == tuple(MODELS)
        assert len(plan.seeds) >= 3 <= len(plan.learning_rates)
        assert (plan.context, plan.hidden // plan.heads, plan.least) == (2048, heads, 50_000_000)
        assert plan.layers in range(4, 9)
        assert plan.hidden in range(256, 513)
    for plan in (plan for name, plan in PRESETS.items() if name != "smoke"):
        # The middle rate comes first, and an edge that wins is not the last word.
        assert min(plan.learning_rates) < plan.learning_rates[0] < max(plan.learning_rates)
        assert len(plan.seeds) >= 3
        assert plan.widenings >= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("gpt",)}, r"models: expected names among deltanet, .*got \['gpt'\]"),
        ({"heads": 5}, "heads: expected a divisor of hidden = 32, got 5"),
        ({"hidden": 2048, "heads": 2}, "heads: expected heads of at most 256, got 1024"),
        ({"micro_batch": 3}, "micro_batch: expected a divisor of batch = 4, got 3"),
        ({"context": 40}, "context: expected a multiple of 16 from 32 on, got 40"),
        ({"vocabulary": 100}, r"vocabulary: expected 257 \(bytes\) to 65536, got 100"),
        ({"vocabulary": 65537}, r"vocabulary: expected 257 \(bytes\) to 65536, got 65537"),
        ({"precision": "int8"}, "precision: expected float32 or bfloat16, got int8"),
        ({"layers": 0}, "layers: expected a positive number, got 0"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        preset("smoke", **changes)


def test_tokens_are_made_once_and_anew_for_another_text(tmp_path):
    plan = tiny_plan(tmp_path)
    tokens = tmp_path / "data" / "train.npy"
    before = tokens.stat().st_mtime_ns
    prepare(make_corpus(), plan)
    assert tokens.stat().st_mtime_ns == before
    for lost in ("train.npy", "held_out.json"):
        (tmp_path / "data" / lost).unlink()
        prepare(make_corpus(), plan)
        assert (tmp_path / "data" / lost).is_file()
    before = tokens.stat().st_mtime_ns
    corpus = make_corpus()
    prepare(replace(corpus, documents=corpus.documents[:50]), plan)
    assert tokens.stat().st_mtime_ns != before


def test_a_full_disk_leaves_no_tokens_that_look_whole(tmp_path, monkeypatch):
    plan = tiny_plan(tmp_path)
    whole = np.load(tmp_path / "data" / "train.npy")
    less = replace(make_corpus(), documents=make_corpus().documents[:50])

    def full(path, array):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(OSError, match=r"cannot write the tokens of the text to .*data': .*No space left"):
            prepare(less, plan)
    prepare(make_corpus(), plan)
    assert np.array_equal(np.load(tmp_path / "data" / "train.npy"), whole)


def test_damaged_files_of_tokens_are_named_or_made_anew(tmp_path):
    plan = tiny_plan(tmp_path)
    (tmp_path / "data" / "corpus.json").write_text("{")
    prepare(make_corpus(), plan)
    assert json.loads((tmp_path / "data" / "corpus.json").read_text())["vocabulary"] == 257
    tokens = tmp_path / "data" / "train.npy"
    tokens.write_bytes(tokens.read_bytes()[:-100])
    load.cache_clear()
    with pytest.raises(ValueError, match=r"tokens of the text in .*data' are damaged .*delete that folder"):
        load(plan.data, plan.vocabulary)


def test_without_transformers_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "osdn_kernels.experiments.language.lesson", None)
    plan = preset("smoke", sources=())
    with pytest.raises(
        ValueError, match=r"language models need transformers .*pip install -e '\.\[language\]'"
    ):
        entry.run(
            replace(plan, least=1), tmp_path / "out", corpus=write_folder(tmp_path / "texts"), measure=nothing,
            device="cpu", workers=None, tensorboard=False, command="", progress=lambda *tick: None,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "distance", "place"),
    [
        (0, 0, "new"),
        (1, 63, "seen once, 0 to 63 tokens ago"),
        (1, 64, "seen once, 64 to 255 tokens ago"),
        (2, 255, "seen twice or more, 64 to 255 tokens ago"),
        (9, 8191, "seen twice or more, 4096 to 16383 tokens ago"),
    ],
)
def test_names_are_told_apart_by_how_often_and_how_long_ago(seen, distance, place):
    assert evaluation.describe_meeting(seen, distance) == place
