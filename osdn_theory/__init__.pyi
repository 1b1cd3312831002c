from . import plotting as plotting
from . import report as report
from .activations import (
    activation_layers as activation_layers,
)
from .activations import (
    load_activations as load_activations,
)
from .activations import (
    normalize_keys as normalize_keys,
)
from .analysis import (
    analyze as analyze,
)
from .bounds import (
    BoundCheck as BoundCheck,
)
from .bounds import (
    bound_ids as bound_ids,
)
from .bounds import (
    check_bounds as check_bounds,
)
from .bounds import (
    context_checks as context_checks,
)
from .calibration import (
    calibration_times as calibration_times,
)
from .calibration import (
    isotropic_eigenvalues as isotropic_eigenvalues,
)
from .calibration import (
    moment_matrix as moment_matrix,
)
from .comparators import (
    best_context_diagonal as best_context_diagonal,
)
from .comparators import (
    best_fixed_diagonal as best_fixed_diagonal,
)
from .convergence import (
    convergence_rates as convergence_rates,
)
from .exact_keys import (
    dyadic_comparator as dyadic_comparator,
)
from .exact_keys import (
    unit_keys as unit_keys,
)
from .exact_keys import (
    weighted_unit_keys as weighted_unit_keys,
)
from .least_squares import (
    recursive_least_squares as recursive_least_squares,
)
from .least_squares import (
    ridge_solution as ridge_solution,
)
from .newton import (
    context_osdn as context_osdn,
)
from .newton import (
    fixed_diagonal as fixed_diagonal,
)
from .newton import (
    gradient_descent as gradient_descent,
)
from .newton import (
    right_newton as right_newton,
)
from .objective import (
    context_gradient as context_gradient,
)
from .objective import (
    context_loss as context_loss,
)
from .objective import (
    context_minimizer as context_minimizer,
)
from .objective import (
    gram as gram,
)
from .objective import (
    hypergradient as hypergradient,
)
from .objective import (
    residual_ratio as residual_ratio,
)
from .objective import (
    suboptimality as suboptimality,
)
from .objective import (
    surrogate as surrogate,
)
from .objective import (
    token_gradient as token_gradient,
)
from .objective import (
    token_loss as token_loss,
)
from .objective import (
    write as write,
)
from .preconditioner import (
    calibrate_step as calibrate_step,
)
from .preconditioner import (
    calibration_scan as calibration_scan,
)
from .recurrence import (
    delta_net as delta_net,
)
from .recurrence import (
    gated_delta_net as gated_delta_net,
)
from .recurrence import (
    kda as kda,
)
from .recurrence import (
    osdn as osdn,
)
from .recurrence import (
    preconditioned_delta_net as preconditioned_delta_net,
)
from .rules import (
    FROZEN as FROZEN,
)
from .rules import (
    HISTORIC as HISTORIC,
)
from .rules import (
    PUBLISHED as PUBLISHED,
)
from .rules import (
    CalibrationRule as CalibrationRule,
)
from .streams import (
    Stream as Stream,
)
from .synthetic import (
    associative_recall as associative_recall,
)
from .synthetic import (
    constant_key as constant_key,
)
from .synthetic import (
    ill_conditioned as ill_conditioned,
)
from .synthetic import (
    interpolating as interpolating,
)
from .synthetic import (
    isotropic as isotropic,
)
from .synthetic import (
    non_stationary as non_stationary,
)
from .synthetic import (
    orthogonal as orthogonal,
)
from .synthetic import (
    path_length as path_length,
)
from .tightness import (
    TightenResult as TightenResult,
)
from .tightness import (
    tighten as tighten,
)
from .trajectory import (
    Carry as Carry,
)
from .trajectory import (
    Trajectory as Trajectory,
)
from .transforms import (
    repeated as repeated,
)
from .transforms import (
    with_gates as with_gates,
)
from .verification import (
    Verification as Verification,
)
from .verification import (
    verify as verify,
)

__version__: str
