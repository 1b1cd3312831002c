"""Tensor files that are replaced whole; apart from those of text, which need no other library."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..launch.files import rewriting


def write_tensors(target: Path, tensors: Mapping[str, Any], about: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file like `write_whole`; its library has an error of its own for a full disk."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with rewriting(target) as part:
        try:
            save_file(dict(tensors), part, None if about is None else dict(about))
        except SafetensorError as error:
            raise OSError(str(error)) from error
