"""The command line: one module for each group of commands, and the console that they share."""

import sys


def run() -> None:
    """``osdn-theory``, which says in one line what is lacking where only the kernels were installed."""
    try:
        from osdn_theory.commands.main import main

        main()
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith(("osdn_theory", "proofs_check")):
            raise
        print(f"error: {missing.name} is not installed: pip install -e '.[theory]'", file=sys.stderr)
        sys.exit(2)
