"""Captured checkpoints: what is written is what the layers computed with, and what cannot be read is named."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from osdn_kernels.models import OsdnConfig, OsdnForCausalLM
from osdn_kernels.models.capture import capture
from osdn_kernels.models.capture.text import read_text
from osdn_kernels.models.capture.watched import watch_theirs
from osdn_kernels.models.modeling import OURS
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)
from typer.testing import CliRunner

from osdn_theory.commands.main import app
from osdn_theory.recurrence.rules import FROZEN, CalibrationRule
from osdn_theory.recurrence.solve import solver_of
from osdn_theory.streams.activations import load_activations

pytestmark = pytest.mark.usefixtures("on_references")

WORDS = "The memory is a matrix; of each token it stores a part of what is missing. " * 9
SIZES = {
    "hidden_size": 24,
    "num_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 270,
    "initializer_range": 0.5,
}
"""Weights are large: beside short keys the 1e-6 that layers add to the squared norm is not nothing."""

GATED = {"head_dim": 8, "expand_v": 1.0, "intermediate_size": 32}

OURS_BY_NAME: dict[str, dict[str, Any]] = {
    "osdn, historic": {"eta": 1.0, "d_min": 0.0, "d_max": 1e9},
    "osdn-apf, anchored": {"eta": 0.5, "use_forget_gate": True, "anchored": True},
    "osgdn, state": {"form": "osgdn", "forgetting": "state", "eta": 0.5, **GATED},
    "oskda": {"form": "oskda", "eta": 0.5, **GATED},
}
THEIRS_BY_NAME: dict[str, dict[str, Any]] = {
    "delta_net": {"form": "osdn"},
    "gated_deltanet": {"form": "osgdn", "num_v_heads": 4, **GATED},
    "kda": {"form": "oskda", **GATED},
}


def write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=270, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([WORDS], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def write_ours(folder: Path, **options: Any) -> OsdnForCausalLM:
    """A model of ours whose d starts away from 1."""
    torch.manual_seed(0)
    model = OsdnForCausalLM(OsdnConfig(**SIZES, **options)).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            start = layer.attn.initial_preconditioner
            start.uniform_(0.8, 1.3) if model.config.d_min < model.config.d_max else None
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def write_theirs(folder: Path, kind: str) -> OsdnForCausalLM:
    """A checkpoint of flash-linear-attention: the same names without d_1, another kind in its configuration."""
    model = write_ours(folder, **THEIRS_BY_NAME[kind], d_min=1.0, d_max=1.0)
    weights = load_file(folder / "model.safetensors")
    kept = {name: x for name, x in weights.items() if not name.split(".attn.")[-1].startswith(OURS)}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": kind}))
    return model


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text(WORDS)
    return path


def reads_of(model: OsdnForCausalLM, ids: Tensor) -> list[np.ndarray]:
    """What each layer's memory answered, [B, T, HV, V], before its output norm."""
    found: list[np.ndarray] = []
    hooks = [
        layer.attn.o_norm.register_forward_pre_hook(lambda _, given: found.append(given[0].detach().numpy()))
        for layer in model.model.layers
    ]
    with torch.no_grad():
        model(input_ids=ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", [*OURS_BY_NAME, *THEIRS_BY_NAME])
def test_what_is_written_is_what_the_layers_computed_with(name: str, text: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "model", tmp_path / "out.safetensors"
    folder.mkdir()
    model = write_ours(folder, **OURS_BY_NAME[name]) if name in OURS_BY_NAME else write_theirs(folder, name)
    told = capture(folder, text, out, tokens=11)
    assert told["tokens"] == 11
    assert (told["rule"] is None) == (name in THEIRS_BY_NAME)
    rule = FROZEN if told["rule"] is None else CalibrationRule(**told["rule"])
    streams = load_activations(out)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    ids = torch.tensor([tokenizer(WORDS)["input_ids"][:11] * 2])
    for stream, answered in zip(streams, reads_of(model, ids), strict=True):
        assert stream.length == 22
        run = solver_of(stream)(stream, rule, scale=stream.key_dim**-0.5)
        np.testing.assert_allclose(np.swapaxes(run.outputs, 1, 2), answered, rtol=2e-3, atol=2e-5)
        assert stream.metadata["reads"] == "2"
        # The rule is a part of it: with d held at d_1 the answers are others.
        held = solver_of(stream)(stream, FROZEN, scale=stream.key_dim**-0.5).outputs
        same = np.allclose(np.swapaxes(held, 1, 2), answered, rtol=2e-3, atol=2e-5)
        assert same == (name in THEIRS_BY_NAME)


def test_a_hybrid_model_of_transformers_is_run_by_references(text: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Qwen3NextConfig(
        vocab_size=270, hidden_size=24, intermediate_size=32, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8,
        linear_value_head_dim=8, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8,
        shared_expert_intermediate_size=8,
    )  # fmt: skip
    model = Qwen3NextForCausalLM(config).eval()
    folder = tmp_path / "hybrid"
    model.save_pretrained(folder)
    write_tokenizer(folder)
    told = capture(folder, text, tmp_path / "out.safetensors", tokens=9, reads=1)
    assert told == {"tokens": 9, "kind": "qwen3_next", "rule": None}
    streams = load_activations(tmp_path / "out.safetensors")
    # Three of four layers have a delta rule; key heads are repeated for the value heads.
    assert [stream.keys.shape for stream in streams] == [(1, 4, 9, 8)] * 3
    assert all(stream.state_gate is not None and np.all(stream.state_gate < 1) for stream in streams)
    # What runs in their place computes the same: transformers' own code, below what wraps it.
    module = sys.modules[type(model).__module__]
    ids = torch.arange(9)[None]
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        with watch_theirs(model) as found:
            ours = model(input_ids=ids, use_cache=False).logits
        rule: Callable[..., Any] = module.torch_chunk_gated_delta_rule
        patch.setattr(module, "torch_chunk_gated_delta_rule", rule.__wrapped__)  # type: ignore[attr-defined]
        torch.testing.assert_close(ours, model(input_ids=ids, use_cache=False).logits, rtol=1e-4, atol=1e-5)
    assert len(found) == 3
    assert module.torch_chunk_gated_delta_rule is rule


def without(name: str) -> Callable[[Path, Path], None]:
    return lambda folder, text: (folder / name).unlink()


def changed(**config: Any) -> Callable[[Path, Path], None]:
    def change(folder: Path, text: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **config}))

    return change


def no_tokenizer(folder: Path, text: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def damaged_tokenizer(folder: Path, text: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def weightless(folder: Path, text: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.attn.k_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def unpickled(folder: Path, text: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"no pickle")


def small_vocabulary(folder: Path, text: Path) -> None:
    changed(vocab_size=30)(folder, text)
    weights = load_file(folder / "model.safetensors")
    for name in ("model.embeddings.weight", "lm_head.weight"):
        weights[name] = weights[name][:30].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def attention_alone(folder: Path, text: Path) -> None:
    config = LlamaConfig(
        vocab_size=270, hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)


BROKEN: list[tuple[Callable[[Path, Path], Any], str]] = [
    (lambda folder, text: shutil.rmtree(folder), "model: no such folder"),
    (without("config.json"), r"config.json: no such file; expected a checkpoint"),
    (lambda folder, text: (folder / "config.json").write_text("[]"), "config.json: no configuration with a model_type"),
    (without("model.safetensors"), "model: the checkpoint cannot be loaded"),
    (lambda folder, text: (folder / "model.safetensors").write_bytes(b""), "model: the checkpoint cannot be loaded: "),
    (unpickled, "model: the checkpoint cannot be loaded: its pickled weights are no tensors"),
    (changed(vocab_size=300), r"lm_head.weight of shape \[270, 24\] for \[300, 24\], model.embeddings.weight of shape"),
    (changed(hidden_size=32), r"of shape \[270, 24\] for \[270, 32\], .* and \d+ more$"),
    (changed(model_type="no such kind"), "model: the checkpoint cannot be loaded"),
    (weightless, "checkpoint: expected the weights that osdn has, got model.layers.1.attn.k_proj.weight"),
    (attention_alone, "checkpoint: expected layers with a delta rule, .* got none in a llama"),
    (no_tokenizer, "model: no tokenizer; expected one of tokenizer.json"),
    (damaged_tokenizer, "model: the tokenizer cannot be read"),
    (small_vocabulary, "tokenizer: expected tokens below the 30 of the model's vocabulary"),
    (lambda folder, text: text.unlink(), "words.txt: no such text file"),
    (lambda folder, text: text.write_bytes(b"\xff\xfewords"), "words.txt: expected a text in UTF-8, got byte 0xff at"),
    (lambda folder, text: text.write_bytes(b"MZ\0\0\0"), "words.txt: expected a text, got a file with zero bytes"),
    (lambda folder, text: text.write_text(" \n"), "words.txt: expected a text, got none"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "message"), BROKEN)
def test_what_cannot_be_read_is_named(
    harm: Callable[[Path, Path], Any], message: str, text: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "model", tmp_path / "out.safetensors"
    folder.mkdir()
    write_ours(folder)
    harm(folder, text)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        capture(folder, text, out, tokens=5)
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_a_character_cut_in_two_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "greek.txt"
    path.write_text("ηη")
    assert read_text(path, 3) == "η"
    assert read_text(path, 9) == "ηη"


def analyze(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["analyze", "--no-bounds", *map(str, arguments)])


def test_the_command_takes_a_checkpoint_with_its_own_rule(text: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_ours(folder, eta=0.5, use_forget_gate=True)
    given = ("--checkpoint", folder, "--text", text, "--tokens", 8)
    result = analyze(*given, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert (found["rule"]["eta"], found["rule"]["forgetting"]) == (0.5, "token")
    assert {head["length"] for head in found["heads"]} == {16}
    # The model has read it twice: it is not read again.
    assert found["read_twice"][0]["edges"][-1] == 16
    (streams,) = {stream.length for stream in load_activations(tmp_path / "out" / "model.safetensors")}
    assert streams == 16
    for more, rule, edges in (
        (["--setting", "historic"], (1.0, 1.0), 16),
        (["--eta", "0.25", "--reads", "1"], (0.25, "token"), 16),
    ):
        other = json.loads(analyze(*given, *more, "--json").stdout)
        assert (other["rule"]["eta"], other["rule"]["forgetting"]) == rule
        assert other["read_twice"][0]["edges"][-1] == edges


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--text: expected the text that the checkpoint shall read, got none"),
        (["--text", "none.txt"], "no such folder"),
        (["some.npz", "--text", "none.txt"], "--checkpoint: expected no file beside it, got 'some.npz'"),
    ],
)
def test_the_command_says_in_a_line_what_is_wrong(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = analyze("--checkpoint", tmp_path / "none", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_text_without_a_checkpoint_is_refused(text: Path) -> None:
    result = analyze("--text", text)
    assert result.exit_code == 2
    assert result.stderr == "error: --text: expected a --checkpoint that reads it, got none\n"
