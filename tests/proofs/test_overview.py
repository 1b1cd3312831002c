"""The README of the proofs lists what is there."""

from __future__ import annotations

import pytest

from proofs_check.coq_prover import FOLDER
from proofs_check.coq_prover.library import read_sources
from proofs_check.prove.collection import collect
from proofs_check.prove.overview import README, markdown_map, with_map


def test_the_map_in_the_readme_is_the_collection() -> None:
    text = README.read_text()
    assert with_map(text, markdown_map(collect())) == text, "run python -m proofs_check.prove.overview"


def test_the_readme_names_every_coq_file() -> None:
    text = README.read_text()
    assert [source.name for source in read_sources(FOLDER) if f"`{source.name}.v`" not in text] == []


def test_a_readme_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks"):
        with_map("nothing here", "")
