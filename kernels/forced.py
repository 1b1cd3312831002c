"""Running kernels with given configurations instead of tuned ones, and seeing which were launched."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .tuning import TUNED


class Launches(dict[str, Any]):
    """Configuration of every tuned kernel that was launched, by the kernel's name, the latest last."""

    @property
    def latest(self) -> str:
        return next(reversed(self))


@contextmanager
def forced(choice: Mapping[str, int]) -> Iterator[Launches]:
    """Tuned kernels take configuration `choice[name]`, the first where none is given; yields what is launched."""
    launches = Launches()
    saved = {name: (kernel.configs, dict(kernel.cache)) for name, kernel in TUNED.items()}
    try:
        for name, kernel in TUNED.items():
            kernel.configs = [kernel.configs[choice.get(name, 0)]]
            kernel.cache.clear()
            kernel.run = _watched(name, kernel, kernel.run, launches)
        yield launches
    finally:
        for name, (configs, cache) in saved.items():
            kernel = TUNED[name]
            kernel.configs = configs
            kernel.cache.clear()
            kernel.cache.update(cache)
            del kernel.run


def _watched(name: str, kernel: Any, run: Any, launches: Launches) -> Any:
    def launch(*args: Any, **kwargs: Any) -> Any:
        launches.pop(name, None)
        launches[name] = kernel.configs[0]
        return run(*args, **kwargs)

    return launch
