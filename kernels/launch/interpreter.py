"""Triton's interpreter without the work that it repeats: a sixth of the time of a launch.

It puts its own functions in the place of the language's, and looks through all names of the language for them again at
every call of a device function, thousands of times a launch, when none is left to replace: here a process looks once,
and a launch puts in what was found. It makes types and shapes anew for every number that a kernel touches: here equal
ones are made once. Operators go straight to NumPy where they may (`quick_operators`). What a kernel computes is the
same to the bit.
"""

import builtins
import dataclasses
from functools import cached_property, wraps
from types import SimpleNamespace
from typing import Any

from .quick_operators import QuickOperators

INNER = (
    "_patch_lang",
    "_LangPatchScope",
    "_get_np_dtype",
    "GridExecutor",
    "TensorHandle",
    "interpreter_builder",
    "np",
)
INNER_OF_LANGUAGE = (
    "tensor",
    "constexpr",
    "int1",
    "block_type",
    "tuple",
    "tuple_type",
    "_type_for_tuple_values",
    "_unwrap_if_constexpr",
)
"""What of Triton is replaced or used; a version without these is left as it is."""


def quicken(interpreter: Any) -> bool:
    """Quicken all launches of this process; `interpreter` is `triton.runtime.interpreter`. Whether it could be done."""
    core = getattr(getattr(interpreter, "tl", None), "core", None)
    needed = [(interpreter, name) for name in INNER] + [(core, name) for name in INNER_OF_LANGUAGE]
    if not all(hasattr(module, name) for module, name in needed):
        return False
    _look_once(interpreter)
    _check_only_what_is_told(interpreter.interpreter_builder)
    _name_numbers_once(interpreter)
    _type_tuples_when_asked(core)
    _make_types_once(core)
    return True


def _look_once(interpreter: Any) -> None:
    """Names of the language are looked through in the first launch alone, and put in once a launch."""
    replace, launch = interpreter._patch_lang, interpreter.GridExecutor.__call__
    language = SimpleNamespace(__globals__={"tl": interpreter.tl, "core": interpreter.tl.core})
    found: list[tuple[Any, str, Any]] = []
    before: list[tuple[Any, str, Any]] = []
    quick = QuickOperators(interpreter)
    inside = False

    @wraps(replace)
    def replace_once(function: Any) -> Any:
        """What this launch replaces, or nothing where it has done so."""
        nonlocal inside
        changes = interpreter._LangPatchScope()
        if inside:
            return changes
        inside = True
        if not found:
            looked = replace(language)
            found.extend(
                (owner, name, quick.replace(owner, name, getattr(owner, name)))
                for owner, name, _ in looked._changes
            )
            before.extend(looked._changes)
            looked.restore()
        changes._changes.extend(before)
        for change in found:
            setattr(*change)
        return changes

    def launch_afresh(self: Any, *args: Any, **kwargs: Any) -> None:
        """A launch, at whose end the interpreter puts the language back."""
        nonlocal inside
        inside = False
        try:
            launch(self, *args, **kwargs)
        finally:
            inside = False

    interpreter._patch_lang, interpreter.GridExecutor.__call__ = replace_once, launch_afresh


def _check_only_what_is_told(builder: Any) -> None:
    """Overflow of integers is looked for only where device assertions are on, which alone can tell of it."""
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=builder.options.debug)


def _name_numbers_once(interpreter: Any) -> None:
    """NumPy's type of a Triton type is looked up by its name."""
    of_type = interpreter._get_np_dtype
    known: dict[str, Any] = {}

    def np_dtype(numbers: Any) -> Any:
        name = numbers.scalar.name
        if name not in known:
            known[name] = of_type(numbers)
        return known[name]

    interpreter._get_np_dtype = np_dtype


def _type_tuples_when_asked(core: Any) -> None:
    """Tuples have their type from when it is asked for, and compare with lists as they are."""

    typed = cached_property(lambda values: core._type_for_tuple_values(values.values))
    typed.__set_name__(core.tuple, "type")

    def make(self: Any, args: Any, type: Any = None) -> None:
        self.values = list(args)
        if type is not None:
            self.type = type if isinstance(type, core.tuple_type) else core.tuple_type(type)

    def equals(self: Any, other: Any) -> Any:
        values = other.values if isinstance(other, core.tuple) else core._unwrap_if_constexpr(other)
        return core.constexpr(self.values == (list(values) if isinstance(values, builtins.tuple) else values))

    core.tuple.__init__, core.tuple.__eq__, core.tuple.type = make, equals, typed


def _make_types_once(core: Any) -> None:
    """Types of blocks, and what a tensor says of its type, are made once for each element and shape.

    The interpreter has one memory: that of a pointer is not told apart.
    """
    make_block, make_tensor = core.block_type.__init__, core.tensor.__init__
    blocks: dict[tuple[Any, ...], dict[str, Any]] = {}

    def describe(type: Any) -> None:
        """Give a type what all its tensors share."""
        like = object.__new__(core.tensor)
        make_tensor(like, None, type)
        type.of_tensors = vars(like)

    def block(self: Any, element_ty: Any, shape: Any) -> None:
        sizes = shape.values if isinstance(shape, core.tuple) else core._unwrap_if_constexpr(shape)
        key = (element_ty.name, *sizes)
        if key not in blocks:
            make_block(self, element_ty, shape)
            describe(self)
            blocks[key] = vars(self)
        vars(self).update(blocks[key])

    def tensor(self: Any, handle: Any, type: Any) -> None:
        if "of_tensors" not in vars(type):
            describe(type)
        vars(self).update(type.of_tensors, handle=handle)

    core.block_type.__init__, core.tensor.__init__ = block, tensor
