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
# # 04 A kernel against exact arithmetic and exact Newton
#
# **Question.** Does the production kernel do, token by token, what exact arithmetic does, and how near does either come
# to exact Newton?
#
# The kernel is `chunk_osdn`, in Triton's interpreter on the CPU at a tiny size: the same program as on a GPU, but not
# a GPU. Errors are held against the running bounds of T18; the theorems are this project's own derivations.

# %%
# %matplotlib inline
# %env TRITON_INTERPRET=1
from collections import Counter
from dataclasses import replace

import numpy as np
from IPython.display import Markdown, display

import osdn_theory as ot
from osdn_theory.crosscheck import crosscheck, resolve

# %% [markdown]
# ## The kernel beside the exact trajectory
#
# Two heads, 56 tokens in chunks of 16 (so the last chunk is a partial one), float32. The inputs are rounded to float32
# first and both sides read the rounded ones.

# %%
rule = ot.CalibrationRule(eta=0.5)
stream = ot.interpolating(np.random.default_rng(0), lead=(1, 2), length=56, key_dim=16, value_dim=8)
check = crosscheck("osdn_kernels:chunk_osdn", stream, rule, chunk_size=16, device="cpu")
figure, _ = ot.plotting.crosscheck_errors(check)
display(figure)

# %% [markdown]
# The worst relative error over tokens and heads. Its digits belong to float32 and to the order of the sums, so only
# its size is shown. A residual ratio close to zero is a difference of nearly equal numbers, and its error is larger.

# %%
rows = [(c.name, c.title, c.worst_error < 1e-5, c.worst_error < 1e-2, c.within) for c in check.comparisons]
header = ["quantity", "what it is", "error below 1e-5", "error below 1e-2", "within its bound"]
display(ot.plotting.Table(header, rows))

# %% [markdown]
# The theorems, held against the kernel's own numbers:

# %%
display(ot.plotting.Table(["theorem", "outcome"], [(v.theorem, v.outcome) for v in check.verdicts]))

# %% [markdown]
# ## The super-geometric decay, from the kernel's own reads
#
# The product of the residual ratios as the kernel's outputs show it, beside the exact one and T6's bound. Rounding
# hides a residual once it is smaller than the error of a read.

# %%
figure, _ = ot.plotting.crosscheck_curve(check)
display(figure)

# %% [markdown]
# ## A kernel that is wrong
#
# The plain PyTorch reference, once as it is, once with a step that is 0.1 % too large, and once without any step. The
# check must tell them apart.

# %%
kernel = resolve("osdn_kernels:chunk_osdn_reference")
faults = {"as it is": 1.0, "step 0.1 % too large": 1.001, "no step": 0.0}
audits = {
    label: crosscheck(
        replace(
            kernel, call=lambda factor=factor, **given: kernel.call(**{**given, "eta": factor * given["eta"]})
        ),
        stream,
        rule,
        device="cpu",
    )
    for label, factor in faults.items()
}
rows = [
    (
        label,
        audit.within,
        audit["d"].first_outside or "never",
        Counter(v.outcome for v in audit.verdicts)["contradicted"],
    )
    for label, audit in audits.items()
]
display(
    ot.plotting.Table(
        ["reference", "within bounds", "d leaves its bound at token", "theorems contradicted"], rows
    )
)

# %% [markdown]
# ## Exact Newton
#
# Exact online Newton is the least-squares solution of everything read so far. Keys with an uneven spectrum (condition
# number 10), 256 tokens: how far is the state from it, in the kernel's arithmetic (the reference, float32) and exactly?

# %%
uneven = ot.ill_conditioned(
    np.random.default_rng(0), lead=(1, 2), length=256, key_dim=16, value_dim=8, condition=10.0
)
newton = crosscheck(kernel, uneven, ot.HISTORIC, device="cpu", cuts=12).newton
figure, _ = ot.plotting.newton_distance(newton, title="distance from exact Newton, step 1")
display(figure)

# %%
exact_rules = {
    "DeltaNet": ot.FROZEN,
    "bounded": ot.BOUNDED,
    "step 0.5": rule,
    "historic, step 1": ot.HISTORIC,
}
heads = {label: ot.analyze([uneven], each) for label, each in exact_rules.items()}
distance = {
    label: float(np.mean([head.measures["osdn"].newton_distance for head in found]))
    for label, found in heads.items()
}
display(ot.plotting.Table(["rule", "distance after 256 tokens, exact arithmetic"], distance.items()))

# %% tags=["answer"]
apart = float(np.max(np.abs(newton.kernel - newton.exact) / newton.exact))
confirmed = Counter(verdict.outcome for verdict in check.verdicts)
inside = sum(comparison.within for comparison in check.comparisons)
display(
    Markdown(
        f"**Answer.** {inside} of {len(check.comparisons)} compared quantities of the kernel stay within their "
        f"rounding bounds, {confirmed['confirmed']} theorems are confirmed and {confirmed['contradicted']} "
        f"contradicted by its own outputs, which show the product of residual ratios falling by more than "
        f"{10 * (check.curve.decades // 10):.0f} decades; in float32 the distance from exact Newton is the exact one "
        f"to better than one part in {10 ** np.floor(-np.log10(apart)):,.0f}, and on uneven keys step "
        f"{ot.HISTORIC.eta:g} leaves a distance of {distance['historic, step 1']:.3f} against "
        f"{distance['DeltaNet']:.3f} for DeltaNet."
    )
)
