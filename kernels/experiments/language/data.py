"""Tokens of a corpus on disk: one stream to train on, and documents to validate and test on."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...launch.files import write_whole
from ..validation import require
from .corpus import Corpus, Document
from .plan import REACH, LanguagePlan
from .tokens import SEPARATOR, Tokenizer, Tokens, make_tokenizer

TRAIN, HELD_OUT, ABOUT, MERGES = "train.npy", "held_out.json", "corpus.json", "tokenizer.json"


class Windows(NamedTuple):
    """Documents from their beginning, the separator first: tokens [N, T + 1], and the texts they begin."""

    tokens: Tokens
    texts: list[str]


class Data(NamedTuple):
    """What was prepared: the stream of training tokens, and the texts of the other splits."""

    tokenizer: Tokenizer
    train: NDArray[np.uint16]
    held_out: dict[str, list[str]]

    def windows(self, split: str, count: int, length: int) -> Windows:
        """Of the first documents that are long enough."""
        rows, texts = [], []
        for text in self.held_out[split]:
            # No token has more than a few bytes: the rest of a long document need not be encoded.
            tokens = self.tokenizer.encode(text[: 32 * length])[:length]
            if len(tokens) == length:
                rows.append(np.concatenate([[SEPARATOR], tokens]).astype(np.int32))
                texts.append(text)
            if len(rows) == count:
                break
        found = f"documents of {length} tokens in the {split} split (or a smaller --context)"
        require(bool(rows), "corpus", found, "none")
        return Windows(np.stack(rows), texts)


def prepare(corpus: Corpus, plan: LanguagePlan) -> None:
    """Write the tokens of a corpus into the plan's folder of data, unless they are there.

    Raises OSError: they cannot be written; what says that they are there is written last.
    """
    folder = Path(plan.data)
    about = json.dumps({**corpus.describe(), "vocabulary": plan.vocabulary}, indent=1) + "\n"
    there = all((folder / name).is_file() for name in (ABOUT, TRAIN, HELD_OUT))
    if there and (folder / ABOUT).read_bytes() == about.encode():
        return
    (folder / ABOUT).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _write(corpus, plan.vocabulary, folder)
        write_whole(folder / ABOUT, about)
    except OSError as error:
        raise OSError(f"cannot write the tokens of the text to {plan.data!r}: {error}") from error


def _write(corpus: Corpus, vocabulary: int, folder: Path) -> None:
    texts = [document.text for document in corpus.split("train")]
    tokenizer = make_tokenizer(vocabulary, texts, folder / MERGES)
    np.save(folder / TRAIN, _joined(tokenizer, texts))
    held_out = {split: _shuffled(corpus.split(split)) for split in ("validation", "test")}
    write_whole(folder / HELD_OUT, json.dumps(held_out))


def check_lengths(plan: LanguagePlan) -> None:
    """Raise ValueError where texts are too short to be trained, validated or tested on, before anything is trained."""
    data = load(plan.data, plan.vocabulary)
    fits = len(data.train) > plan.context
    require(fits, "corpus", f"more than {plan.context} tokens to train on", len(data.train))
    data.windows("validation", 1, plan.context)
    data.windows("test", 1, REACH * plan.context)


@cache
def load(folder: str, vocabulary: int) -> Data:
    """What `prepare` wrote.

    Raises ValueError: it is not there any more as it was written.
    """
    place = Path(folder)
    tokenizer = make_tokenizer(vocabulary, (), place / MERGES)
    try:
        train, held_out = np.load(place / TRAIN, mmap_mode="r"), json.loads((place / HELD_OUT).read_text())
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"the tokens of the text in {folder!r} are damaged ({error}); delete that folder to make them anew"
        ) from error
    return Data(tokenizer, train, held_out)


def _joined(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.uint16]:
    separator = np.array([SEPARATOR], dtype=np.uint16)
    pieces = [piece for text in texts for piece in (separator, tokenizer.encode(text).astype(np.uint16))]
    return np.concatenate(pieces)


def _shuffled(documents: Sequence[Document]) -> list[str]:
    """Texts in an order that has nothing to do with their names, the same everywhere."""
    return sorted((each.text for each in documents), key=lambda text: hashlib.sha256(text.encode()).digest())
