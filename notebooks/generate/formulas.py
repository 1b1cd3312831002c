"""Formulas as MathML, which browsers show without a script, and marks in docstrings that are no markup."""

import re
from html import escape
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

_SIZES = re.compile(r"\\[bB]igg?[lr]?(?![A-Za-z])")
"""Sizes of brackets, which MathML finds by itself."""

_log = logging.getLogger(__name__)


def visit_inline(self: Any, node: nodes.math) -> None:
    """A formula in a line of text."""
    self.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """A formula that stands alone; a wide one scrolls by itself."""
    self.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, *, as_block: bool) -> str:
    """The formula, or its source where docutils does not know a command: a warning, with which the build fails."""
    source = node.astext()
    try:
        return str(tex2mathml(_SIZES.sub("", source), as_block=as_block))
    except MathError as error:
        _log.warning("formula: %s in %s", error, source, location=node)
        return f"<code>{escape(source)}</code>"


def keep_marks(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape bars and stars of a docstring: norms and products, which reStructuredText takes for markup."""
    lines[:] = [_escape(line) for line in lines]


def _escape(line: str) -> str:
    # Formulas have backslashes of their own, and what stands in backquotes is shown as it is.
    if "\\" in line or line.lstrip().startswith(".. "):
        return line
    parts = re.split(r"(`+[^`]*`+)", line)
    return "".join(part if part.startswith("`") else re.sub(r"([|*])", r"\\\1", part) for part in parts)
