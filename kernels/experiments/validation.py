"""Bad input, said in one way."""


def require(holds: bool, name: str, expected: str, got: object) -> None:
    """Raise ValueError naming what was expected and what came, unless it holds."""
    if not holds:
        raise ValueError(f"{name}: expected {expected}, got {got}")
