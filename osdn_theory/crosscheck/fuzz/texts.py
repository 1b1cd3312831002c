"""The parts of the scripts that failures are written as: fixed texts, and tensors as Python source."""

import base64
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from osdn_theory.base.tables import read_table
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.kernel.recurrences import CALIBRATING
from osdn_theory.rounding import FLOAT32, FORMATS, Format, round_to

WRITTEN_OUT = 256
"""Largest number of entries written out."""

_BITS = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
}


def tensor_literal(value: Array, dtype: str, *, device: bool = False) -> str:
    """An expression for a tensor of a dtype that holds the values exactly; on `device` of the script if wanted."""
    place = ", device=device" if device else ""
    if value.size == 0:
        return f"torch.empty({list(value.shape)}, dtype=torch.{dtype}{place})"
    if value.size > WRITTEN_OUT:
        return _encoded(value, dtype) + (".to(device)" if device else "")
    if (
        value.size > 1
        and np.all(value == value.flat[0])
        and np.all(np.signbit(value) == np.signbit(value.flat[0]))
    ):
        return f"torch.full({list(value.shape)}, {number_literal(value.flat[0], dtype)}, dtype=torch.{dtype}{place})"
    text = _nested(value, dtype)
    if len(text) > 80:
        text = "\n" + textwrap.indent(textwrap.fill(text, 100), "    ") + "\n"
    return f"torch.tensor({text}, dtype=torch.{dtype}{place})"


def number_literal(value: Any, dtype: str) -> str:
    """The shortest literal whose number the dtype rounds to the value."""
    if np.issubdtype(type(value), np.integer):
        return str(int(value))
    if not np.isfinite(value):
        return f'float("{float(value)}")'
    fmt = FORMATS[dtype]
    short = (f"{float(value):.{digits}g}" for digits in range(1, 17))
    text = next((text for text in short if _gives(text, value, fmt)), repr(float(value)))
    return text if any(mark in text for mark in ".e") else f"{text}.0"


def _gives(text: str, value: float, fmt: Format) -> bool:
    """A conversion may go through float32, and round twice."""
    number = float(text)
    through = round_to(number, FLOAT32) if fmt.significand < FLOAT32.significand else number
    return float(round_to(number, fmt)) == float(round_to(through, fmt)) == float(value)


def _nested(value: Array, dtype: str) -> str:
    if value.ndim == 0:
        return number_literal(value[()], dtype)
    return "[" + ", ".join(_nested(item, dtype) for item in value) + "]"


def _encoded(value: Array, dtype: str) -> str:
    if dtype == "bfloat16":
        # The upper half of the float32 with the same value.
        bits = (np.ascontiguousarray(value, dtype="<f4").view("<u4") >> 16).astype("<u2")
    else:
        bits = np.ascontiguousarray(value, dtype=_BITS[dtype])
    lines = textwrap.wrap(base64.b64encode(bits.tobytes()).decode(), 96)
    text = "\n".join(f'        "{line}"' for line in lines)
    return f"decoded(\n    (\n{text}\n    ),\n    torch.{dtype},\n    {list(value.shape)},\n)"


PARTS: Mapping[str, str] = read_table(__file__, lines=True)
"""The fixed texts."""

_DELTA = PARTS["delta"]
_DECAY = "        S = S if g is None else S * g[:, t].double().exp()[..., None{}]\n"

RECURRENCES: Mapping[str, str] = {
    **dict.fromkeys(CALIBRATING, PARTS["osdn"]),
    "delta_net": _DELTA.format(title="DeltaNet", decay=""),
    "gated_delta_net": _DELTA.format(title="Gated DeltaNet", decay=_DECAY.format(", None")),
    "kda": _DELTA.format(title="KDA", decay=_DECAY.format("")),
}
"""What a kernel is taken to compute, in float64."""
