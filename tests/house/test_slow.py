"""The table of tests that the everyday suite leaves out is of tests that are there, and marks them."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support import slow
from support.checkout import ROOT


def test_no_mutant_is_known_by_a_test_of_the_table():
    assert slow.read_killers()
    assert not slow.read_killers() & slow.read_slow().keys()


@pytest.mark.slow
def test_every_test_of_the_table_is_there_and_left_out():
    """A name that has changed would be run every day."""
    ask = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "-m", "slow"]
    printed = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True).stdout
    table = slow.read_slow().keys()
    assert sorted(table - set(printed.splitlines())) == []
    everyday = int(re.search(r"\((\d+) deselected\)", printed)[1])
    assert everyday > 10 * len(table)


def test_what_takes_long_is_added_and_what_is_known_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(slow, "TABLE", tmp_path / "slow.csv")
    slow.write_slow({"tests/a.py::test_a[x,y]": 3.0})
    seen = slow.Durations()
    killer = min(slow.read_killers())
    for name, when, took in [
        ("b", "setup", 9.0),
        ("b", "call", 1.5),
        ("c", "setup", 9.0),
        (killer, "call", 9.0),
    ]:
        seen.pytest_runtest_logreport(SimpleNamespace(nodeid=name, when=when, duration=took))
    seen.pytest_sessionfinish()
    assert slow.read_slow() == {"tests/a.py::test_a[x,y]": 3.0, "b": 1.5}


def test_tests_of_the_table_are_marked(tmp_path, monkeypatch):
    monkeypatch.setattr(slow, "TABLE", tmp_path / "slow.csv")
    marked = []
    slow.write_slow({"a": 2.0})
    items = [
        SimpleNamespace(nodeid=name, add_marker=lambda mark, name=name: marked.append((name, mark.name)))
        for name in "ab"
    ]
    slow.mark_slow(items)
    assert marked == [("a", "slow")]
