"""T12 by induction over the rows of a chunk, for every V, K and number of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import sympy as sp
from flint import fmpq
from sympy import HadamardProduct, Identity, MatrixSymbol, OneMatrix, ZeroMatrix
from sympy.matrices.expressions.diagonal import DiagMatrix

from osdn_theory import symbolic as osdn
from osdn_theory.symbolic import Names
from proofs_check.exact import linear as la
from proofs_check.symbolic import blocks
from proofs_check.symbolic.blocks import Blocks
from proofs_check.symbolic.points import Source, Values
from proofs_check.symbolic.theorem import Equation, Theorem

C = sp.Symbol("C", integer=True, positive=True)
N = Names(T=C)
H = N.state_like("S").T
"""The state entering the chunk, K x V."""

ONE = Identity(1)
WRITE_KEY = HadamardProduct(N.d, N.k)
SCALE = sp.Symbol("scale", positive=True)


@dataclass(frozen=True)
class Chunk:
    """Rows of a chunk in blocks, and the masks of tril(., -1) and tril(.)."""

    keys: Blocks
    queries: Blocks
    write_keys: Blocks
    values: Blocks
    gates: Blocks
    before: Blocks
    upto: Blocks

    def coupling(self, *, key_side: bool = False, gated: bool = True) -> Blocks:
        """A = tril(diag(beta) K Kt^T, -1); tril(diag(beta) A, -1) is the mask times it, entry by entry."""
        gram = blocks.product(self.keys, blocks.transposed(self.keys if key_side else self.write_keys))
        return blocks.entrywise(self.before, blocks.product(self.gates, gram) if gated else gram)

    def residual(self, x: Blocks, coupling: Blocks) -> Blocks:
        """X + A X - diag(beta)(V - K H): zero if and only if X solves the chunk's triangular system."""
        target = blocks.product(self.gates, blocks.difference(self.values, blocks.product(self.keys, [[H]])))
        return blocks.difference(blocks.total(x, blocks.product(coupling, x)), target)

    def handed_on(self, x: Blocks, *, key_side: bool = False) -> Any:
        """H + Kt^T X."""
        rows = self.keys if key_side else self.write_keys
        return H + blocks.product(blocks.transposed(rows), x)[0][0]

    def outputs(self, x: Blocks) -> Blocks:
        """scale (Q H + tril(Q Kt^T) X)."""
        seen = blocks.entrywise(self.upto, blocks.product(self.queries, blocks.transposed(self.write_keys)))
        read = blocks.total(blocks.product(self.queries, [[H]]), blocks.product(seen, x))
        return [[SCALE * block for block in row] for row in read]


SMALL = Chunk(
    keys=[[N.keys]],
    queries=[[MatrixSymbol("Q_rows", C, N.K)]],
    write_keys=[[MatrixSymbol("W_rows", C, N.K)]],
    values=[[N.values]],
    gates=[[DiagMatrix(MatrixSymbol("b", C, 1))]],
    before=[[MatrixSymbol("strict", C, C)]],
    upto=[[MatrixSymbol("lower", C, C)]],
)
X = [[MatrixSymbol("X", C, N.V)]]
QUERY = N.key_like("q")


def extended(*, own: int = 0, read_own: int = 1) -> Chunk:
    """The chunk with one token more, (k, q, d * k, v, beta), below."""
    past, never = OneMatrix(1, C), ZeroMatrix(C, 1)
    return Chunk(
        keys=[*SMALL.keys, [N.k.T]],
        queries=[*SMALL.queries, [QUERY.T]],
        write_keys=[*SMALL.write_keys, [WRITE_KEY.T]],
        values=[*SMALL.values, [N.v.T]],
        gates=[[SMALL.gates[0][0], never], [ZeroMatrix(1, C), N.beta * ONE]],
        before=[[SMALL.before[0][0], never], [past, own * ONE]],
        upto=[[SMALL.upto[0][0], never], [past, read_own * ONE]],
    )


def induction(
    *,
    sign: int = 1,
    own: int = 0,
    read_own: int = 1,
    key_side: bool = False,
    gated: bool = True,
    plain: bool = False,
) -> list[Equation]:
    large, before = extended(own=own, read_own=read_own), SMALL.handed_on(X)
    row = sign * N.beta * (N.v - before.T * N.k).T
    x = [*X, [row]]
    coupling = large.coupling(key_side=key_side, gated=gated)
    (top,), (bottom,) = large.residual(x, coupling)
    (outputs,), (output,) = large.outputs(x)
    written = osdn.write(before.T, N.k, N.v, N.d, N.beta).T
    return [
        Equation("old rows of the system", top, SMALL.residual(X, SMALL.coupling())[0][0]),
        Equation("new row of the system", bottom, ZeroMatrix(1, N.V)),
        Equation("A above the new row", coupling[0][1], ZeroMatrix(C, 1)),
        Equation("A on the diagonal", coupling[1][1], ZeroMatrix(1, 1)),
        Equation("state handed on", large.handed_on(x, key_side=plain), written),
        Equation("old outputs", outputs, SMALL.outputs(X)[0][0]),
        Equation("new output", output, SCALE * QUERY.T * written),
    ]


def masks(source: Source, sizes: Mapping[str, int]) -> Values:
    size = sizes["C"]
    ones = [[fmpq(1)] * size for _ in range(size)]
    return {"strict": la.lower(ones, -1), "lower": la.lower(ones)}


INDUCTION = (
    Theorem(
        "T12",
        "chunk_induction",
        "with one token more below, X with the row beta (v - H_C^T k)^T below, where H_C = H + Kt^T X, leaves the "
        "residual of the triangular system as it was with a zero row below; A stays strictly lower triangular; the "
        "state handed on is the write of the token on H_C; old outputs stay and the new one reads that state",
        induction,
        point=masks,
        sizes={"V": 2, "K": 3, "C": 3},
    )
    .mutant("flipped sign", "the row of X with the other sign", partial(induction, sign=-1))
    .mutant("index shift", "A with its diagonal, tril(., 0)", partial(induction, own=1))
    .mutant("index shift", "outputs read before the write", partial(induction, read_own=0))
    .mutant("wrong formula", "A from K K^T", partial(induction, key_side=True))
    .mutant("wrong formula", "the state from K^T X", partial(induction, plain=True))
    .mutant("wrong constant", "A without diag(beta)", partial(induction, gated=False))
)


def single(*, sign: int = 1, gate: Any = N.beta, read_after: bool = True) -> list[Equation]:
    x = sign * gate * (N.v.T - N.k.T * H)
    written = osdn.write(H.T, N.k, N.v, N.d, N.beta).T
    output = SCALE * (QUERY.T * H + QUERY.T * WRITE_KEY * x)
    return [
        Equation("X", x, N.beta * (N.v.T - N.k.T * H)),
        Equation("state handed on", H + WRITE_KEY * x, written),
        Equation("output", output, SCALE * QUERY.T * (written if read_after else H)),
    ]


SINGLE = (
    Theorem(
        "T12",
        "chunk_of_one",
        "a chunk of one token, A = 0: H + kt x with x = beta (v - H^T k)^T is the write, and the output reads it",
        single,
    )
    .mutant("flipped sign", "x with the other sign", partial(single, sign=-1))
    .mutant("wrong constant", "x without beta", partial(single, gate=sp.S.One))
    .mutant("index shift", "the output reads before the write", partial(single, read_after=False))
)

THEOREMS = (SINGLE, INDUCTION)
