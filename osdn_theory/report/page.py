"""The page: one HTML file without scripts, with nothing loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from osdn_theory import __version__
from osdn_theory.plotting._formula import formula_svg
from osdn_theory.recall import tables as recall_tables
from osdn_theory.recall.data import count_seeds
from osdn_theory.report.checks import label, outcome
from osdn_theory.report.examinations import counted, exercise_line, numbered
from osdn_theory.report.headlines import headlines
from osdn_theory.report.model import ReportModel
from osdn_theory.report.recall import CAPTIONS, facts
from osdn_theory.report.wording import number_columns, readable
from osdn_theory.verification.digest import SEVERITY, format_slack


@cache
def _display(tex: str) -> Markup:
    """A formula that stands alone: with fractions of full size. Drawing one takes a twentieth of a second."""
    return formula_svg(tex.replace(r"\frac", r"\dfrac"))


def render(
    model: ReportModel,
    images: Mapping[str, bytes],
    kernel_images: Mapping[int, Mapping[str, bytes]],
    recall_images: Sequence[Mapping[str, bytes]],
) -> str:
    """The page as text.

    Parameters
    ----------
    model : ReportModel
    images : mapping from exhibit name to PNG bytes
    kernel_images : mapping from place to PNG bytes by name
        By the place of the run among the model's kernel runs: "errors", "decay".
    recall_images : mappings from name to PNG bytes
        One for each recall run of the model, in their order; the names are those of `recall.CAPTIONS`.
    """
    environment = Environment(
        loader=PackageLoader("osdn_theory.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["formula"] = _display
    environment.filters["slack"] = format_slack
    environment.filters["readable"] = readable
    environment.filters["number_columns"] = number_columns
    return environment.get_template("report.html").render(
        model=model,
        digest=model.digest,
        verification=model.verification,
        streams=dict(model.verification.streams),
        headlines=headlines(model),
        outcomes=SEVERITY,
        images={name: _data(image) for name, image in images.items()},
        kernel_images={
            place: {name: _data(image) for name, image in drawn.items()}
            for place, drawn in kernel_images.items()
        },
        recall_images=[{name: _data(image) for name, image in drawn.items()} for drawn in recall_images],
        recall_captions=CAPTIONS,
        recall_tables=recall_tables,
        facts=facts,
        seeds=count_seeds,
        numbered=numbered(model.examinations),
        counted=counted,
        exercise_line=exercise_line,
        kernel_label=label,
        kernel_outcome=outcome,
        version=__version__,
    )


def _data(image: bytes) -> str:
    return base64.b64encode(image).decode()
