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
# # 02 Convergence rates
#
# **Question.** How fast does the loss of a context fall under gradient descent, the best fixed diagonal, OSDN and
# right-Newton, and from which step on does the bound say anything?
#
# The bounds are T10 (a whole context) and T6 (token by token). Both are this project's own derivations; no constant
# here is the paper's.

# %%
# %matplotlib inline
import numpy as np
from IPython.display import Markdown, display

import osdn_theory as ot
from osdn_theory.context.convergence import LABELS

# %% [markdown]
# ## The central figure
#
# One context, 8 features, Gram matrix with condition number 6 and random eigenvectors, all rules from the same start.
# OSDN learns its preconditioner $P$ from $P_1 = I/L$ by gradient steps on the ratio of successive losses. Right-Newton
# knows the inverse Gram matrix and needs one step. T10 bounds the full-matrix form; in the grey stretch it is larger
# than the starting loss and says nothing.

# %%
condition, steps = 6.0, 300
general = ot.convergence_rates(np.random.default_rng(0), condition=condition, key_dim=8, steps=steps)
figure, _ = ot.plotting.convergence_rates(general, labels=LABELS, title=f"condition number {condition:g}")
display(figure)

# %% [markdown]
# Where the Gram matrix is diagonal, right-Newton is itself a diagonal, and T10 speaks of the diagonal form as well: the
# preconditioner that OSDN stores. The best fixed diagonal is then right-Newton.

# %%
aligned = ot.convergence_rates(
    np.random.default_rng(0), condition=condition, key_dim=8, steps=steps, rotate=False
)
figure, _ = ot.plotting.convergence_rates(aligned, labels=LABELS, title="diagonal Gram matrix")
display(figure)

# %% [markdown]
# ## Steps to twelve decades
#
# The first step at which the loss has fallen by a factor of $10^{12}$, for three condition numbers, and the first step
# at which the bound lies below the start. The bound is far from what happens: it needs about $\kappa^2$ steps before
# it says anything, the algorithm does not.

# %%
contexts = {
    number: ot.convergence_rates(np.random.default_rng(0), condition=number, key_dim=8, steps=700)
    for number in (2.0, condition, 20.0)
}
fallen = {
    number: {
        rule: int(np.argmax(curve - curve[0] <= np.log(1e-12)))
        for rule, curve in data.log_suboptimality.items()
    }
    for number, data in contexts.items()
}
header = ["condition number", *LABELS.values(), "T10 below the start from step"]
rows = [(number, *fallen[number].values(), contexts[number].vacuous_until) for number in contexts]
display(ot.plotting.Table(header, rows))

# %% [markdown]
# Super-geometric means that the decay per step itself keeps growing. The decades lost in each stretch of 40 steps, on
# the context of the central figure:

# %%
stretches = np.arange(0, 161, 40)
decades = {rule: -np.diff(general.log10_suboptimality(rule)[stretches]) for rule in ("gradient", "full")}
rows = [(LABELS[rule], *map(float, lost)) for rule, lost in decades.items()]
display(ot.plotting.Table(["rule", *(f"{a} to {a + 40}" for a in stretches[:-1])], rows))

# %% [markdown]
# ## Token by token
#
# The recurrence does not see the context as a whole: it takes one step per token. If one $u$ has
# $\langle u, s_t\rangle = 1$ for every token, T6 bounds the product of the residual ratios by $(C/T)^T$.

# %%
stream = ot.interpolating(np.random.default_rng(0), length=400, key_dim=16)
run = ot.osdn(stream, ot.CalibrationRule(eta=0.5))
(regret,) = ot.check_bounds(run, ["T5"])
(product,) = ot.check_bounds(run, ["T6"])
figure, _ = ot.plotting.super_geometric(run, regret.rhs)
display(figure)
display(Markdown(f"T5: {regret.outcome}, C = {regret.rhs:.4g}; T6: {product.outcome}"))

# %% tags=["answer"]
seen = fallen[condition]
display(
    Markdown(
        f"**Answer.** At condition number {condition:g} the loss falls by twelve decades in {seen['gradient']} steps "
        f"of gradient descent, {seen['best_fixed_diagonal']} of the best fixed diagonal, {seen['diagonal']} of "
        f"diagonal OSDN, {seen['full']} of full OSDN and {seen['newton']} of right-Newton; the rate of full OSDN "
        f"grows from {decades['full'][0]:.3g} to {decades['full'][-1]:.3g} decades per {stretches[1]} steps where "
        f"gradient descent stays at {decades['gradient'][-1]:.3g}, and the bound is vacuous until step "
        f"{general.vacuous_until}."
    )
)
