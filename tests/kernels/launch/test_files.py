"""Files that are replaced whole: a full disk leaves the old one, nothing beside it, and an OSError with its name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from osdn_kernels.experiments.tensor_files import write_tensors
from osdn_kernels.launch.files import write_whole
from support.full_disk import full_disk

WRITERS: dict[str, Callable[[Path, int], None]] = {
    "text": lambda path, size: write_whole(path, "x" * size),
    "tensors": lambda path, size: write_tensors(path, {"x": torch.zeros(size)}, {"of": "a test"}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_leaves_the_old_file_and_names_it(
    tmp_path: Path, write: Callable[[Path, int], None]
) -> None:
    path = tmp_path / "file"
    write(path, 10)
    before = path.read_bytes()
    with full_disk(), pytest.raises(OSError, match=rf"^cannot write '{path}': .*File too large"):
        write(path, 100_000)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    write(path, 100_000)
    assert path.stat().st_size >= 100_000
