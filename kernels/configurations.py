"""Every configuration of every kernel that a computation launches: the hook that `osdn-theory crosscheck` calls."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from .forced import forced
from .selftest_findings import NO_FIT, described
from .tuning import TUNED

Result = TypeVar("Result")


def every_configuration(compute: Callable[[], Result]) -> Iterator[tuple[str, Result]]:
    """Run `compute` with the first configurations, then with each other one of each kernel that it launched.

    Yields ``(label, result)``. Configurations that the device has no room for are passed over, as autotuning does. In
    Triton's interpreter every kernel has one configuration, so there is one result.
    """
    with forced({}) as launches:
        first = compute()
    yield "first configuration of every kernel", first
    for name in list(launches):
        for index in range(1, len(TUNED[name].configs)):
            try:
                with forced({name: index}):
                    result = compute()
            except NO_FIT:
                continue
            yield f"{name}: {described(name, index)}", result
