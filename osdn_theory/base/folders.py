"""Output folders and files: refused early, written whole or not at all."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def ensure_writable(out_dir: str | Path) -> Path:
    """Make a folder if it is missing and prove that a file can be created in it.

    Raises OSError: with the folder and the reason in one line.
    """
    out = Path(out_dir)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OSError(f"cannot write to the folder {str(out)!r}: {error.strerror or error}") from error
    return out


@contextmanager
def hold_folder(folder: Path, what: str) -> Iterator[None]:
    """The folder, writable and out of the hands of any other process.

    Raises OSError: if nothing can be written there, or another process has it: then with its number.
    """
    ensure_writable(folder)
    with (folder / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise OSError(f"another {what} is at work in {str(folder)!r} (process {holder})") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it into it, with the permissions of any other new file.

    Raises OSError: if it cannot be written, with its name; the old file, if any, is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes files private; a report is meant to be shared like any other file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
