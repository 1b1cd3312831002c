"""Files that are replaced whole."""

import os
from pathlib import Path


def write_whole(target: Path, text: str) -> None:
    """Write a file so that a reader never sees half of it."""
    part = target.with_name(target.name + ".part")
    part.write_text(text)
    os.replace(part, target)
