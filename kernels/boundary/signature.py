"""The signature of an operator: that of the function that checks its arguments, where they are written down once."""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Concatenate, ParamSpec, TypeVar

Given = ParamSpec("Given")
Limits = TypeVar("Limits")
Arguments = TypeVar("Arguments")
Returned = TypeVar("Returned")


def takes(
    check: Callable[Concatenate[Limits, Given], Arguments], limits: Limits
) -> Callable[[Callable[[Arguments], Returned]], Callable[Given, Returned]]:
    """Decorator that makes an operator of a function of checked arguments.

    The operator has the name, docstring and result of the function that is decorated, and the parameters and defaults
    of `check`, which is given `limits` before them; what `check` returns is all that the function gets.
    """

    def decorate(solve: Callable[[Arguments], Returned]) -> Callable[Given, Returned]:
        bind = _renamed(check, solve)

        @functools.wraps(solve)
        def operator(*args: Given.args, **kwargs: Given.kwargs) -> Returned:
            return solve(bind(limits, *args, **kwargs))

        _, *parameters = inspect.signature(check).parameters.values()
        returned = inspect.signature(solve).return_annotation
        vars(operator)["__signature__"] = inspect.Signature(parameters, return_annotation=returned)
        return operator

    return decorate


def _renamed(
    check: Callable[Concatenate[Limits, Given], Arguments], like: Callable[..., object]
) -> Callable[Concatenate[Limits, Given], Arguments]:
    """`check` under the name of `like`, which Python's own errors about a call's arguments then give."""
    assert isinstance(check, FunctionType)
    copy = FunctionType(
        check.__code__, check.__globals__, like.__name__, check.__defaults__, check.__closure__
    )
    copy.__kwdefaults__ = check.__kwdefaults__
    copy.__qualname__ = like.__qualname__
    return copy
