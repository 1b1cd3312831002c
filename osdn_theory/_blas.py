"""BLAS's triangular solve without the interpreter lock.

SciPy's Python wrapper of dtrsm keeps the lock, so that a solve in one thread stops all others; the same routine
called through the pointer that SciPy exports to Cython does not.
"""

from __future__ import annotations

import ctypes

import numpy as np
from scipy.linalg import cython_blas

from osdn_theory._validation import Array


def _routine(name: str, *argument_types: object) -> ctypes._FuncPointer:
    capsules: dict[str, object] = vars(cython_blas)["__pyx_capi__"]
    capsule = capsules[name]
    api = ctypes.pythonapi
    get_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", api)
    )
    prototype = ctypes.CFUNCTYPE(None, *argument_types)  # type: ignore[arg-type]
    return prototype(get_pointer(capsule, get_name(capsule)))


_char, _int, _double = ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_double)
_dtrsm = _routine(
    "dtrsm", _char, _char, _char, _char, _int, _int, _double, ctypes.c_void_p, _int, ctypes.c_void_p, _int
)
_ONE = ctypes.c_double(1.0)


def solve_unit_lower(matrix: Array, right: Array) -> None:
    """(I + tril(matrix, -1)) X = right, X over `right` in place, by substitution.

    `matrix` (n, n) and `right` (n, m) are float64 with contiguous rows and at least n and m numbers from row to
    row; the diagonal of `matrix` and what is above it are not read.
    """
    rows, columns = right.shape
    if right.size == 0:
        return
    for array in (matrix, right):
        # A wrong layout here would write over foreign memory.
        assert array.dtype == np.float64
        assert array.strides[1] == 8 or array.shape[1] == 1
        assert array.strides[0] >= 8 * array.shape[1] or array.shape[0] == 1
    assert matrix.shape == (rows, rows)
    assert right.flags.writeable
    # BLAS reads row-major arrays as their transposes: X^T L^T = B^T with L^T upper.
    _dtrsm(
        b"R",
        b"U",
        b"N",
        b"U",
        ctypes.c_int(columns),
        ctypes.c_int(rows),
        _ONE,
        matrix.ctypes.data,
        ctypes.c_int(max(matrix.strides[0] // 8, rows)),
        right.ctypes.data,
        ctypes.c_int(max(right.strides[0] // 8, columns)),
    )
