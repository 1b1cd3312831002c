"""The finished training runs of an experiment, as their files tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from osdn_theory.base.fields import Fields
from osdn_theory.recall.documents import read_document

RESULT = "result.json"
MEASURES = "measures.json"
PLAN = "plan.json"
ROLES = ("tune", "test")


@dataclass(frozen=True)
class Run:
    """One finished training run.

    Attributes
    ----------
    folder : Path
    result : Fields
        Its result.json.
    model, label, role : str
        `role` is one of `ROLES`.
    learning_rate : float
    seed : int
    measured : list of Fields or None
        The cells of its measures.json; None before it is measured.
    """

    folder: Path
    result: Fields
    model: str
    label: str
    role: str
    learning_rate: float
    seed: int
    measured: list[Fields] | None

    @property
    def is_test(self) -> bool:
        return self.role == "test"


def read_runs(experiment: Path) -> list[Run]:
    """Every finished run of an experiment, by model, learning rate and seed.

    Raises
    ------
    ValueError
        A file that is not what it should be; the file and the field are named.
    """
    found = [read_run(path.parent) for path in sorted(experiment.glob(f"runs/*/*/{RESULT}"))]
    found.sort(key=lambda run: (run.model, run.learning_rate, run.seed))
    return found


def read_run(folder: Path) -> Run:
    """A finished run by its folder.

    Raises
    ------
    FileNotFoundError
        It has no result.json.
    ValueError
        A file that is not what it should be; the file and the field are named.
    """
    result = read_document(folder / RESULT)
    measures = folder / MEASURES
    return Run(
        folder=folder,
        result=result,
        model=result.text("model"),
        label=result.text("label"),
        role=result.text("role", among=ROLES),
        learning_rate=result.number("learning_rate"),
        seed=result.count("seed"),
        measured=list(read_document(measures).each("cells")) if measures.is_file() else None,
    )


def cell_of(entry: Fields) -> tuple[str, int, int]:
    """(statistic, repeats, pairs) of an entry."""
    return entry.text("statistic"), entry.count("repeats"), entry.count("pairs")
