"""Mutants still fit the code that they change; running them takes long: ``python tests/mutation/mutation_run.py``."""

import ast
import tomllib
from pathlib import Path

import pytest
from mutation import mutation_run

SUITES = [path.stem.removeprefix("mutation_") for path in Path(__file__).parent.glob("mutation_*.py")]
MUTANTS = [
    pytest.param(mutant, id=f"{mutant.file}: {mutant.name}")
    for name in sorted(SUITES)
    if name != "run"
    for mutant in mutation_run.suite_of(name).mutants
]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_changes_one_place_and_leaves_code(mutant):
    text = (mutation_run.ROOT / mutant.file).read_text()
    changed = mutant.changed(text)
    assert changed != text
    (tomllib.loads if mutant.file.endswith(".toml") else ast.parse)(changed)


def test_names_of_mutants_tell_them_apart():
    names = [mutant.id for mutant in MUTANTS]
    assert len(names) == len(set(names))


def test_an_old_text_that_is_gone_is_an_error():
    gone = mutation_run.Mutant("a.py", "nothing", "old", "new")
    with pytest.raises(ValueError, match=r"a\.py, nothing: expected the old text once, found it 0 times"):
        gone.changed("text")
    with pytest.raises(ValueError, match="found it 2 times"):
        gone.changed("old old")


def test_the_table_says_what_became_of_a_mutant(tmp_path):
    killed, alive = (mutation_run.Mutant("a.py", name, "x", "y") for name in ("one", "two"))
    same = mutation_run.Mutant("a.py", "three", "x", "y", "because")
    outcomes = [
        mutation_run.Outcome(killed, "FAILED tests/test_a.py::test_b"),
        mutation_run.Outcome(alive, ""),
        mutation_run.Outcome(same, ""),
    ]
    mutants, table = (killed, alive, same), tmp_path / "table.csv"
    mutation_run.write_table(outcomes, mutants, table)
    rows = ["a.py,one,killed,tests/test_a.py::test_b", "a.py,two,survived,", "a.py,three,equivalent,because"]
    assert table.read_text().splitlines()[1:] == rows
    mutation_run.write_table(
        [mutation_run.Outcome(alive, "FAILED tests/test_a.py::test_c")], mutants[:2], table
    )
    assert table.read_text().splitlines()[1:] == [rows[0], "a.py,two,killed,tests/test_a.py::test_c"]


def test_a_test_that_is_gone_or_slow_has_failed_nothing_and_a_file_that_is_gone_has(tmp_path):
    (tmp_path / "test_x.py").write_text("def test_a():\n    assert False\n")
    failed = {
        name: mutation_run._failed(tmp_path, name)[0] for name in ("test_x.py::test_a", "test_x.py::test_b")
    }
    assert failed == {"test_x.py::test_a": "FAILED test_x.py::test_a", "test_x.py::test_b": ""}
    assert mutation_run._failed(tmp_path, "test_y.py")[0]


def test_what_failed_before_is_run_first(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(mutation_run, "copied", lambda folder, mutant: None)
    monkeypatch.setattr(mutation_run, "_failed", lambda folder, test: (asked.append(test) or "", ""))
    assert mutation_run.tried(None, ["a.py", "b.py"], "b.py::test_c") == ("", "")
    assert asked == ["b.py::test_c", "a.py", "b.py"]


@pytest.mark.parametrize(
    ("row", "test"),
    [
        (("killed", "tests/a.py::test_b"), "tests/a.py::test_b"),
        (("killed", "ERROR tests/a.py"), ""),
        (("killed", "tests/a.py"), ""),
        (("equivalent", "tests/a.py::test_b"), ""),
    ],
)
def test_only_a_single_test_counts_as_what_failed_before(row, test):
    mutant = mutation_run.Mutant("a.py", "one", "x", "y")
    assert mutation_run.failed_before({("a.py", "one"): ["a.py", "one", *row]}, mutant) == test
    assert mutation_run.failed_before({}, mutant) == ""
