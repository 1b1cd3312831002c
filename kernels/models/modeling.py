"""The models: blocks of the layer and a SwiGLU, with the names of flash-linear-attention's DeltaNet model."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from ..boundary.checks import refuse
from ..layers.cache import LayerCache
from ..layers.layer import OnlineScaledDeltaNet
from ..layers.marks import MarkedModule
from ..layers.parts import ForgetGate
from .cache import CACHE_NAME, OsdnCache
from .configuration import OsdnConfig
from .weights import check_weights

OURS = ("initial_preconditioner", "forget_gate")
"""Parameters of a layer that those of flash-linear-attention have not."""


class SwiGlu(nn.Module):
    """W_down (SiLU(W_gate x) * W_up x)."""

    def __init__(self, hidden_size: int, size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, size, bias=False)
        self.up_proj = nn.Linear(hidden_size, size, bias=False)
        self.down_proj = nn.Linear(size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))
        return y


class OsdnBlock(GradientCheckpointingLayer):
    """x + layer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: OsdnConfig) -> None:
        super().__init__()
        self.attn_norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.attn = config.layer(**config.layer_options)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.mlp = SwiGlu(config.hidden_size, config.mlp_size)

    def forward(self, x: Tensor, cache: LayerCache | None = None, **options: Any) -> Tensor:
        x = x + self.attn(self.attn_norm(x), cache=cache, **options)[0]
        y: Tensor = x + self.mlp(self.mlp_norm(x))
        return y


class OsdnPreTrainedModel(PreTrainedModel):
    """What the models share: how they are initialised, saved and loaded."""

    config_class = OsdnConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["OsdnBlock"]
    _input_embed_layer = "embeddings"
    # bfloat16 has a spacing of 2^-7 at d_1 = 1, and of 0.03 at the forgetting bias.
    _keep_in_fp32_modules_strict: ClassVar[list[str]] = [
        "initial_preconditioner", "forget_gate.bias", "A_log", "dt_bias",
    ]  # fmt: skip
    # States cannot go back: transformers then says so where a draft would have to be taken back.
    _is_stateful = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if not isinstance(module, OnlineScaledDeltaNet | ForgetGate | nn.RMSNorm):
            return
        own = list(module.parameters(recurse=False))
        loaded = [(p, p.clone()) for p in own if getattr(p, "_is_hf_initialized", False)]
        module.reset_parameters()
        for parameter, value in loaded:
            parameter.copy_(value)
        if isinstance(module, MarkedModule):
            module.mark_filled()


class OsdnModel(OsdnPreTrainedModel):
    """Embeddings, blocks and a norm."""

    def __init__(self, config: OsdnConfig) -> None:
        super().__init__(config)
        self.embeddings: nn.Module = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(OsdnBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: OsdnCache | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        cu_seqlens: Tensor | None = None,
        cache: OsdnCache | None = None,
        cp_group: Any = None,
        **unused: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states of the tokens of each sequence.

        - `input_ids` [B, T] integers, or `inputs_embeds` [B, T, D] in their place
        - `attention_mask` [B, T] or longer, bool or integer, or None: False or zero where a token is padding, on
          either side; of a longer mask the last T columns count.
        - `past_key_values`: Past to start from, updated to where this call ends; newer transformers call it `cache`,
          and so may you.
        - `use_cache`: Begin a cache where none is given; None: what the configuration says, but never in training.
        - `cu_seqlens` [N + 1] int32 or int64 or None: Bounds of sequences packed into one row (B = 1).
        - `cp_group`, torch.distributed.ProcessGroup or None: Ranks over which the tokens of each sequence are spread;
          see the layer.

        Raises ValueError, TypeError: both or none of `input_ids` and `inputs_embeds`; a past under gradient
        checkpointing, which would repeat a call on it; and what the layer refuses.
        """
        if (input_ids is None) == (inputs_embeds is None):
            refuse("input_ids", "either these or inputs_embeds", "both" if input_ids is not None else "none")
        x: Tensor = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        past = self._past(cache if past_key_values is None else past_key_values, use_cache)
        if (
            attention_mask is not None
            and attention_mask.dim() == 2
            and attention_mask[:, -x.shape[1] :].all()
        ):
            attention_mask = None
        hidden = [x]
        for place, block in enumerate(self.layers):
            layer_cache = None if past is None else past.layers[place]
            x = block(
                x, cache=layer_cache, attention_mask=attention_mask, cu_seqlens=cu_seqlens, cp_group=cp_group
            )
            hidden.append(x)
        if past is not None:
            past.seen += x.shape[1]
        x = hidden[-1] = self.norm(x)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        shown = tuple(hidden) if output_hidden_states else None
        return BaseModelOutputWithPast(last_hidden_state=x, hidden_states=shown, **{CACHE_NAME: past})

    def _past(self, past: OsdnCache | None, use_cache: bool | None) -> OsdnCache | None:
        repeated = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        if past is None:
            wanted = self.config.use_cache and not self.training if use_cache is None else use_cache
            return OsdnCache(len(self.layers)) if wanted and not repeated else None
        if not isinstance(past, OsdnCache):
            raise TypeError(f"past_key_values: expected an OsdnCache or None, got {type(past).__name__}")
        if repeated:
            refuse("past_key_values", "None under gradient checkpointing", past)
        return past


class OsdnForCausalLM(OsdnPreTrainedModel, GenerationMixin):
    """`OsdnModel` with logits of the next token."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.embeddings.weight"}

    def __init__(self, config: OsdnConfig) -> None:
        super().__init__(config)
        self.model = OsdnModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_fla(cls, folder: str, dtype: torch.dtype | str = "auto", **options: Any) -> "OsdnForCausalLM":
        """A model of flash-linear-attention, computing what it did; see `OsdnConfig.from_fla`.

        Raises ValueError: a weight that this model lacks, one that it has and the checkpoint does not, d_1 and
        forgetting apart, or one of another shape.
        """
        config = OsdnConfig.from_fla(folder, **options)
        loaded, found = cls.from_pretrained(
            folder, config=config, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
        check_weights("folder", config.form, found, OURS)
        model: OsdnForCausalLM = loaded
        return model

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: OsdnCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        cu_seqlens: Tensor | None = None,
        cache: OsdnCache | None = None,
        cp_group: Any = None,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, T, vocabulary] and, with `labels`, the mean loss of predicting each from the tokens before it.

        - `labels` [B, T] integers or None: Tokens to predict, not shifted; -100 where there is nothing to predict, as
          there is nothing at the first token of a packed sequence whatever its label is.
        - `logits_to_keep`, int or [M] integers: Of how many last tokens, or of which ones, logits are wanted; 0 for
          all.
        - `**options`: Of transformers' loss function, such as `num_items_in_batch`; `shift_labels` in the place of
          shifted labels, which beside `cp_group` lie on another rank.
        - `others`: See `OsdnModel.forward`.
        """
        past = cache if past_key_values is None else past_key_values
        found = self.model(
            input_ids, attention_mask, inputs_embeds, past, use_cache, output_hidden_states, cu_seqlens,
            cp_group=cp_group,
        )  # fmt: skip
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(found.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            if cu_seqlens is not None and cp_group is None:
                first = labels.new_zeros(labels.shape[1] + 1).index_fill(0, cu_seqlens.long(), 1)[:-1]
                labels = labels.masked_fill(first.bool(), -100)
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **options)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=found.hidden_states,
            **{CACHE_NAME: getattr(found, CACHE_NAME)},
        )

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *others: Any
    ) -> None:
        """`generate` begins with an empty cache of ours unless it is given one, or told to do without."""
        if generation_config.cache_implementation is not None:
            refuse(
                "cache_implementation",
                "None: OsdnCache is the only one",
                generation_config.cache_implementation,
            )
        if generation_config.use_cache and model_kwargs.get(CACHE_NAME) is None:
            model_kwargs[CACHE_NAME] = OsdnCache(self.config.num_hidden_layers)
        else:
            super()._prepare_cache_for_generation(generation_config, model_kwargs, *others)
