"""The sizes and options of a model, as transformers stores them in ``config.json``."""

import inspect
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from ..boundary.checks import refuse
from ..boundary.rule import BOUNDED
from ..layers.gated import OnlineScaledGatedDeltaNet, OnlineScaledKDA
from ..layers.layer import OnlineScaledDeltaNet

LAYERS = {"osdn": OnlineScaledDeltaNet, "osgdn": OnlineScaledGatedDeltaNet, "oskda": OnlineScaledKDA}

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "delta_net": ("osdn", {}),
    "gated_deltanet": ("osgdn", {"head_dim": 256, "num_heads": 6, "num_hidden_layers": 21}),
    "kda": ("oskda", {}),
}
"""Kinds of models of flash-linear-attention: the layer that takes the place of theirs, and other defaults than ours."""

NEEDED: dict[str, tuple[Any, ...]] = {
    "use_beta": (True,),
    "use_output_norm": (True,),
    "qk_norm": ("l2",),
    "qk_activation": ("silu",),
    "hidden_act": ("swish",),
    "output_gate_activation": ("swish", "silu"),
    "attn": (None,),
    "attnres_block_size": (None,),
}
"""What their configurations must say to be models of ours."""


class OsdnConfig(PreTrainedConfig):
    """Configuration of `OsdnModel`; names and defaults are flash-linear-attention's, and those of the layer.

    - `form`, {"osdn", "osgdn", "oskda"}: The layers: `OnlineScaledDeltaNet`, `OnlineScaledGatedDeltaNet` or
      `OnlineScaledKDA`.
    - `attn_mode`, `hidden_size`, `num_heads`, `num_v_heads`, `expand_k`, `...`, `norm_eps`: Arguments of the layer,
      whose `mode` is called `attn_mode` here; None is its default. Those of another layer have no effect.
    - `hidden_ratio`, `intermediate_size`, number, int or None: Features of the SwiGLU between two projections; by
      default 2/3 of `hidden_ratio` times `hidden_size`, rounded up to a multiple of 256.
    - `num_hidden_layers`, `vocab_size`, `initializer_range`, `use_cache`, `tie_word_embeddings`, `*_token_id`: As in
      transformers.
    """

    model_type = "osdn"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values", "cache"]
    attribute_map: ClassVar[dict[str, str]] = {"mode": "attn_mode"}

    form: str = "osdn"
    attn_mode: str = "chunk"
    hidden_size: int = 2048
    num_heads: int = 16
    num_v_heads: int | None = None
    expand_k: float = 1.0
    expand_v: float | None = None
    head_dim: int | None = None
    head_k_dim: int | None = None
    head_v_dim: int | None = None
    use_short_conv: bool = True
    conv_size: int = 4
    conv_bias: bool = False
    allow_neg_eigval: bool = False
    lower_bound: float | None = None
    forgetting: str = "none"
    use_forget_gate: bool = False
    anchored: bool = False
    learnable_preconditioner: bool = True
    eta: float = BOUNDED.eta
    d_min: float = BOUNDED.d_min
    d_max: float = BOUNDED.d_max
    normalize_feedback: bool = BOUNDED.normalize_feedback
    beta_aware: bool | None = None
    use_gate: bool | None = None
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
    def layer(self) -> type[OnlineScaledDeltaNet]:
        """The class of each layer."""
        if self.form not in LAYERS:
            refuse("form", " or ".join(LAYERS), self.form)
        return LAYERS[self.form]

    @property
    def layer_options(self) -> dict[str, Any]:
        """Arguments of each layer."""
        given = {name: getattr(self, name, None) for name in layer_parameters(self.layer)}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def mlp_size(self) -> int:
        """Features between the projections of a block's SwiGLU."""
        if self.intermediate_size is not None:
            return self.intermediate_size
        return -(-int(self.hidden_size * (self.hidden_ratio or 4) * 2 / 3) // 256) * 256

    @classmethod
    def from_fla(cls, folder: str, **options: Any) -> "OsdnConfig":
        """The configuration that makes a DeltaNet, Gated DeltaNet or KDA model of flash-linear-attention one of ours.

        d is pinned at 1 (``d_min = d_max = 1``), so that the model computes what it did; other `options`, say
        ``d_min=2/3, d_max=3/2``, let it learn from there.

        - `folder`: Where its ``config.json`` is, or what else transformers takes.

        Raises ValueError: it is of another kind, or has what ours have not, which is named.
        """
        given, _ = cls.get_config_dict(folder)
        kind = given.get("model_type")
        if kind not in FORMS:
            refuse("model_type", " or ".join(FORMS), kind)
        for name, values in NEEDED.items():
            if given.get(name, values[0]) not in values:
                refuse(name, " or ".join(map(repr, values)), repr(given[name]))
        form, defaults = FORMS[kind]
        kept = {name: given[name] for name in inspect.signature(cls).parameters if name in given}
        pinned = {"form": form, "d_min": 1.0, "d_max": 1.0, "architectures": ["OsdnForCausalLM"]}
        return cls(**{**defaults, **kept, **pinned, **options})


def layer_parameters(layer: type) -> set[str]:
    """Names of the arguments of a layer, with those that it passes on."""
    own = inspect.signature(layer).parameters
    passes_on = any(each.kind is each.VAR_KEYWORD for each in own.values())
    named = {name for name, each in own.items() if each.kind is not each.VAR_KEYWORD}
    return named | (layer_parameters(layer.__mro__[1]) if passes_on else set())
