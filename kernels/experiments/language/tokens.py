"""Tokens of text: its bytes, or pairs of them merged as the training text has them (BPE)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...launch.files import rewriting
from ..validation import require

Tokens = NDArray[np.int32]
SEPARATOR = 0
"""Before every document."""


class Tokenizer(Protocol):
    """Text to tokens; token 0 separates documents, and text has none of it."""

    vocabulary: int

    def encode(self, text: str) -> Tokens: ...

    def lengths(self, tokens: Tokens) -> Tokens:
        """Bytes of text that each token stands for."""
        ...


class ByteTokenizer:
    """A token for each byte."""

    vocabulary = 257

    def encode(self, text: str) -> Tokens:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32) + 1

    def lengths(self, tokens: Tokens) -> Tokens:
        return np.ones_like(tokens)


class MergedTokenizer:
    """Byte-level BPE of the `tokenizers` library."""

    def __init__(self, trained: Any) -> None:
        self.trained, self.vocabulary = trained, trained.get_vocab_size()
        names = [trained.id_to_token(i) for i in range(self.vocabulary)]
        # A byte is one letter of the names, whatever it is; the separator is no text.
        self._bytes = np.array([0, *map(len, names[1:])], dtype=np.int32)

    def encode(self, text: str) -> Tokens:
        return np.array(self.trained.encode(text).ids, dtype=np.int32)

    def lengths(self, tokens: Tokens) -> Tokens:
        return self._bytes[tokens]


def make_tokenizer(vocabulary: int, texts: Sequence[str], path: Path) -> Tokenizer:
    """Bytes for 257 tokens; else BPE, read from `path` or trained on the texts and written there."""
    require(vocabulary >= 257, "vocabulary", "at least 257, one token for each byte", vocabulary)
    if vocabulary == 257:
        return ByteTokenizer()
    try:
        from tokenizers import Tokenizer as Trained, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise ValueError(
            "vocabulary: more than bytes needs the library tokenizers: pip install -e '.[language]'"
        ) from error
    if path.is_file():
        return MergedTokenizer(Trained.from_file(str(path)))
    trained = Trained(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<|separator|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    trained.train_from_iterator(texts, trainer)
    with rewriting(path) as part:
        trained.save(str(part))
    return MergedTokenizer(trained)
