"""The layer: what it computes, on the kernels and on the references."""

import warnings

import pytest
import torch
from osdn_kernels.launch import runtime
from osdn_kernels.layers import operator as layer_operator
from osdn_kernels.layers.convolution import ShortConvolution, packing
from osdn_kernels.layers.layer import OnlineScaledDeltaNet
from osdn_kernels.reference.tokenwise import osdn_reference
from support.kernels.layer_cases import HEADS, HIDDEN, VARIANTS, assert_close, build, draw
from torch import Tensor


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("on_references")
def test_shapes_and_gradients_of_every_parameter(variant):
    layer = build(variant)
    x = draw(2, 11, HIDDEN).requires_grad_()
    o, cache = layer(x)
    assert o.shape == x.shape
    assert cache is None
    # A plain sum of squares would be blind to what the output norm removes.
    (o * draw(2, 11, HIDDEN, seed=2)).sum().backward()
    assert x.grad.abs().min() > 0
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A filter's row may be idle, but no whole head is.
        assert (parameter.grad.abs().flatten(1 if parameter.dim() > 1 else 0).amax(-1) > 0).all(), name


@pytest.mark.usefixtures("on_references")
def test_the_layer_is_its_formula():
    """Written out for one sequence, with every option on, from the parameters and the operator alone."""
    layer, x = build("everything"), draw(1, 9, HIDDEN)

    def stream(name: str) -> Tensor:
        inputs = x[0] @ getattr(layer, f"{name}_proj").weight.T
        filter = getattr(layer, f"{name}_conv1d")
        padded = torch.cat([torch.zeros(2, inputs.shape[1]), inputs])
        filtered = sum(padded[j : j + 9] * filter.weight[:, 0, j] for j in range(3)) + filter.bias
        return (filtered * filtered.sigmoid()).view(1, 9, HEADS, -1)

    q, k, v = (stream(name) for name in "qkv")
    q, k = (y / (y.square().sum(-1, keepdim=True) + 1e-6).sqrt() for y in (q, k))
    beta = 2 / (1 + (-x @ layer.b_proj.weight.T).exp())
    gamma = 1 / (1 + (-x @ layer.forget_gate.weight.T - layer.forget_gate.bias).exp())
    d_1 = layer.initial_preconditioner[None]
    rule = {"eta": 0.5, "d_min": 2 / 3, "d_max": 1.5, "normalize_feedback": True}
    read, _ = osdn_reference(q, k, v, beta, g=gamma.log(), anchor=d_1, initial_preconditioner=d_1, **rule)
    o = read / (read.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.o_norm.weight
    gate = x @ layer.g_proj.weight.T
    assert_close(layer(x)[0], (o.flatten(2) * gate * gate.sigmoid()) @ layer.o_proj.weight.T)
    unanchored, _ = osdn_reference(q, k, v, beta, g=gamma.log(), initial_preconditioner=d_1, **rule)
    assert (unanchored - read).abs().max() > 1e-3


@pytest.mark.parametrize("variant", ["plain", "everything"])
def test_kernels_and_references_give_the_same(variant, monkeypatch):
    layer, x = build(variant), draw(2, 11, HIDDEN)
    found, expected = {}, {}
    for results, interpreted in ((found, True), (expected, False)):
        with monkeypatch.context() as patch:
            patch.setattr(runtime, "INTERPRETED", interpreted)
            patch.setattr(layer_operator, "_warned", True)
            layer.zero_grad()
            o, _ = layer(x)
            (o * draw(2, 11, HIDDEN, seed=2)).sum().backward()
            results |= {name: p.grad.clone() for name, p in layer.named_parameters()} | {"o": o.detach()}
            with torch.no_grad():
                results["inference"], cache = layer(x, use_cache=True)
            results["state"], results["preconditioner"] = cache.state
    for name in expected:
        assert_close(found[name], expected[name], 2e-5)
    assert (expected["preconditioner"] - 1).abs().max() > 0.05


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("on_references")
def test_no_token_sees_a_later_one(variant):
    layer, x = build(variant), draw(2, 12, HIDDEN)
    changed = x.clone()
    changed[:, 5] += 1
    with torch.no_grad():
        difference = (layer(x)[0] - layer(changed)[0]).abs().amax((0, 2))
    assert (difference[:5] < 1e-6).all()
    assert (difference[5:] > 1e-4).all()


@pytest.mark.usefixtures("on_references")
def test_unit_keys_and_ones_are_delta_net():
    """T15: nothing moves d until d_1 is trained."""
    torch.manual_seed(0)
    plain = OnlineScaledDeltaNet(HIDDEN, HEADS)
    delta = OnlineScaledDeltaNet(HIDDEN, HEADS, d_min=1, d_max=1)
    delta.load_state_dict(plain.state_dict())
    x = draw(2, 24, HIDDEN)
    with torch.no_grad():
        assert_close(plain(x)[0], delta(x)[0], 1e-5)
        plain.initial_preconditioner.uniform_(0.7, 1.4)
        delta.load_state_dict(plain.state_dict())
        assert (plain(x)[0] - delta(x)[0]).abs().max() > 1e-3
    assert not delta.initial_preconditioner.requires_grad


@pytest.mark.parametrize("tokens", [0, 5])
@pytest.mark.parametrize("box", [(1.0, 1.0), (2 / 3, 3 / 2)])
def test_every_parameter_that_learns_has_a_gradient(box, tokens):
    """Data-parallel training refuses others; without tokens it is zero."""
    layer = OnlineScaledDeltaNet(
        HIDDEN, HEADS, d_min=box[0], d_max=box[1], use_forget_gate=True, conv_bias=True, use_gate=True
    )
    layer(draw(2, 5, HIDDEN)[:, :tokens])[0].sum().backward()
    assert [n for n, p in layer.named_parameters() if p.requires_grad and p.grad is None] == []
    free = {name for name, p in layer.named_parameters() if not p.requires_grad}
    pinned = {"initial_preconditioner", "forget_gate.weight", "forget_gate.bias"}
    assert free == (pinned if box == (1.0, 1.0) else set())


@pytest.mark.usefixtures("on_references")
def test_d_1_stays_in_its_box():
    layer, x = build(), draw(2, 5, HIDDEN)
    with torch.no_grad():
        layer.initial_preconditioner.fill_(7.0)
        far, _ = layer(x)
        layer.initial_preconditioner.fill_(1.5)
        assert torch.equal(layer(x)[0], far)
        layer.initial_preconditioner.fill_(1.4)
        assert not torch.equal(layer(x)[0], far)
        layer.initial_preconditioner[0] = -2.0
        layer.project_()
        assert layer.initial_preconditioner.min().item() == pytest.approx(2 / 3)
        assert layer.initial_preconditioner.max().item() == pytest.approx(1.4)
    layer(x)[0].sum().backward()
    assert layer.initial_preconditioner.grad[0].abs().max() > 0
    assert not OnlineScaledDeltaNet(
        HIDDEN, HEADS, learnable_preconditioner=False
    ).initial_preconditioner.requires_grad


@pytest.mark.usefixtures("on_references")
def test_autocast_keeps_gates_in_float32_and_the_result_near(monkeypatch):
    layer, x = build("anchored"), draw(2, 10, HIDDEN)
    expected, _ = layer(x)
    seen = {}

    def spy(mode, q, form):
        def call(q, k, v, beta, **options):
            seen.update(q=q, k=k, v=v, beta=beta, g=options["g"], d=options["initial_preconditioner"])
            return layer_operator.choose(mode, q, form)(q, k, v, beta, **options)

        return call

    monkeypatch.setattr("osdn_kernels.layers.layer.choose", spy)
    with torch.autocast("cpu", torch.bfloat16):
        o, _ = layer(x)
    assert {seen[name].dtype for name in "qkv"} == {torch.bfloat16}
    assert {seen[name].dtype for name in ("beta", "g", "d")} == {torch.float32}
    assert o.dtype == torch.bfloat16
    assert 0 < (o - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.usefixtures("on_references")
def test_float64_gradients_are_those_of_finite_differences():
    layer = build("anchored", head_k_dim=3, head_v_dim=2).double()
    x = draw(1, 4, HIDDEN).double()
    parameters = dict(layer.named_parameters())
    chosen = ("initial_preconditioner", "forget_gate.bias", "b_proj.weight", "k_conv1d.weight")

    def output(*values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, parameters | dict(zip(chosen, values, strict=True)), (x,))[0]

    values = tuple(parameters[name].detach().clone().requires_grad_() for name in chosen)
    assert torch.autograd.gradcheck(output, values, fast_mode=True)


@pytest.mark.parametrize("variant", ["plain", "everything"])
def test_traces_without_graph_breaks_and_without_the_warning(variant, monkeypatch):
    monkeypatch.setattr(runtime, "INTERPRETED", False)
    monkeypatch.setattr(layer_operator, "_warned", False)
    torch.compiler.reset()
    # On a CPU only the token-by-token reference traces: the other looks at the clip.
    layer, x = build(variant, mode="fused_recurrent"), draw(2, 3, HIDDEN)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        o, cache = compiled(x, use_cache=True)
        o.sum().backward()
        with torch.no_grad():
            o, cache = compiled(x, use_cache=True)
            stepped, _ = compiled(x[:, :1], cache=cache)
    with pytest.warns(UserWarning, match="PyTorch reference"):
        expected, _ = layer(torch.cat([x, x[:, :1]], 1))
    assert_close(torch.cat([o, stepped], 1), expected.detach())


@pytest.mark.usefixtures("on_references")
def test_no_tokens():
    layer = build("anchored")
    o, cache = layer(draw(2, 0, HIDDEN), use_cache=True)
    assert o.shape == (2, 0, HIDDEN)
    assert_close(layer(draw(2, 3, HIDDEN), cache=cache)[0], layer(draw(2, 3, HIDDEN))[0])


@pytest.mark.parametrize("lengths", [(5,), (1, 1, 1), (0, 4, 0), (2, 7, 1)])
def test_a_packed_convolution_is_that_of_each_sequence(lengths):
    torch.manual_seed(0)
    filter = ShortConvolution(3, 4, bias=True)
    x, tails = draw(1, sum(lengths), 3), draw(len(lengths), 3, 3, seed=2)
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    y, next_tails = filter(x, tails, packing(bounds, sum(lengths), filter.reach))
    for n in range(len(lengths)):
        piece = torch.cat([tails[n : n + 1], x[:, bounds[n] : bounds[n + 1]]], 1)
        expected = [
            (filter.weight[:, 0] * piece[0, t : t + 4].T).sum(1) + filter.bias for t in range(lengths[n])
        ]
        for t, row in enumerate(expected):
            assert_close(y[0, bounds[n] + t], row)
        assert torch.equal(next_tails[n], piece[0, -3:])


@pytest.mark.usefixtures("on_references")
def test_training_lowers_a_loss_and_decoding_follows_the_trained_layer():
    """The README's example."""
    torch.manual_seed(0)
    layer = OnlineScaledDeltaNet(hidden_size=32, num_heads=2, use_forget_gate=True, anchored=True)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2, weight_decay=0.0)

    losses = []
    for _ in range(40):
        x = torch.randn(4, 20, 32)
        target = x.roll(2, 1)  # what came two tokens before
        o, _ = layer(x)
        loss = (o - target)[:, 2:].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        layer.project_()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])

    x = torch.randn(1, 20, 32)
    with torch.no_grad():
        whole, _ = layer(x)
        o, cache = layer(x[:, :16], use_cache=True)  # prefill
        for t in range(16, 20):
            step, cache = layer(x[:, t : t + 1], cache=cache)
            assert_close(step, whole[:, t : t + 1])
    assert_close(o, whole[:, :16])
