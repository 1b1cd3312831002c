"""A context from a file: what was written is what is read, and every other file is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from osdn_theory.context.files import factor_gram, load_context
from osdn_theory.objective import gram

KEYS = np.random.default_rng(0).normal(size=(7, 3))


def write(path: Path, matrix: Any) -> Path:
    if path.suffix == ".npy":
        np.save(path, matrix)
    elif path.suffix == ".npz":
        np.savez(path, matrix=matrix)
    else:
        np.savetxt(path, matrix, delimiter="," if path.suffix == ".csv" else " ", fmt="%.17g")
    return path


@pytest.fixture
def activations(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    path = tmp_path / "tiny.npz"
    np.savez(path, **{f"layer{n}.{name}": rng.normal(size=(1, 5, 2, 4)) for n in (0, 3) for name in "qkv"})
    return path


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".txt", ".npz"])
def test_a_matrix_is_the_keys(tmp_path: Path, suffix: str) -> None:
    context = load_context(write(tmp_path / f"mine{suffix}", KEYS))
    assert context.name == "mine"
    assert context.values is None
    assert_array_equal(context.keys, KEYS)


def test_a_gram_matrix_is_that_of_its_keys(tmp_path: Path) -> None:
    context = load_context(write(tmp_path / "g.npy", KEYS.T @ KEYS), gram=True)
    assert_allclose(gram(context.keys), KEYS.T @ KEYS, rtol=1e-12, atol=1e-14)
    deficient = np.outer([1.0, 2.0], [1.0, 2.0])
    assert_allclose(gram(factor_gram(deficient)), deficient, atol=1e-14)


def test_activations_are_one_head_with_its_values(activations: Path) -> None:
    first = load_context(activations)
    other = load_context(activations, layer="tiny/layer3", head=(0, 1))
    assert (first.name, other.name) == ("tiny/layer0[0,0]", "tiny/layer3[0,1]")
    assert first.values is not None
    assert first.keys.shape == first.values.shape == (5, 4)
    with np.load(activations) as file:
        raw = file["layer3.k"][0, :, 1]
    assert_allclose(other.keys, raw / np.linalg.norm(raw, axis=-1, keepdims=True))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((0, 3)), r"the matrix is empty, got shape \(0, 3\)"),
        (np.zeros((2, 3)), "the matrix is zero"),
        (np.ones(3), r"expected a matrix \(T, K\), got shape \(3,\)"),
        (np.array([[1.0, np.nan]]), "expected finite numbers, got nan"),
        (np.array(["a"]), "expected real numbers"),
        (np.array([None]), "not a readable matrix"),
    ],
)
def test_matrices_that_are_none_are_refused(tmp_path: Path, matrix: Any, message: str) -> None:
    path = tmp_path / "bad.npy"
    np.save(path, matrix, allow_pickle=True)
    with pytest.raises((ValueError, TypeError), match=rf"bad\.npy: .*{message}"):
        load_context(path)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (KEYS, r"expected a square matrix, got shape \(7, 3\)"),
        ([[1.0, 2.0], [0.0, 1.0]], r"expected a symmetric matrix, got \|G - G\^T\| up to 2"),
        ([[1.0, 2.0], [2.0, 1.0]], "expected a positive semi-definite matrix, got eigenvalues from -1 to 3"),
    ],
)
def test_what_is_no_gram_matrix_is_refused(tmp_path: Path, matrix: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_context(write(tmp_path / "g.npy", matrix), gram=True)


def test_a_gram_matrix_of_zero_has_no_keys() -> None:
    with pytest.raises(ValueError, match="eigenvalues from 0 to 0"):
        factor_gram(np.zeros((2, 2)))


def test_other_files_and_places_are_refused(tmp_path: Path, activations: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "words.csv").write_text("a,b\n")
    (tmp_path / "mine.pt").write_text("x")
    np.savez(tmp_path / "none.npz", **{name: np.zeros((1, 0, 2, 4)) for name in "qkv"})
    matrix = write(tmp_path / "k.npy", KEYS)
    for path, options, message in (
        (tmp_path / "absent.npy", {}, "no such file$"),
        (tmp_path / "absent.npz", {}, "no such file$"),
        (tmp_path / "folder.npy", {}, "no such file, it is a folder"),
        (tmp_path, {}, "no such file, it is a folder"),
        (tmp_path / "empty.csv", {}, "the file is empty"),
        (tmp_path / "words.csv", {}, "not a readable matrix"),
        (tmp_path / "mine.pt", {}, "got suffix '.pt'"),
        (tmp_path / "none.npz", {}, r"no tokens \(T = 0\)"),
        (activations, {"gram": True}, "expected one matrix, the Gram matrix, got captured activations"),
        (activations, {"layer": "layer7"}, "no layer7"),
        (activations, {"head": (0, 2)}, r"head: expected \(batch, head\) below \(1, 2\), got \(0, 2\)"),
        (activations, {"head": (0,)}, "head: expected"),
        (activations, {"head": (0, -1)}, "head: expected"),
        (matrix, {"head": (0, 0)}, "has no layers and heads"),
        (matrix, {"layer": 0}, "has no layers and heads"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            load_context(path, **options)  # type: ignore[arg-type]
