"""What the operators compute in which order and precision, as plain data: the hypotheses of a rounding bound.

The public operators carry it as their attribute `numerics`, a dict from input dtypes to dicts of strings, numbers and
booleans. Rounding bounds are proved for what is declared; a kernel that leaves them does not do what it says. Any
callable may carry the attribute: `osdn_theory.crosscheck` reads it off, and holds a kernel without it to the far wider
bounds of kernels of which nothing is known.

Keys are "float32", "bfloat16" and "float16", the dtype of q, k and v. An entry "float32, tf32" takes the place of
"float32" while ``torch.get_float32_matmul_precision()`` allows TF32. No entry, or None: nothing is declared.

An entry has these fields; what it leaves out has the value in brackets. Formats are "float64", "float32", "tf32",
"bfloat16" or "float16".

order : "recurrent" or "chunk"
    Token by token, or by the chunk's triangular system (T11, T12). Scalar arithmetic is float32 in both.
inputs : format ["float32"]
    Queries, keys and values as they are read.
storage : format ["float32"]
    Chunk order: write keys, results of the triangular system, overlaps, and the memory where products read it.
operands : format ["float32"]
    Chunk order: what factors of the memory's matrix products are rounded to once more; `storage` where they are not.
outputs : format ["float32"]
    o_t.
preconditioner : format ["float32"]
    d from one token to the next, or from chunk to chunk.
memory : format ["float32"]
    Recurrent order: what is kept of the memory from one token to the next, its start included.
either_way : bool [False]
    It is rounded up or down by chance rather than to nearest.
compensated : bool [False]
    d carries along what its last rounding lost; in the chunk order from chunk to chunk, where nothing is forgotten.
accumulation : number [2^-24]
    Unit roundoff of the sums in matrix products.
exact_product : number [2^-24]
    Relative error of a product in the matrix products of calibration and of inverses.
inverse_product : number or None [None: exact_product]
    Chunk order: the same for the inverse that the memory is written by, which is stored in 16 bits. A number says that
    factors are split into bfloat16 parts, and overflow as bfloat16 does.
formed_product : number or None [None: exact_product]
    Chunk order: the same where the d_t of a chunk's own tokens are formed from its gains, to scale their keys, and
    where rows that gates per key feature have scaled meet each other.
chopped : bool [False]
    Conversions to `storage` and `outputs` drop bits rather than round to nearest.
fused : bool [True]
    A matrix product may be accumulated on top of what it is added to, term by term.
substitution : bool [False]
    Chunk order: triangular systems are solved by substitution, before the chunk's entry is known, for what meets it and
    for what does not, and combined; log gates are summed in float32; where one head clips, all are stepped. Otherwise
    inverses, in blocks of 16, are applied to what the entry leaves.
residuals : bool [False]
    Chunk order: the inverse meets beta (V - K S), formed first and stored, rather than V and K apart.
wide_steps : bool [False]
    Chunk order: chunks that clip are stepped in float64 rather than float32.
swept : number [0]
    Chunk order: steps eta up to which these chunks, and all chunks under forgetting, are walked in float32 with what
    roundings lose of d carried along, from entries certified to 2^-24.
ordered : bool [False]
    Matrix products are float32 fused multiply-adds over their terms in order, in blocks of 16 or of a multiple of 16.
ordered_gram : integer [0]
    Up to how many key features that holds of keys times transposed write keys as well.
wide_gates : bool [False]
    Where the memory fades (T17): sums of its log gates are as good as in float64 wherever their differences matter, and
    weak gates are applied by what they take away. Otherwise every sum of log gates is rounded, and e^g is a factor.
gate_sums : number or None [None]
    Chunk order with `wide_gates`: the relative error of sums of log gates whose differences are decays. None: with what
    float32 loses of them carried along, where a token has a gate. Where every key feature has one, queries, keys and
    write keys are stored with decays folded in; blocks of 16 tokens meet those before them in products of rows scaled
    to the token before the block, and themselves so too, or half by half; with None nothing is declared for such gates.
feature_reach : integer [0]
    Up to which logarithm factors above 1 scale a block of 16 tokens to the token before, where it meets itself. Slices
    of features of which one fades by more meet as halves, and halves of these, through the token between.
name : string
    What the bound calls itself.

What is declared holds on a GPU. Triton's interpreter drops bits in conversions to bfloat16, which whoever runs the
kernels there has to add, and has no TF32: there `formed_product` is `exact_product`. Bfloat16 parts lose twice as much
by it, and `inverse_product` is four times what is declared.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from .inputs import MAX_FEATURES

Numerics = dict[str, dict[str, str | float | bool | None] | None]
Operator = TypeVar("Operator", bound=Callable[..., Any])

LARGEST_SWEPT_STEP = 1 / 16
"""eta above which the scan is not tried by sweeps: a block's gains then depend too much on where it is entered."""

TENSOR_CORE_SUM = 2.0**-22
"""Sums in tensor cores drop bits of the smaller terms: an ulp and its carries instead of half an ulp."""

TF32X3_PRODUCT = 2.0**-21
"""Three TF32 products for the parts of two numbers leave out the product of the two small parts."""

TF32_PRODUCT = 2.0**-9 + 2.0**-20
"""Product of two numbers that each lose up to an ulp of TF32, as hardware may drop the bits."""

BFLOAT16X3_PRODUCT = 2.0**-15 + 2.0**-21
"""Three bfloat16 products for the parts of two numbers x = h + l + r leave out h r', r h' and the product of the rests.

To nearest, x - h is at most x/257, as 1 + 2^-8 lies midway, and r at most 2^-17 x/(1 + 2^-9). Of the product of two
numbers the rests lose 1/257^2, and r with h, at most 258/257 of its number, twice 258/257 2^-17/(1 + 2^-9): less than
2^-15 in all. What sums drop of the small terms, 2^-8 of the large ones, and where they meet these is less than 2^-21.
"""

_IN_ORDER = {"ordered": True, "ordered_gram": MAX_FEATURES}
"""The compiler unrolls full float32 products into multiply-adds, one thread per entry, from the first term on."""

_TENSOR_CORES = {"accumulation": TENSOR_CORE_SUM, "exact_product": TF32X3_PRODUCT}
_INVERSE_OF_PARTS = {"inverse_product": BFLOAT16X3_PRODUCT}
_FORMED_IN_TF32 = {"accumulation": TENSOR_CORE_SUM, "formed_product": TF32_PRODUCT}

_GATES = {"wide_gates": True}

_ROUNDED_SUMS = {"gate_sums": 2.0**-24}
"""One rounding to float32."""

_SUMS_AND_RESTS = {"gate_sums": 2.0**-46}
"""What float32 loses of sums is carried along in float32."""

_SCALED_UP = {"feature_reach": 60}
"""Of `feature.pairs`, beside TF32 products."""

_IN_16_BITS = {**_TENSOR_CORES, **_INVERSE_OF_PARTS, **_FORMED_IN_TF32, **_ROUNDED_SUMS, **_SCALED_UP}

_STEPS = {**_GATES, "residuals": True, "compensated": True, "wide_steps": True, "swept": LARGEST_SWEPT_STEP}


def _chunk(dtype: str) -> dict[str, Any]:
    return {
        "order": "chunk",
        "inputs": dtype,
        "storage": dtype,
        "operands": dtype,
        "outputs": dtype,
        "preconditioner": "float32",
        **_STEPS,
    }


def _scan(dtype: str) -> dict[str, Any]:
    """The calibration of the chunk order alone: all that it stores is float32."""
    return {"order": "chunk", "inputs": dtype, "preconditioner": "float32", **_STEPS}


def _float32_inside(order: str, dtype: str, *, compensated: bool = False) -> dict[str, Any]:
    """16 bits on the way in and out, float32 between."""
    return {
        "order": order,
        "inputs": dtype,
        "storage": "float32",
        "operands": "float32",
        "outputs": dtype,
        "preconditioner": "float32",
        "compensated": compensated,
    }


CHUNK: Numerics = {
    "float32": {**_chunk("float32"), **_IN_ORDER, **_SUMS_AND_RESTS},
    "float32, tf32": {
        **_chunk("float32"),
        "operands": "tf32",
        **_FORMED_IN_TF32,
        **_SUMS_AND_RESTS,
        **_SCALED_UP,
    },
    "bfloat16": {**_chunk("bfloat16"), **_IN_16_BITS},
    "float16": {**_chunk("float16"), **_IN_16_BITS},
}
"""`chunk_osdn`, `chunk_osgdn`, `chunk_oskda`. Gains and chunk entries come from products good to float32 in
every dtype, and so does the inverse that the memory is written by where it is not stored in 16 bits. The d_t inside a
chunk, which are formed from them to scale its keys and then are gone, take one TF32 product but for full float32
inputs, or where nothing is forgotten products of bfloat16 parts, which lose less, on top of the d that the chunk or its
block of 16 enters with: what the sum drops of that is an ulp, and not small beside a step that is."""

SCAN: Numerics = {
    "float32": {**_scan("float32"), **_IN_ORDER},
    "bfloat16": {**_scan("bfloat16"), **_TENSOR_CORES},
    "float16": {**_scan("float16"), **_TENSOR_CORES},
}
"""`osdn_preconditioner`, which TF32 does not reach."""

RECURRENT: Numerics = {
    dtype: _float32_inside("recurrent", dtype, compensated=True) | _GATES
    for dtype in ("float32", "bfloat16", "float16")
}
"""`fused_recurrent_osdn`, `fused_recurrent_osgdn`, `fused_recurrent_oskda`: no matrix products for TF32 to reach."""

DECODE: Numerics = {
    dtype: _float32_inside("recurrent", dtype) | _GATES for dtype in ("float32", "bfloat16", "float16")
}
"""`decode_step_`, whose d starts from float32 at every call."""

DECODE_BFLOAT16: Numerics = {dtype: dict(entry or {}, memory="bfloat16") for dtype, entry in DECODE.items()}
"""The same on a bfloat16 memory."""

DECODE_SEEDED: Numerics = {
    dtype: dict(entry or {}, either_way=True) for dtype, entry in DECODE_BFLOAT16.items()
}
"""The same with a seed."""

REFERENCE: Numerics = {
    dtype: _float32_inside("recurrent", dtype) for dtype in ("float32", "bfloat16", "float16")
} | {"float32, tf32": None}
"""`osdn_reference`, `osgdn_reference`, `oskda_reference` and `preconditioner_reference`. Of PyTorch's products
nothing is declared where it may use TF32."""

CHUNK_REFERENCE: Numerics = {
    dtype: _float32_inside("chunk", dtype) | {"substitution": True}
    for dtype in ("float32", "bfloat16", "float16")
} | {"float32, tf32": None}
"""`chunk_osdn_reference`: products and triangular solves are PyTorch's, their sums in any order; likewise."""


def declare(numerics: Numerics) -> Callable[[Operator], Operator]:
    """Attach `numerics` to an operator."""

    def attach(operator: Operator) -> Operator:
        vars(operator)["numerics"] = numerics
        return operator

    return attach


def suspend_autocast(like: Tensor) -> AbstractContextManager[object]:
    """Products inside have the precision of their operands, where autocast would round these to 16 bits."""
    kind = like.device.type
    # The meta device has no autocast, and may not even be asked for it.
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
