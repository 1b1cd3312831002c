"""Operators of tensors in Triton's interpreter, straight to NumPy.

The language looks for pointers, finds a common type and stretches both operands to one shape before NumPy computes
anything: a tenth of a millisecond each, nine tenths of the time of most launches. Where both operands have one of a few
types, which NumPy computes with in the same way, or one is a number that the other's type holds, nothing of it is
needed. All else, such as numbers of 16 bits, goes the language's own way. Results are the same to the bit.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

FLOATS: Mapping[str, Any] = {"fp32": np.float32, "fp64": np.float64}
WHOLE: Mapping[str, Any] = {"int32": np.int32, "int64": np.int64}
PLAIN: Mapping[str, Any] = {**FLOATS, **WHOLE}
LOGICAL: Mapping[str, Any] = {**WHOLE, "int1": np.bool_}
"""Types of Triton's by name, as NumPy has them."""

REACH: Mapping[Any, tuple[Any, Any]] = {
    **{number: (-float(np.finfo(number).max), float(np.finfo(number).max)) for number in FLOATS.values()},
    **{number: (int(np.iinfo(number).min), int(np.iinfo(number).max)) for number in WHOLE.values()},
}
"""The least and the largest number of each."""


def _divide_whole(left: Any, right: Any) -> Any:
    """Towards zero, as the interpreter has it."""
    return (left - np.fmod(left, right)) // right


OPERATORS: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    "add": (np.add, PLAIN),
    "sub": (np.subtract, PLAIN),
    "mul": (np.multiply, PLAIN),
    "truediv": (np.divide, FLOATS),
    "floordiv": (_divide_whole, WHOLE),
    "mod": (np.fmod, PLAIN),
    "and": (np.bitwise_and, LOGICAL),
    "or": (np.bitwise_or, LOGICAL),
    "xor": (np.bitwise_xor, LOGICAL),
}
"""What each computes, and with which types."""

COMPARISONS: Mapping[str, Callable[..., Any]] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


class QuickOperators:
    """Replacements of what the interpreter puts into the language, each with the one replaced for what is not plain."""

    def __init__(self, interpreter: Any) -> None:
        core = interpreter.tl.core
        self.core, self.handle, self.options = core, interpreter.TensorHandle, interpreter.interpreter_builder
        self.tensor, self.constexpr = core.tensor, core.constexpr
        self.blocks: dict[tuple[str, tuple[int, ...]], Any] = {}
        self.places: dict[tuple[Any, str], Callable[[Any], Any]] = {}
        for name, (compute, types) in OPERATORS.items():
            self.places[core.tensor, f"__{name}__"] = self._computing(compute, types)
            self.places[core.tensor, f"__r{name}__"] = self._computing(compute, types, reflected=True)
        for name, compute in COMPARISONS.items():
            self.places[core.tensor, f"__{name}__"] = self._computing(compute, PLAIN, tells=True)
        self.places[core.tensor, "__getitem__"] = self._indexing
        for module in (core, interpreter.tl):
            self.places[module, "where"] = self._choosing

    def replace(self, owner: Any, name: str, slow: Any) -> Any:
        """What to put in the place of `slow`, which the interpreter would put there."""
        make = self.places.get((owner, name))
        return slow if make is None else make(slow)

    def _computing(
        self,
        compute: Callable[..., Any],
        types: Mapping[str, Any],
        *,
        reflected: bool = False,
        tells: bool = False,
    ) -> Callable[[Any], Any]:
        adds = compute is np.add and not reflected

        def make(slow: Any) -> Any:
            def quick(this: Any, other: Any, **options: Any) -> Any:
                number = types.get(this.dtype.name)
                if number is None:
                    moved = self._moved(this, other) if adds else None
                    return slow(this, other, **options) if moved is None else moved
                right = self._operand(other, this, number)
                if right is None or self.options.options.sanitize_overflow:
                    return slow(this, other, **options)
                left = this.handle.data
                found = compute(right, left) if reflected else compute(left, right)
                element = self.core.int1 if tells else self._element(found, this)
                return self._made(found, element, this.dtype if tells else element, this, other)

            return quick

        return make

    def _operand(self, other: Any, this: Any, number: Any) -> Any:
        """The other operand as NumPy has it, or None where the language would have to change either's type."""
        if type(other) is self.tensor:
            alike = other.dtype.name == this.dtype.name or {other.dtype.name, this.dtype.name} == WHOLE.keys()
            return other.handle.data if alike else None
        value = other.value if type(other) is self.constexpr else other
        least, most = REACH.get(number, (0, -1))
        if type(value) is int and least <= value <= most:
            return number(value)
        if type(value) is float and number in (np.float32, np.float64):
            # A zero loses its sign in the language too, which tells of what overflows.
            return number(value or 0.0) if least <= value <= most or not np.isfinite(value) else None
        return None

    def _element(self, found: Any, like: Any) -> Any:
        """The type of a result: where whole numbers of both widths met it is the wider."""
        return self.core.int64 if found.dtype == np.int64 else like.dtype

    def _moved(self, pointer: Any, offset: Any) -> Any:
        """A pointer or a block of them, moved by whole elements; None for all else."""
        if not pointer.dtype.is_ptr():
            return None
        if type(offset) is self.tensor and offset.dtype.name not in WHOLE:
            return None
        steps = self._operand(offset, offset, np.int64)
        if steps is None:
            return None
        width = max(1, pointer.dtype.element_ty.primitive_bitwidth // 8)
        found = pointer.handle.data + width * steps.astype(np.uint64)
        return self._made(found, pointer.dtype, pointer.handle.dtype, pointer, offset)

    def _made(self, found: Any, element: Any, kept: Any, *operands: Any) -> Any:
        """The tensor of a result, whose handle keeps the operands' type, as the interpreter's does."""
        handle, is_block = self.handle(found, kept), False
        for x in operands:
            if type(x) is self.tensor and x.type.is_block():
                is_block = True
                if x.handle.data.shape == found.shape and x.dtype.name == element.name:
                    return self.tensor(handle, x.type)
        return self.tensor(handle, self._block(element, found.shape) if is_block else element)

    def _block(self, element: Any, shape: tuple[int, ...]) -> Any:
        if (element.name, shape) not in self.blocks:
            self.blocks[element.name, shape] = self.core.block_type(element, list(shape))
        return self.blocks[element.name, shape]

    def _indexing(self, slow: Any) -> Any:
        whole = slice(None)

        def quick(this: Any, index: Any, **options: Any) -> Any:
            places: Any = index if type(index) is tuple else getattr(index, "values", None)
            plain = isinstance(places, tuple | list) and all(x is None or x == whole for x in places)
            if not plain or not this.type.is_block():
                return slow(this, index, **options)
            return self._made(this.handle.data[tuple(places)], this.dtype, this.handle.dtype, this)

        return quick

    def _choosing(self, slow: Any) -> Any:
        def quick(condition: Any, x: Any, y: Any, **options: Any) -> Any:
            like = x if type(x) is self.tensor else y
            number = PLAIN.get(like.dtype.name) if type(like) is self.tensor else None
            told = type(condition) is self.tensor and condition.dtype.name == "int1"
            if number is None or not told:
                return slow(condition, x, y, **options)
            first, second = (self._operand(each, like, number) for each in (x, y))
            if first is None or second is None:
                return slow(condition, x, y, **options)
            found = np.where(condition.handle.data, first, second)
            element = self._element(found, like)
            return self._made(found, element, element, condition, x, y)

        return quick
