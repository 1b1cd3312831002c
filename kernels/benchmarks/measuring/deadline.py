"""An end that does not wait for what is running."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TimeUp(BaseException):
    """Raised in the main thread when a deadline passes; no `except Exception` stops it."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """`TimeUp` inside once `seconds` have passed, at the next of the main thread's instructions."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
