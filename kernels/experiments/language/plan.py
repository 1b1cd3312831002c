"""What a language-model experiment consists of: models, sizes, presets. Needs no torch."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ...boundary.rule import SETTINGS
from ..run_plan import RunPlan, change
from ..validation import require
from .corpus import MEGABYTE

REACH = 4
"""Longest contexts that are tested, over those trained on."""

BOUNDED, HISTORIC = (
    {"eta": rule.eta, "d_min": rule.d_min, "d_max": rule.d_max}
    for rule in (SETTINGS["bounded"], SETTINGS["historic"])
)
PINNED = {"eta": 0.0, "d_min": 1.0, "d_max": 1.0}
APF = {"use_forget_gate": True}


@dataclass(frozen=True)
class LanguageSpec:
    """A model by the arguments of its layers, which are `form`'s; only KDA has an output gate."""

    label: str
    form: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def rule(self) -> dict[str, Any]:
        """As `osdn_theory.CalibrationRule` reads it."""
        return {
            **{name: self.options[name] for name in ("eta", "d_min", "d_max")},
            "forgetting": "token" if self.options.get("use_forget_gate") else 1.0,
            "anchor": "initial" if self.options.get("anchored") else 0.0,
            "normalize_feedback": False,
            "beta_aware": self.form != "osdn",
        }


MODELS = {
    "deltanet": LanguageSpec("DeltaNet", "osdn", PINNED),
    "osdn_historic": LanguageSpec("OSDN, historic", "osdn", HISTORIC),
    "osdn_bounded": LanguageSpec("OSDN, bounded", "osdn", BOUNDED),
    "apf_historic": LanguageSpec("OSDN-APF, historic", "osdn", {**HISTORIC, **APF}),
    "apf_bounded": LanguageSpec("OSDN-APF, bounded", "osdn", {**BOUNDED, **APF}),
    "anchored_apf": LanguageSpec("anchored APF, bounded", "osdn", {**BOUNDED, **APF, "anchored": True}),
    "gated_deltanet": LanguageSpec("Gated DeltaNet", "osgdn", {**PINNED, "use_gate": False}),
    "os_gdn": LanguageSpec("OS-GDN, bounded", "osgdn", {**BOUNDED, "use_gate": False}),
    "os_kda": LanguageSpec("OS-KDA, bounded", "oskda", BOUNDED),
}
"""d_1 starts at ones and is trained in all but the pinned; without that, bounded OSDN would be DeltaNet (T15)."""


@dataclass(frozen=True, kw_only=True)
class LanguagePlan(RunPlan):
    """Language models of one size on one corpus; fields of `RunPlan`, and

    - `layers`, `hidden`, `heads`: The heads' size is `hidden` over `heads`.
    - `context`: Tokens of a training sequence; models are tested on up to four times as many.
    - `vocabulary`: 257 for bytes, more for BPE.
    - `micro_batch`: Sequences whose gradients are formed at once; a divisor of what each process has of `batch`.
    - `windows`: Documents, and passages of each kind, that are tested on.
    - `precision`, "float32" or "bfloat16": Of activations.
    - `sources`: Of the installed ones; empty for all.
    - `least`: Bytes of text that there must be.
    - `corpus`, `data`: Fingerprint of the text, and the folder of its tokens; known once it has been read.

    Raises ValueError: as `RunPlan`, and for sizes that do not fit each other.
    """

    known_models: ClassVar[tuple[str, ...]] = tuple(MODELS)
    positive: ClassVar[tuple[str, ...]] = (
        *RunPlan.positive,
        "layers",
        "hidden",
        "heads",
        "micro_batch",
        "windows",
    )
    free: ClassVar[tuple[str, ...]] = (*RunPlan.free, "micro_batch", "least", "data")
    lesson_module: ClassVar[str] = f"{__package__}.lesson"

    models: tuple[str, ...] = tuple(MODELS)
    learning_rates: tuple[float, ...] = (4e-3, 2e-3, 8e-3)
    widenings: int = 2
    seeds: tuple[int, ...] = (0, 1, 2)
    warm_up: float = 0.1
    weight_decay: float = 0.1
    layers: int
    hidden: int
    heads: int
    context: int
    vocabulary: int = 257
    micro_batch: int
    windows: int = 64
    precision: str = "float32"
    sources: tuple[str, ...] = ()
    least: int = 50 * MEGABYTE
    corpus: str = ""
    data: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.hidden % self.heads == 0, "heads", f"a divisor of hidden = {self.hidden}", self.heads)
        require(self.hidden // self.heads <= 256, "heads", "heads of at most 256", self.hidden // self.heads)
        require(
            self.batch % self.micro_batch == 0,
            "micro_batch",
            f"a divisor of batch = {self.batch}",
            self.micro_batch,
        )
        require(
            self.context >= 32 and self.context % 16 == 0,
            "context",
            "a multiple of 16 from 32 on",
            self.context,
        )
        fits = 257 <= self.vocabulary <= 65536
        require(fits, "vocabulary", "257 (bytes) to 65536", self.vocabulary)
        require(self.precision in ("float32", "bfloat16"), "precision", "float32 or bfloat16", self.precision)

    @property
    def tokens(self) -> int:
        """That a run is trained on."""
        return self.steps * self.batch * self.context


PRESETS = {
    "smoke": LanguagePlan(
        preset="smoke", models=("deltanet", "apf_historic", "gated_deltanet"), learning_rates=(4e-3,), seeds=(0, 1),
        steps=10, batch=4, layers=1, hidden=32, heads=2, context=32, micro_batch=4, windows=2,
        sources=("python",), least=MEGABYTE,
    ),
    "cpu": LanguagePlan(
        preset="cpu", models=tuple(name for name in MODELS if name not in ("anchored_apf", "os_gdn", "os_kda")),
        steps=150, batch=8, layers=2, hidden=64, heads=2, context=256,
        micro_batch=8, windows=16, sources=("python",), least=10 * MEGABYTE,
    ),
    "gpu": LanguagePlan(
        preset="gpu", seeds=tuple(range(5)), steps=500, batch=32, layers=4, hidden=256, heads=4, context=2048,
        micro_batch=32, precision="bfloat16",
    ),
    "gpu-large": LanguagePlan(
        preset="gpu-large", learning_rates=(1e-3, 5e-4, 2e-3), steps=600, batch=32, layers=8, hidden=512, heads=4,
        context=2048, vocabulary=4096, micro_batch=16, precision="bfloat16",
    ),
}  # fmt: skip


def preset(name: str, **changes: Any) -> LanguagePlan:
    """A preset with some of its values changed; None changes nothing, and `seeds` may be their number."""
    require(name in PRESETS, "preset", " or ".join(PRESETS), name)
    return replace(PRESETS[name], **change(PRESETS[name], changes))
