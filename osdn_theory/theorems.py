r"""The theorems T1 to T29 in words and as formulas: one text for the proofs, the report, and whoever asks.

Symbols: state `S` (V x K), key `k`, value `v`, gate `beta`, preconditioner `d`, squared key `s = k * k`, alignment
`a = <d, s>`, step `eta`, forgetting `gamma`, anchor `c`, feedback weight `w`, `M = max |s_t|^2`; `f` is the token
loss and `l` the surrogate. In LaTeX :math:`\odot` is the product entry by entry and :math:`\Pi` the clip to the box.
"""

import re
from dataclasses import dataclass

from osdn_theory.base.tables import read_table


@dataclass(frozen=True)
class Theorem:
    """What a theorem says.

    - `id`, `title`: "T5", "Interpolating regret".
    - `latex`: Formulas, separated by ``,\\quad`` or ``;\\quad``.
    - `plain`: One or two sentences.
    """

    id: str
    title: str
    latex: str
    plain: str
    hypotheses: tuple[str, ...] = ()

    @property
    def formulas(self) -> tuple[str, ...]:
        """The formulas of `latex`, one by one."""
        return tuple(part.strip() for part in re.split(r"[,;]\\quad", self.latex))


THEOREMS: dict[str, Theorem] = {
    name: Theorem(name, **{**row, "hypotheses": tuple(row.get("hypotheses", ()))})
    for name, row in read_table(__file__).items()
}
"""Theorem id -> theorem, in order."""
