"""Compare the outputs of one notebook with those of another run of it: numbers within a tolerance, the rest exactly."""

import re
from collections.abc import Iterator
from typing import Any

RTOL = 1e-6
"""Relative tolerance of every number; a cell with ``rtol`` in its metadata sets its own."""

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?!\w)")


def differences(stored: Any, fresh: Any) -> list[str]:
    """What differs between the outputs of two notebooks of the same cells, one line each.

    Text is compared word by word, numbers in it with the tolerance of their cell. Of a figure only that it is there
    is compared: its bytes depend on fonts.
    """
    if len(stored.cells) != len(fresh.cells):
        return [f"{len(stored.cells)} cells stored, {len(fresh.cells)} run"]
    return [
        f"cell {number}: {found}"
        for number, (before, after) in enumerate(zip(stored.cells, fresh.cells, strict=True), start=1)
        for found in _cell_differences(before, after)
    ]


def text_difference(stored: str, fresh: str, rtol: float = RTOL) -> str | None:
    """The first difference between two texts, or None. Whole numbers must be equal."""
    words, new_words = _NUMBER.split(stored), _NUMBER.split(fresh)
    if words != new_words:
        return f"{stored!r} became {fresh!r}"
    for before, after in zip(_NUMBER.findall(stored), _NUMBER.findall(fresh), strict=True):
        if not _close(before, after, rtol):
            return f"{before} became {after}"
    return None


def _close(before: str, after: str, rtol: float) -> bool:
    first, second = (float(number.replace(",", "")) for number in (before, after))
    if not re.search(r"[.eE]", before + after):
        return first == second
    return abs(first - second) <= rtol * max(abs(first), abs(second))


def _cell_differences(stored: Any, fresh: Any) -> Iterator[str]:
    if stored.source != fresh.source:
        yield "the source differs"
        return
    before, after = (list(_shown(cell)) for cell in (stored, fresh))
    if [kind for kind, _ in before] != [kind for kind, _ in after]:
        yield f"outputs {[kind for kind, _ in before]} became {[kind for kind, _ in after]}"
        return
    rtol = fresh.metadata.get("rtol", RTOL)
    for (_, text), (_, new_text) in zip(before, after, strict=True):
        found = text_difference(text, new_text, rtol)
        if found is not None:
            yield found


def _shown(cell: Any) -> Iterator[tuple[str, str]]:
    """Kind and text of everything a cell shows; of an image the text is empty."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            yield output.name, output.text
        elif output.output_type == "error":
            yield "error", f"{output.ename}: {output.evalue}"
        else:
            for mime, data in sorted(output.data.items()):
                yield mime, "" if mime.startswith("image/") else str(data)
