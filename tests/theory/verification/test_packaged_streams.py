"""Files of activations that are delivered become streams of the suite, by their names, gated ones in their form."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from osdn_theory.language.data import load
from osdn_theory.language.streams import DELIVERED, HEADS, TOKENS
from osdn_theory.recurrence.solve import gated_delta_net
from osdn_theory.streams import activations
from osdn_theory.streams.activations import load_activations, packaged_streams
from osdn_theory.verification.run import verify
from osdn_theory.verification.suite import stream_names, suite, trajectories


@pytest.fixture
def delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of delivered files, with a trained Gated DeltaNet and a file of another kind in it."""
    rng = np.random.default_rng(0)
    shape = (1, 10, 2, 6)
    tensors = {f"layer3.{name}": rng.normal(size=shape).astype(np.float32) for name in "qkv"}
    tensors["layer3.g"] = np.full(shape[:-1], -0.01, np.float32)
    tensors["layer3.state_gate"] = -rng.uniform(0.01, 0.2, shape[:-1]).astype(np.float32)
    save_file(
        tensors,
        tmp_path / "gated_deltanet_streams.safetensors",
        {"licence": "CC0", "command": "osdn-theory train"},
    )
    save_file(tensors, tmp_path / "other.safetensors")
    shutil.copy(activations.PACKAGED / "minilm_streams.safetensors", tmp_path)
    monkeypatch.setattr(activations, "PACKAGED", tmp_path)
    return tmp_path


def test_trained_layers_stand_beside_minilm(delivered: Path) -> None:
    assert list(activations.packaged_streams()) == ["minilm", "gated_deltanet"]
    names = [name for name in stream_names() if "/" in name]
    assert names[0] == "minilm/layer0"
    assert names[-2:] == ["gated_deltanet/layer3", "gated_deltanet/layer3/unit"]
    assert "metadata of gated_deltanet_streams.safetensors" in stream_names()["gated_deltanet/layer3"]
    entries = list(suite(names[-2:], 0, 1))
    assert [entry.name for entry in entries] == names[-2:]
    assert [entry.solver for entry in entries] == [gated_delta_net] * 2
    runs = dict(trajectories(entries[0]))
    assert {"bounded", "historic", "beta-aware", "token forgetting"} <= runs.keys()
    stream = runs["bounded"].stream
    assert stream.metadata["licence"] == "CC0"
    # Not where the package happens to lie.
    assert stream.metadata["path"] == "osdn_theory/data/gated_deltanet_streams.safetensors"


def test_what_is_not_asked_for_is_not_read(delivered: Path) -> None:
    (delivered / "gated_deltanet_streams.safetensors").unlink()
    assert next(iter(suite(["minilm/layer0"], 0, 1))).name == "minilm/layer0"
    assert "gated_deltanet/layer3" not in stream_names()


@pytest.mark.parametrize("name", DELIVERED)
def test_trained_layers_are_those_of_the_table_that_is_delivered(name: str) -> None:
    path, summary = packaged_streams()[name], load()
    assert summary is not None
    (model,) = (model for model in summary.models if model.name == name)
    streams = load_activations(path)
    assert path.stat().st_size < 300_000
    assert [stream.name for stream in streams] == [
        f"{name}/layer0",
        f"{name}/layer{summary.sizes['layers'] - 1}",
    ]
    for stream in streams:
        told = stream.metadata
        assert (*stream.lead, stream.length) == (1, HEADS, TOKENS)
        assert told["command"] == summary.command
        assert told["corpus"] == summary.corpus["fingerprint"]
        assert told["model"] == f"{name}, learning rate {model.learning_rate:g}, seed {summary.seeds[0]}"
        assert json.loads(told["rule"]) == model.rule
        for source, about in summary.corpus["sources"].items():
            assert f"{source}: {about['licence']}" in told["license"]


def test_trained_layers_have_the_gates_of_their_models() -> None:
    """What decays is the memory of Gated DeltaNet and the preconditioner of OSDN-APF, which alone learned d_1."""
    for name in DELIVERED:
        for stream in load_activations(packaged_streams()[name]):
            assert (stream.state_gate is not None, stream.forget_gate is not None) == (
                name == "gated_deltanet", name == "apf_historic"
            )  # fmt: skip
            for gate in (stream.state_gate, stream.forget_gate):
                assert gate is None or (0 < gate.min() < gate.max() < 1)
            assert 0 < np.min(stream.beta) < np.max(stream.beta) < 1
            assert np.all(stream.initial_preconditioner == 1) == (name != "apf_historic")


GATED, UNGATED = "Residual identity, gated state", "Residual identity"


def test_bounds_are_asked_of_trained_layers_by_their_gates(tmp_path: Path) -> None:
    """T17 speaks of those of Gated DeltaNet, T3 of the others, T21 where the preconditioner is forgotten."""
    found = verify(streams=[f"{name}/layer3" for name in DELIVERED], bounds=["T3", "T17", "T21"])
    assert found.exit_code == 0
    holds = {(check.stream.split("/")[0], check.title) for check in found.checks if check.outcome == "holds"}
    assert {name for name, title in holds if title == GATED} == {"gated_deltanet"}
    assert {name for name, title in holds if title == UNGATED} == {"deltanet", "apf_historic"}
    assert {check.stream for check in found.checks if check.rule == "token forgetting"} == {
        "apf_historic/layer3"
    }
    tensors = load_file(packaged_streams()["gated_deltanet"])
    save_file(
        {k: v for k, v in tensors.items() if not k.endswith("state_gate")}, tmp_path / "open.safetensors"
    )
    opened = verify(file=tmp_path / "open.safetensors", bounds=["T3", "T17"])
    assert {check.title for check in opened.checks if check.outcome == "holds"} == {UNGATED}
