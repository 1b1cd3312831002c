"""The page: one HTML file without scripts, with nothing loaded from elsewhere."""

import base64
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from osdn_theory import __version__
from osdn_theory.base.brief import describe_place
from osdn_theory.plotting._formula import formula_svg
from osdn_theory.plotting._style import DPI
from osdn_theory.proofs import ProofLine
from osdn_theory.recall import tables as recall_tables
from osdn_theory.recall.data import count_seeds
from osdn_theory.report.headlines import headlines
from osdn_theory.report.model import ReportModel
from osdn_theory.report.page import kernels, wording
from osdn_theory.report.page.kernels import numbered
from osdn_theory.report.page.pictures import Images, Pictures
from osdn_theory.report.page.wording import SYMBOLS, number_columns, readable
from osdn_theory.report.reading import PACKAGED, ReportDocument, count_missed, facts
from osdn_theory.report.summary import KINDS, MARKS, MarkedCell
from osdn_theory.verification.digest import SEVERITY, Digest, Exclusion, Statement, format_slack

CSS_PIXELS = 96
"""To the inch."""


@dataclass(frozen=True)
class Image:
    """A picture inside the page, and its size in CSS pixels, at which a point is what it is in print."""

    base64: str
    width: int
    height: int


@cache
def _template() -> Template:
    """The page without its contents, compiled once in a process."""
    environment = Environment(
        loader=PackageLoader("osdn_theory.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "formula": _display,
        "slack": format_slack,
        "place": lambda check: describe_place(check.stream, check.index),
        "readable": readable,
        "number_columns": number_columns,
        "statement": _statement,
        "unpassed": _unpassed,
        "excluded": _excluded,
        "documents": _documents,
        "missed": count_missed,
    }
    return environment.get_template("report.html")


def render(model: ReportModel, pictures: Pictures) -> str:
    """The page as text."""
    return _template().render(
        model=model,
        digest=model.digest,
        verification=model.verification,
        streams=model.verification.streams,
        headlines=headlines(model),
        statement_header=("on streams", "statement", *SEVERITY, "smallest slack"),
        marks=MARKS,
        kinds=KINDS,
        symbols=SYMBOLS,
        summary_images=_images(pictures.summary),
        summary_captions=wording.SUMMARY,
        images=_images(pictures.exhibits),
        kernel_images={place: _images(drawn) for place, drawn in pictures.kernels.items()},
        recall_images=[_images(drawn) for drawn in pictures.recall],
        recall_captions=wording.RECALL,
        figure_captions=wording.kernel_caption,
        tables=kernels,
        numbered=numbered(model.examinations),
        recall_tables=recall_tables,
        facts=facts,
        seeds=count_seeds,
        version=__version__,
    )


@cache
def _display(tex: str) -> Markup:
    """A formula that stands alone: with fractions of full size. Drawing one takes a twentieth of a second."""
    return formula_svg(tex.replace(r"\frac", r"\dfrac"))


def _images(drawn: Images) -> dict[str, Image]:
    return {name: _image(png) for name, png in drawn.items()}


def _image(png: bytes) -> Image:
    # Width and height are the first numbers of a PNG file.
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Image(base64.b64encode(png).decode(), width * CSS_PIXELS // DPI, height * CSS_PIXELS // DPI)


def _statement(statement: Statement) -> tuple[Any, ...]:
    counts = (str(statement.total.counts.get(outcome, 0)) for outcome in SEVERITY)
    return (statement.title, _display(statement.formula), *counts, format_slack(statement.total.log10_slack))


def _unpassed(proof: ProofLine) -> tuple[MarkedCell, str, str, str]:
    return MarkedCell(proof.verdict), proof.method_name, proof.name, proof.detail


def _excluded(item: Exclusion, found: Digest) -> tuple[str, str, str, str]:
    """A row: a theorem by its number where none of its statements applies, else statement by statement."""
    whole = {
        theorem.name
        for theorem in found.theorems
        if {f"{theorem.name} {each.title}" for each in theorem.statements} <= {*item.statements}
    }
    named = dict.fromkeys(name.split()[0] if name.split()[0] in whole else name for name in item.statements)
    streams = ", ".join(item.streams) if len(item.streams) <= 2 else str(len(item.streams))
    return item.reason, ", ".join(named), streams, str(item.count)


def _documents(model: ReportModel) -> list[tuple[str, str, str, str]]:
    documents: list[ReportDocument[Any]] = [
        model.proofs,
        *model.crosschecks,
        *model.recalls,
        *model.languages,
    ]
    return [_document(each) for each in documents]


def _document(document: ReportDocument[Any]) -> tuple[str, str, str, str]:
    return (
        document.file.removeprefix(PACKAGED),
        document.state,
        document.written or "–",
        document.notice or "–",
    )
