"""The symbols of the theory page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sympy import MatrixSymbol, Symbol

VALUE_SIZE, KEY_SIZE, TOKENS = (Symbol(name, integer=True, positive=True) for name in "VKT")


@dataclass(frozen=True)
class Names:
    """The symbols of the theory page, for sizes that are symbols or numbers.

    Vectors are columns: a key is K x 1. A context is two matrices with one token per row.

    Attributes
    ----------
    V, K, T : SymPy expression or int
        Sizes of values, keys and context.
    """

    V: Any = VALUE_SIZE
    K: Any = KEY_SIZE
    T: Any = TOKENS

    @staticmethod
    def sized(V: int, K: int, T: int = 1) -> Names:
        """Symbols of the given size, whose entries can be written out."""
        return Names(V, K, T)

    def key_like(self, name: str) -> MatrixSymbol:
        """A K x 1 vector."""
        return MatrixSymbol(name, self.K, 1)

    def value_like(self, name: str) -> MatrixSymbol:
        """A V x 1 vector."""
        return MatrixSymbol(name, self.V, 1)

    def state_like(self, name: str) -> MatrixSymbol:
        """A V x K matrix."""
        return MatrixSymbol(name, self.V, self.K)

    def preconditioner_like(self, name: str) -> MatrixSymbol:
        """A K x K matrix."""
        return MatrixSymbol(name, self.K, self.K)

    @property
    def S(self) -> MatrixSymbol:
        """State, V x K."""
        return self.state_like("S")

    @property
    def k(self) -> MatrixSymbol:
        """Key."""
        return self.key_like("k")

    @property
    def v(self) -> MatrixSymbol:
        """Value."""
        return self.value_like("v")

    @property
    def d(self) -> MatrixSymbol:
        """Diagonal of the preconditioner, a K x 1 vector."""
        return self.key_like("d")

    @property
    def s(self) -> MatrixSymbol:
        """Feature of the preconditioner's own problem: the squared key, where nothing else is said."""
        return self.key_like("s")

    @property
    def c(self) -> MatrixSymbol:
        """Anchor."""
        return self.key_like("c")

    @property
    def P(self) -> MatrixSymbol:
        """Preconditioner in full, K x K."""
        return self.preconditioner_like("P")

    @property
    def keys(self) -> MatrixSymbol:
        """The keys of a context, T x K."""
        return MatrixSymbol("K_rows", self.T, self.K)

    @property
    def values(self) -> MatrixSymbol:
        """The values of a context, T x V."""
        return MatrixSymbol("V_rows", self.T, self.V)

    @property
    def minimizer(self) -> MatrixSymbol:
        """S*, V x K."""
        return self.state_like("S_star")

    @property
    def beta(self) -> Symbol:
        return Symbol("beta", real=True)

    @property
    def eta(self) -> Symbol:
        return Symbol("eta", positive=True)

    @property
    def gamma(self) -> Symbol:
        return Symbol("gamma", positive=True)

    @property
    def weight(self) -> Symbol:
        return Symbol("w", positive=True)
