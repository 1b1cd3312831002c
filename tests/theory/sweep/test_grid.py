"""The grid: which cells there are, what tells them apart, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from osdn_theory.rounding.formats import FORMATS
from osdn_theory.sweep.grid import BOXES, PRECISIONS, STREAMS, Cell, Grid
from osdn_theory.sweep.options import grid_of


def test_cells_are_every_combination_once() -> None:
    grid = Grid(
        stream=("ill_conditioned",), key_dim=(5, 6), condition=(1.0, 10.0), eta=(0.0, 1.0), seed=(0, 1, 2)
    )
    cells = grid.cells()
    assert len(cells) == len({cell.id for cell in cells}) == grid.size == 24
    assert {(c.key_dim, c.condition, c.eta, c.seed) for c in cells} == {
        (k, c, e, s) for k in (5, 6) for c in (1.0, 10.0) for e in (0.0, 1.0) for s in (0, 1, 2)
    }


def test_an_axis_that_does_not_concern_a_cell_does_not_multiply_it() -> None:
    mixed = Grid(stream=("isotropic", "orthogonal"), condition=(4.0, 16.0, 64.0))
    assert [cell.condition for cell in mixed.cells()] == [None, 4.0, 16.0, 64.0]
    forgetful = Grid(stream=("isotropic",), forgetting=(1.0, 0.5), anchor=(0.0, 1.0)).cells()
    assert [(cell.forgetting, cell.anchor) for cell in forgetful] == [(1.0, None), (0.5, 0.0), (0.5, 1.0)]


def test_the_id_depends_on_every_parameter_and_on_no_spelling() -> None:
    cell = Grid(stream=("ill_conditioned",), forgetting=(0.5,)).cells()[0]
    changes: dict[str, Any] = {
        "stream": "orthogonal",
        "key_dim": 17,
        "value_dim": 17,
        "length": 257,
        "condition": 101.0,
        "eta": 0.004,
        "forgetting": 0.75,
        "anchor": 1.0,
        "d_min": 0.0,
        "d_max": 2.0,
        "seed": 1,
        "precision": "float32",
    }
    assert set(changes) == set(Cell.__dataclass_fields__)
    ids = {cell.id, *(replace(cell, **{name: value}).id for name, value in changes.items())}
    assert len(ids) == len(changes) + 1
    whole: Any = {"eta": (1,), "anchor": (-0.0,), "forgetting": (0.5,)}
    assert Grid(**whole).cells() == Grid(eta=(1.0,), anchor=(0.0,), forgetting=(0.5,)).cells()


def test_the_id_is_the_same_on_every_machine_and_in_every_release() -> None:
    # A changed hash would compute finished folders anew: this number must not move by accident.
    assert Grid().cells()[0].id == "08dc603716d9bb1c69f4dc01679325c8"


def test_rule_and_precision_read_the_same_tokens_and_the_rest_does_not() -> None:
    cell = Grid(stream=("ill_conditioned",)).cells()[0]
    same = [replace(cell, eta=1.0), replace(cell, precision="bfloat16"), replace(cell, d_max=9.0)]
    assert {other.entropy for other in same} == {cell.entropy}
    others = [replace(cell, seed=1), replace(cell, length=7), replace(cell, condition=2.0)]
    assert len({cell.entropy, *(other.entropy for other in others)}) == 4


def test_weights_grow_with_every_size() -> None:
    cell = Grid().cells()[0]
    for name in ("key_dim", "value_dim", "length"):
        sizes = [replace(cell, **{name: size}) for size in (8, 64, 512)]
        assert all(a.weight < b.weight and a.bytes < b.bytes for a, b in pairwise(sizes))


def test_names_are_those_of_the_library() -> None:
    assert set(PRECISIONS) == set(FORMATS)
    assert BOXES["open"] == (-math.inf, math.inf)
    assert len(STREAMS) == 8


def test_options_become_axes() -> None:
    grid = grid_of(
        {
            "key_dim": ["16,64", "8"],
            "condition": ["1", "1e2"],
            "eta": ["0.003,1", "1.0"],
            "box": ["bounded,0:1e9", "2/3:inf"],
            "precision": ["float64, float32"],
            "stream": None,
            "seeds": 3,
            "seed": 7,
        }
    )
    assert grid.key_dim == (16, 64, 8)
    assert grid.condition == (1.0, 100.0)
    assert grid.eta == (0.003, 1.0)
    assert grid.box == (BOXES["bounded"], (0.0, 1e9), (2 / 3, math.inf))
    assert grid.precision == ("float64", "float32")
    assert grid.stream == Grid().stream
    assert grid.seed == (7, 8, 9)


def test_a_file_gives_a_grid_and_options_go_before_it(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text('key_dim = [5, 6]\neta = 1\nbox = ["open", [0, 2]]\nseeds = 2\nstream = "isotropic"\n')
    grid = grid_of({"eta": ["0.5"], "seed": 1}, file)
    assert grid == Grid(
        stream=("isotropic",), key_dim=(5, 6), eta=(0.5,), box=(BOXES["open"], (0.0, 2.0)), seed=(1, 2)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("key_dimm = 5", "unknown key 'key_dimm'; did you mean 'key_dim'?"),
        ("key_dim = [", "not a TOML file"),
        ("key_dim = [5.5]", "key_dim: expected a whole number, got 5.5"),
        ("eta = [true]", "eta: expected a number, got True"),
        ("eta = []", "eta: the grid is empty"),
        ("stream = [1]", "stream: expected a name, got 1"),
        ("box = [[1, 2, 3]]", "box: expected LOW:HIGH"),
        ("seeds = 0", "seeds: expected at least 1, got 0"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(content)
    with pytest.raises(ValueError) as caught:
        grid_of({}, file)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"key_dim": (0,)}, "key_dim: expected at least 1, got 0"),
        ({"length": ()}, "length: the grid is empty"),
        ({"stream": ("orthogonol",)}, "did you mean 'orthogonal'?"),
        ({"precision": ("float8",)}, "precision: unknown name 'float8'"),
        ({"eta": (-0.1,)}, "eta: expected finite and >= 0"),
        ({"eta": (math.nan,)}, "eta: expected finite and >= 0"),
        ({"forgetting": (0.0,)}, "forgetting: expected values in (0, 1]"),
        ({"box": ((2.0, 1.0),)}, "the box is empty"),
        ({"condition": (0.5,)}, "condition: expected >= 1, got 0.5"),
        ({"condition": (5.0,), "stream": ("isotropic",)}, "condition: no stream of the grid has one"),
        ({"seed": tuple(range(1000)), "eta": tuple(range(1000))}, "at most 250000"),
    ],
)
def test_a_wrong_grid_says_what_is_wrong(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Grid(**axes)
    assert message in str(caught.value)
