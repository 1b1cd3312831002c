"""Files that are written whole or not at all."""

from pathlib import Path

import pytest
from support.full_disk import full_disk

from osdn_theory.base.folders import write_atomically


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with full_disk(), pytest.raises(OSError, match="File too large") as caught:
        write_atomically(path, bytes(100_000))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
