from __future__ import annotations

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from safetensors import TensorSpec, serialize_file

from osdn_theory.streams.activations import (
    activation_layers,
    load_activations,
    normalize_keys,
    require_tokens,
    unread_tensors,
)

B, T, H, K, V = 2, 5, 3, 4, 6


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def layer(prefix="", dtype=np.float32, seed=0):
    """q, k, v of one layer, all entries representable in every float dtype and none zero."""
    random = rng(seed)
    shapes = {"q": (B, T, H, K), "k": (B, T, H, K), "v": (B, T, H, V)}
    return {
        f"{prefix}{n}": random.choice([-1.5, -1, 0.5, 2], size=s).astype(dtype) for n, s in shapes.items()
    }


def save(path, tensors, metadata=None):
    specs = {}
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        specs[name] = TensorSpec(
            dtype=tensor.dtype.name, shape=tensor.shape, data_ptr=tensor.ctypes.data, data_len=tensor.nbytes
        )
    serialize_file(specs, path, metadata)
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "captured_streams.safetensors"


def changed(tensors, **changes):
    return {name: t for name, t in {**tensors, **changes}.items() if t is not None}


FLOATS = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
]


@pytest.mark.parametrize("dtype", FLOATS)
def test_any_float_dtype_of_safetensors_is_read_exactly(file, dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    tensors = layer(dtype=kind)
    (stream,) = load_activations(save(file, tensors), l2_normalize=False)
    for name, read in (("q", stream.queries), ("k", stream.keys), ("v", stream.values)):
        assert read.dtype == np.float64
        assert np.array_equal(read, np.swapaxes(tensors[name].astype(np.float64), 1, 2))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_npz_gives_the_same_stream(tmp_path, file, dtype):
    tensors = {**layer("layer3.", dtype), **layer("layer10.", dtype, seed=1)}
    np.savez(tmp_path / "captured.npz", **tensors)
    for first, second in zip(
        load_activations(tmp_path / "captured.npz"), load_activations(save(file, tensors)), strict=True
    ):
        assert first.name == second.name
        assert np.array_equal(first.keys, second.keys)
        assert np.array_equal(first.values, second.values)


def test_the_packaged_file_is_the_default():
    assert activation_layers() == ["layer0", "layer2", "layer5"]
    streams = load_activations()
    assert [s.name for s in streams] == ["minilm/layer0", "minilm/layer2", "minilm/layer5"]
    for stream in streams:
        assert stream.keys.shape == stream.values.shape == (1, 12, 384, 32)
        assert np.abs(np.linalg.norm(stream.keys, axis=-1) - 1).max() < 1e-15
        assert np.all(stream.beta == 1)
        assert "all-MiniLM-L6-v2" in stream.metadata["source"]
        assert stream.metadata["layout"] == "[B,T,H,K]"
        assert stream.metadata["path"] == "osdn_theory/data/minilm_streams.safetensors"
    assert not np.array_equal(streams[0].keys, streams[1].keys)


def test_layers_are_chosen_by_name_or_number_and_keep_that_order():
    names = [s.metadata["layer"] for s in load_activations(layers=[5, "layer0"])]
    assert names == ["layer5", "layer0"]
    assert load_activations(layers=[]) == []


def test_names_metadata_and_layer_order(file):
    tensors = {**layer("layer10."), **layer("layer2."), "encoder.weight": np.ones((2, 2), np.int32)}
    save(file, tensors, {"source": "a model"})
    assert activation_layers(file) == ["layer2", "layer10"]
    stream = load_activations(file, beta=0.5, silu=True)[1]
    assert stream.name == "captured/layer10"
    assert stream.metadata == {
        "source": "a model",
        "path": str(file),
        "layer": "layer10",
        "options": {"l2_normalize": True, "silu": True, "beta": 0.5, "normalize_dtype": "float64"},
    }


def test_silu_comes_before_normalisation_and_spares_the_values(file):
    tensors = layer(dtype=np.float64)
    save(file, tensors)
    (plain,) = load_activations(file, silu=True, l2_normalize=False)
    k = np.swapaxes(tensors["k"], 1, 2)
    assert np.allclose(plain.keys, k / (1 + np.exp(-k)), rtol=1e-14)
    assert np.array_equal(plain.values, np.swapaxes(tensors["v"], 1, 2))
    (normal,) = load_activations(file, silu=True)
    assert np.array_equal(normal.keys, normalize_keys(plain.keys))
    assert np.array_equal(normal.queries, normalize_keys(plain.queries))


def test_optional_tensors_become_gates_and_preconditioner(file):
    random = rng(1)
    beta = random.random((B, T, H)).astype(np.float32)
    g = -random.random((B, T, H))
    d0 = 1 + random.random((H, K))
    (stream,) = load_activations(save(file, {**layer(), "beta": beta, "g": g, "d0": d0}))
    assert np.array_equal(stream.beta, np.swapaxes(beta, 1, 2).astype(np.float64))
    assert np.array_equal(stream.forget_gate, np.exp(np.swapaxes(g, 1, 2)))
    assert np.array_equal(stream.initial_preconditioner, np.broadcast_to(d0, (B, H, K)))
    d0 = 1 + random.random((B, H, K))
    (stream,) = load_activations(save(file, {**layer(), "beta": beta, "d0": d0}), beta=0.25)
    assert np.all(stream.beta == 0.25)
    assert stream.forget_gate is None
    assert np.array_equal(stream.initial_preconditioner, d0)


def test_a_memory_may_be_emptied_and_a_preconditioner_not(file):
    strong = np.full((B, T, H), -2000.0, np.float32)
    for log_gate in (strong, np.full_like(strong, -np.inf)):
        (stream,) = load_activations(save(file, {**layer(), "state_gate": log_gate}))
        assert not stream.state_gate.any()
    with pytest.raises(ValueError, match=r": g: exp\(-2000\.0\) is zero in float64"):
        load_activations(save(file, {**layer(), "g": strong}))


@pytest.mark.parametrize("shape", [(B, T, H), (B, T, H, K)])
def test_state_gates_of_either_rank_are_read(file, shape):
    log_gate = -rng(2).random(shape)
    (stream,) = load_activations(save(file, {**layer(), "state_gate": log_gate}))
    assert np.array_equal(stream.state_gate, np.exp(np.swapaxes(log_gate, 1, 2)))
    assert stream.forget_gate is None
    with pytest.raises(ValueError, match=r"state_gate: expected log gates <= 0"):
        load_activations(save(file, {**layer(), "state_gate": -log_gate}))
    wrong = f"state_gate: expected \\(B, T, H\\) = .* or \\(B, T, H, K\\) = .*, got shape \\({B},"
    with pytest.raises(ValueError, match=wrong):
        load_activations(save(file, {**layer(), "state_gate": log_gate[:, :-1]}))


def test_random_beta_is_seeded_and_on_its_grid(file):
    save(file, layer())
    first, again, other = (load_activations(file, beta="random", rng=rng(s))[0].beta for s in (1, 1, 2))
    assert first.shape == (B, H, T)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(first * 256, np.rint(first * 256))


@pytest.mark.parametrize("length", [0, 1])
def test_no_tokens_or_one(file, length):
    tensors = {name: tensor[:, :length] for name, tensor in layer().items()}
    (stream,) = load_activations(save(file, tensors))
    assert stream.keys.shape == (B, H, length, K)
    if length:
        require_tokens([stream])
        return
    with pytest.raises(ValueError, match=r"captured_streams.safetensors: layer0: no tokens \(T = 0\)"):
        require_tokens([stream])


def test_normalising_in_bfloat16_moves_the_norm_off_one():
    # T15: this is what makes OSDN differ from DeltaNet on normalised keys.
    (stream,) = load_activations(layers=[0], normalize_dtype="bfloat16")
    off = np.abs(np.linalg.norm(stream.keys, axis=-1) - 1)
    assert 1e-4 < off.max() < 2**-8
    assert np.array_equal(stream.keys, stream.keys.astype(ml_dtypes.bfloat16).astype(np.float64))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["float16", "float32"]),
    # Keys down to e^-20 times a small normal number: below 2^-960 some would be subnormal, and lose digits beforehand.
    power=st.integers(-960, 1000),
)
def test_normalisation_rounds_once_and_survives_any_magnitude(seed, dtype, power):
    random = rng(seed)
    keys = random.standard_normal((3, 7)) * np.exp(-20 * random.random((3, 7)))
    unit = normalize_keys(np.ldexp(keys, power))
    assert np.allclose(np.linalg.norm(unit, axis=-1), 1, rtol=1e-15)
    assert np.allclose(unit, keys / np.linalg.norm(keys, axis=-1, keepdims=True), rtol=1e-14, atol=0)
    assert np.array_equal(normalize_keys(keys, dtype=dtype), normalize_keys(keys).astype(dtype))


def test_bfloat16_rounding_is_to_nearest_where_a_cast_through_float32_is_not():
    # The first entry ends just above the midpoint of the neighbours 0.5 and 0.5 + 2^-8, by less than
    # float32 can tell: rounding twice takes it down to the even neighbour.
    first = 0.5 + 2.0**-9 + 2.0**-40
    keys = np.array([first, np.sqrt(1 - first**2)])
    assert 0 < normalize_keys(keys)[0] - (0.5 + 2.0**-9) < 2.0**-39
    assert normalize_keys(keys, dtype="bfloat16")[0] == 0.5 + 2.0**-8
    assert np.float64(np.float32(first).astype(ml_dtypes.bfloat16)) == 0.5


def test_float64_normalisation_is_not_rounded_further():
    keys = rng().standard_normal((50, 9))
    assert np.allclose(
        normalize_keys(keys), keys / np.linalg.norm(keys, axis=-1, keepdims=True), rtol=3e-16, atol=0
    )


def with_nan(tensor):
    tensor = tensor.copy()
    tensor[1, 2, 0, 3] = np.nan
    return tensor


def with_zero_key(tensor):
    tensor = tensor.copy()
    tensor[1, 4, 2] = 0
    return tensor


GOOD = layer()
BAD_TENSORS = [
    ({"k": None}, "layer0.k is missing; the file has q, v"),
    ({"q": None}, "layer0.q is missing"),
    ({"v": None}, "layer0.v is missing"),
    ({"k": GOOD["k"][0]}, r": k: expected \(B, T, H, features\), got shape \(5, 3, 4\)"),
    ({"v": GOOD["v"][..., 0]}, r": v: expected \(B, T, H, features\)"),
    ({"v": GOOD["v"][..., :0]}, ": v: the feature axis is empty"),
    ({"v": GOOD["v"][:, :4]}, r": v: expected \(B, T, H\) = \(2, 5, 3\) as in k, got shape \(2, 4, 3, 6\)"),
    ({"q": GOOD["q"][:, :, :1]}, r": q: expected \(B, T, H\)"),
    ({"q": GOOD["q"][..., :3]}, ": q: expected K = 4 as in k"),
    ({"k": with_nan(GOOD["k"])}, r": k: expected finite numbers, got nan at index \(1, 2, 0, 3\)"),
    (
        {"v": np.full_like(GOOD["v"], np.inf)},
        r": v: expected finite numbers, got inf at index \(0, 0, 0, 0\)",
    ),
    ({"k": with_zero_key(GOOD["k"])}, r": k: .*\(1, 4, 2\) is zero and cannot be normalised"),
    ({"q": with_zero_key(GOOD["q"])}, r": q: .*\(1, 4, 2\) is zero"),
    ({"k": GOOD["k"].astype(np.int32)}, ": k: expected a float dtype"),
    ({"v": GOOD["v"] > 0}, ": v: expected a float dtype"),
    (
        {"beta": np.ones((B, H, T), np.float32)},
        r": beta: expected \(B, T, H\) = \(2, 5, 3\), got shape \(2, 3, 5\)",
    ),
    ({"g": np.zeros((B, T), np.float32)}, r": g: expected \(B, T, H\)"),
    ({"g": np.ones((B, T, H), np.float32)}, ": g: expected log gates <= 0, got 1.0"),
    ({"g": np.full((B, T, H), -1000.0)}, ": g: exp.-1000.0. is zero"),
    ({"g": np.full((B, T, H), -np.inf)}, ": g: expected finite numbers, got -inf"),
    ({"state_gate": np.full((B, T, H), np.nan)}, ": state_gate: expected log gates <= 0, got nan"),
    ({"state_gate": np.full((B, T, H), np.inf)}, ": state_gate: expected log gates <= 0, got inf"),
    (
        {"d0": np.ones(K, np.float32)},
        r": d0: expected \(H, K\) = \(3, 4\) or \(B, H, K\) = \(2, 3, 4\), got shape \(4,\)",
    ),
    ({"d0": np.zeros((H, K), np.float32)}, ": d0: expected values > 0, got 0.0"),
    ({"layer0.k": GOOD["k"]}, "both k and layer0.k|both layer0.k and k"),
    ({"q": None, "k": None, "v": None, "weight": GOOD["q"]}, "no tensor is named layerN.q"),
]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize(("changes", "message"), BAD_TENSORS)
def test_bad_tensors_are_named_with_the_file(tmp_path, suffix, changes, message):
    path = tmp_path / f"bad{suffix}"
    tensors = changed(GOOD, **changes)
    if suffix == ".npz":
        np.savez(path, **tensors)
    else:
        save(path, tensors)
    with pytest.raises(ValueError, match=message) as caught:
        load_activations(path)
    assert str(path) in str(caught.value)


def test_a_zero_key_is_fine_without_normalisation(file):
    save(file, changed(GOOD, k=with_zero_key(GOOD["k"])))
    (stream,) = load_activations(file, l2_normalize=False)
    assert np.all(stream.keys[1, 2, 4] == 0)


def test_a_layer_with_a_tensor_missing_is_named(file):
    save(file, changed({**layer("layer1."), **layer("layer7.")}, **{"layer7.v": None}))
    with pytest.raises(ValueError, match=r"layer7[.]v is missing"):
        load_activations(file)
    assert len(load_activations(file, layers=[1])) == 1


def whole(path):
    return save(path, layer()).read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda path: b"", "the file is empty"),
        (lambda path: whole(path)[:-1], "not a safetensors file, or a truncated one"),
        (lambda path: whole(path)[:40], "not a safetensors file, or a truncated one"),
        (lambda path: whole(path)[:5], "not a safetensors file, or a truncated one"),
        (lambda path: whole(path) + b"more", "not a safetensors file"),
        (lambda path: b"{'this': 'is text'}" * 20, "not a safetensors file"),
    ],
)
@pytest.mark.parametrize("read", [load_activations, activation_layers])
def test_broken_safetensors(file, read, content, message):
    file.write_bytes(content(file))
    with pytest.raises(ValueError, match=message) as caught:
        read(file)
    assert str(file) in str(caught.value)


def test_safetensors_without_tensors(file):
    save(file, {})
    with pytest.raises(ValueError, match=r"no tensor is named"):
        load_activations(file)


def test_broken_npz(tmp_path):
    path = tmp_path / "captured.npz"
    np.savez(path, **layer())
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"not a zip archive", np.float64(1).tobytes()):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"captured[.]npz: not an npz file, or a truncated one"):
            load_activations(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        load_activations(path)
    damaged = bytearray(content)
    damaged[content.index(b"\x93NUMPY") + 200] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"captured[.]npz: q: not a readable array"):
        load_activations(path)


def test_npz_with_pickled_objects_is_refused(tmp_path):
    path = tmp_path / "captured.npz"
    np.savez(path, **changed(layer(), k=np.array([{"a": 1}], dtype=object)))
    with pytest.raises(ValueError, match=r"captured.npz: k: not a readable array \(.*[Oo]bject"):
        load_activations(path)


def test_npz_cannot_keep_bfloat16_and_says_so(tmp_path):
    path = tmp_path / "captured.npz"
    np.savez(path, **layer(dtype=ml_dtypes.bfloat16))
    with pytest.raises(ValueError, match=r"expected a float dtype, got .*use safetensors"):
        load_activations(path)


def test_missing_file_directory_and_unknown_suffix(tmp_path):
    for absent, said in ((tmp_path / "absent.safetensors", "no such file$"), (tmp_path, "it is a folder")):
        with pytest.raises(FileNotFoundError, match=said):
            load_activations(absent)
    text = tmp_path / "captured.txt"
    text.write_text("q k v")
    with pytest.raises(
        ValueError, match=r"captured.txt: expected a .safetensors or .npz file, got suffix '.txt'"
    ):
        load_activations(str(text))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["layer1"]}, "no layer1; the layers are layer0, layer2, layer5"),
        ({"layers": [3]}, "no layer3"),
        ({"layers": "layer0"}, "layers: expected a sequence"),
        ({"beta": "random"}, "rng: beta='random' needs"),
        ({"beta": "file"}, "beta: expected a number, 'random' or None, got 'file'"),
        ({"beta": np.nan}, "beta: expected finite"),
        ({"beta": np.ones(3)}, "beta: expected one number"),
        (
            {"normalize_dtype": "float8"},
            "normalize_dtype: expected one of bfloat16, float16, float32, float64",
        ),
        ({"normalize_dtype": "bfloat16", "l2_normalize": False}, "no effect with l2_normalize=False"),
    ],
)
def test_bad_options_name_themselves(options, message):
    with pytest.raises(ValueError, match=message):
        load_activations(**options)


def test_normalize_keys_names_the_zero_vector_and_the_dtype():
    keys = np.ones((2, 3, 4))
    keys[1, 2] = 0
    with pytest.raises(ValueError, match=r"keys: the vector at index \(1, 2\) is zero"):
        normalize_keys(keys)
    with pytest.raises(ValueError, match="dtype: expected one of"):
        normalize_keys(keys[0], dtype="int8")
    with pytest.raises(ValueError, match="keys: expected finite"):
        normalize_keys([np.inf, 1.0])


def test_the_module_loads_without_its_heavy_dependencies():
    code = (
        "import sys, osdn_theory.streams.activations, osdn_theory.streams.transforms;"
        "print([m for m in ('safetensors', 'ml_dtypes', 'torch', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("axis", [0, 2])
def test_no_batch_and_no_heads(file, axis):
    tensors = {name: np.take(tensor, [], axis=axis) for name, tensor in layer().items()}
    with pytest.raises(ValueError, match=r"the (batch|head) axis is empty, got shape"):
        load_activations(save(file, tensors))


@pytest.mark.parametrize("bad", [-0.25, 2.5])
def test_write_gates_outside_0_to_2_are_named(file, bad):
    beta = np.full((B, T, H), 0.5)
    load_activations(save(file, {**layer(), "beta": 4 * beta}))
    beta[0, 1, 2] = bad
    with pytest.raises(
        ValueError, match=rf"beta: expected write gates in \[0, 2\], .*{bad}.*1 of {beta.size}"
    ):
        load_activations(save(file, {**layer(), "beta": beta}))
    with pytest.raises(ValueError, match=rf"^beta: expected a write gate in \[0, 2\], got {bad}"):
        load_activations(beta=bad)


def test_tensors_that_are_not_read_are_named(file):
    extra = {"layer0.bta": np.ones(3), "note": np.ones(1)}
    assert unread_tensors(save(file, {**layer("layer0."), **extra})) == ["layer0.bta", "note"]
    assert unread_tensors() == []
    with pytest.raises(ValueError, match=r"no tensor is named .*; the file has bta, note"):
        load_activations(save(file, {"bta": np.ones(3), "note": np.ones(1)}))


def test_a_layer_may_be_called_as_its_stream_is(file):
    save(file, {**layer("layer0."), **layer("layer3.")})
    (stream,) = load_activations(file, layers=["captured/layer3"])
    assert load_activations(file, layers=[stream.name, 0])[1].name == "captured/layer0"
    with pytest.raises(ValueError, match="no other/layer3; the layers are layer0, layer3"):
        load_activations(file, layers=["other/layer3"])


def test_a_seed_for_a_generator(file):
    with pytest.raises(TypeError, match=r"pass numpy\.random\.default_rng\(7\)"):
        load_activations(beta="random", rng=7)
