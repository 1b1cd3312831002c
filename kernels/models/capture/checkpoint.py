"""A local checkpoint and a text to a file of activations, which `osdn_theory.load_activations` reads."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from ...boundary.checks import refuse
from ...experiments.tensor_files import write_tensors
from ...layers.layer import OnlineScaledDeltaNet
from ..configuration import FORMS
from ..modeling import OsdnForCausalLM
from ..weights import check_weights
from .text import first_line, read_tokens
from .watched import own_rule, run_watched


def capture(folder: Path, text: Path, out: Path, *, tokens: int, reads: int = 2) -> dict[str, Any]:
    """Write what each delta-rule layer of a checkpoint is given while it reads a text `reads` times in a row.

    DeltaNet, Gated DeltaNet and KDA of flash-linear-attention run as models of ours with d at 1, which compute the
    same; models of transformers run as they are, their delta rules by our references; models of ours run as they are.

    - `folder`: ``config.json``, weights and tokenizer, as transformers saves them.
    - `text`: In UTF-8.
    - `out`: The safetensors file to write; its metadata tell checkpoint, kind, tokens and reads.
    - `tokens`, `reads`: Tokens of one reading, at most; and readings.

    Returns "tokens" of one reading, "kind" of the model, and its own "rule" or None.

    Raises FileNotFoundError: no such folder, text or tokenizer.
    Raises ValueError: what cannot be read, does not fit, or has no delta rule, named.
    Raises OSError: the file cannot be written.
    """
    kind = _kind(folder)
    model = _load(folder, kind)
    ids = read_tokens(folder, text, tokens, model.get_input_embeddings().num_embeddings)
    layers = run_watched(model, torch.tensor([ids * reads]))
    if not layers:
        refuse(
            "checkpoint",
            "layers with a delta rule, such as DeltaNet, Gated DeltaNet or KDA",
            f"none in a {kind}",
        )
    told = {"checkpoint": folder.resolve().name, "kind": kind, "tokens": str(len(ids)), "reads": str(reads)}
    tensors = {
        f"layer{place}.{name}": x.float().contiguous()
        for place, layer in enumerate(layers)
        for name, x in layer.items()
    }
    write_tensors(out, {name: x.clone() for name, x in tensors.items()}, told)
    rules = [own_rule(layer) for layer in model.modules() if isinstance(layer, OnlineScaledDeltaNet)]
    return {"tokens": len(ids), "kind": kind, "rule": rules[0] if rules else None}


def _kind(folder: Path) -> str:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a checkpoint as transformers saves it")
    try:
        kind = json.loads(path.read_text())["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no configuration with a model_type ({first_line(error)})") from None
    return str(kind)


def _load(folder: Path, kind: str) -> Any:
    """The model in float32, refused unless all its weights are there and fit."""
    try:
        with _quietly():
            if kind in FORMS:
                return OsdnForCausalLM.from_fla(str(folder), dtype=torch.float32)
            model, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # transformers lets through whatever its readers meet
        # What torch says first of a pickle that holds more than tensors is how to run it none the less.
        pickled = isinstance(error, UnpicklingError)
        reason = "its pickled weights are no tensors" if pickled else first_line(error)
        raise ValueError(f"{folder}: the checkpoint cannot be loaded: {reason}") from error
    check_weights("checkpoint", kind, found)
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """What transformers warns of while it loads is an error here, told once."""
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before[0])
        if before[1]:
            logging.enable_progress_bar()
