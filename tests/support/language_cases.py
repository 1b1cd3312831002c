"""Folders of language-model experiments as a trainer writes them, with numbers made up."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from osdn_theory.language.runs import MeasuredValue, write_layer_values

RATES = (0.001, 0.002, 0.004)
MODELS = {"deltanet": "DeltaNet", "osdn_historic": "OSDN, historic", "apf_bounded": "OSDN-APF, bounded"}

Values = Callable[[str, int], Mapping[tuple[str, str], float]]


def write_experiment(
    folder: Path, values: Values, *, preset: str = "gpu", seeds: int = 4, best: float = 0.002,
    models: Mapping[str, str] = MODELS, ratio: bool = True, **changes: Any,
) -> Path:  # fmt: skip
    """`values` (model, seed) -> (measure, place) -> value; the rate `best` wins for every model.

    With `ratio` all have the same token residual ratio, else what `values` says.
    """
    plan = {
        "preset": preset, "command": "osdn-theory train",
        "environment": {"device": "CPU", "torch": "2", "workers": 1}, "models": list(models),
        "learning_rates": RATES, "seeds": list(range(seeds)), "steps": 10, "batch": 4, "context": 64, "layers": 1,
        "hidden": 32, "heads": 2, "vocabulary": 257, **changes,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    for model, label in models.items():
        for rate in RATES:
            _write(folder, model, label, rate, 1000, "tune", 1.0 + abs(rate - best), [])
        for seed in range(seeds):
            found = [{"measure": m, "place": p, "value": v} for (m, p), v in values(model, seed).items()]
            _write(folder, model, label, best, seed, "test", 1.0, found)
            if ratio:
                place = folder / "runs" / model / f"lr{best:g}-seed{seed}"
                write_layer_values(place, (MeasuredValue("token residual ratio", "all layers", 0.25),))
    return folder


def _write(
    folder: Path,
    model: str,
    label: str,
    rate: float,
    seed: int,
    role: str,
    validation: float,
    values: list[Any],
) -> None:
    place = folder / "runs" / model / f"lr{rate:g}-seed{seed}"
    place.mkdir(parents=True, exist_ok=True)
    result = {
        "model": model, "label": label, "form": "osdn", "learning_rate": rate, "seed": seed, "role": role,
        "parameters": 1000, "seconds": 2.0, "tokens_per_second": 100.0 + seed, "device": "CPU",
        "rule": {"eta": 0.003}, "validation": validation, "values": values,
    }  # fmt: skip
    (place / "result.json").write_text(json.dumps(result))
