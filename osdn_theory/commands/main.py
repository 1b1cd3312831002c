"""The command ``osdn-theory``, put together."""

from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

from osdn_theory import __version__
from osdn_theory.commands.analyze import analyze
from osdn_theory.commands.bench import bench
from osdn_theory.commands.central import central
from osdn_theory.commands.console import OneLineErrors
from osdn_theory.commands.converge import converge
from osdn_theory.commands.crosscheck import EXIT_CODES as CROSSCHECK_EXIT_CODES, crosscheck
from osdn_theory.commands.fuzz import EXIT_CODES as FUZZ_EXIT_CODES, fuzz
from osdn_theory.commands.options import CHECKED, DONE
from osdn_theory.commands.recall import EXIT_CODES as RECALL_EXIT_CODES, recall
from osdn_theory.commands.streams import streams
from osdn_theory.commands.sweep import EXIT_CODES as SWEEP_EXIT_CODES, sweep
from osdn_theory.commands.tighten import tighten
from osdn_theory.commands.train import EXIT_CODES as TRAIN_EXIT_CODES, train
from osdn_theory.commands.verify import verify

COMMANDS = "osdn_theory.commands"
"""Entry point group: command name -> Typer app with that one command."""


class Commands(OneLineErrors):
    """The commands of this module and those of the entry points, each of these imported only when it is named."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *sorted(entry_points(group=COMMANDS).names)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found = tuple(entry_points(group=COMMANDS, name=cmd_name))
        return typer.main.get_command(found[0].load()) if found else None


app = typer.Typer(
    name="osdn-theory",
    cls=Commands,
    help="Exact theory of Online Scaled DeltaNet: check its bounds, analyse activations, draw convergence.",
    epilog=CHECKED,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of the installed command."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"osdn-theory {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command; `debug` is read where errors are caught."""


for subcommand, exit_codes in (
    (verify, CHECKED),
    (streams, None),
    (analyze, DONE),
    (converge, DONE),
    (central, DONE),
    (bench, DONE),
    (tighten, DONE),
    (sweep, SWEEP_EXIT_CODES),
    (crosscheck, CROSSCHECK_EXIT_CODES),
    (fuzz, FUZZ_EXIT_CODES),
    (recall, RECALL_EXIT_CODES),
    (train, TRAIN_EXIT_CODES),
):
    app.command(epilog=exit_codes)(subcommand)
