"""Triton's interpreter without the work that it repeats: half of the time of a launch.

It puts its own functions in the place of the language's, and looks through all names of the language for them again at
every call of a device function, thousands of times a launch, when none is left to replace. Here a launch looks once
for each module that its functions are written in.
"""

from typing import Any

from triton.runtime import interpreter

REPLACE, LAUNCH = interpreter._patch_lang, interpreter.GridExecutor.__call__

_met: set[int] = set()
"""Modules of the functions that this launch has called, by the dictionaries of their names."""


def replace_once(function: Any) -> Any:
    """In place of `_patch_lang`: what the interpreter replaces, or nothing where this launch has been here before."""
    if id(function.__globals__) in _met:
        return interpreter._LangPatchScope()
    _met.add(id(function.__globals__))
    return REPLACE(function)


def launch_afresh(self: Any, *args: Any, **kwargs: Any) -> None:
    """A launch, at whose end the interpreter puts the language back."""
    _met.clear()
    try:
        LAUNCH(self, *args, **kwargs)
    finally:
        _met.clear()


def quicken() -> None:
    """All launches of this process do so."""
    interpreter._patch_lang, interpreter.GridExecutor.__call__ = replace_once, launch_afresh
