"""Results of the language-model experiment that are delivered with the package."""

from os import PathLike
from pathlib import Path

from osdn_theory.language.document import FILE, LANGUAGE, LanguageSummary
from osdn_theory.recall.data import packaged_files

PACKAGED = "train_*.json"


def load(path: str | PathLike[str] | None = None) -> LanguageSummary | None:
    """A summary of a language-model experiment.

    - `path`: ``train.json``, or a folder that holds it. Default: of those delivered with the package the last, which is
      of the largest preset; None if there is none.

    Raises OSError: if there is no such file, or it cannot be read.
    Raises ValueError: if it is no such document, of another format, or contradicts itself.
    """
    delivered = packaged_files(PACKAGED)
    if path is None and not delivered:
        return None
    file = delivered[-1] if path is None else Path(path)
    return LANGUAGE.read(file / FILE if file.is_dir() else file)[1]
