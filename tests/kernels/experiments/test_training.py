"""Training goes on where it was stopped, bit for bit, and bad checkpoints and full disks are said, not lost."""

import csv
import errno
from dataclasses import replace

import pytest
import torch
from osdn_kernels.experiments.training import checkpoints, loop as training
from osdn_kernels.experiments.training.checkpoints import CheckpointError
from osdn_kernels.experiments.training.loop import adamw, schedule, train
from support.kernels.experiment_cases import JOB, tiny

CPU = torch.device("cpu")


class Killed(BaseException):
    pass


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def killed_at(step):
    def tick(done):
        if done >= step:
            raise Killed

    return tick


def test_a_killed_run_ends_in_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 4)
    monkeypatch.setattr(training, "LOG_EVERY", 2)
    whole, _ = train(tiny(), JOB, tmp_path / "whole", CPU)
    with pytest.raises(Killed):
        train(tiny(), JOB, tmp_path / "cut", CPU, tick=killed_at(6))
    resumed = []
    again, _ = train(tiny(), JOB, tmp_path / "cut", CPU, tick=resumed.append)
    assert resumed == [6, 8, 10, 12]
    assert torch.equal(weights(whole), weights(again))
    rows = [list(csv.reader((tmp_path / name / "log.csv").open())) for name in ("whole", "cut")]
    assert [row[:4] for row in rows[0]] == [row[:4] for row in rows[1]]
    other, _ = train(tiny(), JOB._replace(seed=1), tmp_path / "other", CPU)
    assert not torch.equal(weights(whole), weights(other))


def test_training_learns(tmp_path):
    plan = replace(tiny(), steps=60, batch=24)
    train(plan, JOB, tmp_path, CPU)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    train(tiny(), JOB, tmp_path, CPU)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-3000] if content is None else content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt' is damaged.*delete it"):
        train(tiny(), JOB, tmp_path, CPU)


def test_a_checkpoint_of_another_experiment_is_refused(tmp_path):
    train(tiny(), JOB, tmp_path, CPU)
    with pytest.raises(CheckpointError, match="belongs to another experiment"):
        train(replace(tiny(), batch=7), JOB, tmp_path, CPU)
    with pytest.raises(CheckpointError, match="belongs to another experiment"):
        train(tiny(), JOB._replace(seed=9), tmp_path, CPU)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write failed")]
)
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch, error):
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, {"fingerprint": "x", "step": 1})

    def full(state, file):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"cannot write the checkpoint .* the last one is kept"):
        checkpoints.save(path, {"fingerprint": "x", "step": 2})
    assert checkpoints.load(path, "x")["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_loss_that_is_no_number_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "update", lambda *given: torch.tensor([float("nan"), 0.0]))
    with pytest.raises(
        FloatingPointError, match=r"anchored_apf, learning rate 0\.01, seed 0: the loss is nan at step 10"
    ):
        train(tiny(), JOB, tmp_path, CPU)


def test_preconditioners_and_gates_are_not_decayed():
    model = tiny().lesson.build(tiny(), JOB)
    decayed, free = (set(map(id, group["params"])) for group in adamw(tiny(), model, 1e-2).param_groups)
    mixer = model.blocks[0].mixer
    assert {id(mixer.initial_preconditioner), id(mixer.forget_gate.bias), id(model.norm.weight)} <= free
    assert {id(mixer.k_proj.weight), id(model.head.weight)} <= decayed
    assert len(decayed | free) == sum(p.requires_grad for p in model.parameters())


def test_the_rate_rises_and_falls():
    plan = replace(tiny(), steps=100, warm_up=0.2)
    rates = [schedule(plan, step) for step in range(100)]
    assert rates[0] == 0.05
    assert max(rates) == rates[19] == 1.0
    falling = rates[20:]
    assert falling == sorted(falling, reverse=True)
    assert rates[-1] < 1e-3
