"""JSON documents, each defined once by a dataclass: from it follow what is written, what is read, and the schema.

A document states who made it, the fields of the dataclass, and its `stated` properties. It is read by converting its
fields to their types, building the objects, and writing these again: whatever differs then is missing, unknown, or
does not follow from the rest, and is named by its place. Annotate with `Number` what may be infinite or NaN.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from reprlib import repr as repr_short
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta

from osdn_theory import __version__
from osdn_theory.base.folders import write_atomically
from osdn_theory.base.jsonable import array_fields, jsonable, stated_properties, to_json
from osdn_theory.base.source import source_hash

T = TypeVar("T")

if TYPE_CHECKING:
    Number = float
else:

    class Number(float):
        """A number that may be infinite or NaN; JSON has a text for these."""


Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]

NUMBER = {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}]}


class StaleError(ValueError):
    """A document of another format, or made by other code; the message says how to make it anew."""


@dataclass(frozen=True)
class Stamp:
    """Who made a document.

    - `format`: Name and number of its layout.
    - `code`, mapping from module or package to hash: See `osdn_theory.base.source`; empty where it was not recorded.
    """

    format: str
    osdn: str
    code: Mapping[str, str]
    command: str


@dataclass(frozen=True)
class DocumentKind(Generic[T]):
    """A kind of document.

    - `format`: Changes with the layout.
    - `content`, dataclass: Whose fields and `stated` properties are the document's.
    - `code`: Modules and packages whose code it comes from.
    - `check`, function of the content: Raises ValueError where the parts contradict each other in what types and
      properties do not tell.
    - `outlives_code`: Whether it records an experiment, which stays what it was whatever the code has become.
    - `arrays`: Whether arrays are in it; one without them is not read.
    """

    format: str
    content: type[T]
    about: str
    remake: str
    code: tuple[str, ...]
    check: Callable[[T], None] | None = None
    outlives_code: bool = False
    arrays: bool = True

    def encode(self, content: T, command: str) -> str:
        """The document as strictly valid JSON."""
        return to_json(self.as_dict(content, command))

    def as_dict(self, content: T, command: str) -> dict[str, Any]:
        """The document as JSON-ready values."""
        known = {name: found for name in self.code if (found := source_hash(name))}
        stamp = Stamp(self.format, __version__, known, command)
        return {**jsonable(stamp), **jsonable(content, arrays=self.arrays)}

    def other_code(self, stamp: Stamp) -> str:
        """How the code that made a document differs from `code`, in words; "" where it does not.

        What is not installed here cannot be compared.
        """
        here = {name: source_hash(name) for name in self.code}
        other = [name for name, found in here.items() if found and found != stamp.code.get(name)]
        named = " and ".join(f"another `{name}`" for name in other)
        return f"made by other code (osdn {stamp.osdn}, {named})" if other else ""

    def decode(self, raw: bytes | str) -> tuple[Stamp, T]:
        """A document and who made it.

        Raises StaleError: it is of another format, or made by other code unless it outlives that.
        Raises ValueError: it is not what it should be: with the place in it, what was expected, and what came.
        """
        value = _parse(raw)
        found = value.get("format") if isinstance(value, dict) else self.format
        remake = f"make it anew by `{self.remake}`"
        if found != self.format:
            raise StaleError(f"format: expected {self.format!r}, got {found!r}; {remake}")
        stamp = convert(value, Stamp)
        other = self.other_code(stamp)
        if other and not self.outlives_code:
            raise StaleError(f"{other}; {remake}")
        content = convert(value, self.content)
        if self.check is not None:
            self.check(content)
        again = {**jsonable(stamp), **jsonable(content)}
        if again != value:
            raise ValueError(next(_differences(value, again, "")))
        return stamp, content

    def read(self, path: Path) -> tuple[Stamp, T]:
        """As :meth:`decode`, of a file; every complaint begins with its path.

        Raises OSError: it cannot be read.
        Raises StaleError, ValueError: as :meth:`decode`.
        """
        with _about(path):
            return self.decode(path.read_bytes())

    def write(self, path: Path, content: T, command: str) -> None:
        """The document in a file, whole or not at all.

        Raises OSError: it cannot be written.
        """
        write_atomically(path, f"{self.encode(content, command)}\n".encode())

    def schema(self) -> dict[str, Any]:
        """The JSON schema of such documents; its descriptions are the docstrings."""
        kinds = list(_dataclasses(Stamp, self.content))
        hints = {kind: _stated_types(kind) for kind in kinds}
        types = [*kinds, *(each for found in hints.values() for each in found.values())]
        made, parts = msgspec.json.schema_components(
            types, schema_hook=_describe, ref_template="#/$defs/{name}"
        )
        schemas = iter(made)
        names = [next(schemas)["$ref"].rpartition("/")[2] for _ in kinds]
        for name, kind in zip(names, kinds, strict=True):
            parts[name] = _object(parts[name], {each: next(schemas) for each in hints[kind]})
            for array in () if self.arrays else array_fields(kind):
                del parts[name]["properties"][array]
                parts[name]["required"].remove(array)
        stamp, content = parts.pop(names[0]), parts.pop(names[kinds.index(self.content)])
        stamp["properties"]["format"] = {"const": self.format}
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **_object(content, stamp["properties"]),
            "title": self.about,
            "$defs": parts,
        }


def read_typed(path: Path, kind: type[T]) -> T:
    """A JSON file as a dataclass; fields that it does not have are passed over.

    Raises OSError: it cannot be read.
    Raises ValueError: it is not what it should be: with the file, the place in it, what was expected, and what came.
    """
    with _about(path):
        return convert(_parse(path.read_bytes()), kind)


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Complaints begin with the path."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except ValueError as error:
        raise type(error)(f"{path}: {error}") from None


def _parse(raw: bytes | str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ValueError(f"not a JSON document, or a truncated one ({error})") from None


def convert(value: Any, kind: type[T]) -> T:
    """Decoded JSON as a dataclass; fields that it does not have are passed over.

    Raises ValueError: with the place, what was expected, and what came.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_read)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        place = _name_key(value, kind, str(error), place.removesuffix("`")).removeprefix(".")
        missing = _MISSING.fullmatch(message)
        if missing is not None:
            message, place = "is missing", f"{place}.{missing[1]}".removeprefix(".")
        raise ValueError(f"{place or 'document'}: {message}") from None


_MISSING = re.compile("Object missing required field `(.+)`")


def pick(kind: type[T], source: Any, **more: Any) -> T:
    """A dataclass with `more`, and the rest of its fields from the attributes of the same names."""
    names = [field.name for field in fields(cast(Any, kind)) if field.name not in more]
    return kind(**{name: getattr(source, name) for name in names}, **more)


def _name_key(value: Any, kind: type, error: str, place: str) -> str:
    """The place with the key for which msgspec writes ``[...]``: the one that alone brings the same error."""
    before, unknown, after = place.partition("[...]")
    if not unknown:
        return place
    node = value
    for name, number in re.findall(r"\.(\w+)|\[(\d+)\]", before):
        node = node[name or int(number)]
    entries = dict(node)
    for key, entry in entries.items():
        node.clear()
        node[key] = entry
        try:
            msgspec.convert(value, kind, dec_hook=_read)
        except msgspec.ValidationError as found:
            if str(found) == error:
                return f"{before}.{key}{after}"
        finally:
            node.clear()
            node.update(entries)
    return place


def _differences(given: Any, told: Any, place: str) -> Iterator[str]:
    """Where a document differs from what the objects read from it would state."""
    if isinstance(given, dict) and isinstance(told, dict):
        for name in (*told, *(name for name in given if name not in told)):
            where = f"{place}.{name}".removeprefix(".")
            if name not in given:
                yield f"{where}: is missing"
            elif name not in told:
                yield f"{where}: there is no such field"
            else:
                yield from _differences(given[name], told[name], where)
    elif isinstance(given, list) and isinstance(told, list) and len(given) == len(told):
        for number, pair in enumerate(zip(given, told, strict=True)):
            yield from _differences(*pair, f"{place}[{number}]")
    elif given != told:
        yield f"{place}: {repr_short(given)} does not follow from the rest, which gives {repr_short(told)}"


def _read(kind: Any, value: Any) -> Any:
    """A `Number` or an array: what msgspec leaves to us."""
    if get_origin(kind) is not np.ndarray:
        return Number(_number(value))
    dtype = get_args(get_args(kind)[1])[0]
    try:
        return np.array(_numbers(value), dtype=dtype)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _numbers(value: Any) -> Any:
    return [_numbers(entry) for entry in value] if isinstance(value, list) else _number(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not (isinstance(value, int | float) or value in ("inf", "-inf", "nan")):
        raise ValueError(f"Expected a number, got {repr_short(value)}")
    return float(value)


def _describe(kind: Any) -> dict[str, Any]:
    numbers = {"type": "array", "items": {"anyOf": [NUMBER, {"type": "array"}]}}
    return numbers if kind is np.ndarray else NUMBER


def _object(schema: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object with more properties: all of them are there, and no others."""
    properties = schema["properties"] | more
    return {**schema, "properties": properties, "required": list(properties), "additionalProperties": False}


def _stated_types(kind: type) -> dict[str, Any]:
    found = stated_properties(kind)
    return {name: get_type_hints(getter, include_extras=True)["return"] for name, getter in found.items()}


def _dataclasses(*types: Any) -> dict[type, None]:
    """The dataclasses among types, and those that they are made of, each once."""
    found: dict[type, None] = {}
    waiting = list(reversed(types))
    while waiting:
        kind = waiting.pop()
        waiting.extend(get_args(kind))
        if is_dataclass(kind) and kind not in found:
            found[cast(type, kind)] = None
            waiting.extend((*get_type_hints(kind).values(), *_stated_types(cast(type, kind)).values()))
    return found
