"""Streams of trained layers: the beginnings of what was captured, small enough to be delivered."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from osdn_theory.base.folders import write_atomically
from osdn_theory.base.tensor_files import open_tensors
from osdn_theory.language.document import LanguageSummary
from osdn_theory.language.runs import ACTIVATIONS
from osdn_theory.streams.activations import PARTS, activation_layers

MODELS = ("deltanet", "apf_historic", "apf_bounded", "gated_deltanet")
DELIVERED = ("deltanet", "apf_historic", "gated_deltanet")
"""Of these, those that become data of the package."""

TOKENS, HEADS = 128, 2


def write_streams(folder: Path, summary: LanguageSummary) -> list[Path]:
    """``streams/MODEL.safetensors``: the first and the last layer of a model's first seed, the first two heads.

    As :func:`osdn_theory.streams.activations.load_activations` reads them; the metadata name the model, the text, its
    licences and the command. Models that are not trained yet are left out.

    Raises OSError: one cannot be written.
    """
    chosen = {model.name: model.learning_rate for model in summary.models if model.name in MODELS}
    found = []
    for name, rate in chosen.items():
        place = folder / "runs" / name / f"lr{rate:g}-seed{summary.seeds[0]}" if rate else folder
        if (place / ACTIVATIONS).is_file():
            found.append(folder / "streams" / f"{name}_streams.safetensors")
            write_atomically(found[-1], cut(place / ACTIVATIONS, {"command": summary.command}))
    return found


def cut(path: Path, more: Mapping[str, str]) -> bytes:
    """What is delivered of a file of activations."""
    from safetensors.numpy import save

    file, layers = open_tensors(path), activation_layers(path)
    tensors = {
        name: np.ascontiguousarray(tensor[..., :HEADS, :] if part == "d0" else tensor[:, :TOKENS, :HEADS])
        for layer in dict.fromkeys((layers[0], layers[-1]))
        for part in PARTS
        if (name := f"{layer}.{part}") in file.names
        for tensor in (file.read(name),)
    }
    return save(tensors, {**file.metadata, **more})
