"""``python -m proofs_check …`` is ``osdn-theory prove …``, installed or not."""

import sys

from typer.main import get_command, get_group

from osdn_theory.commands.main import app as osdn_theory
from proofs_check.cli import app as prove


def main() -> None:
    command = get_group(osdn_theory)
    command.add_command(get_command(prove), "prove")
    command(["prove", *sys.argv[1:]], prog_name="osdn-theory")


if __name__ == "__main__":
    main()
