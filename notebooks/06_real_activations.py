# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] tags=["question"]
# # 06 Real activations
#
# **Question.** On the keys of a real network, how far does OSDN move away from DeltaNet within the context?
#
# The activations are queries, keys and values of three layers of MiniLM (all-MiniLM-L6-v2, 12 heads of 32 features,
# 384 tokens of English). MiniLM is a small encoder that was not trained with OSDN: this is a check on real keys, not
# on a model of this kind. T15 and T19 are this project's own derivations.

# %%
# %matplotlib inline
from dataclasses import replace

import numpy as np
from IPython.display import Markdown, display

import osdn_theory as ot
from osdn_theory.measures.calibration_times import calibration_times, moment_matrix

layers = ot.load_activations()
rows = [(layer.name, layer.lead[1], layer.length, layer.key_dim) for layer in layers]
display(ot.plotting.Table(["layer", "heads", "tokens", "K"], rows))

# %% [markdown]
# ## OSDN beside DeltaNet, head by head
#
# Means over the heads of a layer, in both settings: `bounded`, the later one, and `historic`, that of the authors'
# committed results. The missing share is over all pairs of the context; the distance is that of the state to the
# least-squares solution (exact Newton).

# %%
rules = ot.SETTINGS
heads = {label: ot.analyze(layers, rule) for label, rule in rules.items()}
rows = []
for label, found in heads.items():
    for layer in layers:
        mine = [head for head in found if head.stream == layer.name]
        row = [label, layer.name, float(np.mean([head.effective_rank for head in mine]))]
        for measure in ("missing_share", "newton_distance"):
            row += [
                float(np.mean([getattr(head.measures[name], measure) for head in mine]))
                for name in ("osdn", "delta_net")
            ]
        rows.append(row)
header = [
    "setting",
    "layer",
    "effective rank",
    "missing share, OSDN",
    "missing share, DeltaNet",
    "distance, OSDN",
    "distance, DeltaNet",
]
display(ot.plotting.Table(header, rows))

# %% [markdown]
# The two agree in every digit shown. This is T15: the keys are normalised, $d_1 = 1$ and nothing is forgotten, so
# $\langle d_1, s_t\rangle = 1$ for every token and there is nothing to learn. What is left is rounding:

# %%
drift = max(head.measures["osdn"].drift_max for found in heads.values() for head in found)
display(Markdown(f"largest |d - 1| over all heads and both settings below 1e-12: {drift < 1e-12}"))

# %% [markdown]
# T15 itself needs keys of norm exactly 1. With every key moved to the nearest exactly unit one, it is decided without
# rounding:

# %%
units = ["minilm/layer0/unit", "minilm/layer2/unit", "minilm/layer5/unit"]
checks = ot.verify(streams=units, bounds=["T15"]).checks
for label in rules:
    outcomes = [check.outcome for check in checks if check.rule == label]
    display(Markdown(f"T15 in {label}: {outcomes.count('holds')} of {len(outcomes)} heads hold"))

# %% [markdown]
# ## T19: how long calibration would take
#
# If $d_1$ is not 1 (it can be learned), calibration brings $d$ back, direction by direction, with time constants
# $1/(\eta\lambda_i)$ from the second moments of the squared keys. Against the length of the context:

# %%
times = {
    f"{layer.name}, eta = {rule.eta:g}": calibration_times(layer, rule)
    for rule in rules.values()
    for layer in (layers[0], layers[-1])
}
figure, _ = ot.plotting.calibration_spectrum(times)
display(figure)

# %% [markdown]
# Is the prediction right on real keys, which are not independent? Start 10 % off in a random direction, run the
# context, and compare the share of the offset that is left with $\|(I - \eta R)^T (d_1 - 1)\|$. The law is about the
# mean over independent keys; here there is one context per head.

# %%
rng = np.random.default_rng(0)
rows, left = [], {}
for label, rule in rules.items():
    open_box = replace(rule, d_min=-np.inf, d_max=np.inf)
    measured, predicted = [], []
    for layer in layers:
        offset = 0.1 * rng.choice([-1.0, 1.0], size=(*layer.lead, layer.key_dim))
        _, final = ot.calibration_scan(layer.keys, open_box, initial_preconditioner=1 + offset)
        step = np.eye(layer.key_dim) - rule.eta * moment_matrix(layer.squared_keys)
        foretold = np.vecdot(np.linalg.matrix_power(step, layer.length), offset[..., None, :])
        size = np.linalg.norm(offset, axis=-1)
        measured.append(float(np.mean(np.linalg.norm(final - 1, axis=-1) / size)))
        predicted.append(float(np.mean(np.linalg.norm(foretold, axis=-1) / size)))
    left[label] = float(np.mean(measured)), float(np.mean(predicted))
    rows += [(label, layer.name, *pair) for layer, *pair in zip(layers, measured, predicted, strict=True)]
display(ot.plotting.Table(["setting", "layer", "share of the offset left", "predicted by T19"], rows))

# %% tags=["answer"]
length = layers[0].length
quickest = {label: min(head.fastest_calibration for head in found) for label, found in heads.items()}
moving = float(np.mean([head.calibrated_directions for head in heads["historic"]]))
display(
    Markdown(
        f"**Answer.** On all {len(heads['bounded'])} heads OSDN is DeltaNet up to rounding in both settings, because "
        f"the keys are normalised and $d_1$ is one. If $d_1$ is not one, `bounded` hardly changes it: the fastest "
        f"direction of any head needs {quickest['bounded']:,.0f} tokens, the context has {length}, and "
        f"{100 * left['bounded'][0]:.1f} % of an initial offset is still there at its end (T19 predicts "
        f"{100 * left['bounded'][1]:.1f} %). In `historic` $d$ does move: the fastest direction needs "
        f"{quickest['historic']:.0f} tokens, {moving:.0f} of {layers[0].key_dim} directions calibrate within the "
        f"context, and {100 * left['historic'][0]:.1f} % of the offset is left (T19 predicts "
        f"{100 * left['historic'][1]:.1f} %)."
    )
)
