"""Running kernels with given configurations instead of tuned ones, and seeing which were launched."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .tuning import TUNED, fitting_indices


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


def _watched(name: str, kernel: Any, index: int | None, launches: Launches) -> Any:
    configs, run = kernel.configs, kernel.run

    def launch(*args: Any, **kwargs: Any) -> Any:
        fit = launches.candidates[name] = fitting_indices(configs, **kwargs)
        launches.pop(name, None)
        launches[name] = configs[fit[0] if index is None else index]
        kernel.configs = [launches[name]]
        return run(*args, **kwargs)

    return launch
