"""``python -m proofs_check.coq_prover --write-statements``: set the register to what the library says now.

For deliberate changes of statements or definitions; the difference belongs into the review of the change.
"""

import argparse
from pathlib import Path

from proofs_check.coq_prover import FOLDER
from proofs_check.coq_prover.library import compile_library
from proofs_check.coq_prover.statements import register_of, write_register


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m proofs_check.coq_prover", description=__doc__)
    parser.add_argument("--write-statements", action="store_true", required=True)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the library")
    folder = parser.parse_args().folder
    register = register_of(compile_library(folder))
    print(f"{write_register(folder, register)}: {len(register.statements)} statements")


if __name__ == "__main__":
    main()
