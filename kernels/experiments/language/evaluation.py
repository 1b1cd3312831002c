"""What a trained model does on documents that it was not trained on, one number for each measure and place."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from ..recall_task import BatchKind
from ..tensor_files import write_tensors
from .data import Data
from .model import LanguageModel, capturing
from .passages import LINES, lines, mentions, repeated
from .plan import REACH, LanguagePlan
from .tokens import Tokens

Array = NDArray[np.float64]
EDGES = (0, 0.25, 0.5, 1, 2, 3, REACH)
"""Of the classes of positions, over the training context."""

READINGS = 3
SHARES = (16, 8, 4)
"""Passages are the training context over these, so that all readings fit into it."""

DISTANCES = (0, 64, 256, 1024, 4096, 16384)
LINES_SEED = 7


class Found(NamedTuple):
    """A number that was measured, and where."""

    measure: str
    place: str
    value: float

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self._asdict(), "value": number(self.value)}


def number(value: float) -> float | str:
    """As JSON has it: a text where it is not finite."""
    return value if np.isfinite(value) else str(float(value))


class Scores(NamedTuple):
    """Loss of each token, [N, T], and whether it was the likeliest."""

    loss: Array
    right: NDArray[np.bool_]


@torch.no_grad()
def score(model: LanguageModel, plan: LanguagePlan, tokens: Tokens) -> Scores:
    """Of every token [N, 1 + T] but the first, from those before it."""
    device = next(model.parameters()).device
    at_once = max(1, plan.micro_batch * plan.context // tokens.shape[1])
    found = []
    for first in range(0, len(tokens), at_once):
        rows = torch.from_numpy(tokens[first : first + at_once].astype(np.int64)).to(device)
        logits, targets = model(rows[:, :-1]), rows[:, 1:]
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
        found.append((loss.double().cpu().numpy(), (logits.argmax(-1) == targets).cpu().numpy()))
    return Scores(*map(np.concatenate, zip(*found, strict=True)))


def validation_loss(plan: LanguagePlan, model: LanguageModel, data: Data) -> float:
    """Mean over the validation documents, in nats per token."""
    windows = data.windows("validation", plan.windows, plan.context)
    return float(score(model, plan, windows.tokens).loss.mean())


def measure(plan: LanguagePlan, model: LanguageModel, data: Data) -> list[Found]:
    """Everything that is measured on the test documents without looking into the layers."""
    parts: tuple[Callable[..., Iterator[Found]], ...] = (_on_documents, _on_passages, _on_lines)
    return [found for part in parts for found in part(plan, model, data)]


def _on_documents(plan: LanguagePlan, model: LanguageModel, data: Data) -> Iterator[Found]:
    """Loss by position, and of names by how often and how long ago they were met."""
    windows = data.windows("test", plan.windows, REACH * plan.context)
    loss = score(model, plan, windows.tokens).loss
    lengths = data.tokenizer.lengths(windows.tokens[:, 1:])
    c = plan.context
    yield Found("loss", "", float(loss[:, :c].mean()))
    yield Found("bits per byte", "", float(loss[:, :c].sum() / np.log(2) / lengths[:, :c].sum()))
    for low, high in pairwise(int(edge * c) for edge in EDGES):
        yield Found("loss at", f"{low} to {high - 1}", float(loss[:, low:high].mean()))
    yield Found("loss growth", "", float(loss[:, 3 * c :].mean() - loss[:, c // 2 : c].mean()))
    names: dict[str, list[float]] = {}
    for each in mentions(windows, data.tokenizer):
        names.setdefault(describe_meeting(each.seen, each.distance), []).append(
            float(loss[each.row, each.tokens].mean())
        )
    for place, losses in sorted(names.items()):
        yield Found("name loss", place, float(np.mean(losses)))


def describe_meeting(seen: int, distance: int) -> str:
    """How often and how many tokens ago a name was met."""
    if seen == 0:
        return "new"
    place = int(np.digitize(distance, DISTANCES))
    often = "once" if seen == 1 else "twice or more"
    return f"seen {often}, {DISTANCES[place - 1]} to {DISTANCES[place] - 1} tokens ago"


def _on_passages(plan: LanguagePlan, model: LanguageModel, data: Data) -> Iterator[Found]:
    """Loss of a passage by how often it was read just before; none of it is asked for in its first tokens."""
    for share in SHARES:
        length = plan.context // share
        loss = score(model, plan, repeated(data, plan.windows, length, READINGS)).loss
        for reading, part in enumerate(np.split(loss, READINGS, axis=1)):
            yield Found("passage loss", f"{length} tokens, read {reading} times before", float(part.mean()))


def _on_lines(plan: LanguagePlan, model: LanguageModel, data: Data) -> Iterator[Found]:
    """The share of values that are recalled to the last token, and the loss of their tokens."""
    for repeats in LINES.repeats:
        for pairs in LINES.pairs:
            asked = lines(data.tokenizer, BatchKind("isotropic", repeats, pairs), plan.windows, LINES_SEED)
            scores = score(model, plan, asked.tokens)
            there = asked.question >= 0
            wrong = np.unique(asked.question[there & ~scores.right])
            place = f"{pairs} pairs, read {repeats} times"
            yield Found("line accuracy", place, 1 - len(wrong) / len(np.unique(asked.question[there])))
            yield Found("line loss", place, float(scores.loss[there].mean()))


@torch.no_grad()
def capture(
    plan: LanguagePlan, model: LanguageModel, data: Data, about: dict[str, str], folder: Path
) -> None:
    """What every layer is given while it reads half the training context twice, and a document far beyond it."""
    passages = {
        "read_twice": repeated(data, 1, plan.context // 2, 2)[:, 1:],
        "long": data.windows("test", 1, REACH * plan.context).tokens[:, 1:],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, tokens in passages.items():
        with capturing(model) as layers:
            model(torch.from_numpy(tokens.astype(np.int64)).to(next(model.parameters()).device))
        tensors: dict[str, Any] = {
            f"layer{n}.{part}": x for n, layer in enumerate(layers) for part, x in layer.items()
        }
        write_tensors(folder / f"{name}.safetensors", tensors, about)
