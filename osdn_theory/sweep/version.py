"""Which code computed a row: the release, and a hash of the source that its numbers depend on."""

from importlib.metadata import version

import osdn_theory
from osdn_theory.base.source import source_hash

MEASURING = "osdn_theory.sweep.measure"


def code_version() -> str:
    """Release, hash of the source that :func:`measure.measure` reaches, and the versions of NumPy and SciPy."""
    libraries = " ".join(f"{name} {version(name)}" for name in ("numpy", "scipy"))
    return f"{osdn_theory.__version__}+{source_hash(MEASURING)} {libraries}"
