"""Run the notebooks, each in a clean kernel.

python notebooks/execute.py            write the outputs anew
python notebooks/execute.py --check    compare a fresh run with the stored outputs; exit code 1 if they differ
python notebooks/execute.py 02         only those whose name begins so
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from outputs import differences

HERE = Path(__file__).parent
TIMEOUT_S = 300


def sources(prefix: str = "") -> list[Path]:
    """The notebooks, in order."""
    return sorted(path for path in HERE.glob("[0-9][0-9]_*.ipynb") if path.name.startswith(prefix))


def run(source: Path) -> Any:
    """A notebook executed from a clean kernel: no profile, no start-up files, no earlier cells.

    Raises nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    notebook = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as profile:
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT_S,
            kernel_name="python3",
            resources={"metadata": {"path": str(HERE)}},
            extra_arguments=["--log-level=ERROR"],
        )
        client.execute(env={**os.environ, "IPYTHONDIR": profile})
    return _without_accidents(notebook)


def _without_accidents(notebook: Any) -> Any:
    """Without times, random ids and version numbers: the same run gives the same file."""
    notebook.metadata.language_info = {"name": "python"}
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02d}"
        cell.metadata.pop("execution", None)
    return notebook


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("prefix", nargs="?", default="", help="run only notebooks whose name begins so")
    parser.add_argument(
        "--check", action="store_true", help="compare with the stored outputs instead of writing"
    )
    options = parser.parse_args(arguments)
    failed = False
    for source in sources(options.prefix):
        started = time.perf_counter()
        fresh = run(source)
        found = differences(nbformat.read(source, as_version=4), fresh) if options.check else []
        if not options.check:
            nbformat.write(fresh, source)
        print(f"{source.stem}: {time.perf_counter() - started:.1f} s", *found, sep="\n  ", flush=True)
        failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
