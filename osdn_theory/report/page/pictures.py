"""Every figure of the page, as PNG."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from osdn_theory.bounds import check_bounds
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.plotting import (
    contraction,
    crosscheck_curve,
    crosscheck_errors,
    recall_figures,
    smallest_slack,
)
from osdn_theory.plotting._style import DPI
from osdn_theory.plotting.convergence import cumulative_log10
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import delta_net, osdn
from osdn_theory.report.model import ReportModel
from osdn_theory.report.reading import outcome
from osdn_theory.streams.synthetic import interpolating
from osdn_theory.verification.digest import Digest
from osdn_theory.verification.suite import half_step

MAX_FIGURES, MAX_WITH_CONTRADICTED = 12, 36
"""Kernel runs that are drawn, so that the page stays small where there is one run for each configuration."""

Images = Mapping[str, bytes]
"""PNG files by name."""


@dataclass(frozen=True)
class Pictures:
    """All pictures of a page.

    - `summary`, `exhibits`, mappings from name to PNG bytes
    - `kernels`, mapping from place to such mappings: By the place of the run among the model's kernel runs: "errors",
      "decay".
    - `recall`, sequence of such mappings: One for each recall run of the model, in their order.
    """

    summary: Images
    exhibits: Images
    kernels: Mapping[int, Images]
    recall: Sequence[Images]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """All of them with the names of their files, without suffix."""
        groups = [("summary-", self.summary), ("", self.exhibits)]
        groups += [(f"kernel-{place + 1}-", images) for place, images in self.kernels.items()]
        groups += [(f"recall-{place + 1}-", images) for place, images in enumerate(self.recall)]
        yield from ((prefix + name, image) for prefix, images in groups for name, image in images.items())


def draw_pictures(model: ReportModel) -> Pictures:
    """Every figure of the page as PNG."""
    return Pictures(
        summary={name: png(figure) for name, figure in summary_figures(model.digest).items()},
        exhibits={each.name: png(each.figure) for each in model.exhibits if each.figure is not None},
        kernels={place: _kernel_figures(run) for place, run in _drawn(model.kernel_runs)},
        recall=[
            {name: png(figure) for name, figure in recall_figures(run).items()} for run in model.recall_runs
        ],
    )


def summary_figures(found: Digest) -> dict[str, Figure]:
    """What the theory promises, on one stream; and what its bounds leave, on those that were checked."""
    stream = interpolating(np.random.default_rng(0), length=400, key_dim=16)
    rule = CalibrationRule(eta=half_step(stream))
    run = osdn(stream, rule)
    (check,) = check_bounds(run, ["T5"])
    assert check.rhs is not None, check.reason
    tokens = np.arange(1.0, stream.length + 1)
    runs = {"OSDN": run, "DeltaNet": delta_net(stream)}
    products = {name: cumulative_log10(each.residual_ratio) for name, each in runs.items()}
    figures = {"contraction": contraction(products, tokens * np.log10(check.rhs / tokens))[0]}
    # Identities alone have no slack to draw.
    with suppress(ValueError):
        figures["slack"] = smallest_slack(found)[0]
    return figures


def _drawn(runs: Sequence[CrossCheck]) -> list[tuple[int, CrossCheck]]:
    """The runs that get a figure, with their places: the first ones, and any that is contradicted."""
    wanted = [
        (place, run)
        for place, run in enumerate(runs)
        if place < MAX_FIGURES or outcome(run) == "contradicted"
    ]
    return wanted[:MAX_WITH_CONTRADICTED]


def _kernel_figures(run: CrossCheck) -> dict[str, bytes]:
    """What can be drawn of a run: errors that were compared token by token, and the decay where there is a memory."""
    figures = {}
    # A cross-check of gradients or of ratios alone has no errors to draw; they stand in its table.
    with suppress(ValueError):
        figures["errors"] = png(crosscheck_errors(run)[0])
    if run.curve is not None:
        figures["decay"] = png(crosscheck_curve(run)[0])
    return figures


def png(figure: Figure) -> bytes:
    """A figure as PNG at 200 dots per inch, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.1)
    return buffer.getvalue()
