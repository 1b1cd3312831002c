"""Files of activations that are delivered become streams of the suite, by their names, gated ones in their form."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from osdn_theory.recurrence.solve import gated_delta_net
from osdn_theory.streams import activations
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
