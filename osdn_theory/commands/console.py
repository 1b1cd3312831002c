"""What the commands share: tables, progress, name checks, and errors as one line."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from osdn_theory.base.names import known_names as known_names, split_names as split_names

USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


class Output(Console):
    """A console whose reader may leave early: the error goes to the one place that handles it."""

    def on_broken_pipe(self) -> None:
        # Rich would exit with 1, which here means that a bound is violated.
        raise BrokenPipeError


class OneLineErrors(TyperGroup):
    """Turns what bad input raises into ``error: …`` on stderr and exit code 2; ``--debug`` lets it pass."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader has gone (``| head``): nothing is wrong with the input, and nobody to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None
        except (ValueError, TypeError, OSError, ArithmeticError) as error:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"error: {_one_line(error)}", err=True)
            raise typer.Exit(USAGE) from error


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror.lower()}"
    return " ".join(str(error).split()) or type(error).__name__


def number_or(option: str, text: str | None, words: Sequence[str]) -> Any:
    """A number, or one of `words`, from the text of an option; None stays None."""
    if text is None or text in words:
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"{option}: expected a number or {' or '.join(map(repr, words))}, got {text!r}"
        ) from None


def note_unread(file: Path | None) -> None:
    """Say on stderr which tensors of a file of activations are not read: one may be a gate under another name."""
    from osdn_theory.streams.activations import PARTS, unread_tensors

    for name in unread_tensors(file):
        close = get_close_matches(name.rpartition(".")[2], PARTS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"those that are: {', '.join(PARTS)}"
        typer.echo(f"note: {file}: tensor {name!r} is not read; {hint}", err=True)


def format_number(value: float | str) -> str:
    """Four digits of a number; the texts that stand for infinities in documents stay."""
    return value if isinstance(value, str) else f"{value:.4g}"


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, gone when done, as a callback ``(what, done, total)``; silent without a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)

        def update(what: str, done: int, total: int) -> None:
            bar.update(task, description=Text(what).markup, completed=done, total=total)

        yield update


def print_table(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    left: Sequence[str] = (),
    width: int | None = None,
) -> None:
    """A table on stdout with its title above. Cells are literal text, aligned to the right.

    The first column and those named in `left` are aligned to the left. `width` is that of pages and files; a terminal
    has its own.
    """
    table = Table(header_style="bold")
    for number, name in enumerate(header):
        to_left = number == 0 or name in left
        justify: Any = "left" if to_left else "right"
        table.add_column(Text(name), justify=justify, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    console = Output()
    # Without a terminal there is no width to fit: let pipes and files have whole lines.
    if not console.is_terminal:
        console = Output(width=width or 200)
    console.print(Text(title, style="bold"))
    console.print(table)
