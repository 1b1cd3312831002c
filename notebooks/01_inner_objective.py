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
# # 01 The inner objective and right-preconditioning
#
# **Question.** What does one write of OSDN minimise, and what changes when the write key is scaled?
#
# The objects below are derived by SymPy from their definitions, for every dimension, and then compared with the
# float64 functions of `osdn_theory`. The statements T1 to T4 are this project's own derivations; they are not quoted
# from the OSDN paper, whose full text was not at hand.

# %%
# %matplotlib inline
import numpy as np
import sympy as sp
from IPython.display import Markdown, display

import osdn_theory as ot
from osdn_theory import symbolic

names = symbolic.Names()
S, k, v, d = names.S, names.k, names.v, names.d

# %% [markdown]
# ## T1: the loss of a token is exactly quadratic
#
# $f(S) = \tfrac12 \|S k - v\|^2$, and its gradient, by differentiating:

# %%
display(symbolic.token_loss(S, k, v), symbolic.token_gradient(S, k, v))

# %% [markdown]
# For a whole context, tokens in the rows of a matrix of keys, the second derivative is a matrix that multiplies from
# the **right**: $\nabla^2 F[\Delta] = \Delta\, G$, with $G$ the Gram matrix of the keys. This is why a preconditioner
# belongs on the right.

# %%
display(symbolic.right_hessian(names.keys, names.values))

# %% [markdown]
# ## T2: right-preconditioning is scaling of the write key
#
# One write, $S - \beta\,\nabla f(S)\,\mathrm{Diag}(d)$, entry by entry for a state of 1 by 2: the residual times
# $d_i k_i$ in column $i$. The residual is read with $k$, the correction is written with $d \odot k$.

# %%
small = symbolic.Names.sized(V=1, K=2)
step = symbolic.write(small.S, small.k, small.v, small.d, small.beta)
display(symbolic.entries(step - small.S).applyfunc(sp.factor))

# %% [markdown]
# ## T3: how much of the residual a write leaves
#
# $v - S^+ k = (1 - \beta a)(v - S k)$ with $a = \langle d, k \odot k\rangle$. Written out for a state of 2 by 3, the
# difference of the two sides simplifies to zero; so the ratio of the losses depends on neither state nor value.

# %%
small = symbolic.Names.sized(V=2, K=3)
after = symbolic.write(small.S, small.k, small.v, small.d, small.beta)
kept = 1 - small.beta * symbolic.alignment(small.d, small.k)
left, right = small.v - after * small.k, kept * (small.v - small.S * small.k)
display(symbolic.entries(left - right).applyfunc(sp.expand))
display(symbolic.residual_ratio(sp.Symbol("a"), names.beta))

# %% [markdown]
# The same in numbers: one key, one $d$, one gate, and many random states and values.

# %%
rng = np.random.default_rng(0)
draws, key_dim, value_dim, beta = 1000, 8, 4, 0.9
key, preconditioner = rng.normal(size=key_dim) / 3, rng.uniform(2 / 3, 3 / 2, size=key_dim)
states, values = rng.normal(size=(draws, value_dim, key_dim)), rng.normal(size=(draws, value_dim))
written = ot.write(states, key, values, preconditioner, beta)
measured = ot.token_loss(written, key, values) / ot.token_loss(states, key, values)
alignment = float(preconditioner @ key**2)
formula = float(ot.residual_ratio(alignment, beta))
display(Markdown(f"alignment {alignment:.4f}, ratio by T3 {formula:.6f}"))
display(
    Markdown(f"all {draws} measured ratios within 1e-10 of it: {np.allclose(measured, formula, rtol=1e-10)}")
)

# %% [markdown]
# ## T4: what the preconditioner learns
#
# The calibrate step is gradient descent on $\ell(d) = \tfrac12(1 - \langle d, s\rangle)^2$, half the ratio of a full
# write. The optimum is the right-Newton condition $\langle d, s\rangle = 1$.

# %%
surrogate = symbolic.surrogate(names.d, names.s)
gradient = symbolic.hypergradient(names.d, names.s)
display(surrogate, gradient)
by_sympy = symbolic.numpy_function([names.d, names.s], gradient)(preconditioner, key**2)
display(np.allclose(by_sympy, ot.hypergradient(preconditioner, key**2), rtol=1e-13))

# %% [markdown]
# Scaling $d$ so that $\langle d, s\rangle = 1$ makes one full write enough.

# %%
newton = preconditioner / alignment
solved = ot.token_loss(ot.write(states, key, values, newton), key, values)
plain = ot.write(states, key, values, np.ones(key_dim))
rows = [
    ("DeltaNet, d = 1", float(ot.residual_ratio(np.sum(key**2)))),
    ("the d drawn above", float(ot.residual_ratio(alignment))),
    ("d scaled to the right-Newton condition", float(np.round(np.max(solved), 12))),
]
display(ot.plotting.Table(["full write with", "share of the token loss left"], rows))

# %% tags=["answer"]
unscaled = float(ot.residual_ratio(np.sum(key**2), beta))
display(
    Markdown(
        f"**Answer.** A write takes a step on an exactly quadratic token loss, and scaling its key by $d$ changes one "
        f"number: the write leaves $(1 - \\beta a)^2$ of the loss, here {formula:.4f} for each of {draws} random "
        f"states and values, against {unscaled:.4f} without the scaling, and a full write leaves nothing once "
        f"$\\langle d, s\\rangle$ is one."
    )
)
