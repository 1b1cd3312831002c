"""Every figure of the project, one function each, returning ``(figure, axes)``.

Figures are built on :class:`matplotlib.figure.Figure` directly, so they need no display and no pyplot state.
Colours are the Okabe-Ito set, and every curve also has its own line style, so that figures survive
colour blindness and black-and-white print.
"""

from osdn_theory.plotting._style import save_figure
from osdn_theory.plotting.beside_delta_net import (
    blindness,
    difference_from_delta_net,
    error_growth,
    recall_by_reads,
)
from osdn_theory.plotting.calibration import forgetting, identity_fixed_point, preconditioner_heatmap
from osdn_theory.plotting.central import central_figure, token_by_token
from osdn_theory.plotting.convergence import convergence_rates, super_geometric
from osdn_theory.plotting.crosscheck import crosscheck_curve, crosscheck_errors
from osdn_theory.plotting.newton import newton_approach, newton_distance
from osdn_theory.plotting.overview import contraction, smallest_slack
from osdn_theory.plotting.recall import (
    recall_accuracy,
    recall_differences,
    recall_distance,
    recall_figures,
    recall_residual_ratios,
)
from osdn_theory.plotting.slack import regret, slack_per_bound
from osdn_theory.plotting.sweeps import sweep_counts
from osdn_theory.plotting.tables import Table
from osdn_theory.plotting.timescales import alignment_over_time, calibration_loss, calibration_spectrum

__all__ = [
    "Table",
    "alignment_over_time",
    "blindness",
    "calibration_loss",
    "calibration_spectrum",
    "central_figure",
    "contraction",
    "convergence_rates",
    "crosscheck_curve",
    "crosscheck_errors",
    "difference_from_delta_net",
    "error_growth",
    "forgetting",
    "identity_fixed_point",
    "newton_approach",
    "newton_distance",
    "preconditioner_heatmap",
    "recall_accuracy",
    "recall_by_reads",
    "recall_differences",
    "recall_distance",
    "recall_figures",
    "recall_residual_ratios",
    "regret",
    "save_figure",
    "slack_per_bound",
    "smallest_slack",
    "super_geometric",
    "sweep_counts",
    "token_by_token",
]
