"""Operators of tensors in Triton's interpreter, straight to NumPy.

The language looks for pointers, finds a common type and stretches both operands to one shape before NumPy computes
anything: a tenth of a millisecond each, half of the time of most launches. Where both operands have one of a few
types, which NumPy computes with in the same way, or one is a number that the other's type holds, nothing of it is
needed. All else, such as numbers of 16 bits, goes the language's own way. Results are the same to the bit.
"""

from collections.abc import Callable, Mapping
from typing import Any

FLOATS: Mapping[str, str] = {"fp32": "float32", "fp64": "float64"}
WHOLE: Mapping[str, str] = {"int32": "int32", "int64": "int64"}
PLAIN: Mapping[str, str] = {**FLOATS, **WHOLE}
LOGICAL: Mapping[str, str] = {**WHOLE, "int1": "bool"}
"""Types of Triton's by name, as NumPy has them."""

TOWARDS_ZERO = "division towards zero"
"""What NumPy has no function for."""

OPERATORS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "add": ("add", PLAIN),
    "sub": ("subtract", PLAIN),
    "mul": ("multiply", PLAIN),
    "truediv": ("divide", FLOATS),
    "floordiv": (TOWARDS_ZERO, WHOLE),
    "mod": ("fmod", PLAIN),
    "and": ("bitwise_and", LOGICAL),
    "or": ("bitwise_or", LOGICAL),
    "xor": ("bitwise_xor", LOGICAL),
}
"""NumPy's function for each, and with which types it computes as the language does."""

COMPARISONS: Mapping[str, str] = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}


class QuickOperators:
    """Replacements of what the interpreter puts into the language, each with the one replaced for what is not plain."""

    def __init__(self, interpreter: Any) -> None:
        self.core, self.np = interpreter.tl.core, interpreter.np
        self.handle, self.builder = interpreter.TensorHandle, interpreter.interpreter_builder
        self.tensor, self.constexpr = self.core.tensor, self.core.constexpr
        self.places: dict[tuple[Any, str], Callable[[Any], Any]] = {}
        for name, (function, types) in OPERATORS.items():
            self.places[self.tensor, f"__{name}__"] = self._computing(function, types)
            self.places[self.tensor, f"__r{name}__"] = self._computing(function, types, reflected=True)
        for name, function in COMPARISONS.items():
            self.places[self.tensor, f"__{name}__"] = self._computing(function, PLAIN, tells=True)
        self.places[self.tensor, "__getitem__"] = self._indexing
        for module in (self.core, interpreter.tl):
            self.places[module, "where"] = self._choosing

    def replace(self, owner: Any, name: str, slow: Any) -> Any:
        """What to put in the place of `slow`, which the interpreter would put there."""
        make = self.places.get((owner, name))
        return slow if make is None else make(slow)

    def _computing(
        self, function: str, types: Mapping[str, str], *, reflected: bool = False, tells: bool = False
    ) -> Callable[[Any], Any]:
        compute = self._divide_whole if function == TOWARDS_ZERO else getattr(self.np, function)
        adds = function == "add" and not reflected

        def make(slow: Any) -> Any:
            def quick(this: Any, other: Any, **options: Any) -> Any:
                number = types.get(this.dtype.name)
                if number is None:
                    moved = self._moved(this, other) if adds else None
                    return slow(this, other, **options) if moved is None else moved
                right = self._operand(other, this, number)
                if right is None or self.builder.options.sanitize_overflow:
                    return slow(this, other, **options)
                left = this.handle.data
                found = compute(right, left) if reflected else compute(left, right)
                element = self.core.int1 if tells else self._element(found, this)
                return self._made(found, element, this.dtype if tells else element, this, other)

            return quick

        return make

    def _divide_whole(self, left: Any, right: Any) -> Any:
        """Towards zero, as the interpreter has it."""
        return (left - self.np.fmod(left, right)) // right

    def _operand(self, other: Any, this: Any, number: str) -> Any:
        """The other operand as NumPy has it, or None where the language would have to change either's type."""
        if type(other) is self.tensor:
            alike = other.dtype.name == this.dtype.name or {other.dtype.name, this.dtype.name} == WHOLE.keys()
            return other.handle.data if alike else None
        value = other.value if type(other) is self.constexpr else other
        return self._number(value, number) if type(value) in (int, float) else None

    def _number(self, value: float, number: str) -> Any:
        """A number of Python's, where the type holds it; a zero loses its sign in the language too."""
        kind = getattr(self.np, number)
        if number in FLOATS.values():
            far = self.np.finfo(kind).max < abs(value) < float("inf")
            return None if far else kind(value or 0.0)
        whole = number in WHOLE.values() and type(value) is int
        return kind(value) if whole and self._holds(kind, value) else None

    def _holds(self, kind: Any, value: float) -> bool:
        return bool(self.np.iinfo(kind).min <= value <= self.np.iinfo(kind).max)

    def _element(self, found: Any, like: Any) -> Any:
        """The type of a result: where whole numbers of both widths met it is the wider."""
        return self.core.int64 if found.dtype == self.np.int64 else like.dtype

    def _moved(self, pointer: Any, offset: Any) -> Any:
        """A pointer or a block of them, moved by whole elements; None for all else."""
        if not pointer.dtype.is_ptr():
            return None
        if type(offset) is self.tensor and offset.dtype.name not in WHOLE:
            return None
        steps = self._operand(offset, offset, "int64")
        if steps is None:
            return None
        width = max(1, pointer.dtype.element_ty.primitive_bitwidth // 8)
        found = pointer.handle.data + width * steps.astype(self.np.uint64)
        return self._made(found, pointer.dtype, pointer.handle.dtype, pointer, offset)

    def _made(self, found: Any, element: Any, kept: Any, *operands: Any) -> Any:
        """The tensor of a result, whose handle keeps the operands' type, as the interpreter's does."""
        handle, is_block = self.handle(found, kept), False
        for x in operands:
            if type(x) is self.tensor and x.type.is_block():
                is_block = True
                if x.handle.data.shape == found.shape and x.dtype.name == element.name:
                    return self.tensor(handle, x.type)
        return self.tensor(handle, self.core.block_type(element, list(found.shape)) if is_block else element)

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
            found = self.np.where(condition.handle.data, first, second)
            element = self._element(found, like)
            return self._made(found, element, element, condition, x, y)

        return quick
