"""Whether a checkpoint has the weights of a model."""

from collections.abc import Collection, Mapping
from typing import Any

from ..boundary.checks import refuse

SHOWN = 3
"""Wrong weights that are named; a checkpoint of another size has nothing else."""


def check_weights(argument: str, kind: str, found: Mapping[str, Any], ours: Collection[str] = ()) -> None:
    """Refuse weights that are missing, left over, or of another shape, which is told.

    - `found`: What transformers says of loading, mismatched sizes ignored.
    - `ours`: Names of a layer's parameters that may be missing.
    """
    missing = {name for name in found["missing_keys"] if not name.split(".attn.")[-1].startswith(tuple(ours))}
    other = {name: (list(own), list(wanted)) for name, own, wanted in found["mismatched_keys"]}
    shapes = [f"{name} of shape {own} for {wanted}" for name, (own, wanted) in sorted(other.items())]
    left = sorted((missing | set(found["unexpected_keys"])) - set(other))
    wrong = [*shapes, *left]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        refuse(argument, f"the weights that {kind} has", ", ".join(wrong[:SHOWN]) + more)
