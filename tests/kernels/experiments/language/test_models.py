"""The models are of one size, and what is captured of a layer is what its operator was given."""

import numpy as np
import pytest
import torch
from osdn_kernels.experiments.language.model import LanguageModel, build, capturing
from osdn_kernels.experiments.language.plan import MODELS, PRESETS, preset
from osdn_kernels.layers.operator import TOKENWISE

SMALL = preset("smoke", hidden=32, heads=2, context=32, models=tuple(MODELS))


@pytest.mark.parametrize("name", PRESETS)
def test_all_models_have_as_many_parameters(name):
    plan = PRESETS[name]
    with torch.device("meta"):
        counts = {model: LanguageModel(plan, spec).trained_parameters for model, spec in MODELS.items()}
    assert max(counts.values()) / min(counts.values()) < 1.003


def test_settings_are_those_of_their_names():
    rules = {name: spec.rule for name, spec in MODELS.items()}
    for name, rule in rules.items():
        box = (rule["eta"], rule["d_min"], rule["d_max"])
        historic, pinned = name.endswith("historic"), name in ("deltanet", "gated_deltanet")
        assert box == ((0.0, 1.0, 1.0) if pinned else (1.0, 0.0, 1e9) if historic else (0.003, 2 / 3, 3 / 2))
        assert (rule["forgetting"] == "token") == ("apf" in name)
        assert (rule["anchor"] == "initial") == ("anchored" in name)
        layer = build(SMALL, name, 0).mixers[0]
        assert tuple(layer.rule)[:3] == box
        assert layer.rule.beta_aware == rule["beta_aware"]
        assert layer.anchored == ("anchored" in name)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_captured_gives_what_the_operator_gave(name):
    model = build(SMALL, name, 0).eval()
    tokens = torch.randint(1, 257, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(tokens)
        with capturing(model) as layers:
            during = model(tokens)
        assert torch.equal(before, during)
        assert torch.equal(before, model(tokens))
    mixer, found = model.mixers[0], layers[0]
    gated = mixer.form != "osdn"
    order = ("q", "k", "v", "state_gate", "beta") if gated else ("q", "k", "v", "beta")
    rule = mixer.rule
    o, _ = TOKENWISE[mixer.form](
        *(found[part] for part in order), **{"g_d" if gated else "g": found.get("g")},
        anchor=found["d0"][None] if mixer.anchored else None, initial_preconditioner=found["d0"][None], eta=rule.eta,
        d_min=rule.d_min, d_max=rule.d_max, beta_aware=rule.beta_aware, use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    np.testing.assert_allclose(o, found["o"], rtol=1e-4, atol=1e-6)
    assert float(found["o"].abs().max()) > 1e-6
