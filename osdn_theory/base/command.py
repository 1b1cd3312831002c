"""The command line that is running, which results record."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def command() -> str:
    """The command line that is running, as one would type it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
