r"""Two numbers that no implementation beats: bytes that must move and matrix operations that must be done.

Bytes: every input read once, every output written once. Operations, two per multiply-add, of the chunk form (T12) per
chunk of C tokens and head, a triangular product counted as half of the full one:

.. math::
    \underbrace{C^2 K}_{K \tilde K^\top} + \underbrace{C^3 / 3}_{(I + A)^{-1}}
    + \underbrace{C^2 K + C^2 V}_{W,\ U} + \underbrace{C^2 K + C^2 V}_{Q \tilde K^\top,\ (\cdot) X}
    + \underbrace{6 C K V}_{W H,\ Q H,\ \tilde K^\top X}

so 6 K V + C (3 K + 2 V) + C^2 / 3 per token. Each product has two in the backward pass: forward and backward together
are three times that. The scan alone (T11) has the triangle of S S^T and its inverse, C K + C^2 / 3 per token; a
decoding step 6 K V.
"""

from dataclasses import dataclass

from ..shapes import Shape

CHUNK = 64
"""C of the count: the operators' default."""


@dataclass(frozen=True)
class Ceilings:
    """Measured rates: bytes per second (read + written) of a large copy, operations of a large product."""

    bandwidth: float
    matrix_rate: float


@dataclass(frozen=True)
class Work:
    """What a call must do at least."""

    bytes: float
    operations: float

    def floor_ms(self, ceilings: Ceilings) -> float:
        """The larger of the two floors."""
        return 1e3 * max(self.bytes / ceilings.bandwidth, self.operations / ceilings.matrix_rate)


def forward(shape: Shape, item: int, *, gates: int, started: bool) -> Work:
    """q, k, v, beta in, o out; with gates (float32), so many of a token and head, and with d_1 (float32) in.

    `item` is the bytes of a number.
    """
    tokens = shape.batch * shape.length * shape.heads
    moved = item * tokens * (2 * shape.key_dim + 2 * shape.value_dim + 1)
    return Work(moved + _extras(shape, gates, started), tokens * _operations(shape))


def forward_backward(shape: Shape, item: int, *, gates: int, started: bool) -> Work:
    """q, k, v, beta and o's gradient in; o and four gradients out; g and d_1 in and their gradients out."""
    tokens = shape.batch * shape.length * shape.heads
    moved = item * tokens * (4 * shape.key_dim + 4 * shape.value_dim + 2)
    return Work(moved + 2 * _extras(shape, gates, started), 3 * tokens * _operations(shape))


def scan(shape: Shape, item: int) -> Work:
    """k and d_1 in; a gain per token and d per chunk, both float32, out."""
    rows = shape.batch * shape.length * shape.heads
    chunks = shape.batch * -(-shape.length // CHUNK) * shape.heads
    moved = item * rows * shape.key_dim + 4 * (rows + chunks * shape.key_dim) + _extras(shape, 0, True)
    return Work(moved, rows * (CHUNK * shape.key_dim + CHUNK**2 / 3))


def decode(shape: Shape, item: int, *, started: bool) -> Work:
    """The float32 state, and d for an implementation that has one, in and out; a token's q, k, v, beta in, o out."""
    rows = shape.batch * shape.heads
    state = shape.key_dim * shape.value_dim + (shape.key_dim if started else 0)
    token = 2 * shape.key_dim + 2 * shape.value_dim + 1
    return Work(rows * (8 * state + item * token), rows * 6 * shape.key_dim * shape.value_dim)


def _operations(shape: Shape) -> float:
    """Of the forward pass, per token and head."""
    key_dim, value_dim = shape.key_dim, shape.value_dim
    return 6 * key_dim * value_dim + CHUNK * (3 * key_dim + 2 * value_dim) + CHUNK**2 / 3


def _extras(shape: Shape, gates: int, started: bool) -> int:
    moved = 4 * shape.batch * shape.length * shape.heads * gates
    return moved + (4 * shape.batch * shape.heads * shape.key_dim if started else 0)
