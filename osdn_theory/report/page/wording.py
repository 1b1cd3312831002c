"""What the page says in fixed words: symbols, captions, and plain mathematics made readable."""

import re
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from osdn_theory.base.tables import read_table
from osdn_theory.crosscheck.results import CrossCheck

_TABLE = read_table(__file__)

SYMBOLS: Sequence[tuple[str, str]] = [(formula, meaning) for formula, meaning in _TABLE["symbols"]]
"""Formula and meaning of each."""

SUMMARY: Mapping[str, str] = _TABLE["summary"]
RECALL: Mapping[str, str] = _TABLE["recall"]
"""Captions, by the figure's name."""


def kernel_caption(part: str, run: CrossCheck) -> str:
    """What a figure of a kernel's run shows, and no more than is drawn in it."""
    if part == "errors":
        bounded = any(each.bound is not None for each in run.comparisons)
        return f"Measured errors, the largest over heads{'; dashed, their bounds' if bounded else ''}."
    assert run.curve is not None, "decay is drawn only where there is a curve"
    beside = "the exact ones" if run.curve.bound is None else "the exact ones and the bound of T6"
    ends = run.curve.ends
    hidden = "" if ends is None else f" From token {ends} on rounding may hide every residual."
    return (
        f"The kernel's own residual ratios multiplied up, beside {beside}: whatever rounding did, the product has "
        f"fallen by at least {run.curve.decades:.1f} decades.{hidden}"
    )


_GREEK = {"eta": "η", "beta": "β", "gamma": "γ", "lambda": "λ", "alpha": "α", "rho": "ρ"}
_GREEK_NAME = re.compile(rf"(?<![A-Za-z])({'|'.join(_GREEK)})(?![A-Za-z])")

# On escaped text: what stands between angle brackets is an inner product.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-&gt;"), "→"),
    (re.compile(r"(?<= )&lt;-(?= )"), "←"),
    (re.compile(r"&lt;="), "≤"),
    (re.compile(r"&gt;="), "≥"),
    (re.compile(r"!="), "≠"),
    (re.compile(r"&lt;([^&;]+, [^&;]+)&gt;"), r"⟨\1⟩"),
    (re.compile(r"([A-Za-z])~"), "\\1\N{COMBINING TILDE}"),
    (re.compile(r"\|\|"), "‖"),
    (re.compile(r"(?<=[A-Za-z])(?:'|&#39;)(?=_)"), "′"),
    (re.compile(r"(?<= )\*(?= )"), "⊙"),
    (re.compile(r"(?<= )-(?= )|(?<![\w)^])-(?=\d)"), "−"),
    (re.compile(r"(?<![\w.])1e\+?(-?)0*(\d+)\b"), r"10^\1\2"),
    (re.compile(r"(?<=\d)e\+?(-?)0*(\d+)\b"), r"·10^\1\2"),
    (re.compile(r"(?<=[^\W\d_])(′?)_\{([^}]*)\}"), r"\1<sub>\2</sub>"),
    (re.compile(r"(?<![^\W\d_]{2})(?<=[^\W\d_])(′?)_([a-z0-9]{1,2})(?![A-Za-z_])"), r"\1<sub>\2</sub>"),
    (re.compile(r"\^-([A-Z0-9]+)"), r"<sup>−\1</sup>"),
    (re.compile(r"\^([A-Z0-9]+|[a-z]\b)"), r"<sup>\1</sup>"),
)


def readable(text: object) -> Markup:
    """Greek letters, relations, indices and powers of a text, and what stands between backticks as code."""
    if isinstance(text, Markup):
        return text
    parts = str(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else _mathematics(part)
        for place, part in enumerate(parts)
    )


def _mathematics(text: str) -> Markup:
    html = _GREEK_NAME.sub(lambda found: _GREEK[found[1]], str(Markup.escape(text)))
    for pattern, replacement in _RULES:
        html = pattern.sub(replacement, html)
    return Markup(html)


_NUMBER = re.compile(r"[-−+]?[\d.,]+(e[-+]?\d+)?|[∞–]?")


def number_columns(rows: Sequence[Sequence[object]]) -> set[int]:
    """The columns of a table in which every cell is a number, or a sign that there is none."""
    columns = enumerate(zip(*rows, strict=True))
    return {place for place, column in columns if all(_NUMBER.fullmatch(str(cell)) for cell in column)}
