from . import plotting as plotting, report as report
from .bounds import (
    BoundCheck as BoundCheck,
    bound_ids as bound_ids,
    check_bounds as check_bounds,
    context_checks as context_checks,
)
from .context.comparators import (
    best_context_diagonal as best_context_diagonal,
    best_fixed_diagonal as best_fixed_diagonal,
    context_contraction as context_contraction,
)
from .context.convergence import (
    ConvergenceData as ConvergenceData,
    conditioned_keys as conditioned_keys,
    context_convergence as context_convergence,
    convergence_rates as convergence_rates,
)
from .context.files import (
    Context as Context,
    factor_gram as factor_gram,
    load_context as load_context,
)
from .context.newton import (
    ContextTrajectory as ContextTrajectory,
    context_hessian as context_hessian,
    context_hypergradient as context_hypergradient,
    context_osdn as context_osdn,
    context_ratio as context_ratio,
    fixed_diagonal as fixed_diagonal,
    gradient_descent as gradient_descent,
    right_newton as right_newton,
)
from .context.newton_bounds import (
    agnostic_bound as agnostic_bound,
    agnostic_ratio_sum as agnostic_ratio_sum,
    comparator_ratios as comparator_ratios,
    newton_bound as newton_bound,
    vacuous_until as vacuous_until,
)
from .measures.analysis import (
    HeadAnalysis as HeadAnalysis,
    RecurrenceMeasures as RecurrenceMeasures,
    analyze as analyze,
)
from .measures.calibration_times import (
    CalibrationTimes as CalibrationTimes,
    calibration_times as calibration_times,
    isotropic_eigenvalues as isotropic_eigenvalues,
    moment_matrix as moment_matrix,
)
from .measures.least_squares import (
    LeastSquaresTrajectory as LeastSquaresTrajectory,
    newton_distance as newton_distance,
    recursive_least_squares as recursive_least_squares,
    ridge_solution as ridge_solution,
)
from .measures.token_curves import (
    TokenCurves as TokenCurves,
    token_curves as token_curves,
)
from .objective import (
    context_gradient as context_gradient,
    context_loss as context_loss,
    context_minimizer as context_minimizer,
    gram as gram,
    hypergradient as hypergradient,
    residual_ratio as residual_ratio,
    suboptimality as suboptimality,
    surrogate as surrogate,
    token_gradient as token_gradient,
    token_loss as token_loss,
    write as write,
)
from .recurrence.calibrate import (
    calibrate_step as calibrate_step,
    calibration_scan as calibration_scan,
)
from .recurrence.rules import (
    BOUNDED as BOUNDED,
    FROZEN as FROZEN,
    HISTORIC as HISTORIC,
    SETTINGS as SETTINGS,
    CalibrationRule as CalibrationRule,
)
from .recurrence.solve import (
    delta_net as delta_net,
    gated_delta_net as gated_delta_net,
    kda as kda,
    osdn as osdn,
    preconditioned_delta_net as preconditioned_delta_net,
)
from .recurrence.trajectory import (
    Carry as Carry,
    Trajectory as Trajectory,
)
from .rounding import (
    BFLOAT16 as BFLOAT16,
    CHUNK_BF16 as CHUNK_BF16,
    CHUNK_FP16 as CHUNK_FP16,
    CHUNK_FP32 as CHUNK_FP32,
    CHUNK_TF32 as CHUNK_TF32,
    D_IN_BF16 as D_IN_BF16,
    FLOAT16 as FLOAT16,
    FLOAT32 as FLOAT32,
    RECURRENT_BF16 as RECURRENT_BF16,
    RECURRENT_FP16 as RECURRENT_FP16,
    RECURRENT_FP32 as RECURRENT_FP32,
    TF32 as TF32,
    ErrorBounds as ErrorBounds,
    KernelModel as KernelModel,
    ResidualFloor as ResidualFloor,
    emulate as emulate,
    error_bounds as error_bounds,
    residual_floor as residual_floor,
    round_to as round_to,
    ulp_distance as ulp_distance,
)
from .streams.activations import (
    activation_layers as activation_layers,
    load_activations as load_activations,
    normalize_keys as normalize_keys,
)
from .streams.exact_keys import (
    dyadic_comparator as dyadic_comparator,
    unit_keys as unit_keys,
    weighted_unit_keys as weighted_unit_keys,
)
from .streams.stream import (
    Stream as Stream,
)
from .streams.synthetic import (
    associative_recall as associative_recall,
    constant_key as constant_key,
    ill_conditioned as ill_conditioned,
    interpolating as interpolating,
    isotropic as isotropic,
    non_stationary as non_stationary,
    orthogonal as orthogonal,
    path_length as path_length,
)
from .streams.transforms import (
    repeated as repeated,
    with_gates as with_gates,
)
from .verification.run import (
    Verification as Verification,
    verify as verify,
)
from .verification.tightness import (
    TightenResult as TightenResult,
    tighten as tighten,
)

__version__: str
