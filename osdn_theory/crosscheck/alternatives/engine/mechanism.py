"""How a recurrence works, as switches: the defaults are right, and each other value is one fault."""

from dataclasses import dataclass
from typing import Literal

from osdn_theory.rounding import Format

Factor = Literal["key", "write key", "root", "squared"]
"""k, d * k, sqrt(d) * k, d^2 * k."""

Source = Literal["state", "undecayed", "chunk start", "first order", "opposite", "lagging"]
"""What the residual reads: S_{t-1} decayed; before its decay; H, the state before the chunk; the state to first order
in the writes of the chunk; 2H - S_{t-1}; S_{t-2}, inside a chunk."""

Place = Literal["before", "after write", "residual only"]
"""Where the memory decays: before the residual; after the write; in the residual alone."""

Read = Literal["after", "before", "undecayed", "chunk start", "chunk alone", "chunk end"]
"""What the output reads: the state after the write; decayed and before the write; before either; H; S_t - H; the
state after the chunk."""

Forget = Literal["with step", "first", "last", "after clip"]
Frozen = Literal["nothing", "writes", "gains"]
"""What a chunk takes from the d at its start: nothing; the write keys; these and the gains."""

Feature = Literal["square", "key", "absolute"]
Gate = Literal["both", "value", "erase", "value twice", "implicit"]
"""Where beta goes: to the value and the read; to one of them; twice to the value; into beta / (1 + beta a)."""

Weighing = Literal["as asked", "always", "never", "norm", "fourth power"]
Awareness = Literal["as asked", "always", "never", "half", "other half"]


@dataclass(frozen=True)
class Mechanism:
    """One way to compute DeltaNet, Gated DeltaNet, KDA or OSDN from its inputs.

    - `erase`, `write`: The keys that the residual reads with and the write goes to.
    - `chunk`: Tokens per chunk of the faults that speak of one.
    - `reset_every`, `reset_preconditioner_every`: Tokens after which the memory is empty, d is d_1 again; 0: never.
    - `undecayed_carry`: What a chunk hands on has its own writes undecayed.
    - `calibrate_first`: Token t is written with d_{t+1}.
    - `feature`: What the calibrate step goes along.
    - `weighing`: 1, or 1/(||k||^2 + epsilon); always, never, or with another power of the norm.
    - `awareness`: The feedback beta (1 - beta a) s, or beta (1 - a) s.
    - `loses_feature`: The sum that goes over K - 1 features.
    - `clip_every`: Tokens between clips; the last token clips always. 0: the last one alone.
    - `carried_apart`: What chunks hand on is computed apart from d, and clipped at their ends alone.
    - `own_key`: Whether the Gram diagonal of Preconditioned DeltaNet has the token's own key in it before the write.
    - `center`: Of its squash.
    - `state_format`, `preconditioner_format`, `written_preconditioner_format`, `write_key_format`: What they are
      stored in, d in the write key alone among them; None: exactly.
    """

    erase: Factor = "key"
    write: Factor = "write key"
    query: Literal["query", "preconditioned"] = "query"
    gate: Gate = "both"
    source: Source = "state"
    decay: Place = "before"
    read: Read = "after"
    chunk: int = 64
    reset_every: int = 0
    reset_preconditioner_every: int = 0
    undecayed_carry: bool = False
    calibrate_first: bool = False
    calibrates: bool = True
    feature: Feature = "square"
    weighing: Weighing = "as asked"
    awareness: Awareness = "as asked"
    gain: float = 1.0
    loses_feature: Literal["nothing", "residual", "alignment", "output"] = "nothing"
    forget: Forget = "with step"
    clip_every: int = 1
    frozen: Frozen = "nothing"
    carried_apart: bool = False
    own_key: bool = True
    center: float = -0.2
    state_format: Format | None = None
    preconditioner_format: Format | None = None
    written_preconditioner_format: Format | None = None
    write_key_format: Format | None = None


RIGHT = Mechanism()
