"""Captured activations as streams: q, k, v and gates of attention layers, from safetensors or npz."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from osdn_theory.base.layouts import exchange_time_and_heads
from osdn_theory.base.tensor_files import TensorFile, open_tensors
from osdn_theory.base.validation import Array, as_float64, require, require_generator
from osdn_theory.streams.exact_keys import uniform_on_grid
from osdn_theory.streams.stream import Stream

KeyDtype = Literal["bfloat16", "float16", "float32", "float64"]
FilePath = str | PathLike[str]

# Bits of precision, and the exponent of the smallest positive number.
_KEY_DTYPES = {"bfloat16": (8, -133), "float16": (11, -24), "float32": (24, -149), "float64": (53, -1074)}
PACKAGED = Path(str(resources.files("osdn_theory"))) / "data"
"""Where the activations lie that are delivered with the package, ``NAME_streams.safetensors``."""

PARTS = ("q", "k", "v", "beta", "g", "state_gate", "d0")
"""Last parts of the names of the tensors that are read."""

_TENSOR_NAME = re.compile(rf"(?:(layer\d+)\.)?({'|'.join(PARTS)})")
_MINILM = "minilm_streams.safetensors"
_BETA_BITS = 8


@dataclass(frozen=True)
class _Options:
    l2_normalize: bool
    silu: bool
    beta: float | str | None
    normalize_dtype: str


def packaged_streams() -> dict[str, Path]:
    """The files of activations delivered with the package by name, MiniLM's first and those of trained layers after."""
    files = sorted(PACKAGED.glob("*_streams.safetensors"), key=lambda path: (path.name != _MINILM, path.name))
    return {path.stem.removesuffix("_streams"): path for path in files}


def activation_layers(path: FilePath | None = None) -> list[str]:
    """Names of the layers in a file of activations, in numerical order; `path` None: the packaged file.

    Raises as `load_activations` does for a file it cannot read.
    """
    return list(_layers(_tensor_file(path)))


def load_activations(
    path: FilePath | None = None,
    *,
    layers: Sequence[str | int] | None = None,
    l2_normalize: bool = True,
    silu: bool = False,
    beta: float | Literal["random"] | None = None,
    rng: np.random.Generator | None = None,
    normalize_dtype: KeyDtype = "float64",
) -> list[Stream]:
    """Streams of captured activations, one per layer, with leading axes (B, H).

    The file (``.safetensors`` or ``.npz``, any float dtype) holds per layer N the tensors

    ======================  =====================  =============================================
    ``layerN.q``, ``.k``    (B, T, H, K)           queries and keys
    ``layerN.v``            (B, T, H, V)           values
    ``layerN.beta``         (B, T, H), optional    write gate, in [0, 2]
    ``layerN.g``            (B, T, H), optional    log forget gate, <= 0: gamma = exp(g)
    ``layerN.state_gate``   (B, T, H), optional    log gate of the memory, <= 0: alpha = exp(.)
                            or (B, T, H, K)        (T17), one for each head or for each feature;
                                                   -inf empties it
    ``layerN.d0``           (H, K) or (B, H, K)    optional; initial preconditioner d_1
    ======================  =====================  =============================================

    or the same names without ``layerN.`` for one layer, then called ``layer0``. Other tensors are
    left alone, see :func:`unread_tensors`. Everything is converted to float64, which represents every such
    number exactly. A layer may have no tokens, see :func:`require_tokens`.

    - `path`: Default: the packaged MiniLM activations.
    - `layers`, sequence of names or numbers: Which layers, in this order: ``"layer0"``, 0, or the name of its stream.
      Default: all.
    - `l2_normalize`: Queries and keys divided by their norm, in float64.
    - `silu`: x * sigmoid(x) on queries and keys, before normalisation.
    - `beta`, float, "random" or None: None: from the file, else 1. ``"random"``: uniform on the multiples of 2^-8 in
      [0, 1].
    - `rng`: Needed for ``beta="random"``.
    - `normalize_dtype`, "bfloat16", "float16", "float32" or "float64": What normalised queries and keys are rounded
      to (T15).

    Returns streams named ``<file stem>/<layer>``, "_streams" cut off the stem; metadata: that of the file,
    `path`, `layer` and `options`.

    Raises FileNotFoundError: no such file.
    Raises ValueError: the file is empty, truncated, not of its format or holds no layer; a tensor is missing, of the
    wrong rank, shape or dtype, without heads, not finite or out of range; a zero key to normalise; contradictory
    options.
    """
    options = _Options(l2_normalize, silu, beta, normalize_dtype)
    _check_options(options, rng)
    file = _tensor_file(path)
    found = _layers(file)
    chosen = _chosen(file, list(found), layers)
    return [_Layer(file, layer, found[layer]).stream(options, rng) for layer in chosen]


def require_tokens(streams: Sequence[Stream]) -> None:
    """Raise ``ValueError``, naming the layer and its file, if a stream of captured activations has no tokens."""
    for stream in streams:
        where = f"{stream.metadata['path']}: {stream.metadata['layer']}" if stream.metadata else stream.name
        require(stream.length > 0, f"{where}: no tokens (T = 0), there is nothing to measure")


def unread_tensors(path: FilePath | None = None) -> list[str]:
    """Names of the tensors in a file that :func:`load_activations` leaves alone; raises as it does."""
    file = _tensor_file(path)
    _layers(file)
    return sorted(name for name in file.names if _TENSOR_NAME.fullmatch(name) is None)


def normalize_keys(keys: Any, *, dtype: KeyDtype = "float64") -> Array:
    """k / ||k||_2 over the last axis in float64, then rounded to `dtype`; (..., K) float64.

    Norms neither overflow nor underflow: keys are first scaled by an exact power of two.

    Raises ValueError: a zero vector, which has no direction (the first one is named); an unknown `dtype`.
    """
    _require_dtype("dtype", dtype)
    k = as_float64("keys", keys, min_ndim=1)
    largest = np.max(np.abs(k), axis=-1, keepdims=True, initial=0.0)
    zero = largest[..., 0] == 0
    if zero.any():
        index = tuple(int(i) for i in np.argwhere(zero)[0])
        raise ValueError(f"keys: the vector at index {index} is zero and cannot be normalised")
    scaled = np.ldexp(k, -np.frexp(largest)[1])
    return _rounded(scaled / np.linalg.norm(scaled, axis=-1, keepdims=True), dtype)


def _tensor_file(path: FilePath | None) -> TensorFile:
    file = open_tensors(PACKAGED / _MINILM if path is None else Path(path))
    if file.path.parent == PACKAGED:
        # Reports should not depend on where the package is installed.
        return replace(file, path=Path("osdn_theory", "data", file.path.name))
    return file


def _layers(file: TensorFile) -> dict[str, dict[str, str]]:
    """Per layer, in numerical order: which tensor of the file plays which part."""
    layers: dict[str, dict[str, str]] = {}
    for name in sorted(file.names):
        match = _TENSOR_NAME.fullmatch(name)
        if match is None:
            continue
        parts = layers.setdefault(match[1] or "layer0", {})
        require(
            match[2] not in parts,
            f"{file.path}: both {parts.get(match[2])} and {name} are {match[2]} of layer0",
        )
        parts[match[2]] = name
    require(
        bool(layers),
        f"{file.path}: no tensor is named layerN.q, layerN.k, layerN.v or q, k, v; the file has {_listing(file)}",
    )
    return dict(sorted(layers.items(), key=lambda item: int(item[0].removeprefix("layer"))))


def _chosen(file: TensorFile, found: list[str], layers: Sequence[str | int] | None) -> list[str]:
    if layers is None:
        return found
    require(not isinstance(layers, str), f"layers: expected a sequence of names or numbers, got {layers!r}")
    named = {_stream_name(file, layer): layer for layer in found}
    chosen = [named.get(layer, layer) if isinstance(layer, str) else f"layer{layer}" for layer in layers]
    for layer in chosen:
        require(layer in found, f"{file.path}: no {layer}; the layers are {', '.join(found)}")
    return chosen


@dataclass(frozen=True)
class _Layer:
    """The tensors of one layer by their parts, and complaints that name them."""

    file: TensorFile
    name: str
    parts: dict[str, str]

    def label(self, part: str) -> str:
        return f"{self.file.path}: {self.parts[part]}"

    def require(self, part: str, condition: bool, message: str) -> None:
        require(condition, f"{self.label(part)}: {message}")

    def read(self, part: str) -> Array:
        # The logarithm of a gate that empties the memory is -inf; `gate` refuses NaN.
        finite = part != "state_gate"
        return as_float64(self.label(part), self.file.read(self.parts[part]), check_finite=finite)

    def stream(self, options: _Options, rng: np.random.Generator | None) -> Stream:
        q, k, v = (self.vectors(part) for part in "qkv")
        expected, like = k.shape[:3], f"as in {self.parts['k']}, got shape"
        for part, tensor in (("q", q), ("v", v)):
            fits = tensor.shape[:3] == expected
            self.require(part, fits, f"expected (B, T, H) = {expected} {like} {tensor.shape}")
        self.require("q", q.shape[3] == k.shape[3], f"expected K = {k.shape[3]} {like} {q.shape}")
        told = {"path": str(self.file.path), "layer": self.name, "options": asdict(options)}
        return Stream(
            keys=_heads_first(_prepared(k, self.label("k"), options)),
            values=_heads_first(v),
            queries=_heads_first(_prepared(q, self.label("q"), options)),
            beta=self.beta(expected, options.beta, rng),
            state_gate=self.gate("state_gate", expected, k.shape),
            forget_gate=self.gate("g", expected),
            initial_preconditioner=self.initial_preconditioner(k.shape),
            name=_stream_name(self.file, self.name),
            metadata={**self.file.metadata, **told},
        )

    def vectors(self, part: str) -> Array:
        """(B, T, H, features)."""
        missing = f"{self.file.path}: {self.name}.{part} is missing; the file has {_listing(self.file)}"
        require(part in self.parts, missing)
        tensor = self.read(part)
        got = f"got shape {tensor.shape}"
        self.require(part, tensor.ndim == 4, f"expected (B, T, H, features), {got}")
        for axis, name in ((0, "batch"), (2, "head"), (3, "feature")):
            self.require(part, tensor.shape[axis] > 0, f"the {name} axis is empty, {got}")
        return tensor

    def per_token(self, part: str, *expected: tuple[int, ...]) -> Array | None:
        if part not in self.parts:
            return None
        tensor = self.read(part)
        shapes = " or (B, T, H, K) = ".join(map(str, expected))
        fits = tensor.shape in expected
        self.require(part, fits, f"expected (B, T, H) = {shapes}, got shape {tensor.shape}")
        return exchange_time_and_heads(tensor)

    def beta(
        self, expected: tuple[int, ...], beta: float | str | None, rng: np.random.Generator | None
    ) -> Array | float:
        if beta is None:
            stored = self.per_token("beta", expected)
            if stored is None:
                return 1.0
            _require_gates(self.label("beta"), stored)
            return stored
        if rng is None or not isinstance(beta, str):
            return float(beta)
        batch, length, heads = expected
        return uniform_on_grid(rng, (batch, heads, length), _BETA_BITS)

    def gate(self, part: str, *expected: tuple[int, ...]) -> Array | None:
        log_gate = self.per_token(part, *expected)
        if log_gate is None:
            return None
        largest, least = log_gate.max(initial=0.0), log_gate.min(initial=0.0)
        self.require(part, bool(np.all(log_gate <= 0)), f"expected log gates <= 0, got {largest}")
        gate: Array = np.exp(log_gate)
        # A memory may be emptied; gamma = 0 has no place in T11's form.
        kept = part == "state_gate" or bool(np.all(gate > 0))
        self.require(part, kept, f"exp({least}) is zero in float64")
        return gate

    def initial_preconditioner(self, key_shape: tuple[int, ...]) -> Array | None:
        if "d0" not in self.parts:
            return None
        tensor = self.read("d0")
        batch, _, heads, key_dim = key_shape
        shared, own = (heads, key_dim), (batch, heads, key_dim)
        expected = f"expected (H, K) = {shared} or (B, H, K) = {own}, got shape {tensor.shape}"
        self.require("d0", tensor.shape in (shared, own), expected)
        self.require("d0", bool(np.all(tensor > 0)), f"expected values > 0, got {tensor.min()}")
        return tensor


def _stream_name(file: TensorFile, layer: str) -> str:
    return f"{file.path.stem.removesuffix('_streams')}/{layer}"


def _listing(file: TensorFile) -> str:
    return ", ".join(sorted(file.names)) or "no tensor"


def _require_gates(label: str, beta: Array) -> None:
    """A write gate beyond 2 makes every residual grow; what lies outside is most often a logit."""
    outside = (beta < 0) | (beta > 2)
    require(beta.ndim > 0 or not outside, f"{label}: expected a write gate in [0, 2], got {beta}")
    require(
        not outside.any(),
        f"{label}: expected write gates in [0, 2], got {beta.min():g} to {beta.max():g}, "
        f"{np.count_nonzero(outside)} of {beta.size} outside; are these numbers before their sigmoid?",
    )


def _prepared(vectors: Array, label: str, options: _Options) -> Array:
    if options.silu:
        from scipy.special import expit

        vectors = vectors * expit(vectors)
    if not options.l2_normalize:
        return vectors
    try:
        return normalize_keys(vectors, dtype=options.normalize_dtype)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from None


def _heads_first(tensor: Array) -> Array:
    return np.ascontiguousarray(exchange_time_and_heads(tensor))


def _rounded(unit: Array, dtype: str) -> Array:
    """Nearest number of `dtype`, ties to even, for entries up to 1 in size.

    Not by a cast: ml_dtypes goes to bfloat16 through float32 and so rounds twice.
    """
    precision, smallest = _KEY_DTYPES[dtype]
    exponent = np.maximum(np.frexp(unit)[1] - precision, smallest)
    nearest: Array = np.ldexp(np.rint(np.ldexp(unit, -exponent)), exponent)
    return nearest


def _check_options(options: _Options, rng: np.random.Generator | None) -> None:
    _require_dtype("normalize_dtype", options.normalize_dtype)
    require(
        options.l2_normalize or options.normalize_dtype == "float64",
        f"normalize_dtype: {options.normalize_dtype} has no effect with l2_normalize=False",
    )
    if isinstance(options.beta, str):
        require(options.beta == "random", f"beta: expected a number, 'random' or None, got {options.beta!r}")
        require(rng is not None, "rng: beta='random' needs a numpy.random.Generator")
        require_generator(rng)
    elif options.beta is not None:
        beta = as_float64("beta", options.beta)
        require(beta.ndim == 0, "beta: expected one number")
        _require_gates("beta", beta)


def _require_dtype(name: str, dtype: str) -> None:
    require(dtype in _KEY_DTYPES, f"{name}: expected one of {', '.join(_KEY_DTYPES)}, got {dtype!r}")
