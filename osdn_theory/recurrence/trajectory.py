"""What a solver returns: everything that happened to every token, and what is needed to go on."""

from dataclasses import dataclass

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import Array
from osdn_theory.objective import residual_ratio
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams.stream import Stream


@show_briefly
@dataclass(frozen=True, eq=False)
class Carry:
    """Where a stream was cut: pass it to the same solver to go on with the same bits.

    `state` and `preconditioner` belong to the start of the chunk that the cut falls into, and
    `pending` holds the tokens of that chunk already read; token by token there are none.
    `gram_diagonal` is the running diagonal of Preconditioned DeltaNet.
    """

    state: Array
    preconditioner: Array
    anchor: Array
    pending: Stream | None = None
    gram_diagonal: Array | None = None


@show_briefly
@dataclass(frozen=True, eq=False)
class Trajectory:
    """A stream under a recurrence, token by token, float64.

    - `rule`: None where d does not follow the calibrate step (Preconditioned DeltaNet).
    - `recurrence`: ``"delta_net"``, ``"osdn"``, ``"gated_delta_net"``, ``"kda"`` or ``"preconditioned_delta_net"``.
    - `outputs` (..., T, V): o_t = scale * S_t q_t, read after the write.
    - `preconditioner` (..., T, K): d_t used to write token t, before that token's calibration.
    - `alignment` (..., T): a_t = <d_t, k_t^2>.
    - `residuals` (..., T, V): v_t minus the (decayed) state's read of k_t, before the write.
    - `states` (..., T, V, K) or None: S_t after the write of token t, if asked for.
    - `initial_state`, `final_state` (..., V, K), `initial_preconditioner`, `final_preconditioner` (..., K)
    - `anchor` (..., K): c, the point that forgetting decays towards.
    """

    stream: Stream
    rule: CalibrationRule | None
    recurrence: str
    scale: float
    outputs: Array
    preconditioner: Array
    alignment: Array
    residuals: Array
    initial_state: Array
    final_state: Array
    initial_preconditioner: Array
    final_preconditioner: Array
    anchor: Array
    carry: Carry
    states: Array | None = None

    @property
    def residual_ratio(self) -> Array:
        """q_t = f_t(S_t) / f_t(S_{t-1}) = (1 - beta_t a_t)^2, (..., T) (T3); NaN if the residual is zero."""
        ratio = residual_ratio(self.alignment, np.asarray(self.stream.beta))
        vanishes = ~np.any(self.residuals != 0, axis=-1)
        return np.where(vanishes, np.nan, ratio)
