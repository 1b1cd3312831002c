"""Triton's interpreter without the work that it repeats: half of the time of a launch.

It puts its own functions in the place of the language's, and looks through all names of the language for them again at
every call of a device function, thousands of times a launch, when none is left to replace. Here a launch looks once
for each module that its functions are written in.
"""

from typing import Any

INNER = ("_patch_lang", "_LangPatchScope", "GridExecutor")
"""What of Triton is replaced or used; a version without these is left as it is."""


def quicken(interpreter: Any) -> bool:
    """Quicken all launches of this process; `interpreter` is `triton.runtime.interpreter`. Whether it could be done."""
    if not all(hasattr(interpreter, name) for name in INNER):
        return False
    replace, launch = interpreter._patch_lang, interpreter.GridExecutor.__call__
    met: set[int] = set()

    def replace_once(function: Any) -> Any:
        """What the interpreter replaces, or nothing where this launch has met the function's module before."""
        module = id(function.__globals__)
        if module in met:
            return interpreter._LangPatchScope()
        met.add(module)
        return replace(function)

    def launch_afresh(self: Any, *args: Any, **kwargs: Any) -> None:
        """A launch, at whose end the interpreter puts the language back."""
        met.clear()
        try:
            launch(self, *args, **kwargs)
        finally:
            met.clear()

    interpreter._patch_lang, interpreter.GridExecutor.__call__ = replace_once, launch_afresh
    return True
