"""The architecture that the compared models share."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from ..recall_task import RecallTask, key_vectors
from ..specs import MODELS, ModelSpec
from ..validation import require
from .mixers import GatedMixer, ScaledMixer
from .model_size import ModelSize

KEY_SEED = 0
"""Of the vectors of the key tokens, which are the same for all models and runs."""


def mixer(spec: ModelSpec, size: ModelSize) -> ScaledMixer:
    """The layer of a model."""
    kind = GatedMixer if spec.gated_state else ScaledMixer
    return kind(
        size.features,
        size.heads,
        head_k_dim=size.key_dim,
        head_v_dim=size.value_dim,
        use_forget_gate=spec.forgetting,
        anchored=spec.anchored,
        **spec.step._asdict(),
    )


class Block(nn.Module):
    """Mixer and multilayer perceptron, each behind an RMS norm and beside a residual connection."""

    def __init__(self, spec: ModelSpec, size: ModelSize) -> None:
        super().__init__()
        self.mixer_norm, self.mlp_norm = nn.RMSNorm(size.features), nn.RMSNorm(size.features)
        self.mixer = mixer(spec, size)
        self.widen = nn.Linear(size.features, 2 * size.features, bias=False)
        self.narrow = nn.Linear(2 * size.features, size.features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.mixer_norm(x))[0]
        y: Tensor = x + self.narrow(silu(self.widen(self.mlp_norm(x))))
        return y


class RecallModel(nn.Module):
    """Tokens to logits of the values at the queries.

    The vectors of the key tokens are the task's and fixed; those of the separator and of the values are learned.
    Models of one seed start from the same values of the parameters that they share.
    """

    key_vectors: Tensor

    def __init__(self, task: RecallTask, spec: ModelSpec, size: ModelSize) -> None:
        super().__init__()
        require(
            task.features == size.features, "features", f"those of the task, {task.features}", size.features
        )
        self.register_buffer("key_vectors", torch.from_numpy(key_vectors(task, KEY_SEED)), persistent=False)
        self.learned = nn.Embedding(1 + task.values, size.features)
        self.blocks = nn.ModuleList(Block(spec, size) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.features)
        self.head = nn.Linear(size.features, task.values, bias=False)

    def forward(self, tokens: Tensor, queries: int) -> Tensor:
        """Logits [B, P, values] at the last P tokens of `tokens` [B, T]."""
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x[:, -queries:]))
        return logits

    def embed(self, tokens: Tensor) -> Tensor:
        table = torch.cat([self.learned.weight[:1], self.key_vectors, self.learned.weight[1:]])
        return table[tokens]

    @torch.no_grad()
    def project_(self) -> None:
        """Every d_1 back into its box, after an optimizer step."""
        for module in self.modules():
            if isinstance(module, Block):
                module.mixer.project_()

    @property
    def trained_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def build(task: RecallTask, name: str, size: ModelSize, seed: int) -> RecallModel:
    """A model by name with the parameters of a seed, on the CPU; leaves the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RecallModel(task, MODELS[name], size)
