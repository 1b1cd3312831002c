"""Tables in TOML files beside the code that reads them, mostly by the name of its module."""

import tomllib
from pathlib import Path
from typing import Any


def read_table(path: str | Path, *, lines: bool = False) -> dict[str, Any]:
    """The table in this file; of the ``__file__`` of a module, that of the same name.

    - `lines`: Whether the lines of texts count; else they are joined, with single spaces.
    """
    found: dict[str, Any] = tomllib.loads(Path(path).with_suffix(".toml").read_text(encoding="utf-8"))
    return found if lines else _joined(found)


def _joined(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, dict):
        return {name: _joined(entry) for name, entry in value.items()}
    return [_joined(entry) for entry in value] if isinstance(value, list) else value
