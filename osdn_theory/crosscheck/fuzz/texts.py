"""The parts of the scripts that failures are written as: fixed texts, and tensors as Python source."""

import base64
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.kernel.adapters import CALIBRATING
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


HEAD = '''"""{title}

{about}
"""

{standard}

{interpreter}import torch

{imports}

device = {device!r}
'''

DECODED = '''
def decoded(text, dtype, shape):
    """A tensor from its bytes."""
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=dtype).reshape(shape)
'''

LAID = '''
def laid(x, strides):
    """The same numbers at other places in memory: NaN in the gaps, stride 0 where an axis repeats one entry."""
    first = x[tuple(slice(0, 1) if step == 0 else slice(None) for step in strides)]
    size = 1 + sum((n - 1) * step for n, step in zip(first.shape, strides))
    memory = torch.full((size,), float("nan"), dtype=x.dtype, device=x.device)
    return memory.as_strided(first.shape, strides).copy_(first).expand(x.shape)
'''

SEQUENCES = '''
PER_TOKEN, PER_SEQUENCE = ("q", "k", "v", "beta", "g", "decay"), ("state", "d", "anchor")


def one_by_one(lengths, **given):
    """The recurrence of packed sequences; states have one row for each."""
    results, start = [], 0
    for i, n in enumerate(lengths):
        tokens = {name: x[:, start : start + n] for name, x in given.items() if name in PER_TOKEN and x is not None}
        states = {name: x[i : i + 1] for name, x in given.items() if name in PER_SEQUENCE and x is not None}
        results.append(recurrence(**{**given, **tokens, **states}))
        start += n
    o, S, d, handed_on, a = zip(*results)
    return [torch.cat(o, 1), torch.cat(S), torch.cat(d, 1), torch.cat(handed_on), torch.cat(a, 1)]
'''

UNIT = '''
def unit(x, floor):
    """Of norm one, as the kernel makes queries and keys; zero stays zero."""
    norm = (x.double().square().sum(-1, keepdim=True) + floor).sqrt()
    return x.double() / torch.where(norm > 0, norm, 1.0)
'''

_OSDN = '''
def recurrence(q, k, v, beta, g, scale, state, d, anchor, eta, d_min, d_max, normalized, aware=False, decay=None):
    """OSDN in float64: q, k [B, T, H, K], v [B, T, H, V], state [B, H, K, V], d and anchor [B, H, K]."""
    q, k, v, beta = (x.double() for x in (q, k, v, beta))
    S = k.new_zeros(k.shape[0], *k.shape[2:], v.shape[-1]) if state is None else state.double()
    d = k.new_ones(k.shape[0], *k.shape[2:]) if d is None else d.double()
    anchor = torch.zeros_like(d) if anchor is None else anchor.double()
    outputs, path = v.new_zeros(v.shape), k.new_zeros(k.shape)
    for t in range(k.shape[1]):
        kt, path[:, t] = k[:, t], d
        if decay is not None:
            alpha = decay[:, t].double().exp()
            S = S * (alpha[..., None] if alpha.dim() == 3 else alpha[..., None, None])
        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", S, kt)
        S = S + torch.einsum("bhk,bhv->bhkv", d * kt, beta[:, t, :, None] * residual)
        outputs[:, t] = scale * torch.einsum("bhkv,bhk->bhv", S, q[:, t])
        s = kt.square()
        weight = 1 / (s.sum(-1, keepdim=True) + 1e-5) if normalized else 1.0
        kept = d if g is None else anchor + g[:, t, :, None].double().exp() * (d - anchor)
        gate = beta[:, t, :, None] if aware else 1.0
        d = (kept + eta * weight * gate * (1 - gate * (d * s).sum(-1, keepdim=True)) * s).clamp(d_min, d_max)
    return outputs, S, path, d, (path * k.square()).sum(-1)
'''

_DELTA = '''
def recurrence(q, k, v, beta, g, scale, state):
    """{title} in float64: q, k [B, T, H, K], v [B, T, H, V], state [B, H, K, V]."""
    q, k, v, beta = (x.double() for x in (q, k, v, beta))
    S = k.new_zeros(k.shape[0], *k.shape[2:], v.shape[-1]) if state is None else state.double()
    outputs = v.new_zeros(v.shape)
    for t in range(k.shape[1]):
{decay}        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", S, k[:, t])
        S = S + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * residual)
        outputs[:, t] = scale * torch.einsum("bhkv,bhk->bhv", S, q[:, t])
    ones = torch.ones_like(k)
    return outputs, S, ones, torch.ones_like(S[..., 0]), k.square().sum(-1)
'''

_PER_TOKEN_DECAY = "        S = S if g is None else S * g[:, t].double().exp()[..., None, None]\n"
_PER_FEATURE_DECAY = "        S = S if g is None else S * g[:, t].double().exp()[..., None]\n"

RECURRENCES: Mapping[str, str] = {
    **dict.fromkeys(CALIBRATING, _OSDN),
    "delta_net": _DELTA.format(title="DeltaNet", decay=""),
    "gated_delta_net": _DELTA.format(title="Gated DeltaNet", decay=_PER_TOKEN_DECAY),
    "kda": _DELTA.format(title="KDA", decay=_PER_FEATURE_DECAY),
}
"""What a kernel is taken to compute, in float64."""

CHECK = """
try:
    returned = kernel(
{arguments}
    )
except Exception as error:
    print(f"raised {{type(error).__name__}}: {{error}}")
    sys.exit(1)

parts = tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)
found = {read}.detach().cpu().double()
exact = {exact}
bounds = {{
{bounds}
}}
wrong = False
for what, bound in bounds.items():
    error = (found - exact).abs()
    if error.dim() > bound.dim():
        error = error.flatten(bound.dim()).norm(dim=-1)
    outside = ~((error <= bound) | bound.isinf())
    print(f"{quantity}, {{what}}: {{int(outside.sum())}} of {{outside.numel()}} outside the bound")
    if outside.any():
        wrong = True
        worst = torch.where(outside, torch.nan_to_num(error / bound, nan=torch.inf), -1.0).argmax()
        print(f"the worst: error {{error.flatten()[worst]:.3g}}, bound {{bound.flatten()[worst]:.3g}}")
sys.exit(1 if wrong else 0)
"""
