"""What the constants of MathComp, Flocq and Coq's library that the statements mention mean on rational instances.

A type or structure is evaluated to what it is a structure of: "number", "nat", or one of the domains below.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from inspect import signature
from itertools import product
from operator import add, matmul, mul, neg, pow, sub
from typing import Any

import numpy as np
from flint import fmpq

from proofs_check.exact import numbers
from proofs_check.exact.draw import Finite
from proofs_check.exact.propositions import (
    Proposition,
    either,
    eq,
    every,
    iff,
    invertible,
    le,
    lt,
    negation,
    true,
)


@dataclass(frozen=True)
class Matrices:
    """The m x n matrices of numbers."""

    rows: int
    columns: int


def ordinals(n: int) -> Finite:
    """The ordinals below n are the integers 0 ... n - 1."""
    return Finite(range(n))


def curried(function: Callable[..., Any], arity: int) -> Callable[[Any], Any]:
    """A function of `arity` arguments that takes them one at a time, as Coq's functions do."""
    if arity == 1:
        return function
    return lambda first: curried(lambda *rest: function(first, *rest), arity - 1)


def apply(function: Any, *arguments: Any) -> Any:
    """A curried function of several arguments."""
    for argument in arguments:
        function = function(argument)
    return function


def zero(carrier: Any) -> Any:
    """0 of a structure."""
    if isinstance(carrier, Matrices):
        return numbers.zeros(carrier.rows, carrier.columns)
    return 0 if isinstance(carrier, Finite) else fmpq(0)


def equal(type_: Any, a: Any, b: Any) -> Proposition:
    """a = b; of truth values, that they are the same."""
    return iff(a, b) if type_ == "bool" else eq(a, b)


def inverse(x: Any) -> Any:
    """1/x, and 0 for 0 as in MathComp."""
    return x if x == 0 else 1 / x


def multiply(a: Any, b: Any) -> Any:
    """In a ring of numbers or of square matrices."""
    return a @ b if isinstance(a, np.ndarray) else a * b


def big(start: Any, indices: Iterable[Any], body: Callable[[Any], Any]) -> Any:
    """A sum, product or maximum: MathComp's bigop, whose body says how to go on."""
    total = start
    for index in reversed(list(indices)):
        operation, counted, value = body(index)
        if true(counted):
            total = apply(operation, value, total)
    return total


def from_entries(rows: int, columns: int, entry: Callable[[int], Callable[[int], Any]]) -> Any:
    """The matrix of its entries."""
    matrix = numbers.zeros(rows, columns)
    for i, j in np.ndindex(rows, columns):
        matrix[i, j] = entry(i)(j)
    return matrix


def magnitude(x: Any) -> int:
    """The e with 2^(e-1) <= |x| < 2^e."""
    size = abs(fmpq(x))
    exponent = int(size.p).bit_length() - int(size.q).bit_length()
    return exponent + 1 if size >= fmpq(2) ** exponent else exponent


def rounded(radix: int, exponent: Any, to_integer: Any, x: Any) -> Any:
    """Flocq's round: to a multiple of radix^exponent(magnitude of x)."""
    if x == 0:
        return x
    unit = fmpq(radix) ** exponent(magnitude(x))
    return to_integer(x / unit) * unit


def nearest(choice: Any) -> Callable[[Any], int]:
    """Flocq's Znearest: ties go up where `choice` of the integer below says so."""

    def to_integer(x: Any) -> int:
        below = int(fmpq(x).floor())
        rest = x - below
        up = true(choice(below)) if rest * 2 == 1 else rest * 2 > 1
        return below + up

    return to_integer


def predecessor(radix: int, exponent: Any, x: Any) -> Any:
    """The next number of the format below a positive one of it."""
    at_power = x == fmpq(radix) ** (magnitude(x) - 1)
    return x - fmpq(radix) ** exponent(magnitude(x) - at_power)


@dataclass(frozen=True)
class Primitive:
    """A constant's value as a function: of its last arguments, the first `skipped` of which are types of no account."""

    skipped: int
    arity: int
    function: Callable[..., Any]


def _primitive(skipped: int, function: Callable[..., Any]) -> Primitive:
    taken = [each for each in signature(function).parameters.values() if each.default is each.empty]
    return Primitive(skipped, len(taken), function)


# Constants of one meaning stand together.
_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    # propositions
    "is_true Posz Zpos Number.UIntDecimal": (0, lambda p: p),
    "eq": (0, equal),
    "eq_op": (1, eq),
    "not negb": (0, negation),
    "and": (0, lambda a, b: every(a, b)),
    "andb": (0, lambda a, b: every(p for p in (a, b) if p is not True)),
    "nat_of_bool": (0, lambda p: int(true(p))),
    "and3": (0, lambda a, b, c: every(a, b, c)),
    "and4": (0, lambda a, b, c, d: every(a, b, c, d)),
    "and5": (0, lambda a, b, c, d, e: every(a, b, c, d, e)),
    "or": (0, either),
    "iff": (0, iff),
    "leq le Rle": (0, le),
    "Order.le": (2, le),
    "Order.lt": (2, lt),
    "Rlt": (0, lt),
    "Prec_gt_0": (0, lambda p: lt(0, p)),
    "Forall": (1, lambda fact, items: every(map(fact, items))),
    "in_mem": (1, lambda x, group: group(x)),
    "mem subFin_sort": (2, lambda group: group),
    "unitmx": (2, invertible),
    # numbers
    "GRing.zero": (0, zero),
    "GRing.one": (0, lambda ring: fmpq(1)),
    "GRing.add": (1, add),
    "GRing.opp": (1, neg),
    "GRing.mul": (1, multiply),
    "GRing.inv": (1, inverse),
    "GRing.exp": (1, pow),
    "GRing.natmul intmul": (1, mul),
    "GRing.scale": (2, mul),
    "Num.Def.normr": (2, abs),
    "Num.ExtraDef.sqrtr": (1, numbers.root),
    "Order.max": (2, numbers.larger),
    "Order.min": (2, numbers.smaller),
    "Negz": (0, lambda n: -n - 1),
    # natural numbers, pairs, lists, finite types
    "S": (0, lambda n: n + 1),
    "double": (0, lambda n: 2 * n),
    "odd": (0, lambda n: n % 2 == 1),
    "Nat.pred": (0, lambda n: max(n - 1, 0)),
    "addn Nat.add Init.Nat.add Rplus": (0, add),
    "muln Rmult": (0, mul),
    "subn": (0, lambda a, b: max(a - b, 0)),
    "modn": (0, lambda a, b: a % b if b else a),
    "factorial": (0, math.factorial),
    "binomial": (0, math.comb),
    "iter": (1, lambda count, step, start: reduce(lambda x, _: step(x), range(count), start)),
    "nat_of_ord": (1, lambda i: i),
    "Nat.of_num_uint": (0, lambda digits: int(digits)),
    "pair": (2, lambda a, b: (a, b)),
    "fst": (2, lambda pair: pair[0]),
    "snd": (2, lambda pair: pair[1]),
    "length": (1, len),
    "map": (2, lambda f, items: [f(item) for item in items]),
    "fold_right": (
        2,
        lambda step, start, items: reduce(lambda x, item: apply(step, item, x), items[::-1], start),
    ),
    "iota": (0, lambda start, count: list(range(start, start + count))),
    "index_iota": (0, lambda start, end: range(start, end)),
    "index_enum": (0, lambda domain: domain.elements),
    "BigOp.bigop": (2, big),
    "BigBody": (2, lambda i, operation, counted, value: (operation, counted, value)),
    "insub": (1, lambda keep, subtype, n: ("Some", n) if true(keep(n)) else ("None",)),
    "fun_of_fin": (3, lambda f, x: f[x]),
    "finfun_finType": (
        0,
        lambda domain, values: Finite(list(product(values.elements, repeat=len(domain.elements)))),
    ),
    "ordinal_finType ordinal_eqType ordinal": (0, ordinals),
    "Zp_zmodType Zp_finZmodType": (0, lambda n: ordinals(n + 1)),
    # matrices
    "matrix matrix_zmodType matrix_lmodType matrix_eqType": (1, Matrices),
    "mulmx": (4, matmul),
    "trmx": (3, lambda a: a.T),
    "const_mx": (1, lambda m, n, a: np.full((m, n), a, dtype=object)),
    "diag_mx": (2, numbers.diagonal),
    "scalar_mx": (1, lambda n, a: a * numbers.identity(n)),
    "mxtrace": (1, lambda n, a: sum((a[i, i] for i in range(n)), fmpq(0))),
    "invmx": (2, lambda a: numbers.inverse(a) if true(invertible(a)) else a),
    "row": (3, lambda i, a: a[i : i + 1]),
    "fun_of_matrix": (3, lambda a, i, j: a[i, j]),
    "matrix_of_fun": (1, lambda m, n, key, entry: from_entries(m, n, entry)),
    # Coq's real numbers, and Flocq
    "Rminus": (0, sub),
    "Rdiv": (0, lambda a, b: a * inverse(b)),
    "RinvImpl.Rinv": (0, inverse),
    "Rabs": (0, abs),
    "pow": (0, pow),
    "IZR INR": (0, lambda n: fmpq(n)),
    "xO": (0, lambda n: 2 * n),
    "xI": (0, lambda n: 2 * n + 1),
    "Z.opp": (0, neg),
    "bpow": (0, lambda radix, n: fmpq(radix) ** n),
    "FLX_exp": (0, lambda precision, e: e - precision),
    "Znearest": (0, nearest),
    "round": (0, rounded),
    "succ": (0, lambda radix, exponent, x: x + fmpq(radix) ** exponent(magnitude(x))),
    "pred": (0, predecessor),
}

# Large literals: digits, the first one outermost.
_FUNCTIONS |= {f"Decimal.D{digit}": (0, lambda rest, digit=str(digit): digit + rest) for digit in range(10)}

PRIMITIVES = {name: _primitive(*entry) for names, entry in _FUNCTIONS.items() for name in names.split()}
"""Constant -> what it means."""

CONSTANTS: dict[str, Any] = {
    "O": 0,
    "xH": 1,
    "Z0": 0,
    "R": "number",
    "Z": "integer",
    "true": True,
    "false": False,
    "radix2": 2,
    "nat": "nat",
    "bool": "bool",
    "bool_finType": Finite((True, False)),
    "rat": "number",
    "Type": "type",
    "ring_display": None,
    "matrix_key": None,
    "nil": [],
    "Decimal.Nil": "",
    "prod": lambda s: lambda t: "pairs",
    "list": lambda t: "lists",
    "Phant": lambda t: None,
}
"""Constants that are no functions of what counts."""
