from ._style import (
    save_figure as save_figure,
)
from .beside_delta_net import (
    blindness as blindness,
    difference_from_delta_net as difference_from_delta_net,
    error_growth as error_growth,
    gated_feedback as gated_feedback,
    recall_by_reads as recall_by_reads,
)
from .calibration import (
    forgetting as forgetting,
    identity_fixed_point as identity_fixed_point,
    preconditioner_heatmap as preconditioner_heatmap,
)
from .central import (
    central_figure as central_figure,
    token_by_token as token_by_token,
)
from .convergence import (
    convergence_rates as convergence_rates,
    super_geometric as super_geometric,
)
from .crosscheck import (
    crosscheck_curve as crosscheck_curve,
    crosscheck_errors as crosscheck_errors,
)
from .language import (
    language_figure as language_figure,
    language_layers as language_layers,
)
from .newton import (
    newton_approach as newton_approach,
    newton_distance as newton_distance,
)
from .overview import (
    contraction as contraction,
    smallest_slack as smallest_slack,
)
from .recall import (
    recall_accuracy as recall_accuracy,
    recall_differences as recall_differences,
    recall_distance as recall_distance,
    recall_figures as recall_figures,
    residual_ratios as residual_ratios,
)
from .slack import (
    regret as regret,
    slack_per_bound as slack_per_bound,
)
from .sweeps import (
    sweep_counts as sweep_counts,
)
from .tables import (
    Table as Table,
)
from .timescales import (
    alignment_over_time as alignment_over_time,
    calibration_loss as calibration_loss,
    calibration_spectrum as calibration_spectrum,
)
