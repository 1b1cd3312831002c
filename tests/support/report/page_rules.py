"""What every report page must keep to: a length, and labels that say what they mean."""

from __future__ import annotations

import re

from support.report.html_page import Page

LONGEST = 41_600 // 3
"""Words: a third of what a full page had before its details were cut."""

RAW = {
    "an index as a tuple": r"\(\d+, ?\d*\)(?!<)",
    "an index in brackets": r"\w\[\d+(, ?\d+)*\]",
    "a subscript as source": r"(?<![\w.])[A-Za-zα-ω]'?_(\{|[a-z0-9]{1,2}\b)",
    "a power as source": r"[\w|)*]\^[-{\w]",
    "a Greek letter as source": r"(?<![\w-])(eta|beta|gamma|lambda|alpha)(?![\w-])",
    "a relation as source": r"<=|>=|!=",
    "an exponent as source": r"\d[eE][-+]\d",
    "a number that is none": r"(?<![\w-])(nan|NaN|None|-?inf)(?![\w-])",
    "a path of a module": r"\b(osdn_theory|osdn_kernels|proofs_check|bounds)[./]\w",
}
"""What a reader should not meet outside of code, by what it is."""


def count_words(source: str) -> int:
    """Words of a page, folded ones included, style sheet and pictures not."""
    return len(Page(source).text.split())


def raw_labels(source: str) -> list[str]:
    """Every label of a page that was left as the program has it, with what is wrong with it."""
    page = Page(re.sub(r"<(code|pre)\b.*?</\1>", " ", source, flags=re.DOTALL))
    texts = [page.spaced, *(value for _, attrs in page.tags for value in _read_aloud(attrs))]
    return [
        f"{what}: …{text[max(0, found.start() - 30) : found.end() + 30]}…"
        for text in texts
        for what, pattern in RAW.items()
        for found in re.finditer(pattern, text)
    ]


def _read_aloud(attrs: dict[str, str | None]) -> list[str]:
    # A formula is read aloud as its source: nothing else says what it is.
    if attrs.get("class") == "formula":
        return []
    return [attrs[name] or "" for name in ("alt", "aria-label", "title") if name in attrs]
