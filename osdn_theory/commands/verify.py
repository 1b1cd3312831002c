"""The command ``osdn-theory verify``."""

from pathlib import Path
from typing import Annotated

import typer

from osdn_theory.commands.console import known_names, note_unread, progress_bar
from osdn_theory.commands.options import JsonFlag, SeedOption, print_json


def verify(
    stream: Annotated[
        list[str] | None, typer.Option(help="Only this stream; repeat it or separate with commas.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Activations (safetensors or npz) to check; no other stream then, unless named."),
    ] = None,
    bounds: Annotated[list[str] | None, typer.Option(help="Only these theorems, such as T5,T6.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of every random stream.")] = 1,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Report folder. Default: report; of a part, report/partial/ and its streams, file and bounds. A part "
            "never takes the place of a full report."
        ),
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the report folder.")] = True,
    details: Annotated[
        bool, typer.Option("--details", help="Print every stream, statement and problem as well.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Check all bounds on all streams; print a summary and write a report folder."""
    from osdn_theory.commands.verification_tables import print_details, print_summary
    from osdn_theory.report.gallery import exhibits
    from osdn_theory.report.model import build_model
    from osdn_theory.report.writer import ensure_replaceable, write_model
    from osdn_theory.verification.run import BOUND_IDS, STREAM_NAMES, select, verify as run_verify

    streams = known_names("--stream", stream, STREAM_NAMES)
    theorems = known_names("--bounds", bounds, BOUND_IDS)
    if file is not None:
        note_unread(file)
    selection = select(streams=streams, file=file, bounds=theorems)
    folder = out or selection.folder()
    if report:
        # Found out now rather than after minutes of work.
        ensure_replaceable(folder, selection)
    with progress_bar() as progress:
        verification = run_verify(
            streams=streams, file=file, bounds=theorems, seeds=seeds, seed=seed, progress=progress
        )
        drawn = exhibits(verification, seed=seed, file=file) if report else ()
        model = build_model(verification, folder, drawn)
        page = write_model(model, folder) if report else None
    if json:
        print_json(verification.as_dict())
        raise typer.Exit(verification.exit_code)
    if details:
        print_details(model.digest)
    print_summary(model, page)
    raise typer.Exit(verification.exit_code)
