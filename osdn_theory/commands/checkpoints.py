"""What ``analyze --checkpoint`` does: a checkpoint and a text become activations, captured by whoever has torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osdn_theory.recurrence.rules import CalibrationRule

CAPTURERS = "osdn_theory.captures"
"""Entry point group of functions that capture activations."""

_INSTALL = "pip install -e '.[theory,hf]'"


@contextmanager
def captured(
    checkpoint: Path, text: Path | None, *, tokens: int, reads: int, out: Path | None
) -> Iterator[tuple[Path, CalibrationRule | None]]:
    """A file of what a checkpoint's layers are given on a text, and the rule that they calibrate by, if they do.

    The file is in `out`, or gone afterwards.
    """
    from osdn_theory.recurrence.rules import CalibrationRule

    if text is None:
        raise ValueError("--text: expected the text that the checkpoint shall read, got none")
    capture = _capturer()
    with TemporaryDirectory() as folder:
        file = Path(out or folder) / f"{checkpoint.resolve().name}.safetensors"
        rule = capture(checkpoint, text, file, tokens=tokens, reads=reads)["rule"]
        yield file, None if rule is None else CalibrationRule(**rule)


def _capturer() -> Callable[..., dict[str, Any]]:
    found = tuple(entry_points(group=CAPTURERS, name="checkpoint"))
    if not found:
        raise ValueError(f"--checkpoint: nothing is installed that reads one: {_INSTALL}")
    try:
        capture: Callable[..., dict[str, Any]] = found[0].load()
    except ImportError as error:
        raise ValueError(f"--checkpoint needs transformers and torch ({error}): {_INSTALL}") from error
    return capture
