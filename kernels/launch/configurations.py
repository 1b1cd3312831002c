"""Every configuration of every kernel that a computation launches: the hook that `osdn-theory crosscheck` calls."""

from collections.abc import Callable, Iterator

from ..selftest.findings import NO_FIT, described
from .forced import Result, forced, make_room


def every_configuration(compute: Callable[[], Result]) -> Iterator[tuple[str, Result]]:
    """Run `compute` with the first configurations that fit, then with each other one of each kernel that it launched.

    Yields ``(label, result)``. Configurations for other precisions or sizes, and those that the device has no room for,
    are passed over, as autotuning does. In Triton's interpreter every kernel has one configuration, so there is one
    result.
    """
    base, candidates, first = make_room(compute)
    yield "first configuration of every kernel", first
    for name, fit in candidates.items():
        for index in (index for index in fit if index > base[name]):
            try:
                with forced({**base, name: index}):
                    result = compute()
            except NO_FIT:
                continue
            yield f"{name}: {described(name, index)}", result
