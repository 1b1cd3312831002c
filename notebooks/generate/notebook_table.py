"""A table of the notebooks, each with the question that it asks."""

import json
import re
from pathlib import Path

from generate.markdown import table

NOTEBOOKS = Path(__file__).parents[1]


def pages() -> dict[str, str]:
    """The table that other pages show."""
    rows = [
        (f"[{path.stem[:2]}](../{path.name})", question(path))
        for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    ]
    return {"parts/notebooks.md": table(("notebook", "question"), rows) + "\n"}


def question(notebook: Path) -> str:
    """What follows ``**Question.**`` in the first cell, in a line."""
    first = "".join(json.loads(notebook.read_text())["cells"][0]["source"])
    found = re.search(r"\*\*Question\.\*\* (.*?)(?:\n\n|$)", first, flags=re.DOTALL)
    if found is None:
        raise ValueError(f"{notebook.name}: its first cell asks no question")
    return " ".join(found[1].split())
