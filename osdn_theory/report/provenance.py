"""Where a report was made: commit, processor, linear algebra, date, and the commands that repeat it."""

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

PACKAGE = Path(__file__).parents[1]


def machine_facts(package: Path = PACKAGE) -> dict[str, str]:
    """Commit of the code, processor, BLAS and date."""
    return {
        "commit": commit(package),
        "processor": processor(),
        "BLAS": blas(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


def commit(package: Path) -> str:
    """The commit that the package was run from, and whether it was changed since."""
    # A package that merely lies inside somebody's repository, such as one in a virtual environment, is not of it.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return "unknown: not run from a checkout"
    head = _git(package, "rev-parse", "HEAD")
    if head is None:
        return "unknown: the checkout has no commit"
    changed = _git(package, "status", "--porcelain")
    return f"{head}, with changes that are not committed" if changed else head


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails or is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The model of the processor."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine() or "unknown"


def blas() -> str:
    """The BLAS libraries loaded by now, with their versions."""
    found = {
        f"{pool['internal_api']} {pool.get('version') or '(version unknown)'}"
        for pool in threadpool_info()
        if pool.get("user_api") == "blas"
    }
    return ", ".join(sorted(found)) or "unknown"
