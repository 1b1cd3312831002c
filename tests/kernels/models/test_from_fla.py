"""Checkpoints of flash-linear-attention: the names are theirs, and so is what is computed, with d at 1."""

import json

import pytest
import torch
from osdn_kernels.models import OsdnConfig, OsdnForCausalLM
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv1d, linear, pad, silu, softplus

pytestmark = pytest.mark.usefixtures("on_references")

SIZES = {"hidden_size": 32, "num_heads": 2, "num_hidden_layers": 2, "vocab_size": 40}
GATED = {"head_dim": 8, "intermediate_size": 48}
VARIANTS = {
    "plain": {},
    "gated output": {"use_gate": True, "allow_neg_eigval": True, "intermediate_size": 48},
    "no convolutions": {"use_short_conv": False, "expand_k": 0.5, "expand_v": 1.5, "hidden_ratio": 2},
    "gated": {"model_type": "gated_deltanet", **GATED},
    "gated, grouped": {
        "model_type": "gated_deltanet",
        "num_v_heads": 4,
        "use_gate": False,
        "expand_v": 1.0,
        **GATED,
    },
    "kda": {"model_type": "kda", "num_v_heads": 4, "allow_neg_eigval": True, **GATED},
    "kda, bounded": {"model_type": "kda", "lower_bound": -5.0, "safe_gate": True, **GATED},
}


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint."""
    from fla.models.delta_net import DeltaNetConfig, DeltaNetForCausalLM
    from fla.models.gated_deltanet import GatedDeltaNetConfig, GatedDeltaNetForCausalLM
    from fla.models.kda import KDAConfig, KDAForCausalLM

    kinds = {
        "delta_net": (DeltaNetConfig, DeltaNetForCausalLM),
        "gated_deltanet": (GatedDeltaNetConfig, GatedDeltaNetForCausalLM),
        "kda": (KDAConfig, KDAForCausalLM),
    }
    configuration, model = kinds[config.get("model_type", "delta_net")]
    with torch.device("meta"):
        made = model(configuration(**{name: x for name, x in config.items() if name != "model_type"}))
    return {name: tuple(x.shape) for name, x in made.state_dict().items()}


def write(folder, variant: str, **options) -> tuple[dict, dict[str, Tensor]]:
    """A checkpoint of random numbers in a folder."""
    config = {**SIZES, "norm_eps": 1e-6, **VARIANTS[variant]}
    draw = torch.Generator().manual_seed(0)
    weights = {
        n: 0.3 * torch.randn(s, generator=draw, dtype=torch.float64) for n, s in shapes(config).items()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    text = {"model_type": "delta_net", **config, **options}
    (folder / "config.json").write_text(json.dumps(text))
    return config, weights


def read(model: OsdnForCausalLM, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(ids).logits


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, gate: Tensor) -> Tensor:
    """[T, H, K], [T, H, V], [T, H] and gates of the memory [T, H, 1 or K], token by token."""
    state, reads = q.new_zeros(*k.shape[1:], v.shape[2]), []
    for query, key, value, write, kept in zip(q, k, v, beta, gate, strict=True):
        state = kept[..., None] * state
        missing = value - torch.einsum("hkv,hk->hv", state, key)
        state = state + write[:, None, None] * key[..., None] * missing[:, None]
        reads.append(torch.einsum("hkv,hk->hv", state, query) * query.shape[-1] ** -0.5)
    return torch.stack(reads)


def memory_gate(x: Tensor, w: dict[str, Tensor], config: dict, heads: int) -> Tensor:
    if "A_log" not in w:
        return x.new_ones(len(x), heads, 1)
    inner = linear(x, w["a_proj.weight"]) if "a_proj.weight" in w else twice(x, w, "f_proj")
    inner = (inner + w["dt_bias"]).unflatten(1, (heads, -1))
    slope, bound = w["A_log"].exp()[:, None], config.get("lower_bound")
    return (-slope * softplus(inner) if bound is None else bound * (slope * inner).sigmoid()).exp()


def twice(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return linear(linear(x, w[f"{name}.0.weight"]), w[f"{name}.1.weight"], w.get(f"{name}.1.bias"))


def layer(x: Tensor, w: dict[str, Tensor], config: dict) -> Tensor:
    heads = config["num_heads"]
    groups = config.get("num_v_heads") or heads

    def stream(name: str, heads: int) -> Tensor:
        y = linear(x, w[f"{name}_proj.weight"])
        if f"{name}_conv1d.weight" in w:
            filters = w[f"{name}_conv1d.weight"]
            y = conv1d(pad(y.T[None], (3, 0)), filters, groups=len(filters))[0].T
        return silu(y).unflatten(1, (heads, -1))

    q, k = (
        y / (y.square().sum(-1, keepdim=True) + 1e-6).sqrt() for y in (stream("q", heads), stream("k", heads))
    )
    q, k = (y.repeat_interleave(groups // heads, 1) for y in (q, k))
    beta = linear(x, w["b_proj.weight"]).sigmoid() * (2 if config.get("allow_neg_eigval") else 1)
    o = delta_rule(q, k, stream("v", groups), beta, memory_gate(x, w, config, groups))
    o = norm(o, w["o_norm.weight"], config["norm_eps"]).flatten(1)
    if "g_proj.weight" in w:
        o = o * silu(linear(x, w["g_proj.weight"]))
    if "g_proj.0.weight" in w:
        o = o * twice(x, w, "g_proj").sigmoid()
    return linear(o, w["o_proj.weight"])


def logits(w: dict[str, Tensor], ids: Tensor, config: dict) -> Tensor:
    """Of one sequence, by formulas alone."""
    x, eps = w["model.embeddings.weight"][ids], config["norm_eps"]
    for place in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{place}."
        block = {name.removeprefix(prefix): value for name, value in w.items() if name.startswith(prefix)}
        attn = {name.removeprefix("attn."): value for name, value in block.items()}
        x = x + layer(norm(x, block["attn_norm.weight"], eps), attn, config)
        y = norm(x, block["mlp_norm.weight"], eps)
        gated = silu(linear(y, block["mlp.gate_proj.weight"])) * linear(y, block["mlp.up_proj.weight"])
        x = x + linear(gated, block["mlp.down_proj.weight"])
    return linear(norm(x, w["model.norm.weight"], eps), w["lm_head.weight"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_computes_what_it_did(variant, tmp_path):
    config, weights = write(tmp_path, variant)
    model = OsdnForCausalLM.from_fla(str(tmp_path), dtype=torch.float64)
    ids = torch.arange(24) * 7 % 40
    torch.testing.assert_close(
        read(model, ids[None])[0], logits(weights, ids, config), rtol=1e-11, atol=1e-11
    )
    assert model.config.d_min == model.config.d_max == 1.0
    d = [x for name, x in model.state_dict().items() if name.endswith("initial_preconditioner")]
    assert len(d) == 2
    assert all((x == 1).all() for x in d)


def test_what_is_saved_again_is_a_model_of_ours(tmp_path):
    write(tmp_path, "plain")
    model = OsdnForCausalLM.from_fla(str(tmp_path), dtype=torch.float64)
    model.save_pretrained(tmp_path / "ours")
    again = OsdnForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float64)
    ids = torch.arange(9)[None]
    assert torch.equal(read(again, ids), read(model, ids))


@pytest.mark.parametrize(
    ("old", "new"), [("mlp.up_proj", "mlp.up"), ("o_norm", "g_norm"), ("lm_head", "head")]
)
def test_weights_by_other_names_are_refused(old, new, tmp_path):
    _, weights = write(tmp_path, "plain")
    renamed = {name.replace(old, new): x for name, x in weights.items()}
    save_file(renamed, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=rf"^folder: expected the weights that osdn has, got .*{new}"):
        OsdnForCausalLM.from_fla(str(tmp_path))


def test_weights_of_another_shape_are_refused(tmp_path):
    _, weights = write(tmp_path, "plain")
    weights["lm_head.weight"] = weights["lm_head.weight"][:, :8].clone()
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"osdn has, got lm_head.weight of shape \[40, 8\] for \[40, 32\]$"):
        OsdnForCausalLM.from_fla(str(tmp_path))


def test_an_open_box_may_leave_delta_net(tmp_path):
    write(tmp_path, "plain")
    ids = torch.arange(24)[None]
    pinned, opened, wide = (
        OsdnForCausalLM.from_fla(str(tmp_path), dtype=torch.float64, **options)
        for options in (
            {},
            {"d_min": 0.5, "d_max": 2.0},
            {"d_min": 0.5, "d_max": 2.0, "use_forget_gate": True},
        )
    )
    # Keys of unit norm keep d at 1 but for the 1e-6 in their norm (T15), until d_1 is trained.
    torch.testing.assert_close(read(opened, ids), read(pinned, ids), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        for parameter in (p for n, p in wide.named_parameters() if n.endswith("initial_preconditioner")):
            parameter.fill_(1.5)
    assert not torch.allclose(read(wide, ids), read(pinned, ids), atol=1e-2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("qk_norm", "sum"), ("qk_activation", "relu"), ("use_beta", False), ("attn", {"layers": [0]}),
     ("hidden_act", "powlu"), ("attnres_block_size", 1), ("model_type", "gla")],
)  # fmt: skip
def test_what_ours_have_not_is_named(name, value, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "delta_net", **SIZES, name: value}))
    with pytest.raises(ValueError, match=f"^{name}:"):
        OsdnConfig.from_fla(str(tmp_path))


def test_a_weight_with_another_sign_would_be_seen(tmp_path):
    config, weights = write(tmp_path, "plain")
    weights["model.layers.0.attn.q_conv1d.weight"] *= -1
    ids = torch.arange(24)
    model = OsdnForCausalLM.from_fla(str(tmp_path), dtype=torch.float64)
    assert not torch.allclose(read(model, ids[None])[0], logits(weights, ids, config))
