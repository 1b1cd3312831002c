"""JSON files of an experiment, read so that a wrong one is named with what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path

from osdn_theory.base.fields import Fields


def read_document(path: Path) -> Fields:
    """The object in a JSON file; every complaint about it begins with the path.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Not JSON, or not an object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file, or a truncated one ({error})") from None
    return Fields(content, f"{path}: document")
