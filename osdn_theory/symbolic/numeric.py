"""SymPy objects as functions of NumPy arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp
from sympy.matrices.expressions.matexpr import MatrixExpr, MatrixSymbol
from sympy.printing.numpy import NumPyPrinter

from osdn_theory.base.validation import Array, as_float64, require


class _Printer(NumPyPrinter):
    """NumPy code for the nodes that SymPy's printer lacks or prints with a size that only the arrays know."""

    def _print_Trace(self, node: Any) -> str:
        return f"numpy.trace({self._print(node.arg)})"

    def _print_DiagMatrix(self, node: Any) -> str:
        return f"numpy.diagflat({self._print(node.args[0])})"

    def _print_DiagonalOf(self, node: Any) -> str:
        return f"numpy.diagonal({self._print(node.arg)})[:, None]"

    def _print_HadamardPower(self, node: Any) -> str:
        return f"numpy.power({self._print(node.base)}, {self._print(node.exp)})"


def numpy_function(arguments: Sequence[Any], expression: Any) -> Callable[..., Array]:
    """`expression` as a function of `arguments`, by SymPy's lambdify.

    - `arguments`: symbols and matrix symbols
    - `expression`: scalar, matrix expression (of any size), or explicit matrix

    Returns a function of one array per argument, in order: (K,) or (K, 1) for a column, (V, K) for a matrix, a number
    for a scalar. It returns float64 of the same kind: a column comes back as (K,).
    """
    settings = {"fully_qualified_modules": True, "allow_unknown_functions": False}
    compiled = sp.lambdify(list(arguments), expression, modules="numpy", printer=_Printer(settings))
    column = isinstance(expression, MatrixExpr | sp.MatrixBase) and expression.shape[1] == 1

    def function(*arrays: Any) -> Array:
        require(len(arrays) == len(arguments), f"expected {len(arguments)} arrays, got {len(arrays)}")
        sizes: dict[Any, int] = {}
        given = [_fitted(symbol, array, sizes) for symbol, array in zip(arguments, arrays, strict=True)]
        result = np.asarray(compiled(*given), dtype=np.float64)
        return result[:, 0] if column else result

    return function


def _fitted(symbol: Any, array: Any, sizes: dict[Any, int]) -> Array:
    """`array` as lambdified code takes it; `sizes` remembers what each symbolic size has turned out to be."""
    fitted = as_float64(str(symbol), array)
    if not isinstance(symbol, MatrixSymbol):
        require(fitted.ndim == 0, f"{symbol}: expected a number, got shape {fitted.shape}")
        return fitted
    if symbol.shape[1] == 1 and fitted.ndim == 1:
        fitted = fitted[:, None]
    require(fitted.ndim == 2, f"{symbol}: expected a matrix, got shape {fitted.shape}")
    for size, found in zip(symbol.shape, fitted.shape, strict=True):
        expected = sizes.setdefault(size, found) if isinstance(size, sp.Symbol) else int(size)
        require(found == expected, f"{symbol}: expected {size} = {expected}, got shape {fitted.shape}")
    return fitted
