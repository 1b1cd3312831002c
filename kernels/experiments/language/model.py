"""The models that are compared: `OsdnForCausalLM` with layers of one kind, all with as many parameters as DeltaNet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...layers.layer import OnlineScaledDeltaNet
from ...models import OsdnConfig, OsdnForCausalLM
from .plan import MODELS, LanguagePlan, LanguageSpec


class LanguageModel(nn.Module):
    """Tokens [B, T] to logits [B, T, vocabulary] of the tokens that follow."""

    def __init__(self, plan: LanguagePlan, spec: LanguageSpec) -> None:
        super().__init__()
        self.lm = OsdnForCausalLM(configure(plan, spec))
        self.precision = getattr(torch, plan.precision)

    def forward(self, tokens: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, self.precision, enabled=self.precision != torch.float32):
            logits: Tensor = self.lm(tokens, use_cache=False).logits
        return logits.float()

    @property
    def mixers(self) -> list[OnlineScaledDeltaNet]:
        """From the first layer to the last."""
        return [module for module in self.modules() if isinstance(module, OnlineScaledDeltaNet)]

    def project_(self) -> None:
        """Every d_1 back into its box, after an optimizer step."""
        for mixer in self.mixers:
            mixer.project_()

    @property
    def trained_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def build(plan: LanguagePlan, name: str, seed: int) -> LanguageModel:
    """A model by name with the parameters of a seed, on the CPU; leaves the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LanguageModel(plan, MODELS[name])


def configure(plan: LanguagePlan, spec: LanguageSpec) -> OsdnConfig:
    """What the layers of a model cost beside DeltaNet's is taken from its SwiGLU."""
    sizes = {"hidden_size": plan.hidden, "num_heads": plan.heads, "expand_v": 1.0}
    shared = {
        **sizes, "head_dim": plan.hidden // plan.heads, "num_hidden_layers": plan.layers, "vocab_size": plan.vocabulary,
        "use_cache": False, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    config = OsdnConfig(form=spec.form, **shared, **spec.options)
    extra = _cost(config) - _cost(OsdnConfig(form="osdn", **shared, **MODELS["deltanet"].options))
    config.intermediate_size = -(-8 * plan.hidden // 3) - round(extra / (3 * plan.hidden))
    return config


def _cost(config: OsdnConfig) -> int:
    """Trained parameters of a layer."""
    from ...models.configuration import LAYERS

    with torch.device("meta"):
        layer = LAYERS[config.form](**config.layer_options)
    return sum(p.numel() for p in layer.parameters() if p.requires_grad)


@contextmanager
def capturing(model: LanguageModel) -> Iterator[list[dict[str, Tensor]]]:
    """What every layer's operator was given in the calls inside, by the names of files of activations."""
    captured: list[dict[str, Tensor]] = []
    for mixer in model.mixers:
        captured.append({})
        mixer.operator = partial(_watched, mixer.operator, mixer, captured[-1])  # type: ignore[method-assign]
    try:
        yield captured
    finally:
        for mixer in model.mixers:
            del mixer.operator


def _watched(
    choose: Callable[[Tensor], Callable[..., Any]],
    mixer: OnlineScaledDeltaNet,
    into: dict[str, Tensor],
    q: Tensor,
) -> Callable[..., Any]:
    names = ("q", "k", "v", "beta") if mixer.form == "osdn" else ("q", "k", "v", "state_gate", "beta")

    def operator(*tensors: Tensor, **options: Any) -> Any:
        results = choose(q)(*tensors, **options)
        forget = options.get("g" if mixer.form == "osdn" else "g_d")
        given = dict(zip(names, tensors, strict=True)) | {"g": forget, "o": results[0]}
        # A file of activations holds d_1 > 0; the box of the historic setting begins at 0.
        given["d0"] = mixer.initial_preconditioner.clamp(min=torch.finfo(torch.float32).tiny)
        into.update({name: x.detach().cpu().contiguous() for name, x in given.items() if x is not None})
        return results

    return operator
