"""A chain of launches beside those that it follows."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@functools.cache
def stream_for_chains(device: torch.device) -> torch.cuda.Stream:
    """With priority: what a chain is made of then starts as soon as it may, however much is queued beside it."""
    return torch.cuda.Stream(device, priority=-1)


class Beside:
    """A stream whose launches begin after all that were made before on the current one, and run beside later ones.

    The current stream goes on after them when it is left. Tensors that they use are to be allocated outside of it, and
    kept until then.
    """

    def __init__(self, device: torch.device) -> None:
        self.own = stream_for_chains(device) if device.type == "cuda" else None

    def __enter__(self) -> "Beside":
        return self

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Launches inside go to it."""
        if self.own is None:
            yield
            return
        self.own.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.own):
            yield

    def __exit__(self, *_: object) -> None:
        if self.own is not None:
            torch.cuda.current_stream().wait_stream(self.own)
