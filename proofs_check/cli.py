"""The command ``osdn-theory prove``, also ``python -m proofs_check``."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from osdn_theory.base.folders import ensure_writable
from osdn_theory.commands.console import known_names, progress_bar

EXIT_CODES = (
    "Exit code: 0 every proof passed; 1 one failed; 2 bad usage; "
    "3 none failed, but some were not run because a prover is missing."
)

app = typer.Typer(add_completion=False)


@app.command(epilog=EXIT_CODES)
def prove(
    claim: Annotated[
        list[str] | None, typer.Option(help="Only this theorem, such as T5; repeat it or use commas.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this method: coq, symbolic, exact, link, mutation.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder to write proofs.json to.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one strictly valid JSON document instead of tables.")
    ] = False,
) -> None:
    """Run the machine-checked proofs of all theorems; print what is proved, how, and in what scope."""
    from osdn_theory.base.source import command
    from osdn_theory.proofs import FILE, PROOFS, Method
    from proofs_check.claims import CLAIMS
    from proofs_check.prove.collection import collect
    from proofs_check.prove.runner import run_proofs
    from proofs_check.prove.table import print_run

    methods: Any = known_names("--method", method, get_args(Method))
    theorems = known_names("--claim", claim, CLAIMS)
    if out is not None:
        # Found out now rather than after minutes of work.
        ensure_writable(out)
    with progress_bar() as progress:
        run = run_proofs(
            CLAIMS,
            collect,
            only_claims=theorems,
            only_methods=methods,
            processes=processes,
            progress=progress,
        )
    if out is not None:
        PROOFS.write(out / FILE, run, command())
    if json:
        typer.echo(PROOFS.encode(run, command()))
    else:
        print_run(run)
    raise typer.Exit(run.exit_code)
