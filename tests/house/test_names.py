"""A class name has one meaning over the whole project."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping

from support.checkout import ROOT, tracked

BOTH_PUBLIC = {
    "Trajectory": "what a run gives token by token, of the float64 theory and of a kernel: each package exports its own"
}
"""Names that stand twice all the same, with the reason."""


def find_repeated(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Classes that are defined more than once in these files, and where."""
    places: dict[str, list[str]] = defaultdict(list)
    for file, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(file)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_class_name_stands_twice() -> None:
    files = [path for path in tracked() if path.suffix == ".py" and path.parts[0] != "tests"]
    texts = {str(path): (ROOT / path).read_text() for path in files}
    assert len(texts) > 300
    repeated = find_repeated(texts)
    assert {name: found for name, found in repeated.items() if name not in BOTH_PUBLIC} == {}
    assert set(BOTH_PUBLIC) <= set(repeated), "an exception that is none any more"


def test_a_second_class_is_found_wherever_it_is_defined() -> None:
    inside = "def f():\n    class Run: ...\n"
    assert find_repeated({"a.py": "class Run: ...", "b.py": inside}) == {"Run": ["a.py", "b.py"]}
    assert find_repeated({"a.py": "class Run: ...", "b.py": "class Runs: ..."}) == {}
