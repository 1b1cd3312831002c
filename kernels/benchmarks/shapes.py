"""The shapes to measure, most important first."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """One problem: `tokens` = B T tokens in sequences of `length`."""

    tokens: int
    length: int
    heads: int
    key_dim: int
    value_dim: int

    @property
    def batch(self) -> int:
        return max(1, self.tokens // self.length)

    @property
    def label(self) -> str:
        return f"B={self.batch} T={self.length} H={self.heads} K={self.key_dim} V={self.value_dim}"

    def fields(self) -> dict[str, Any]:
        return {"batch": self.batch, **asdict(self)}


SMOKE = [Shape(tokens=48, length=48, heads=2, key_dim=16, value_dim=16)]
"""Small enough for the interpreter."""

THOUSAND = 1024
LENGTHS = [4096, 16384, 65536, 2048, 8192, 32768]
DECODE_BATCHES = [1, 64, 256]
PROFILED = Shape(64 * THOUSAND, 8192, 16, 128, 128)


def _sizes() -> list[tuple[int, int, int, int]]:
    """(tokens, H, K, V), by how much a reader will ask for them."""
    dims = [(128, 128), (64, 64), (128, 256)]
    return [(kilo * THOUSAND, heads, *dim) for dim in dims for heads in (16, 8) for kilo in (64, 128)]


def full() -> list[Shape]:
    """The small grid, then every combination: all lengths of the first size, then of the next."""
    grid = [Shape(tokens, length, heads, k, v) for tokens, heads, k, v in _sizes() for length in LENGTHS]
    return list(dict.fromkeys([*small(), *grid]))


def small() -> list[Shape]:
    """The shapes of the goals: 64 K tokens with 16 heads in sequences of three lengths, 16 K tokens with 8 heads."""
    tokens, heads, key_dim, value_dim = _sizes()[0]
    first = [Shape(tokens, length, heads, key_dim, value_dim) for length in LENGTHS[:3]]
    return [*first, Shape(16 * THOUSAND, LENGTHS[0], 8, key_dim, value_dim)]


def decoding(batches: list[int], heads: int, key_dim: int, value_dim: int) -> list[Shape]:
    """One token for each sequence of a batch."""
    return [Shape(batch, 1, heads, key_dim, value_dim) for batch in batches]
