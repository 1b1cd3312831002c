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
# # 07 The identity fixed point, and what rounding does
#
# **Question.** When is OSDN exactly DeltaNet, and what does rounding do to that and to calibration?
#
# T15: with keys of norm exactly 1, $d_1 = 1$ and no forgetting, $d$ never moves. T18 is about rounding. Both are this
# project's own derivations.

# %%
# %matplotlib inline
import numpy as np
from IPython.display import Markdown, display

import osdn_theory as ot
from osdn_theory.rounding import (
    BFLOAT16,
    FLOAT32,
    FLOAT64,
    RECURRENT_PLAIN,
    error_bounds,
    residual_floor,
    round_to,
    spacing,
)

# %% [markdown]
# ## Keys whose norm is exactly 1
#
# Such keys exist in floating point: they are built on a grid on which the sums are exact. OSDN and DeltaNet then agree
# to the bit, at any step.

# %%
stream = ot.isotropic(np.random.default_rng(0), lead=(4,), length=512, key_dim=32)
plain = ot.delta_net(stream)
for rule in (ot.BOUNDED, ot.HISTORIC):
    run = ot.osdn(stream, rule)
    same = np.array_equal(run.outputs, plain.outputs) and bool(np.all(run.preconditioner == 1))
    display(Markdown(f"eta = {rule.eta:g}: outputs equal to the bit and d = 1 throughout: {same}"))

# %% [markdown]
# ## Keys normalised in a finite precision
#
# Keys of a MiniLM layer, normalised and then rounded to bfloat16, float32 or float64. Their norm misses 1 by rounding,
# and that is all there is to learn from.

# %%
drifts = {}
cases = [
    ("bfloat16", ot.BOUNDED),
    ("bfloat16", ot.HISTORIC),
    ("float32", ot.BOUNDED),
    ("float64", ot.BOUNDED),
]
for precision, rule in cases:
    (layer,) = ot.load_activations(layers=[0], normalize_dtype=precision)
    path, _ = ot.calibration_scan(layer.keys, rule)
    drifts[f"{precision}, eta = {rule.eta:g}"] = np.abs(path - 1).max(axis=(0, 1, 3))
figure, _ = ot.plotting.identity_fixed_point(drifts)
display(figure)

# %% [markdown]
# ## Storing $d$ in bfloat16
#
# Around 1 the numbers of bfloat16 are 2⁻⁸ apart below and 2⁻⁷ above. A calibrate step moves a feature by
# $\eta (1 - a) k_i^2$, at most $\eta$ for a unit key and $a$ in [0, 1]. A kernel that stores $d$ in bfloat16 keeps only
# what survives rounding.

# %%
below, above = (float(spacing(x, BFLOAT16)) for x in (1 - 2.0**-8, 1.0))
rows = [
    ("spacing below 1", below),
    ("spacing above 1", above),
    ("one step of bounded, at most", ot.BOUNDED.eta),
]
display(ot.plotting.Table(["at d = 1", "size"], rows))

# %% [markdown]
# A stream with something to learn: a hidden $u$ with $\langle u, s_t\rangle = 1$. The same calibrate step in float64,
# with $d$ rounded to float32 or bfloat16 after every token, at the steps of both settings.

# %%
target = ot.interpolating(np.random.default_rng(7), lead=(1,), length=4096, key_dim=16, value_dim=4)
keys, hidden = target.keys[0], target.comparator[0]
steps, formats = (ot.BOUNDED.eta, ot.HISTORIC.eta), (FLOAT64, FLOAT32, BFLOAT16)
paths = {}
for eta in steps:
    rule = ot.CalibrationRule(eta=eta)
    for fmt in formats:
        d, visited = np.ones(target.key_dim), []
        for key in keys:
            visited.append(d)
            d = round_to(ot.calibrate_step(d, key**2, 1.0, None, np.zeros(target.key_dim), rule), fmt)
        paths[eta, fmt.name] = np.array(visited)

# %% rtol=0.01
moved = {case: float(np.mean(np.any(np.diff(path, axis=0) != 0, axis=-1))) for case, path in paths.items()}
distance = {
    case: float(np.linalg.norm(path[-1] - hidden) / np.linalg.norm(1 - hidden))
    for case, path in paths.items()
}
bfloat = [(eta, moved[eta, "bfloat16"], distance[eta, "bfloat16"]) for eta in steps]
display(ot.plotting.Table(["eta", "share of tokens that move d in bfloat16", "distance to u left"], bfloat))
display(
    ot.plotting.Table(
        ["eta", "distance to u left in float64"], [(eta, distance[eta, "float64"]) for eta in steps]
    )
)

# %% [markdown]
# In `bounded` no token moves $d$ at all in bfloat16: every step is rounded away. At the step of `historic` it learns
# coarsely and then stands still, while float32 follows float64 down to a floor of its own. T18 predicts a level below
# which a kernel that keeps $d$ in float32 (and adds to it plainly) can say nothing; it is a guarantee for every such
# kernel and every order of its sums, so the rounding seen here stays far below it.

# %%
bounds = error_bounds(target, ot.CalibrationRule(eta=ot.HISTORIC.eta), RECURRENT_PLAIN)
floor = residual_floor(bounds).gap[0]
alignment = {
    f"d stored in {fmt.name}": np.vecdot(paths[ot.HISTORIC.eta, fmt.name], keys**2) for fmt in formats
}
shown = {**alignment, "guaranteed floor of float32 (T18)": 1 - floor}
figure, _ = ot.plotting.calibration_loss(shown, window=64, title=f"eta = {ot.HISTORIC.eta:g}")
display(figure)

# %%
error = np.linalg.norm(paths[ot.HISTORIC.eta, "float32"] - bounds.trajectory.preconditioner[0], axis=-1)
inside = bool(np.all(error <= bounds.preconditioner_norm[0]))
display(Markdown(f"d stored in float32 stays within the running bound of T18 at every token: {inside}"))

# %% tags=["answer"]
last = {name: float(0.5 * np.mean((1 - curve[-256:]) ** 2)) for name, curve in alignment.items()}
guaranteed = float(0.5 * np.mean(floor[-256:] ** 2))
rounded = [float(drifts[f"bfloat16, eta = {eta:g}"].max()) for eta in steps]
display(
    Markdown(
        f"**Answer.** With keys of norm exactly one and $d_1$ one, OSDN is DeltaNet to the bit; keys rounded to "
        f"bfloat16 move $d$ by {rounded[0]:.1e} within {layer.length} tokens in `bounded` and by "
        f"{rounded[1]:.1e} in `historic`; storing $d$ itself in bfloat16 (spacing {below:.2g}) lets "
        f"{100 * bfloat[0][1]:.0f} % of the tokens move it in `bounded`, and at the step of `historic` "
        f"ends calibration at a loss of {last['d stored in bfloat16']:.1e}, where float32 is sure to come below "
        f"{guaranteed:.1e}."
    )
)
