"""Named tensors in safetensors and npz files: what is there, and one tensor at a time."""

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory.base.validation import require

_NUMPY_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_EXTENDED_FLOATS = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


@dataclass(frozen=True, eq=False)
class TensorFile:
    """A readable file: its tensor names, its metadata, and `read`, which loads one tensor by name."""

    path: Path
    names: frozenset[str]
    read: Callable[[str], np.ndarray[Any, Any]]
    metadata: Mapping[str, str] = field(default_factory=dict)


def open_tensors(path: Path) -> TensorFile:
    """The file at `path`, its header checked, its tensors unread.

    Raises FileNotFoundError: no such file, or a folder.
    Raises ValueError: unknown suffix; or the file is empty, truncated, or not of the format its suffix says.
    """
    if path.is_dir():
        raise FileNotFoundError(f"{path}: no such file, it is a folder")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    openers = {".safetensors": _open_safetensors, ".npz": _open_npz}
    require(
        path.suffix in openers, f"{path}: expected a .safetensors or .npz file, got suffix {path.suffix!r}"
    )
    require(path.stat().st_size > 0, f"{path}: the file is empty")
    return openers[path.suffix](path)


def _open_safetensors(path: Path) -> TensorFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):  # checks that header, offsets and file size agree
            pass
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file, or a truncated one ({error})") from None
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_size))
    metadata = header.pop("__metadata__", None) or {}

    def read(name: str) -> np.ndarray[Any, Any]:
        entry = header[name]
        dtype = _float_dtype(f"{path}: {name}", entry["dtype"])
        start, stop = entry["data_offsets"]
        with path.open("rb") as file:
            file.seek(8 + header_size + start)
            data = file.read(stop - start)
        # Decoded here because the library's NumPy reader knows no float8.
        return np.frombuffer(data, dtype=dtype).reshape(entry["shape"])

    return TensorFile(path, frozenset(header), read, metadata)


def _float_dtype(label: str, code: str) -> np.dtype[Any]:
    if code in _NUMPY_FLOATS:
        return np.dtype(_NUMPY_FLOATS[code])
    known = ", ".join([*_NUMPY_FLOATS, *_EXTENDED_FLOATS])
    require(code in _EXTENDED_FLOATS, f"{label}: expected a float dtype ({known}), got {code}")
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _EXTENDED_FLOATS[code]))
    return dtype


def _open_npz(path: Path) -> TensorFile:
    require(zipfile.is_zipfile(path), f"{path}: not an npz file, or a truncated one")

    def read(name: str) -> np.ndarray[Any, Any]:
        label = f"{path}: {name}"
        try:
            with np.load(path, allow_pickle=False) as archive:
                array: np.ndarray[Any, Any] = archive[name]
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{label}: not a readable array ({error})") from None
        require(
            array.dtype.kind == "f",
            f"{label}: expected a float dtype, got {array.dtype}"
            + (
                " (npz does not keep bfloat16 and float8; use safetensors)" if array.dtype.kind == "V" else ""
            ),
        )
        return array

    with np.load(path, allow_pickle=False) as archive:
        return TensorFile(path, frozenset(archive.files), read)
