"""The layer: what it computes, that decoding continues it exactly, and that it survives how models are built."""

import copy
import os
import subprocess
import sys
import warnings

import pytest
import torch
from osdn_kernels import layer_operator, runtime
from osdn_kernels.cache import LayerCache
from osdn_kernels.convolution import ShortConvolution, packing
from osdn_kernels.layer import OnlineScaledDeltaNet
from osdn_kernels.reference import osdn_reference
from torch import Tensor, nn

HIDDEN, HEADS = 32, 2

VARIANTS = {
    "plain": {},
    "forgetting": {"use_forget_gate": True},
    "anchored": {"use_forget_gate": True, "anchored": True},
    "no convolutions": {"use_short_conv": False, "use_forget_gate": True},
    "everything": {
        "use_forget_gate": True,
        "anchored": True,
        "use_gate": True,
        "conv_bias": True,
        "conv_size": 3,
        "allow_neg_eigval": True,
        "normalize_feedback": True,
        "expand_k": 0.5,
        "expand_v": 1.5,
        "mode": "fused_recurrent",
    },
}


@pytest.fixture
def on_references(monkeypatch):
    """As on a machine without a GPU."""
    monkeypatch.setattr(runtime, "INTERPRETED", False)
    monkeypatch.setattr(layer_operator, "_warned", True)


@pytest.fixture(params=["references", "kernels"])
def backend(request):
    if request.param == "references":
        request.getfixturevalue("on_references")
    return request.param


def build(variant: str = "plain", seed: int = 0, **options) -> OnlineScaledDeltaNet:
    """A layer moved off its starting point, where d_1 = 1 and unit keys would hide the preconditioner."""
    torch.manual_seed(seed)
    layer = OnlineScaledDeltaNet(HIDDEN, HEADS, **{"eta": 0.5, **VARIANTS[variant], **options})
    with torch.no_grad():
        if layer.initial_preconditioner.requires_grad:
            layer.initial_preconditioner.uniform_(0.8, 1.3)
        layer.o_norm.weight.uniform_(0.5, 1.5)
        if layer.forget_gate is not None:
            layer.forget_gate.weight.normal_(0, 0.3)
            layer.forget_gate.bias.fill_(2.0)
    return layer


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    size = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1.0, size))


def assert_same_cache(found: LayerCache, expected: LayerCache) -> None:
    assert_close(found.state.state, expected.state.state)
    assert_close(found.state.preconditioner, expected.state.preconditioner)
    assert (found.tails is None) == (expected.tails is None)
    for mine, theirs in zip(found.tails or (), expected.tails or (), strict=True):
        assert_close(mine, theirs)


def decode(layer: OnlineScaledDeltaNet, x: Tensor, split: int, cache: LayerCache | None = None) -> Tensor:
    """Outputs of a prefill of `split` tokens and single steps after it."""
    cache = LayerCache() if cache is None else cache
    with torch.no_grad():
        pieces = [layer(piece, cache=cache)[0] for piece in (x[:, :split], *x[:, split:].split(1, 1))]
    return torch.cat(pieces, 1)


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
def test_decoding_continues_a_prefill_on_references(variant):
    layer, x = build(variant), draw(2, 20, HIDDEN)
    cache = LayerCache()
    with torch.no_grad():
        whole, _ = layer(x, cache=cache)
    for split in (0, 1, 2, 7, 19):
        mine = LayerCache()
        assert_close(decode(layer, x, split, mine), whole)
        assert_same_cache(mine, cache)


@pytest.mark.parametrize("variant", ["forgetting", "no convolutions", "everything"])
def test_decoding_continues_a_prefill_on_kernels(variant):
    layer, x = build(variant), draw(2, 9, HIDDEN)
    cache = LayerCache()
    whole, _ = layer(x, cache=cache)  # the chunk operator, for gradients are enabled
    for split in (0, 1, 6):
        mine = LayerCache()
        assert_close(decode(layer, x, split, mine), whole.detach())
        assert_same_cache(mine, cache.clone().detach())


def test_steps_write_into_the_cache_and_never_into_a_clone():
    layer, x = build("anchored"), draw(2, 6, HIDDEN)
    with torch.no_grad():
        _, cache = layer(x[:, :4], use_cache=True)
        other = cache.clone()
        before = [x.data_ptr() for x in (*cache.tails, *cache.state)]
        first = decode(layer, x[:, 4:], 1, cache)
        assert [x.data_ptr() for x in (*cache.tails, *cache.state)] == before
        assert_close(decode(layer, x[:, 4:], 1, other), first)


def test_a_cache_from_inference_mode_or_autograd_is_not_overwritten():
    layer, x = build("forgetting"), draw(2, 6, HIDDEN)
    whole, _ = layer(x)
    with torch.inference_mode():
        _, cache = layer(x[:, :4], use_cache=True)
    assert_close(decode(layer, x[:, 4:], 1, cache), whole[:, 4:].detach())

    o, cache = layer(x[:, :4], use_cache=True)
    attached = cache.state.state
    before = attached.detach().clone()
    for later in (copy.copy(cache), copy.copy(cache).detach()):  # both begin with the very tensors
        assert_close(decode(layer, x[:, 4:], 1, later), whole[:, 4:].detach())
    assert torch.equal(attached, before)
    o.sum().backward()
    assert layer.initial_preconditioner.grad.abs().max() > 0


@pytest.mark.usefixtures("on_references")
def test_gradients_cross_an_attached_cache_and_stop_at_a_detached_one():
    layer = build("anchored")
    first, second = draw(1, 5, HIDDEN).requires_grad_(), draw(1, 4, HIDDEN, seed=2)
    _, cache = layer(first, use_cache=True)
    assert torch.autograd.grad(layer(second, cache=cache.clone())[0].sum(), first)[0].abs().max() > 0
    o, _ = layer(second, cache=cache.detach())
    assert torch.autograd.grad(o.sum(), first, allow_unused=True) == (None,)


def test_beams_can_be_reordered(backend):
    layer, x = build("anchored"), draw(3, 7, HIDDEN)
    index = torch.tensor([2, 0, 0, 1])
    with torch.no_grad():
        _, cache = layer(x[:, :5], use_cache=True)
        cache.reorder(index)
        assert cache.sequences == 4
        found = decode(layer, x[index, 5:], 1, cache)
        expected, _ = layer(x[index])
    assert_close(found, expected[:, 5:])


@pytest.mark.usefixtures("on_references")
def test_a_reset_cache_starts_anew():
    layer, x = build(), draw(2, 5, HIDDEN)
    with torch.no_grad():
        expected, cache = layer(x, use_cache=True)
        continued, _ = layer(x, cache=cache)
        assert_close(layer(x, cache=cache.reset())[0], expected)
        assert (continued - expected).abs().max() > 1e-3
        assert layer(draw(5, 3, HIDDEN), cache=cache.reset())[1].sequences == 5


LENGTHS = (4, 0, 1, 7, 2)


@pytest.mark.parametrize("variant", ["plain", "no convolutions", "everything"])
def test_packed_sequences_are_the_sequences_alone(variant, backend):
    layer = build(variant)
    bounds = torch.tensor([0, *LENGTHS]).cumsum(0)
    first, second = draw(1, sum(LENGTHS), HIDDEN), draw(1, sum(LENGTHS), HIDDEN, seed=2)
    with torch.no_grad():
        o, cache = layer(first, use_cache=True, cu_seqlens=bounds)
        prefilled = cache.clone()
        again, _ = layer(second, cache=cache, cu_seqlens=bounds.int())
        for n in range(len(LENGTHS)):
            piece = slice(bounds[n], bounds[n + 1])
            expected, alone = layer(first[:, piece], use_cache=True)
            assert_close(o[:, piece], expected)
            mine = prefilled.clone().reorder(torch.tensor([n]))
            if alone.sequences:
                assert_same_cache(mine, alone)
            assert_close(again[:, piece], layer(second[:, piece], cache=alone)[0])
        step = draw(len(LENGTHS), 1, HIDDEN, seed=3)
        assert_close(
            layer(step, cache=prefilled.clone())[0][3:4], layer(step[3:4], cache=mine_of(prefilled, 3))[0]
        )


def mine_of(cache: LayerCache, n: int) -> LayerCache:
    return cache.clone().reorder(torch.tensor([n]))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
@pytest.mark.usefixtures("on_references")
def test_padding_is_left_out(side, dtype):
    layer, x = build("anchored"), draw(3, 9, HIDDEN)
    lengths = (4, 9, 6)
    mask = torch.zeros(3, 9, dtype=dtype)
    for row, length in zip(mask, lengths, strict=True):
        row[9 - length :] = 1
    if side == "right":
        mask = mask.flip(1)
    with torch.no_grad():
        o, cache = layer(x, attention_mask=mask, use_cache=True)
        step = draw(3, 1, HIDDEN, seed=2)
        # Models pass the mask of the past as well.
        longer = torch.cat([mask, torch.ones(3, 1, dtype=dtype)], 1)
        stepped, _ = layer(step, attention_mask=longer, cache=cache)
        for n in range(3):
            kept = mask[n].bool()
            expected, _ = layer(torch.cat([x[n : n + 1, kept], step[n : n + 1]], 1))
            assert_close(o[n : n + 1, kept], expected[:, :-1])
            assert_close(stepped[n : n + 1], expected[:, -1:])
            assert (o[n, ~kept] == 0).all()
        ones = torch.ones(3, 9, dtype=dtype)
        assert torch.equal(layer(x, attention_mask=ones)[0], layer(x)[0])


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
    published = OnlineScaledDeltaNet(HIDDEN, HEADS)
    delta = OnlineScaledDeltaNet(HIDDEN, HEADS, d_min=1, d_max=1)
    delta.load_state_dict(published.state_dict())
    x = draw(2, 24, HIDDEN)
    with torch.no_grad():
        assert_close(published(x)[0], delta(x)[0], 1e-5)
        published.initial_preconditioner.uniform_(0.7, 1.4)
        delta.load_state_dict(published.state_dict())
        assert (published(x)[0] - delta(x)[0]).abs().max() > 1e-3
    assert not delta.initial_preconditioner.requires_grad


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


@pytest.mark.usefixtures("on_references")
def test_autocast_keeps_gates_in_float32_and_the_result_near(monkeypatch):
    layer, x = build("anchored"), draw(2, 10, HIDDEN)
    expected, _ = layer(x)
    seen = {}

    def spy(mode, q):
        def call(q, k, v, beta, **options):
            seen.update(q=q, k=k, v=v, beta=beta, g=options["g"], d=options["initial_preconditioner"])
            return layer_operator.choose(mode, q)(q, k, v, beta, **options)

        return call

    monkeypatch.setattr("osdn_kernels.layer.choose", spy)
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


SLOW = """
import sys, warnings
if {without_triton}:
    sys.modules["triton"] = None
import torch
from osdn_kernels.layer import OnlineScaledDeltaNet
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
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = SLOW.format(without_triton=without_triton)
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert reason in run.stdout


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
    return build()(draw(5, 2, HIDDEN), use_cache=True)[1]


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
