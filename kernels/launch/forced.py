"""Running kernels with given configurations instead of tuned ones, and seeing which were launched."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from ..selftest.findings import NO_FIT
from .tuning import TUNED, fitting_indices

Result = TypeVar("Result")


class Launches(dict[str, Any]):
    """Configuration of every tuned kernel that was launched, by the kernel's name, the latest last.

    - `candidates`, dict of str to list of int: By the kernel's name: the indices of the configurations that its
      latest launch could have taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.candidates: dict[str, list[int]] = {}

    @property
    def latest(self) -> str:
        return next(reversed(self))


@contextmanager
def forced(choice: Mapping[str, int]) -> Iterator[Launches]:
    """Tuned kernels take configuration `choice[name]`, the first that fits the launch where none is given.

    Yields what is launched.
    """
    launches = Launches()
    saved = {name: (kernel.configs, dict(kernel.cache)) for name, kernel in TUNED.items()}
    try:
        for name, kernel in TUNED.items():
            kernel.cache.clear()
            kernel.run = _watched(name, kernel, choice.get(name), launches)
        yield launches
    finally:
        for name, (configs, cache) in saved.items():
            kernel = TUNED[name]
            kernel.configs = configs
            kernel.cache.clear()
            kernel.cache.update(cache)
            del kernel.run


def make_room(
    call: Callable[[], Result], choice: Mapping[str, int] | None = None
) -> tuple[dict[str, int], dict[str, list[int]], Result]:
    """The first configuration, from `choice` on, that the device has room for of every kernel that a call launches.

    Also all that each launch could have taken, and what the call returns with these.

    Raises RuntimeError: where none fits.
    """
    base = dict(choice or {})
    while True:
        with forced(base) as launches:
            try:
                result = call()
                first = {name: fit[0] for name, fit in launches.candidates.items()}
                return first | base, launches.candidates, result
            except NO_FIT:
                name = launches.latest
        fit = launches.candidates[name]
        tried = base.get(name, fit[0])
        following = [index for index in fit if index > tried]
        if not following:
            raise RuntimeError(f"{name}: no configuration fits on this device")
        base[name] = following[0]


def _watched(name: str, kernel: Any, index: int | None, launches: Launches) -> Any:
    configs, run = kernel.configs, kernel.run

    def launch(*args: Any, **kwargs: Any) -> Any:
        fit = launches.candidates[name] = fitting_indices(configs, **kwargs)
        launches.pop(name, None)
        launches[name] = configs[fit[0] if index is None else index]
        kernel.configs = [launches[name]]
        return run(*args, **kwargs)

    return launch
