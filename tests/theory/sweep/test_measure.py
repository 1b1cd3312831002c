"""One cell: its row holds what the library says, from tokens that depend on the cell alone."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from osdn_theory.base import source
from osdn_theory.base.source import source_hash, sources
from osdn_theory.bounds import check_bounds
from osdn_theory.measures.analysis import analyze
from osdn_theory.recurrence.solve import osdn
from osdn_theory.sweep.columns import COLUMNS, MEASURES
from osdn_theory.sweep.grid import PARAMETERS, STREAMS, Cell, Grid
from osdn_theory.sweep.measure import measure, tokens
from osdn_theory.sweep.version import MEASURING, code_version
from osdn_theory.sweep.work import row_of


def cell_of(**axes: Any) -> Cell:
    sizes: dict[str, Any] = {
        "key_dim": (6,),
        "value_dim": (5,),
        "length": (12,),
        "stream": ("interpolating",),
    }
    (cell,) = Grid(**{**sizes, **{name: (value,) for name, value in axes.items()}}).cells()
    return cell


@pytest.mark.parametrize("stream", STREAMS)
def test_every_stream_gives_every_column(stream: str) -> None:
    cell = cell_of(stream=stream, eta=0.5)
    row = measure(cell)
    assert list(row) == [column.name for column in MEASURES]
    kinds = {"string": str, "int64": int, "double": float}
    for column in MEASURES:
        assert row[column.name] is None or type(row[column.name]) is kinds[column.kind], column.name
    assert not {"violated", "undecided"} & {row[f"{name}_outcome"] for name in ("T5", "T6", "T8", "T14")}


def test_a_whole_row_is_the_table() -> None:
    cell = cell_of()
    row = row_of(cell, measure=measure)
    assert list(row) == [column.name for column in COLUMNS]
    assert {name: row[name] for name in PARAMETERS} == {name: getattr(cell, name) for name in PARAMETERS}
    assert (row["cell"], row["error"], row["code"]) == (cell.id, None, code_version())


def test_the_numbers_are_those_of_the_library() -> None:
    cell = cell_of(eta=0.75, forgetting=0.9, anchor=1.0, box=(0.5, 2.0), precision="bfloat16", seed=3)
    row, stream = measure(cell), tokens(cell)
    assert (cell.rule.eta, cell.rule.forgetting, cell.rule.anchor) == (0.75, 0.9, 1.0)
    assert (cell.rule.d_min, cell.rule.d_max) == (0.5, 2.0)
    (head,) = analyze([stream], cell.rule)
    assert row["missing_share"] == head.measures["osdn"].missing_share
    assert row["newton_distance"] == head.measures["osdn"].newton_distance
    assert row["clipped_fraction"] == head.measures["osdn"].clipped_fraction
    assert row["delta_net_missing_share"] == head.measures["delta_net"].missing_share
    assert row["slowest_calibration"] == head.slowest_calibration
    run = osdn(stream, cell.rule)
    assert row["gap_sum"] == np.sum((1 - run.alignment) ** 2)
    (check,) = check_bounds(run, ["T8"])
    assert (row["T8_outcome"], row["T8_log10_slack"]) == (check.outcome, check.log10_slack)


def test_bounds_hold_with_their_slack_and_say_why_where_they_do_not_apply() -> None:
    row = measure(cell_of(eta=0.5, length=24))
    assert row["T5_outcome"] == row["T6_outcome"] == "holds"
    assert row["bound_per_token"] == row["interpolating_constant"] / 24
    assert row["gap_sum"] <= row["interpolating_constant"]
    slack = math.log10(row["interpolating_constant"] / row["gap_sum"])
    assert row["T5_log10_slack"] == pytest.approx(slack, rel=1e-9)
    rounded = measure(cell_of(eta=0.5, length=24, precision="bfloat16"))
    assert rounded["T5_outcome"] == "not applicable"
    assert "<u, s_t> = 1 fails" in rounded["T5_reason"]
    assert rounded["interpolating_constant"] is rounded["bound_per_token"] is None


def test_tokens_are_the_same_again_and_differ_by_seed() -> None:
    cell = cell_of()
    again = tokens(cell)
    assert np.array_equal(tokens(cell).keys, again.keys)
    assert np.array_equal(tokens(replace(cell, eta=1.0)).values, again.values)
    assert not np.array_equal(tokens(replace(cell, seed=1)).keys, again.keys)


def test_tokens_are_rounded_to_their_format_from_the_same_draw() -> None:
    cell = cell_of(stream="associative_recall")
    exact, rounded = tokens(cell), tokens(replace(cell, precision="float16"))
    for name in ("keys", "values", "queries"):
        assert np.array_equal(
            getattr(rounded, name), getattr(exact, name).astype(np.float16).astype(np.float64)
        )
    assert not np.array_equal(exact.keys, tokens(replace(cell, precision="bfloat16")).keys)
    assert np.array_equal(rounded.comparator, exact.comparator)


def test_conditioned_keys_are_short_and_their_values_exact() -> None:
    stream = tokens(cell_of(stream="ill_conditioned", condition=1e4, length=64))
    norms = np.linalg.norm(stream.keys, axis=-1)
    assert 0.5 < norms.max() <= 1
    assert np.array_equal(stream.values, stream.keys @ np.asarray(stream.solution).T)


def test_the_condition_number_asked_for_is_that_of_the_keys() -> None:
    row = measure(cell_of(stream="ill_conditioned", condition=1e3, length=2048))
    assert row["key_condition"] == pytest.approx(1e3, rel=0.3)


def test_a_cell_that_raises_is_a_row_with_the_reason() -> None:
    def broken(cell: Cell) -> dict[str, Any]:
        raise FloatingPointError("overflow\nat token 3")

    row = row_of(cell_of(), measure=broken)
    assert row["error"] == "FloatingPointError: overflow at token 3"
    assert row["cell"] == cell_of().id
    assert "gap_sum" not in row


def test_the_version_covers_everything_that_measuring_loads() -> None:
    code = (
        "import sys; from osdn_theory.sweep.grid import STREAMS, Grid; from osdn_theory.sweep.measure import measure;"
        "cells = Grid(stream=tuple(STREAMS), length=(3,), precision=('float64', 'bfloat16')).cells();"
        "[measure(cell) for cell in cells];"
        "print(*(name for name in sys.modules if name.startswith('osdn_theory')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    found = set(sources(MEASURING))
    assert set(done.stdout.split()) <= found
    assert not {"osdn_theory.commands.main", "osdn_theory.commands.sweep", "osdn_theory.plotting"} & found


@pytest.mark.parametrize(
    "module", ["osdn_theory.theorems", "osdn_theory.verification.suite", "proofs_check.claims"]
)
def test_the_table_of_a_module_counts_as_its_source(module: str) -> None:
    assert f"{module}.toml" in sources(module)


def test_the_version_moves_with_the_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    before, found = source_hash(MEASURING), sources(MEASURING)
    assert before in code_version()
    changed = tmp_path / "rules.py"
    changed.write_bytes(found["osdn_theory.recurrence.rules"].read_bytes() + b"\n")
    monkeypatch.setattr(source, "sources", lambda root: {**found, "osdn_theory.recurrence.rules": changed})
    assert source_hash.__wrapped__(MEASURING) != before
    monkeypatch.setattr(source, "sources", lambda root: found)
    assert source_hash.__wrapped__(MEASURING) == before
