"""The reference of all public names, a page for each room that they come from."""

import importlib
import inspect
from types import ModuleType
from typing import Any

PACKAGES = (
    "osdn_theory",
    "osdn_theory.plotting",
    "osdn_theory.rounding",
    "osdn_theory.crosscheck",
    "osdn_kernels",
)
"""Packages whose `__all__` is public. A name that two of them export is described where it comes from."""


def pages() -> dict[str, str]:
    """A page for each room, and one that lists them."""
    made = {f"api/{room}.rst": _page(room, names) for room, names in _rooms().items()}
    listed = "\n".join(f"   {room}" for room in _rooms())
    made["api/index.rst"] = (
        f"{_heading('API reference')}{_INTRODUCTION}\n\n.. toctree::\n   :maxdepth: 2\n\n{listed}\n"
    )
    return made


_INTRODUCTION = (
    "Every public name, by the room that it lives in. Import it from ``osdn_theory`` or ``osdn_kernels``, or from the "
    "package that its heading names."
)


def _rooms() -> dict[str, list[str]]:
    """Room -> the full names that it describes."""
    rooms: dict[str, list[str]] = {}
    seen: set[int] = set()
    for package in sorted(PACKAGES, key=len, reverse=True):
        found = importlib.import_module(package)
        for name in found.__all__:
            value = getattr(found, name)
            if not name.startswith("_") and not isinstance(value, ModuleType) and id(value) not in seen:
                seen.add(id(value))
                rooms.setdefault(_room(package, value), []).append(f"{package}.{name}")
    return dict(sorted(rooms.items()))


def _room(package: str, value: Any) -> str:
    """The package itself, or for the two large ones the folder or module below it."""
    home = getattr(value, "__module__", package).split(".")
    return package if "." in package or len(home) < 2 else ".".join(home[:2])


def _page(room: str, names: list[str]) -> str:
    constants = [name for name in names if not callable(_value(name))]
    described = [name for name in names if name not in constants]
    parts = [_heading(room), *(_described(name) for name in sorted(described, key=str.lower))]
    if constants:
        parts.append("Constants\n---------\n\n" + "\n".join(_constant(name) for name in sorted(constants)))
    return "\n".join(parts)


def _described(name: str) -> str:
    kind = "class" if inspect.isclass(_value(name)) else "function"
    members = "\n   :members:\n   :exclude-members: __new__" if kind == "class" else ""
    return f"{_heading(name.rpartition('.')[2], '-')}.. auto{kind}:: {name}{members}\n"


def _constant(name: str) -> str:
    shown = repr(_value(name))
    return f"``{name}``\n   ``{shown if len(shown) < 600 else shown[:600] + ' ...'}``\n"


def _value(name: str) -> Any:
    package, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(package), attribute)


def _heading(text: str, mark: str = "=") -> str:
    return f"{text}\n{mark * len(text)}\n\n"
