"""The sizes and options of a model, as transformers stores them in ``config.json``."""

import inspect
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from ..boundary.checks import refuse
from ..boundary.rule import PUBLISHED
from ..layers.layer import OnlineScaledDeltaNet

DELTA_NET = {
    "use_beta": True,
    "use_output_norm": True,
    "qk_norm": "l2",
    "qk_activation": "silu",
    "hidden_act": "swish",
    "attn": None,
    "attnres_block_size": None,
}
"""What a configuration of flash-linear-attention's DeltaNet must say to be a model of ours."""


class OsdnConfig(PreTrainedConfig):
    """Configuration of `OsdnModel`; names and defaults are flash-linear-attention's for DeltaNet, and the layer's.

    Attributes
    ----------
    attn_mode, hidden_size, num_heads, num_v_heads, expand_k, ..., norm_eps
        Arguments of `OnlineScaledDeltaNet`, whose `mode` is called `attn_mode` here.
    hidden_ratio, intermediate_size : number, int or None
        Features of the SwiGLU between two projections; by default 2/3 of `hidden_ratio` times `hidden_size`, rounded up
        to a multiple of 256.
    num_hidden_layers, vocab_size, initializer_range, use_cache, tie_word_embeddings, *_token_id
        As in transformers.
    """

    model_type = "osdn"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values", "cache"]
    attribute_map: ClassVar[dict[str, str]] = {"mode": "attn_mode"}

    attn_mode: str = "chunk"
    hidden_size: int = 2048
    num_heads: int = 16
    num_v_heads: int | None = None
    expand_k: float = 1.0
    expand_v: float = 1.0
    head_k_dim: int | None = None
    head_v_dim: int | None = None
    use_short_conv: bool = True
    conv_size: int = 4
    conv_bias: bool = False
    allow_neg_eigval: bool = False
    use_forget_gate: bool = False
    anchored: bool = False
    learnable_preconditioner: bool = True
    eta: float = PUBLISHED.eta
    d_min: float = PUBLISHED.d_min
    d_max: float = PUBLISHED.d_max
    normalize_feedback: bool = PUBLISHED.normalize_feedback
    beta_aware: bool = PUBLISHED.beta_aware
    use_gate: bool = False
    norm_eps: float = 1e-6
    hidden_ratio: float | None = 4
    intermediate_size: int | None = None
    num_hidden_layers: int = 24
    vocab_size: int = 32000
    initializer_range: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def layer_options(self) -> dict[str, Any]:
        """Arguments of each layer."""
        options = inspect.signature(OnlineScaledDeltaNet).parameters
        return {name: getattr(self, name) for name in options if hasattr(self, name)}

    @property
    def mlp_size(self) -> int:
        """Features between the projections of a block's SwiGLU."""
        if self.intermediate_size is not None:
            return self.intermediate_size
        return -(-int(self.hidden_size * (self.hidden_ratio or 4) * 2 / 3) // 256) * 256

    @classmethod
    def from_delta_net(cls, folder: str, **options: Any) -> "OsdnConfig":
        """The configuration that makes a DeltaNet model of flash-linear-attention one of ours.

        d is pinned at 1 (``d_min = d_max = 1``), so that the model computes what it did; other `options`, say
        ``d_min=2/3, d_max=3/2``, let it learn from there.

        Parameters
        ----------
        folder : str
            Where its ``config.json`` is, or what else transformers takes.

        Raises
        ------
        ValueError
            It is of another kind, or has what ours have not, which is named.
        """
        given, _ = cls.get_config_dict(folder)
        if given.get("model_type") != "delta_net":
            refuse("model_type", "delta_net", given.get("model_type"))
        for name, value in DELTA_NET.items():
            if given.get(name, value) != value:
                refuse(name, repr(value), repr(given[name]))
        kept = {name: given[name] for name in inspect.signature(cls).parameters if name in given}
        return cls(**{**kept, "d_min": 1.0, "d_max": 1.0, "architectures": ["OsdnForCausalLM"], **options})
