"""One context from a file: a matrix of keys, a Gram matrix, or a head of captured activations."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.tensor_files import open_tensors
from osdn_theory.base.validation import Array, as_float64, require
from osdn_theory.streams.activations import load_activations

MATRICES = (".npy", ".csv", ".txt")
TENSORS = (".safetensors", ".npz")


@show_briefly
@dataclass(frozen=True, eq=False)
class Context:
    """Keys (T, K) of one context, its values (T, V) where they are known, and what to call it."""

    name: str
    keys: Array
    values: Array | None = None


def load_context(
    path: str | PathLike[str], *, layer: str | int | None = None, head: Sequence[int] = (), gram: bool = False
) -> Context:
    """A context from a file.

    ``.npy``, ``.csv`` and ``.txt`` hold one matrix: the keys, one row per token, or with `gram` their Gram matrix,
    whose factor then stands for the keys. ``.npz`` and ``.safetensors`` hold captured activations, see
    :func:`osdn_theory.streams.load_activations`, or one matrix.

    - `layer`, str or int: Of activations; default the first.
    - `head` (batch, head): Of activations; default the first.
    - `gram`: The file holds a Gram matrix (K, K), symmetric and positive semi-definite.

    Raises FileNotFoundError: no such file, or a folder.
    Raises TypeError, ValueError: another format; no matrix, or one that is empty, zero, not finite or not
    numeric; no Gram matrix where one was announced; a layer or head that the file lacks.
    """
    path = Path(path)
    require(
        path.suffix in (*MATRICES, *TENSORS) or not path.is_file(),
        f"{path}: expected {', '.join((*MATRICES, *TENSORS))}, got suffix {path.suffix!r}",
    )
    matrix = _read_matrix(path) if path.suffix in MATRICES else _lone_tensor(path)
    if matrix is None:
        require(not gram, f"{path}: expected one matrix, the Gram matrix, got captured activations")
        return _captured(path, layer, head)
    require(layer is None and len(head) == 0, f"{path}: has no layers and heads, only one matrix")
    matrix = as_float64(str(path), matrix)
    require(matrix.ndim == 2, f"{path}: expected a matrix (T, K), got shape {matrix.shape}")
    require(matrix.size > 0, f"{path}: the matrix is empty, got shape {matrix.shape}")
    require(bool(np.any(matrix)), f"{path}: the matrix is zero")
    return Context(path.stem, factor_gram(matrix, str(path)) if gram else matrix)


def factor_gram(gram: Any, name: str = "gram") -> Array:
    r"""Keys (K, K) with a given Gram matrix :math:`G = \sum_t k_t k_t^\top`, from its eigenvectors.

    Raises TypeError, ValueError: not numeric, not square, not symmetric, or with a negative eigenvalue,
    beyond rounding.
    """
    g = as_float64(name, gram, min_ndim=2)
    require(
        g.ndim == 2 and g.shape[0] == g.shape[1], f"{name}: expected a square matrix, got shape {g.shape}"
    )
    off = np.abs(g - g.T).max()
    require(
        off <= 1e-12 * np.abs(g).max(), f"{name}: expected a symmetric matrix, got |G - G^T| up to {off:.3g}"
    )
    eigenvalues, vectors = np.linalg.eigh((g + g.T) / 2)
    least, largest = eigenvalues[0], eigenvalues[-1]
    require(
        least >= -1e-12 * max(largest, 0.0) and largest > 0,
        f"{name}: expected a positive semi-definite matrix, got eigenvalues from {least:.3g} to {largest:.3g}",
    )
    keys: Array = np.sqrt(np.maximum(eigenvalues, 0.0))[:, None] * vectors.T
    return keys


def _read_matrix(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file{', it is a folder' if path.is_dir() else ''}")
    require(path.stat().st_size > 0, f"{path}: the file is empty")
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return np.loadtxt(path, delimiter="," if path.suffix == ".csv" else None, ndmin=2)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a readable matrix ({error})") from None


def _lone_tensor(path: Path) -> Any:
    """The one tensor of a file that holds no more; None for activations."""
    file = open_tensors(path)
    return file.read(next(iter(file.names))) if len(file.names) == 1 else None


def _captured(path: Path, layer: str | int | None, head: Sequence[int]) -> Context:
    stream = load_activations(path, layers=None if layer is None else [layer])[0]
    index = tuple(head) or (0,) * len(stream.lead)
    inside = len(index) == len(stream.lead) and all(
        0 <= place < size for place, size in zip(index, stream.lead, strict=True)
    )
    require(inside, f"head: expected (batch, head) below {stream.lead}, got {index}")
    require(stream.length > 0, f"{path}: {stream.name} has no tokens (T = 0)")
    one = stream.at(index)
    require(bool(np.any(one.keys)), f"{path}: all keys of {one.name} are zero")
    return Context(one.name, one.keys, one.values)
