"""A text file as tokens of a checkpoint's own tokenizer."""

import codecs
from pathlib import Path

from transformers import AutoTokenizer

from ...boundary.checks import refuse

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt",
)  # fmt: skip
"""At least one of these is in a folder that has a tokenizer."""

BYTES_PER_TOKEN = 64
"""As much of the file is read as so many for each token wanted: a book need not be tokenised for its first page."""


def read_tokens(folder: Path, text: Path, tokens: int, vocabulary: int) -> list[int]:
    """The first `tokens` tokens of a text, or as many as it has.

    Raises FileNotFoundError: no such file, or a checkpoint without a tokenizer.
    Raises ValueError: not a text, one without tokens, or tokens that the model does not have.
    """
    words = read_text(text, BYTES_PER_TOKEN * tokens)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise FileNotFoundError(f"{folder}: no tokenizer; expected one of {', '.join(TOKENIZER_FILES)}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers lets through whatever its readers meet
        raise ValueError(f"{folder}: the tokenizer cannot be read: {first_line(error)}") from error
    found: list[int] = tokenizer(words, truncation=True, max_length=tokens)["input_ids"]
    if not found:
        refuse("text", "at least one token", f"none in {str(text)!r}")
    if max(found) >= vocabulary:
        refuse("tokenizer", f"tokens below the {vocabulary} of the model's vocabulary", max(found))
    return found


def read_text(path: Path, size: int) -> str:
    """The beginning of a UTF-8 file, `size` bytes of it at most.

    Raises FileNotFoundError, ValueError: as `read_tokens`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such text file")
    with path.open("rb") as file:
        raw = file.read(size)
    try:
        # The last character may be cut in two.
        words = codecs.getincrementaldecoder("utf-8-sig")().decode(raw, final=len(raw) < size)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected a text in UTF-8, got byte {raw[error.start]:#04x} at {error.start}"
        ) from None
    if "\0" in words:
        raise ValueError(f"{path}: expected a text, got a file with zero bytes")
    if not words.strip():
        raise ValueError(f"{path}: expected a text, got none")
    return words


def first_line(error: BaseException) -> str:
    """What an error says first."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
