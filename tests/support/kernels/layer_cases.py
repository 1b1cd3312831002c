"""Layers to test, moved off their starting point, and how to compare what they give."""

import torch
from osdn_kernels.layers.cache import LayerCache
from osdn_kernels.layers.layer import OnlineScaledDeltaNet
from torch import Tensor

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
