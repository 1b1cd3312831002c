"""The command ``osdn-theory verify``."""

from pathlib import Path

import typer

from osdn_theory.commands.console import known_names, note_unread, progress_bar
from osdn_theory.commands.options import JsonFlag, SeedOption, described, print_json


@described
def verify(
    stream: list[str] | None = None,
    file: Path | None = None,
    bounds: list[str] | None = None,
    seeds: int = 1,
    seed: SeedOption = 0,
    out: Path | None = None,
    report: bool = True,
    details: bool = False,
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
