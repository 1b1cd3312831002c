"""Sizes of the recall models."""

from dataclasses import asdict, dataclass

from ..validation import require


@dataclass(frozen=True)
class ModelSize:
    """Sizes that all models share.

    Raises ValueError: for a size that is not positive.
    """

    features: int = 64
    layers: int = 1
    heads: int = 1
    key_dim: int = 12
    value_dim: int = 64

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            require(value >= 1, name, "a positive number", value)
        require(
            self.features % self.heads == 0, "heads", f"a divisor of features = {self.features}", self.heads
        )
