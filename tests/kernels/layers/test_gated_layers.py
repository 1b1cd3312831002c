"""The gated layers: their formula, decoding, names of flash-linear-attention, and initialisers that spare the gates."""

from importlib import import_module

import pytest
import torch
from osdn_kernels import OnlineScaledGatedDeltaNet, OnlineScaledKDA
from osdn_kernels.layers.cache import LayerCache
from osdn_kernels.layers.layer import CHUNK_SIZE
from osdn_kernels.reference.tokenwise import osgdn_reference, oskda_reference
from support.crosscheck.public_kernels import needs_fla
from support.kernels.layer_cases import assert_close, decode, draw
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize, rms_norm, silu, softplus

HIDDEN = 16
LAYERS = {"osgdn": OnlineScaledGatedDeltaNet, "oskda": OnlineScaledKDA}
VARIANTS = {
    "plain": {},
    "grouped": {"num_v_heads": 4, "forgetting": "state"},
    "learned": {"forgetting": "learned", "anchored": True, "use_short_conv": False, "allow_neg_eigval": True},
}


def build(form: str, variant: str = "plain", seed: int = 0, **options) -> nn.Module:
    """A small layer moved off its starting point."""
    torch.manual_seed(seed)
    layer = LAYERS[form](HIDDEN, 1.0, 8, 2, eta=0.5, **VARIANTS[variant], **options)
    with torch.no_grad():
        layer.initial_preconditioner.uniform_(0.8, 1.3)
        layer.o_norm.weight.uniform_(0.5, 1.5)
    return layer


def expected(layer: nn.Module, form: str, x: Tensor) -> Tensor:
    """The layer without convolutions, step by step, from its parameters and the operator's reference."""
    heads, groups = layer.num_heads, layer.num_v_heads

    def unit(y: Tensor) -> Tensor:
        return normalize(silu(y).unflatten(2, (heads, -1)), dim=-1, eps=1e-6)

    v = silu(layer.v_proj(x)).unflatten(2, (groups, -1))
    beta = 2 * layer.b_proj(x).sigmoid()
    if form == "osgdn":
        gate = -layer.A_log.exp() * softplus(layer.a_proj(x) + layer.dt_bias)
        out = silu(layer.g_proj(x))
    else:
        inner = layer.f_proj(x) + layer.dt_bias
        gate = -layer.A_log.exp()[:, None] * softplus(inner.unflatten(2, (groups, -1)))
        out = layer.g_proj(x).sigmoid()
    learned = layer.forget_gate
    g_d = logsigmoid(x @ learned.weight.T + learned.bias)
    start = layer.initial_preconditioner.expand(len(x), -1, -1)
    o, _ = (osgdn_reference if form == "osgdn" else oskda_reference)(
        unit(layer.q_proj(x)), unit(layer.k_proj(x)), v, gate, beta, g_d=g_d, eta=0.5, initial_preconditioner=start,
        anchor=start,
    )  # fmt: skip
    normed = rms_norm(o, o.shape[-1:], layer.o_norm.weight, 1e-5)
    return layer.o_proj(normed.flatten(2) * out)


@pytest.mark.usefixtures("on_references")
@pytest.mark.parametrize("form", LAYERS)
def test_it_is_its_formula(form):
    layer, x = build(form, "learned"), draw(2, 9, HIDDEN)
    assert_close(layer(x)[0], expected(layer, form, x))
    assert layer.A_log.grad is None
    layer(x)[0].cos().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("form", LAYERS)
def test_steps_continue_what_came_before(form, variant, backend):
    layer, x = build(form, variant), draw(2, 7, HIDDEN)
    with torch.no_grad():
        whole = layer(x)[0]
    assert_close(decode(layer, x, 4), whole)
    moved = build(form, variant)
    with torch.no_grad():
        moved.dt_bias += 1.0
    assert not torch.allclose(decode(moved, x, 4), whole, atol=1e-4)


@pytest.mark.usefixtures("on_references")
@pytest.mark.parametrize("form", LAYERS)
def test_padding_is_left_out(form):
    layer, x = build(form, "grouped"), draw(2, 6, HIDDEN)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    o, _ = layer(x, attention_mask=mask)
    assert_close(o[0, 2:], layer(x[:1, 2:])[0][0])
    assert_close(o[1], layer(x[1:])[0][0])


@pytest.mark.usefixtures("on_references")
@pytest.mark.parametrize("form", LAYERS)
def test_a_call_may_have_no_tokens_or_none_but_padding(form):
    layer, x = build(form, "grouped"), draw(2, 3, HIDDEN)
    assert layer(x[:, :0])[0].shape == (2, 0, HIDDEN)
    o, cache = layer(x, attention_mask=torch.zeros(2, 3, dtype=torch.bool), use_cache=True)
    assert torch.equal(o, torch.zeros_like(x))
    assert_close(layer(x, cache=cache)[0], layer(x)[0])


@pytest.mark.parametrize("form", LAYERS)
@pytest.mark.usefixtures("on_references")
def test_what_stands_between_chunks_starts_what_follows(form):
    layer, x = build(form, "grouped"), draw(1, CHUNK_SIZE + 9, HIDDEN)
    with torch.no_grad():
        whole, _, prefixes = layer(x, use_cache=True, return_intermediate_states=True)
        start = prefixes.take(torch.tensor([1]))
        assert_close(layer(x[:, CHUNK_SIZE:], cache=start)[0], whole[:, CHUNK_SIZE:])


@pytest.mark.parametrize("form", LAYERS)
def test_on_kernels_there_are_states_between_chunks(form):
    layer, x = build(form), draw(1, CHUNK_SIZE + 3, HIDDEN)
    with torch.no_grad():
        whole, _, prefixes = layer(x, use_cache=True, return_intermediate_states=True)
        start = prefixes.take(torch.tensor([1]))
        assert_close(layer(x[:, CHUNK_SIZE:], cache=start)[0], whole[:, CHUNK_SIZE:])


SHARED = {
    "q_proj.weight": (16, 16),
    "k_proj.weight": (16, 16),
    "v_proj.weight": (32, 16),
    "b_proj.weight": (4, 16),
    "q_conv1d.weight": (16, 1, 4),
    "k_conv1d.weight": (16, 1, 4),
    "v_conv1d.weight": (32, 1, 4),
    "o_norm.weight": (8,),
    "o_proj.weight": (16, 32),
    "A_log": (4,),
}
OF_FLA = {
    "osgdn": SHARED | {"a_proj.weight": (4, 16), "dt_bias": (4,), "g_proj.weight": (32, 16)},
    "oskda": SHARED
    | {
        "f_proj.0.weight": (8, 16),
        "f_proj.1.weight": (32, 8),
        "dt_bias": (32,),
        "g_proj.0.weight": (8, 16),
        "g_proj.1.weight": (32, 8),
        "g_proj.1.bias": (32,),
    },
}
"""Names and shapes of GatedDeltaNet's and KimiDeltaAttention's parameters at this size."""


@pytest.mark.usefixtures("on_references")
@pytest.mark.parametrize("form", LAYERS)
def test_checkpoints_of_flash_linear_attention_load(form):
    rng = torch.Generator().manual_seed(1)
    checkpoint = {name: torch.randn(shape, generator=rng) for name, shape in OF_FLA[form].items()}
    layer = LAYERS[form](HIDDEN, 1.0, 8, 2, num_v_heads=4)
    missing, unexpected = layer.load_state_dict(checkpoint, strict=False)
    assert (missing, unexpected) == (["initial_preconditioner"], [])
    assert torch.equal(layer.A_log, checkpoint["A_log"])


def initialise(module: nn.Module) -> None:
    """As models of the field do: by kind, then whatever is left and not marked."""
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for parameter in module.parameters(recurse=False):
        if not getattr(parameter, "_no_reinit", False):
            nn.init.normal_(parameter, std=0.02)


@pytest.mark.usefixtures("on_references")
@pytest.mark.parametrize("form", LAYERS)
def test_a_generic_initialiser_spares_the_gates(form):
    layer = LAYERS[form](HIDDEN, 1.0, 8, 2, forgetting="learned")
    kept = {name: getattr(layer, name).clone() for name in ("A_log", "dt_bias", "initial_preconditioner")}
    layer.apply(initialise)
    for name, before in kept.items():
        assert torch.equal(getattr(layer, name), before), name
        assert getattr(layer, name)._no_weight_decay
    assert (layer.forget_gate.bias == torch.tensor(6.9)).all()
    assert softplus(layer.dt_bias).min() >= 0.001
    assert softplus(layer.dt_bias).max() <= 0.1
    layer.reset_parameters()
    assert not torch.equal(layer.A_log, kept["A_log"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", LAYERS)
def test_slopes_drawn_in_16_bits_are_not_zero(form, dtype, monkeypatch):
    """Their smallest numbers are few: drawn as such, one in hundreds is 0, which never moves."""
    layer = LAYERS[form](HIDDEN, 1.0, 8, 2).to(dtype)
    drawn = []
    draw_uniform = Tensor.uniform_
    monkeypatch.setattr(Tensor, "uniform_", lambda x, *box: drawn.append(x.dtype) or draw_uniform(x, *box))
    layer.reset_parameters()
    assert set(drawn) == {torch.float32}
    monkeypatch.setattr(Tensor, "uniform_", lambda x, low, high: x.fill_(low))
    layer.reset_parameters()
    assert layer.A_log.isfinite().all()


@needs_fla
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("on_references")
@pytest.mark.parametrize(
    ("form", "family", "name"), [("osgdn", "gated_deltanet", "GatedDeltaNet"), ("oskda", "kda", "KDA")]
)
def test_the_initialiser_of_flash_linear_attentions_models_spares_them_too(form, family, name):
    """It draws projections anew, and A_log and dt_bias by the layer's own `reset_parameters`."""
    module = import_module(f"fla.models.{family}")
    config, model = (getattr(module, name + end) for end in ("Config", "ForCausalLM"))
    theirs = model(config(hidden_size=HIDDEN, num_heads=2, head_dim=8, num_hidden_layers=1, vocab_size=8))
    layer = LAYERS[form](HIDDEN, 1.0, 8, 2, forgetting="learned")
    before = {name: x.clone() for name, x in layer.named_parameters()}
    with torch.no_grad():
        layer.apply(theirs._init_weights)
    assert not torch.equal(layer.q_proj.weight, before["q_proj.weight"])
    assert torch.equal(layer.initial_preconditioner, before["initial_preconditioner"])
    assert (layer.forget_gate.bias == torch.tensor(6.9)).all()
    assert 0.001 <= softplus(layer.dt_bias).min() <= softplus(layer.dt_bias).max() <= 0.1
    assert 0 <= layer.A_log.exp().min() <= layer.A_log.exp().max() <= 16


@pytest.mark.usefixtures("on_references")
def test_a_lower_bound_holds_the_gates_of_kda():
    bounded = build("oskda", lower_bound=-5.0)
    gate = bounded._state_gate(100 * draw(1, 6, HIDDEN))
    assert -5.0 <= gate.min() < -4.9
    assert -0.1 < gate.max() <= 0.0


@pytest.mark.usefixtures("on_references")
def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="forgetting: expected none or learned or state"):
        OnlineScaledGatedDeltaNet(HIDDEN, 1.0, 8, 2, forgetting="some")
    with pytest.raises(ValueError, match="use_gate"):
        OnlineScaledKDA(HIDDEN, 1.0, 8, 2, use_gate=False)
    with pytest.raises(ValueError, match="num_v_heads"):
        OnlineScaledGatedDeltaNet(HIDDEN, 1.0, 8, 2, num_v_heads=3)
    with pytest.raises(ValueError, match="expand_v: expected a factor that makes head_dim = 8"):
        OnlineScaledGatedDeltaNet(HIDDEN, 1.1, 8, 2)
    assert OnlineScaledGatedDeltaNet(HIDDEN, 0.29, 100, 1).head_v_dim == 29  # 28.999999999999996
    with pytest.raises(ValueError, match="lower_bound: expected a log gate <= 0, got 5"):
        OnlineScaledKDA(HIDDEN, 1.0, 8, 2, lower_bound=5.0)
    cache = LayerCache()
    layer = build("oskda")
    layer(draw(2, 3, HIDDEN), cache=cache)
    with pytest.raises(ValueError, match="cache"):
        layer(draw(1, 3, HIDDEN), cache=cache)
