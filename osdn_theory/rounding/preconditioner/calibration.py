r"""Running error bound on the preconditioner, token by token or by chunks (T18).

What a kernel carries from token to token misses the exact d_t by delta_t. With the local error of a step, everything
that its arithmetic adds when started from the kernel's own d,

.. math:: \delta_{t+1} = D_t\,[(\gamma_t I - \eta w_t s_t s_t^T)\,\delta_t + \text{local}_t], \qquad 0 \le D_t \le I,

exactly: the unprojected step is affine in d, and the clip acts as D_t. `ErrorSet` carries delta_t.
"""

import numpy as np

from osdn_theory.rounding.errors.error_set import ErrorSet
from osdn_theory.rounding.errors.lemmas import arithmetic, rounding
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.preconditioner.calibrated import Calibrated, step_freely
from osdn_theory.rounding.preconditioner.chunk_calibration import by_chunks
from osdn_theory.rounding.preconditioner.clipping import through_clip
from osdn_theory.rounding.preconditioner.single_step import advance
from osdn_theory.rounding.setup import Setup


def bound_preconditioner(setup: Setup) -> Calibrated:
    """Bounds on every d_t of the model's kernel."""
    found = Calibrated.zeros(setup)
    if setup.moves:
        (_token_by_token if setup.model.order == "recurrent" else by_chunks)(setup, found)
        if setup.model.preconditioner == FLOAT32:
            found.within_box(setup)
    found.see(setup)
    return found


def _token_by_token(setup: Setup, found: Calibrated) -> None:
    model = setup.model
    errors = ErrorSet.zero(setup.count, setup.key_dim)
    for t in range(setup.length):
        d = setup.path[:, t]
        # A compensated kernel carries d + rest; tokens use d alone.
        rest = rounding(np.abs(d) + errors.rows(), FLOAT32) if model.compensated else np.zeros_like(d)
        found.record(t, setup, errors, rest)
        advance(setup, t, errors, found, rest)
        exact = step_freely(setup, t, d)
        errors = through_clip(errors, exact, setup.lower, setup.upper)
        if not model.compensated:
            size = np.abs(setup.path[:, t + 1]) + errors.rows()
            stored = rounding(size, model.preconditioner) * (model.preconditioner != FLOAT32)
            errors.add_ball(np.linalg.norm(arithmetic(size) + stored, axis=-1))
    last = np.abs(setup.path[:, -1]) + errors.rows()
    found.record(setup.length, setup, errors, rounding(last, FLOAT32) * model.compensated)
