"""T12: the chunk form of the recurrence on the state, on rational instances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, equal_matrices, equal_vectors


def draw_stream(draw: Draw) -> Instance:
    """Keys, queries, values, gates, any preconditioners, an entering state, and a chunk size that need not divide."""
    n, v, length = draw.key_dim(3), draw.value_dim(), draw.length(7)
    return Instance(
        keys=draw.keys(length, n),
        queries=[draw.key(n) for _ in range(length)],
        values=draw.matrix(length, v),
        betas=[draw.number(-1, 2) for _ in range(length)],
        ds=draw.matrix(length, n),
        state=draw.matrix(v, n),
        scale=draw.positive(),
        size=draw.rng.randint(1, 4),
    )


def token_by_token(x: Instance) -> tuple[la.Matrix, la.Matrix]:
    """The outputs, read after the write, and the state handed on (V, K)."""
    state, outputs = x.state, []
    for k, q, v, beta, d in zip(x.keys, x.queries, x.values, x.betas, x.ds, strict=True):
        state = rules.write(state, k, v, d, beta)
        outputs.append(la.scale(x.scale, la.apply(state, q)))
    return outputs, state


def one_chunk(
    x: Instance,
    rows: slice,
    state: la.Matrix,
    *,
    below: int = -1,
    seen: int = 0,
    sign: int = 1,
    gated: bool = True,
    scaled_reads: bool = False,
    scaled_writes: bool = True,
    ahead: int = 0,
) -> tuple[la.Matrix, la.Matrix]:
    """Outputs (C, V) and H^+ (K, V) of one chunk from H (K, V); the options are mistakes that mutants make."""
    k, q, v, beta = x.keys[rows], x.queries[rows], x.values[rows], x.betas[rows]
    ds = (x.ds[ahead:] + x.ds[:ahead])[rows]
    count, one = len(k), la.one(k)
    write_keys = [la.had(d, row) for d, row in zip(ds, k, strict=True)]
    gates = beta if gated else [one] * count
    overlaps = la.matmul(write_keys if scaled_reads else k, la.transpose(write_keys))
    a = la.lower([la.scale(g, row) for g, row in zip(gates, overlaps, strict=True)], below)
    residual = la.msub(v, la.matmul(k, state))
    right = [la.scale(b, row) for b, row in zip(beta, residual, strict=True)]
    system = la.madd(la.identity(count, one), la.mscale(sign, a))
    solution = la.solve(system, right) if below >= 0 else la.forward_substitute(system, right)
    attention = la.lower(la.matmul(q, la.transpose(write_keys)), seen)
    outputs = la.madd(la.matmul(q, state), la.matmul(attention, solution))
    writes = write_keys if scaled_writes else k
    handed = la.madd(state, la.matmul(la.transpose(writes), solution))
    return la.mscale(x.scale, outputs), handed


def chunkwise(x: Instance, **mistakes: Any) -> Iterator[Relation]:
    """Chunk after chunk, the last one shorter: outputs and final state of the recurrence."""
    outputs, final = token_by_token(x)
    state, found = la.transpose(x.state), []
    for begin in range(0, len(x.keys), x.size):
        part, state = one_chunk(x, slice(begin, begin + x.size), state, **mistakes)
        found += part
    for t, (a, b) in enumerate(zip(found, outputs, strict=True)):
        yield from equal_vectors(f"o_{t + 1}", a, b)
    yield from equal_matrices("H", state, la.transpose(final))


def positive_stream(draw: Draw) -> Instance:
    """Gates and preconditioners at least zero: I + A stays invertible with a diagonal in A too."""
    x = draw_stream(draw)
    x.betas, x.ds = [abs(b) for b in x.betas], [[abs(a) for a in d] for d in x.ds]
    return x


CHUNKWISE = (
    Law("T12", "chunk form", "X = (I + A)^-1 diag(beta)(V - K H), O = scale (Q H + tril(Q K~^T) X), "
        "H+ = H + K~^T X is the recurrence", draw_stream, chunkwise, {})
    .mutant("index shift", "A = tril(., 0)", draw=positive_stream, relations=lambda x: chunkwise(x, below=0))
    .mutant("index shift", "reads before the write: tril(Q K~^T, -1)", relations=lambda x: chunkwise(x, seen=-1))
    .mutant("index shift", "d_{t+1} for d_t", relations=lambda x: chunkwise(x, ahead=1))
    .mutant("flipped sign", "(I - A)^-1", relations=lambda x: chunkwise(x, sign=-1))
    .mutant("wrong formula", "A without diag(beta)", relations=lambda x: chunkwise(x, gated=False))
    .mutant("wrong formula", "A = tril(diag(beta) K~ K~^T, -1)", relations=lambda x: chunkwise(x, scaled_reads=True))
    .mutant("wrong formula", "H+ = H + K^T X", relations=lambda x: chunkwise(x, scaled_writes=False))
)  # fmt: skip


LAWS = (CHUNKWISE,)
