"""The layer survives how models are built, and names what is wrong with a call."""

import pytest
import torch
from osdn_kernels.layers.cache import LayerCache
from osdn_kernels.layers.layer import OnlineScaledDeltaNet
from support.kernels.compiler_process import outside_of_the_interpreter
from support.kernels.layer_cases import HEADS, HIDDEN, VARIANTS, build, draw
from torch import nn


def initialise_by_kind(module: nn.Module) -> None:
    """As models of the field do for all of their modules."""
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif hasattr(module, "reset_parameters"):
        module.reset_parameters()


def initialise_all_unmarked(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        if not getattr(parameter, "_no_reinit", False) and not getattr(
            parameter, "_is_hf_initialized", False
        ):
            nn.init.normal_(parameter, std=0.02)


@pytest.mark.parametrize("initialise", [initialise_by_kind, initialise_all_unmarked])
@pytest.mark.usefixtures("on_references")
def test_a_generic_initialiser_spares_d_1_and_the_forgetting_bias(initialise):
    layer = OnlineScaledDeltaNet(HIDDEN, HEADS, use_forget_gate=True)
    before = layer.q_proj.weight.clone()
    nn.Sequential(layer, nn.Linear(2, 2)).apply(initialise)
    assert not torch.equal(layer.q_proj.weight, before)
    assert (layer.initial_preconditioner == 1).all()
    assert (layer.forget_gate.bias == torch.tensor(6.9)).all()
    gamma = layer.forget_gate(draw(2, 5, HIDDEN)).exp()
    assert gamma.sub(0.999).abs().max() < 5e-4
    for parameter in (layer.initial_preconditioner, layer.forget_gate.bias):
        assert parameter._no_weight_decay


@pytest.mark.usefixtures("on_references")
def test_a_layer_built_without_storage_is_initialised_by_reset_parameters():
    with torch.device("meta"):
        layer = OnlineScaledDeltaNet(HIDDEN, HEADS, use_forget_gate=True)
    layer.to_empty(device="cpu").apply(initialise_by_kind)
    assert (layer.initial_preconditioner == 1).all()
    assert (layer.forget_gate.bias == torch.tensor(6.9)).all()
    assert layer.initial_preconditioner._no_reinit


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("on_references")
def test_a_state_dict_restores_the_layer(variant, tmp_path):
    layer, other, x = build(variant), build(variant, seed=3), draw(1, 6, HIDDEN)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    assert not torch.equal(layer(x)[0], other(x)[0])
    other.load_state_dict(torch.load(tmp_path / "layer.pt"))
    assert torch.equal(layer(x)[0], other(x)[0])


def test_parameters_of_a_delta_net_layer_keep_their_names():
    shapes = {name: tuple(p.shape) for name, p in build(use_gate=True).named_parameters()}
    assert shapes == {
        "q_proj.weight": (32, 32),
        "k_proj.weight": (32, 32),
        "v_proj.weight": (32, 32),
        "b_proj.weight": (2, 32),
        "q_conv1d.weight": (32, 1, 4),
        "k_conv1d.weight": (32, 1, 4),
        "v_conv1d.weight": (32, 1, 4),
        "g_proj.weight": (32, 32),
        "o_norm.weight": (16,),
        "o_proj.weight": (32, 32),
        "initial_preconditioner": (2, 16),
    }


SLOW = """
import sys, warnings
if {without_triton}:
    sys.modules["triton"] = None
import torch
from osdn_kernels.layers.layer import OnlineScaledDeltaNet
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        layer = OnlineScaledDeltaNet(8, 2)
        layer(torch.zeros(1, 3, 8))
        layer.double()(torch.zeros(1, 1, 8, dtype=torch.float64))
said = [str(w.message) for w in caught if "OnlineScaledDeltaNet" in str(w.message)]
assert len(said) == 1, said
print(said[0])
"""


@pytest.mark.parametrize(
    ("without_triton", "reason"), [(True, "Triton is not installed"), (False, "the tensors are on cpu")]
)
def test_the_warning_is_said_once_with_its_reason(without_triton, reason):
    assert reason in outside_of_the_interpreter(SLOW.format(without_triton=without_triton))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"num_heads": 3}, "num_heads"),
        ({"num_heads": 0}, "num_heads"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"expand_v": 0.03}, "head_v_dim|num_heads"),
        ({"head_k_dim": 257}, "head_k_dim"),
        ({"head_v_dim": 0}, "head_v_dim"),
        ({"mode": "parallel"}, "mode"),
        ({"conv_size": 1}, "conv_size"),
        ({"eta": float("nan")}, "eta"),
        ({"eta": -1.0}, "eta"),
        ({"d_min": 1.1}, "d_min"),
        ({"d_max": 0.9}, "d_max"),
        ({"d_min": float("nan")}, "d_min"),
    ],
)
def test_wrong_options_are_named(options, name):
    with pytest.raises(ValueError, match=name):
        OnlineScaledDeltaNet(**{"hidden_size": HIDDEN, "num_heads": HEADS, **options})


def other_cache() -> LayerCache:
    return build().new_cache(5)


def cache_of_other_heads() -> LayerCache:
    return build(head_k_dim=8).new_cache(2)


def cache_without_tails() -> LayerCache:
    return build(use_short_conv=False).new_cache(2)


@pytest.mark.parametrize(
    ("shape", "arguments", "name"),
    [
        ((2, 4), {}, "hidden_states"),
        ((2, 4, 8), {}, "hidden_states"),
        ((2, 4, HIDDEN), {"attention_mask": torch.ones(2, 3)}, "attention_mask"),
        ((2, 4, HIDDEN), {"attention_mask": torch.ones(2, 1, 4, 4)}, "attention_mask"),
        ((2, 4, HIDDEN), {"attention_mask": torch.ones(2, 4)}, "attention_mask"),
        (
            (1, 4, HIDDEN),
            {"attention_mask": torch.ones(1, 4).bool(), "cu_seqlens": torch.tensor([0, 4])},
            "attention_mask",
        ),
        ((2, 4, HIDDEN), {"cu_seqlens": torch.tensor([0, 4])}, "cu_seqlens"),
        ((1, 4, HIDDEN), {"cu_seqlens": torch.tensor([0, 3])}, "cu_seqlens"),
        ((1, 4, HIDDEN), {"cu_seqlens": torch.tensor([0, 3, 2, 4])}, "cu_seqlens"),
        ((1, 4, HIDDEN), {"cu_seqlens": torch.tensor([0.0, 4.0])}, "cu_seqlens"),
        ((1, 4, HIDDEN), {"cu_seqlens": torch.tensor([0])}, "cu_seqlens"),
        ((2, 4, HIDDEN), {"cache": other_cache}, "cache"),
        ((2, 4, HIDDEN), {"cache": cache_of_other_heads}, "cache"),
        ((2, 4, HIDDEN), {"cache": cache_without_tails}, "cache"),
        ((2, 4, HIDDEN), {"attention_mask": torch.ones(2, 4, device="meta").bool()}, "attention_mask"),
        ((2, 4, HIDDEN), {"state_indices": torch.tensor([0, 1])}, "state_indices"),
        ((2, 4, HIDDEN), {"cache": other_cache, "state_indices": torch.tensor([0])}, "state_indices"),
        ((2, 4, HIDDEN), {"cache": other_cache, "state_indices": torch.tensor([0.0, 1.0])}, "state_indices"),
        (
            (2, 4, HIDDEN),
            {"cache": other_cache, "state_indices": torch.zeros(2, dtype=torch.int64, device="meta")},
            "state_indices",
        ),
    ],
)
@pytest.mark.usefixtures("on_references")
def test_wrong_calls_are_named(shape, arguments, name):
    layer = build()
    arguments = {
        key: value() if callable(value) and key == "cache" else value for key, value in arguments.items()
    }
    with pytest.raises(ValueError, match=f"^{name}:"):
        layer(draw(*shape), **arguments)


@pytest.mark.parametrize("name", ["hidden_states", "attention_mask"])
def test_lists_are_no_tensors(name):
    with pytest.raises(TypeError, match=f"^{name}: expected a tensor, got list"):
        build()(**{"hidden_states": draw(2, 4, HIDDEN), name: [[1] * 4] * 2})


@pytest.mark.usefixtures("on_references")
def test_integers_are_no_hidden_states():
    with pytest.raises(ValueError, match=r"^hidden_states: expected floating-point numbers"):
        build()(torch.ones(1, 3, HIDDEN, dtype=torch.int64))


@pytest.mark.usefixtures("on_references")
def test_no_tokens_leave_rows_of_a_cache_as_they_are():
    layer = build()
    cache = layer.new_cache(3)
    with torch.no_grad():
        layer(draw(1, 5, HIDDEN), cache=cache, state_indices=torch.tensor([2]))
        before = cache.clone()
        o, _ = layer(draw(2, 0, HIDDEN), cache=cache, state_indices=torch.tensor([2, -1]))
    assert o.shape == (2, 0, HIDDEN)
    assert all(map(torch.equal, (*cache.state, *cache.tails), (*before.state, *before.tails)))
