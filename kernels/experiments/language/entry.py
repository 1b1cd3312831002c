"""What `osdn-theory train` calls, found by its entry point: plans are made from plain values, results are files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..validation import require
from .corpus import read_corpus, write_corpus
from .plan import LanguagePlan, preset as make_plan

__all__ = ["gather", "make_plan", "run"]


def gather(path: Path) -> dict[str, object]:
    """Write what text is installed to one file, and say what it is.

    Raises ValueError: it is there, and no file.
    Raises OSError: it cannot be written.
    """
    require(path.is_file() or not path.exists(), "gather", "a file", str(path))
    corpus = read_corpus(None, 1)
    write_corpus(corpus, path)
    return corpus.describe()


def run(
    plan: LanguagePlan,
    folder: Path,
    *,
    corpus: Path | None,
    measure: Callable[[Path], None],
    device: str | None,
    workers: int | None,
    tensorboard: bool,
    command: str,
    progress: Callable[[str, int, int], None],
) -> bool:
    """See `osdn_kernels.experiments.run.run_experiment`; the device is the GPU if there is one, unless it is given."""
    from ..run import Settings, choose_device, run_experiment
    from .data import check_lengths, prepare

    chosen = choose_device(device)
    progress("reading text", 0, plan.runs * plan.steps)
    text = read_corpus(corpus, plan.least, plan.sources)
    plan = replace(plan, corpus=text.fingerprint, data=str(folder.resolve() / "data"))
    try:
        plan.lesson  # noqa: B018
    except ImportError as error:
        raise ValueError(
            f"language models need transformers ({error}): pip install -e '.[language]'"
        ) from error

    def make_tokens() -> None:
        prepare(text, plan)
        check_lengths(plan)

    settings = Settings(chosen, workers or 1, tensorboard)
    return run_experiment(
        plan, folder, measure=measure, settings=settings, command=command, progress=progress,
        prepare=make_tokens,
    )  # fmt: skip
