"""The state of a training run on disk: replaced whole or not at all, and checked when read."""

import os
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on from."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write beside the file, then rename: a kill or a full disk leaves the old one.

    Raises OSError: naming the file; the old checkpoint, if any, is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch reports a failed write as a RuntimeError of its own.
        raise OSError(f"cannot write the checkpoint {str(path)!r}, the last one is kept: {error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def load(path: Path, fingerprint: str) -> dict[str, Any]:
    """A checkpoint on the CPU."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise CheckpointError(
            f"the checkpoint {str(path)!r} is damaged ({type(error).__name__}); delete it to train this run anew"
        ) from error
    if not isinstance(state, dict) or state.get("fingerprint") != fingerprint:
        raise CheckpointError(
            f"the checkpoint {str(path)!r} belongs to another experiment; choose another folder or delete it"
        )
    return state
