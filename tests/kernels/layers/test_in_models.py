"""The layer as models use it: copied, moved, loaded and sharded; checkpointed; exported; with bounds nobody checked."""

import copy
import io

import pytest
import torch
from osdn_kernels.boundary import layer_calls
from osdn_kernels.layers.cache import LayerCache
from osdn_kernels.layers.layer import OnlineScaledDeltaNet
from osdn_kernels.layers.marks import MARKS, MarkedModule
from support.kernels.layer_cases import HEADS, HIDDEN, VARIANTS, build, draw
from torch import nn
from torch.utils.checkpoint import checkpoint


def to_empty(model):
    return copy.deepcopy(model).to("meta").to_empty(device="cpu")


def assigned(model):
    other = copy.deepcopy(model)
    other.load_state_dict({name: x.clone() for name, x in model.state_dict().items()}, assign=True)
    return other


def saved_whole(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def swapped(model):
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return copy.deepcopy(model).double()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def sharded(model):
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        model = copy.deepcopy(model)
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        assert type(model[0].initial_preconditioner.data).__name__ == "DTensor"
        return model
    finally:
        distributed.destroy_process_group()


WAYS = [
    copy.deepcopy,
    to_empty,
    assigned,
    saved_whole,
    swapped,
    sharded,
    lambda model: copy.deepcopy(model).half(),
]


def marked(model) -> list[str]:
    return [n for n, p in model.named_parameters() if all(getattr(p, mark, False) for mark in MARKS)]


@pytest.mark.parametrize("way", WAYS)
def test_marks_survive(way):
    model = nn.Sequential(OnlineScaledDeltaNet(HIDDEN, HEADS, use_forget_gate=True))
    names = ["0.initial_preconditioner", "0.forget_gate.bias"]
    assert marked(model) == names
    assert marked(way(model)) == names


@pytest.mark.parametrize(
    ("method", "way"), [("__setattr__", assigned), ("__setstate__", copy.deepcopy), ("_apply", to_empty)]
)
def test_each_way_needs_its_method(method, way, monkeypatch):
    model = nn.Sequential(OnlineScaledDeltaNet(HIDDEN, HEADS, use_forget_gate=True))
    monkeypatch.setattr(MarkedModule, method, getattr(nn.Module, method))
    if method != "__setstate__":
        monkeypatch.setattr(MarkedModule, "__setstate__", nn.Module.__setstate__)
    assert marked(way(model)) == []


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.usefixtures("on_references")
def test_a_cache_is_refused_where_checkpointing_repeats_the_call(reentrant):
    layer, x = build("forgetting"), draw(1, 6, HIDDEN).requires_grad_()
    past = layer(draw(1, 4, HIDDEN), use_cache=True)[1].detach()
    o = checkpoint(lambda x: layer(x, cache=past)[0], x, use_reentrant=reentrant)
    with pytest.raises(ValueError, match=r"^cache: expected None where activation checkpointing"):
        o.sum().backward()


@pytest.mark.usefixtures("backend")
def test_checkpointing_without_a_cache_is_right():
    layer, x = build("forgetting"), draw(1, 6, HIDDEN)
    found = []
    for call in (
        (lambda x: checkpoint(lambda x: layer(x)[0], x, use_reentrant=False)),
        (lambda x: layer(x)[0]),
    ):
        leaf = x.clone().requires_grad_()
        call(leaf).square().sum().backward()
        found.append(leaf.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("cache", [(None, None), {}, torch.zeros(1)])
@pytest.mark.usefixtures("on_references")
def test_what_is_no_cache_is_named(cache):
    with pytest.raises(TypeError, match=r"^cache: expected a LayerCache or None, got "):
        build()(draw(1, 2, HIDDEN), cache=cache)


@pytest.mark.parametrize(
    "options",
    [{"hidden_size": 32.0}, {"num_heads": 2.0}, {"num_heads": True}, {"head_k_dim": 8.0}, {"conv_size": 4.0}],
)
def test_counts_are_integers(options):
    with pytest.raises(TypeError, match=f"^{next(iter(options))}: expected an integer"):
        OnlineScaledDeltaNet(**{"hidden_size": HIDDEN, "num_heads": HEADS, **options})


@pytest.mark.parametrize("bounds", [[2, 3, 7], pytest.param([-4, 3, 10**6], marks=pytest.mark.slow)])
def test_bounds_that_nobody_checked_reach_no_other_row(bounds, backend, monkeypatch):
    layer, x = build("forgetting"), draw(1, 9, HIDDEN).requires_grad_()
    monkeypatch.setattr(layer_calls, "check_values", lambda *_: None)
    o, _ = layer(x, cu_seqlens=torch.tensor(bounds))
    o.square().sum().backward()
    start, end = max(bounds[0], 0), min(bounds[-1], 9)
    for y in (o, x.grad):
        assert (y[:, :start] == 0).all()
        assert (y[:, end:] == 0).all()
    expected = [layer(x[:, a:b])[0] for a, b in ((start, 3), (3, end))]
    assert torch.allclose(o[:, start:end], torch.cat(expected, 1), atol=1e-5)


@pytest.mark.usefixtures("on_references")
def test_an_empty_cache_and_the_meta_device():
    layer = build("forgetting").to("meta")
    o, cache = layer(torch.empty(2, 70, HIDDEN, device="meta"), use_cache=True)
    assert o.shape == (2, 70, HIDDEN)
    assert isinstance(cache, LayerCache)
    assert cache.state.state.shape == (2, HEADS, 16, 16)
    assert layer(torch.empty(2, 1, HIDDEN, device="meta"), cache=cache)[0].shape == (2, 1, HIDDEN)


@pytest.mark.parametrize("eta", [0.003, pytest.param(0.5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_one_exported_program_for_all_lengths(strict, eta):
    layer = build("forgetting", eta=eta).eval()
    shapes = {"hidden_states": {1: torch.export.Dim("length", min=2, max=4096)}}
    with torch.no_grad():
        program = torch.export.export(layer, (draw(1, 80, HIDDEN),), dynamic_shapes=shapes, strict=strict)
        assert "osdn.chunk_forward" in str(program.graph)
        for tokens in (2, 35, 66):
            x = draw(1, tokens, HIDDEN)
            assert torch.allclose(program.module()(x)[0], layer(x)[0], atol=1e-5)


@pytest.mark.parametrize("length", [1, 70])
def test_grouped_heads(backend, length):
    """The same output as of a layer with as many key heads as value heads, whose projections are repeated."""
    few, x = build("everything", num_v_heads=2 * HEADS), draw(1, length, HIDDEN)
    many = OnlineScaledDeltaNet(HIDDEN, 2 * HEADS, **VARIANTS["everything"] | {"eta": 0.5, "expand_k": 1.0})
    values = few.state_dict()
    for name, p in many.state_dict().items():
        if values[name].shape != p.shape:
            values[name] = values[name].unflatten(0, (HEADS, -1)).repeat_interleave(2, 0).flatten(0, 1)
    many.load_state_dict(values)
    with torch.no_grad():
        expected, past = many(x, use_cache=True)
        o, cache = few(x, use_cache=True)
        assert torch.allclose(o, expected, atol=1e-5)
        assert torch.allclose(cache.state.state, past.state.state, atol=1e-5)
        assert cache.state.preconditioner.shape == (1, HEADS, 8)
        assert torch.allclose(few(x[:, :1], cache=cache)[0], many(x[:, :1], cache=past)[0], atol=1e-5)


@pytest.mark.parametrize("mode", ["chunk", "fused_recurrent"])
@pytest.mark.usefixtures("on_references")
def test_gradients_per_sample(mode):
    layer, x = build(eta=0.05, mode=mode), draw(3, 5, HIDDEN)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(given, row):
        return torch.func.functional_call(layer, given, (row[None],))[0].square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for i in range(3):
        alone = torch.func.grad(loss)(parameters, x[i])
        for name in parameters:
            assert torch.allclose(found[name][i], alone[name], atol=1e-5), name
