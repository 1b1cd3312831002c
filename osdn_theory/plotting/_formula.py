"""Formulas as inline SVG, so that a page without scripts or web fonts can show them."""

import io
import re

from markupsafe import Markup
from matplotlib.figure import Figure

_INK = "#010203"
"""A colour nothing else uses: it is replaced by the text colour of the page, light or dark."""

_SYNONYMS = {
    "le": r"\leq",
    "ge": r"\geq",
    "tfrac": r"\frac",
    "lVert": r"\Vert",
    "rVert": r"\Vert",
    "lvert": "|",
    "rvert": "|",
    "bigl": "",
    "bigr": "",
    "implies": r"\Rightarrow",
}
"""LaTeX commands that mathtext does not know, by ones that it does."""

_BARE_ARGUMENT = re.compile(r"\\(mathbb|mathbf|bar|hat|tilde) ?(\\[A-Za-z]+|[A-Za-z0-9])")
_BARE_FRACTION = re.compile(r"\\frac(\w)(\w)")


def formula_svg(tex: str) -> Markup:
    """A LaTeX formula as an SVG element in the text colour of the page, read aloud as its source.

    What matplotlib's mathtext cannot set is shown as escaped source instead.

    - `tex`: Without dollar signs.
    """
    if "$" in tex:
        return Markup("<code>{}</code>").format(tex)
    try:
        svg = _draw(_for_mathtext(tex))
    except ValueError:
        return Markup("<code>{}</code>").format(tex)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size is not None, "matplotlib writes a viewBox into every SVG"
    width, height = map(float, size.groups())
    # Sized in em, the formula scales with the text around it; it was drawn at 10 points to the em.
    opening = Markup(
        '<svg class="formula" role="img" aria-label="{}" viewBox="0 0 {} {}" style="{}">'
    ).format(tex, f"{width:g}", f"{height:g}", f"width:{width / 10:.2f}em;height:{height / 10:.2f}em")
    return opening + Markup(_body(svg))


def _for_mathtext(tex: str) -> str:
    known = re.sub(r"\\([A-Za-z]+)", _synonym, re.sub(r"\\tfrac(?=\w\w)", r"\\frac", tex))
    # Mathtext wants braces where LaTeX takes the next letter.
    return _BARE_FRACTION.sub(r"\\frac{\1}{\2}", _BARE_ARGUMENT.sub(r"\\\1{\2}", known))


def _synonym(command: re.Match[str]) -> str:
    return _SYNONYMS.get(command[1], command[0])


def _draw(tex: str) -> str:
    fig = Figure(figsize=(0.01, 0.01))
    fig.text(0, 0, f"${tex}$", fontsize=10, color=_INK, math_fontfamily="dejavuserif")
    buffer = io.StringIO()
    fig.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.02, transparent=True)
    return buffer.getvalue()


def _body(svg: str) -> str:
    """What stands inside the root element, without the parts that would clash with other formulas."""
    body = svg[svg.index("</metadata>") + len("</metadata>") :]
    body = re.sub(r"<!--.*?-->|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[a-z]+_\d+">', "<g>", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    return body.replace(_INK, "currentColor")
