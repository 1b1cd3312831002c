"""``python -m osdn_kernels.hub FOLDER``."""

import sys
from pathlib import Path

from .layout import write_project

if len(sys.argv) != 2:
    sys.exit("usage: python -m osdn_kernels.hub FOLDER")
write_project(Path(sys.argv[1]))
