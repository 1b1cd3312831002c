"""Tables beside code: texts over several lines, and which file is read."""

from pathlib import Path
from typing import Any

import pytest

from osdn_theory.base.tables import read_table

TEXT = "a = '''\none\n  and two'''\n[b]\nc = [[\"x  y\", 1], 2.5]\n"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (False, {"a": "one and two", "b": {"c": [["x y", 1], 2.5]}}),
        (True, {"a": "one\n  and two", "b": {"c": [["x  y", 1], 2.5]}}),
    ],
)
def test_lines_of_a_text_are_joined_unless_they_count(lines: bool, found: Any, tmp_path: Path) -> None:
    (tmp_path / "theorems.toml").write_text(TEXT)
    for path in (str(tmp_path / "theorems.py"), tmp_path / "theorems.toml"):
        assert read_table(path, lines=lines) == found
