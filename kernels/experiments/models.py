"""The models that are compared: one architecture, and layers that differ in the preconditioner alone."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from .mixers import GatedMixer, ScaledMixer
from .model_size import ModelSize
from .recall_task import RecallTask, key_vectors
from .validation import require

BOX = (2 / 3, 3 / 2)


@dataclass(frozen=True)
class ModelSpec:
    """A model by the arguments of its layers; `gated_state`: the forget gate is that of the state."""

    name: str
    label: str
    eta: float = 0.0
    learned_start: bool = True
    forgetting: bool = False
    anchored: bool = False
    pinned: bool = False
    gated_state: bool = False

    @property
    def rule(self) -> dict[str, Any]:
        """As `osdn_theory.CalibrationRule` reads it."""
        low, high = (1.0, 1.0) if self.pinned else BOX
        return {
            "eta": self.eta,
            "d_min": low,
            "d_max": high,
            "forgetting": "token" if self.forgetting and not self.gated_state else 1.0,
            "anchor": "initial" if self.anchored else 0.0,
            "normalize_feedback": False,
        }

    def mixer(self, size: "ModelSize") -> ScaledMixer:
        low, high = (1.0, 1.0) if self.pinned else BOX
        kind = GatedMixer if self.gated_state else ScaledMixer
        return kind(
            size.features,
            size.heads,
            head_k_dim=size.key_dim,
            head_v_dim=size.value_dim,
            use_forget_gate=self.forgetting,
            anchored=self.anchored,
            learnable_preconditioner=self.learned_start,
            eta=self.eta,
            d_min=low,
            d_max=high,
        )


SPECS = (
    ModelSpec("deltanet", "DeltaNet", pinned=True),
    ModelSpec("osdn", "OSDN, η = 0.003", eta=0.003),
    ModelSpec("osdn_eta1", "OSDN, η = 1", eta=1.0),
    ModelSpec("static", "d frozen at its learned d₁"),
    ModelSpec("apf", "OSDN-APF, η = 1", eta=1.0, forgetting=True),
    ModelSpec("anchored_apf", "OSDN-APF anchored, η = 1", eta=1.0, forgetting=True, anchored=True),
    ModelSpec("gated_deltanet", "Gated DeltaNet", pinned=True, forgetting=True, gated_state=True),
)
MODELS = {spec.name: spec for spec in SPECS}


class Block(nn.Module):
    """Mixer and multilayer perceptron, each behind an RMS norm and beside a residual connection."""

    def __init__(self, spec: ModelSpec, size: ModelSize) -> None:
        super().__init__()
        self.mixer_norm, self.mlp_norm = nn.RMSNorm(size.features), nn.RMSNorm(size.features)
        self.mixer = spec.mixer(size)
        self.widen = nn.Linear(size.features, 2 * size.features, bias=False)
        self.narrow = nn.Linear(2 * size.features, size.features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.mixer_norm(x))[0]
        return x + self.narrow(silu(self.widen(self.mlp_norm(x))))


class RecallModel(nn.Module):
    """Tokens to logits of the values at the queries.

    The vectors of the key tokens are the task's and fixed; those of the separator and of the values are learned.
    Models of one seed start from the same values of the parameters that they share.
    """

    def __init__(self, task: RecallTask, spec: ModelSpec, size: ModelSize, *, key_seed: int = 0) -> None:
        super().__init__()
        require(
            task.features == size.features, "features", f"those of the task, {task.features}", size.features
        )
        self.register_buffer("key_vectors", torch.from_numpy(key_vectors(task, key_seed)), persistent=False)
        self.learned = nn.Embedding(1 + task.values, size.features)
        self.blocks = nn.ModuleList(Block(spec, size) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.features)
        self.head = nn.Linear(size.features, task.values, bias=False)

    def forward(self, tokens: Tensor, queries: int) -> Tensor:
        """Logits [B, P, values] at the last P tokens of `tokens` [B, T]."""
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, -queries:]))

    def embed(self, tokens: Tensor) -> Tensor:
        table = torch.cat([self.learned.weight[:1], self.key_vectors, self.learned.weight[1:]])
        return table[tokens]

    @torch.no_grad()
    def project_(self) -> None:
        """Every d_1 back into its box, after an optimizer step."""
        for block in self.blocks:
            block.mixer.project_()

    @property
    def trained_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def build(task: RecallTask, name: str, size: ModelSize, seed: int) -> RecallModel:
    """A model by name with the parameters of a seed, on the CPU; leaves the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RecallModel(task, MODELS[name], size)
