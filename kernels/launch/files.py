"""Files that are replaced whole."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def rewriting(target: Path) -> Iterator[Path]:
    """A path beside a file, to be written and renamed into its place; whatever fails, nothing is left there.

    Raises OSError: it cannot be written; the file, which is still as it was, is named.
    """
    part = target.with_name(target.name + ".part")
    try:
        yield part
        os.replace(part, target)
    except OSError as error:
        raise OSError(f"cannot write {str(target)!r}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def write_whole(target: Path, text: str) -> None:
    """Write a file so that a reader never sees half of it; raises as `rewriting`."""
    with rewriting(target) as part:
        part.write_text(text)


def write_tensors(target: Path, tensors: Mapping[str, Any], about: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file like `write_whole`; its library has an error of its own for a full disk."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with rewriting(target) as part:
        try:
            save_file(dict(tensors), part, None if about is None else dict(about))
        except SafetensorError as error:
            raise OSError(str(error)) from error
