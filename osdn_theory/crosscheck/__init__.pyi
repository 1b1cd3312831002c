from .cases.case import (
    Case as Case,
    pose as pose,
)
from .check import (
    crosscheck as crosscheck,
)
from .examination.results import (
    Examination as Examination,
)
from .examination.run import (
    examine as examine,
)
from .files import (
    audit_run as audit_run,
    audit_runs as audit_runs,
    save_run as save_run,
    save_runs as save_runs,
)
from .kernel.adapters import (
    Adapter as Adapter,
    adapt as adapt,
)
from .kernel.configurations import (
    crosscheck_configurations as crosscheck_configurations,
)
from .kernel.registry import (
    kernel_names as kernel_names,
    resolve as resolve,
)
from .results import (
    Comparison as Comparison,
    CrossCheck as CrossCheck,
    Curve as Curve,
    NewtonDistances as NewtonDistances,
    Symptom as Symptom,
    Verdict as Verdict,
)
