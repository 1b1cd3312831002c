"""Files that are replaced whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
