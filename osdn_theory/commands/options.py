"""What commands say of their options, and what those that several have do: exit codes, seeds, folders, JSON."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from osdn_theory.base.folders import ensure_writable, write_atomically
from osdn_theory.base.tables import read_table

Command = TypeVar("Command", bound=Callable[..., Any])

CHECKED = (
    "Exit code: 0 every bound that applies holds; 1 a bound is violated; 2 bad usage or input; "
    "3 nothing is violated but something is undecided."
)
DONE = "Exit code: 0 done; 2 bad usage or input."

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print one strictly valid JSON document instead of tables.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder to write figures and data to.")]

_TABLE = read_table(__file__)


def described(command: Command) -> Command:
    """The command, whose parameters are options as the table of its name has them: a text, or with it flags and limits.

    Raises KeyError: a parameter that is neither there nor an option by its own annotation.
    """
    rows = dict(_TABLE[command.__name__])
    for name, kind in get_type_hints(command, include_extras=True).items():
        if name != "return" and not hasattr(kind, "__metadata__"):
            row = {"help": rows[name]} if isinstance(rows[name], str) else dict(rows[name])
            declare = typer.Argument if row.pop("argument", False) else typer.Option
            command.__annotations__[name] = Annotated[kind, declare(*row.pop("flags", ()), **row)]
    return command


def write_json(out: Path, name: str, value: Any) -> Path:
    """Write `value` to a file in the folder `out`, which is made if it is missing, and return its path."""
    from osdn_theory.base.jsonable import to_json

    path = ensure_writable(out) / name
    write_atomically(path, (to_json(value) + "\n").encode())
    return path


def print_json(value: Any) -> None:
    """Print `value` as the one document on stdout."""
    from osdn_theory.base.jsonable import to_json

    typer.echo(to_json(value))


def print_written(files: Iterable[Path]) -> None:
    """Say on stdout which files were written, one a line."""
    for file in files:
        typer.echo(f"written: {file}")
