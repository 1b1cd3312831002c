"""The smallest language-model experiments, on a text made up for them."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from osdn_kernels.experiments.language.corpus import Corpus, Document
from osdn_kernels.experiments.language.data import prepare
from osdn_kernels.experiments.language.plan import LanguagePlan, preset

WORDS = (
    "residual",
    "preconditioner",
    "memory",
    "key",
    "value",
    "gate",
    "alignment",
    "calibrate",
    "the",
    "of",
)


def make_texts(count: int = 60, words: int = 120) -> list[str]:
    """Documents of a few words, drawn anew for each."""
    drawn = random.Random(0)
    return [" ".join(drawn.choice(WORDS) for _ in range(words)) + "\n" for _ in range(count)]


def make_corpus() -> Corpus:
    documents = [Document("made up", f"{n:02d}", text) for n, text in enumerate(make_texts())]
    return Corpus(tuple(documents), {"made up": "CC0"})


def write_folder(folder: Path) -> Path:
    """The same documents as files."""
    folder.mkdir()
    for document in make_corpus().documents:
        (folder / f"{document.name}.txt").write_text(document.text)
    return folder


def tiny_plan(folder: Path, **changes: Any) -> LanguagePlan:
    """A plan of tenths of a second a run, its tokens prepared below the folder."""
    small = {"steps": 12, "batch": 4, "micro_batch": 2, "context": 32, "windows": 2, "heads": 2, "hidden": 16}
    plan = preset("smoke", **{**small, "models": ("deltanet", "apf_bounded"), "seeds": (0,), **changes})
    corpus = make_corpus()
    plan = replace(plan, corpus=corpus.fingerprint, data=str(folder / "data"), least=1)
    prepare(corpus, plan)
    return plan
