"""The symbols of the theory page."""

from __future__ import annotations

from typing import Any

from sympy import MatrixSymbol, Symbol

VALUE_SIZE, KEY_SIZE, TOKENS = (Symbol(name, integer=True, positive=True) for name in "VKT")


class Names:
    """The symbols of the theory page, for sizes that are symbols or numbers.

    Vectors are columns: a key is K x 1. A context is two matrices with one token per row.

    - `V`, `K`, `T`, SymPy expression or int: Sizes of values, keys and context.
    - `S`, `minimizer`, V x K: State and S*.
    - `k`, `d`, `s`, `c`, K x 1: Key, diagonal of the preconditioner, feature of its own problem (the squared key,
      where nothing else is said), and anchor.
    - `v`, V x 1: Value.
    - `P`, K x K: Preconditioner in full.
    - `keys`, `values`, T x K, T x V: Of a context.
    - `beta`, `eta`, `gamma`, `weight`: scalars
    """

    def __init__(self, V: Any = VALUE_SIZE, K: Any = KEY_SIZE, T: Any = TOKENS) -> None:
        self.V, self.K, self.T = V, K, T
        self.S, self.minimizer = map(self.state_like, ("S", "S_star"))
        self.k, self.d, self.s, self.c = map(self.key_like, "kdsc")
        self.v, self.P = self.value_like("v"), self.preconditioner_like("P")
        self.keys, self.values = MatrixSymbol("K_rows", T, K), MatrixSymbol("V_rows", T, V)
        self.beta = Symbol("beta", real=True)
        self.eta, self.gamma, self.weight = (Symbol(name, positive=True) for name in ("eta", "gamma", "w"))

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
