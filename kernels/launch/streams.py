"""Chains of launches beside others."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@functools.cache
def stream_for_chains(device: torch.device, number: int) -> torch.cuda.Stream:
    """With priority: what a chain is made of then starts as soon as it may, however much is queued beside it."""
    return torch.cuda.Stream(device, priority=-1)


class Beside:
    """A stream of launches beside those on the current one, which goes on after them when it is left.

    Tensors that they use are to be allocated outside of it, and kept until then. Streams at the same time have
    different numbers.
    """

    def __init__(self, device: torch.device, number: int) -> None:
        self.streams: tuple[torch.cuda.Stream, torch.cuda.Stream] | None = None
        if device.type == "cuda":
            self.streams = torch.cuda.current_stream(device), stream_for_chains(device, number)

    def __enter__(self) -> "Beside":
        self.follow()
        return self

    def __exit__(self, *_: object) -> None:
        self.precede()

    def follow(self) -> None:
        """What is launched here from now on begins after all that was launched on the current stream."""
        if self.streams is not None:
            current, own = self.streams
            own.wait_stream(current)

    def precede(self) -> None:
        """What is launched on the current stream from now on begins after all that was launched here."""
        if self.streams is not None:
            current, own = self.streams
            current.wait_stream(own)

    @contextmanager
    def here(self) -> Iterator[None]:
        """Launches inside go to this stream."""
        if self.streams is None:
            yield
            return
        current, own = self.streams
        torch.cuda.set_stream(own)
        try:
            yield
        finally:
            torch.cuda.set_stream(current)
