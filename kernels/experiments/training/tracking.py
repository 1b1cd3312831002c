"""Logs of training: always CSV, and TensorBoard's event files where they are asked for."""

import csv
import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...launch.files import write_whole

COLUMNS = ("step", "loss", "accuracy", "learning_rate", "seconds")
Row = tuple[Any, ...]


def write_csv(path: Path, rows: list[Row]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    write_whole(path, text.getvalue())


def require_tensorboard() -> None:
    """Found out before hours of work."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError(
            "tensorboard is not installed: pip install -e '.[experiments]', or leave --tensorboard out"
        )


@contextmanager
def board(folder: Path | None) -> Iterator[Any]:
    """A writer of event files, or None."""
    if folder is None:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:
        yield writer


def record(writer: Any, row: Row) -> None:
    """A row of the log as scalars."""
    if writer is not None:
        step, *values = row
        for name, value in zip(COLUMNS[1:], values, strict=True):
            writer.add_scalar(name, value, step)
