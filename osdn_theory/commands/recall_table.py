"""What the command prints of a recall experiment."""

import typer

from osdn_theory.commands.console import print_table
from osdn_theory.recall.data import count_seeds
from osdn_theory.recall.document import RecallSummary
from osdn_theory.recall.tables import model_table, prediction_table


def print_summary(summary: RecallSummary) -> None:
    """The models over all cells, the predictions of the theory beside what was measured, and the sentences."""
    header, rows = model_table(summary)
    print_table(
        f"In-context recall, preset {summary.preset}: means over all cells and "
        f"{count_seeds(summary)}, 95 % intervals, differences paired by seed",
        header,
        rows,
    )
    header, rows = prediction_table(summary)
    if rows:
        print_table("What T15 and T19 predict", header, rows, left=header)
    for sentence in summary.sentences:
        typer.echo(sentence)
