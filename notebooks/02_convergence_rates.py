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
# **Question.** What is super-geometric about OSDN, against which Newton, and where does it lose?
#
# The bounds are T6 (token by token) and T10 (steps on a whole context). Both are this project's own derivations; no
# constant here is the paper's. `osdn-theory central` draws the figures below.

# %%
# %matplotlib inline
import numpy as np
from IPython.display import Markdown, display

import osdn_theory as ot
from osdn_theory.context.convergence import LABELS
from osdn_theory.measures.central import central_contexts, central_labels, central_streams, describe_stream
from osdn_theory.measures.token_curves import LABELS as TOKEN_LABELS

# %% [markdown]
# ## Token by token
#
# A stream of keys $k_t$ and values $v_t$, $d_t$ the preconditioner of OSDN, 1 for DeltaNet, and $S_t$ the state.
# A write takes the loss of its token from $f_t(S_{t-1})$ to $f_t(S_t)$; their ratio is $q_t$ (T3). If one $u$ has
# $\langle u, k_t \odot k_t\rangle = 1$ for every token, T6 bounds the product of the first $t$ ratios by $(C/t)^t$,
# $C = \|d_1 - u\|^2/(\eta(2 - \eta M))$, $M = \max_t \|k_t \odot k_t\|^2$: super-geometric, and vacuous until $t > C$.
#
# Three kinds of keys meet that exactly: isotropic ones; anisotropic ones, with variances over a range of 100; and the
# keys of MiniLM's layer 0, moved to the nearest of exactly unit norm. Exact online Newton is the least-squares state of
# every prefix, with a ridge of $10^{-6}$. Lines are medians over seeds or heads, bands their whole range.
#
# Above: the product that T6 bounds. Below: what one would want of a memory, the loss $F$ of the whole stream under
# $S_t$, of which no bound here speaks.

# %%
curves = {kind: ot.token_curves(stream) for kind, stream in central_streams().items()}
titled = {describe_stream(kind, each.stream): each for kind, each in curves.items()}
figure, _ = ot.plotting.token_by_token(titled, labels=TOKEN_LABELS)
display(figure)

# %% [markdown]
# The same numbers after the last token, as base-10 logarithms:

# %% rtol=0.001
rows = [
    (
        kind,
        TOKEN_LABELS[name],
        float(np.median(product[:, -1])),
        float(np.median(each.log10_bound[name][:, -1])) if name in each.log10_bound else "",
        float(np.median(each.log10_suboptimality[name][:, -1])),
    )
    for kind, each in curves.items()
    for name, product in each.log10_product.items()
]
display(ot.plotting.Table(["keys", "recurrence", "product", "T6", "loss of the stream"], rows))

# %% [markdown]
# What this shows, and what it does not:
#
# - **The bound holds and is super-geometric** at the step $1/M$. At the step of `bounded` it is vacuous for most of the
#   stream, and OSDN is hardly distinguishable from DeltaNet.
# - **The product is not the loss of the stream.** OSDN removes more of the residual of the token that it writes, not of
#   those before: its loss of the whole stream is that of DeltaNet, at either step. Exact Newton, whose product is the
#   largest of all in the end, has learned the synthetic streams after K tokens.
# - **On unit keys DeltaNet wins even the product:** from $d_1 = 1$ every write leaves nothing of its own residual, and
#   OSDN is DeltaNet (T15). The third column starts OSDN at $d_1 = 5/4$ for that reason; no user would.
# - **On captured values nobody is fast:** no state explains them. After about K tokens exact Newton, which fits what it
#   has read, is even worse on the whole stream than an empty memory.

# %% [markdown]
# ## Steps on a whole context
#
# Right-Newton proper: all of a context at once. OSDN learns a preconditioner $P$ from $P_1 = I/L$ by gradient steps on
# the ratio of successive losses; right-Newton knows the inverse Gram matrix and needs one step. T10 bounds the form
# with a full $P$. In the grey stretch it is larger than the starting loss and says nothing. The third panel, with
# condition number 6, 64 features and 8 seeds; the first two are the isotropic stream from above.

# %%
contexts = central_contexts()
figure, _ = ot.plotting.central_figure(curves["isotropic"], contexts, labels=central_labels())
display(figure)

# %% [markdown]
# Where the Gram matrix is diagonal, right-Newton is itself a diagonal, and T10 speaks of the diagonal form as well: the
# preconditioner that OSDN stores. The best fixed diagonal is then right-Newton.

# %%
aligned = ot.convergence_rates(np.random.default_rng(0), condition=6, key_dim=8, steps=300, rotate=False)
figure, _ = ot.plotting.convergence_rates(aligned, labels=LABELS, title="diagonal Gram matrix, K = 8")
display(figure)

# %% [markdown]
# ## Steps to twelve decades
#
# The first step at which the loss has fallen by a factor of $10^{12}$, for three condition numbers at K = 8, and the
# first step at which the bound lies below the start. The bound is far from what happens: it needs about $\kappa^2$
# steps before it says anything, the algorithm does not.

# %%
data = {
    number: ot.convergence_rates(np.random.default_rng(0), condition=number, key_dim=8, steps=700)
    for number in (2.0, 6.0, 20.0)
}
fallen = {
    number: {
        rule: int(np.argmax(curve - curve[0] <= np.log(1e-12)))
        for rule, curve in each.log_suboptimality.items()
    }
    for number, each in data.items()
}
header = ["condition number", *LABELS.values(), "T10 below the start from step"]
rows = [(number, *fallen[number].values(), data[number].vacuous_until) for number in data]
display(ot.plotting.Table(header, rows))

# %% tags=["answer"] rtol=0.001
last = {name: np.median(product[:, -1]) for name, product in curves["isotropic"].log10_product.items()}
loss = {name: np.median(each[:, -1]) for name, each in curves["isotropic"].log10_suboptimality.items()}
bound = np.median(curves["isotropic"].log10_bound["osdn"][:, -1])
vacuous = int(np.max(curves["isotropic"].constants["osdn_bounded"])) + 1
seen = fallen[20.0]
display(
    Markdown(
        f"**Answer.** Token by token, the product of the residual ratios: on isotropic keys it ends at "
        f"{last['osdn']:.4g} decades with the step $\\eta = 1/M$, under the bound of {bound:.4g}, against "
        f"{last['delta_net']:.4g} of DeltaNet and {last['newton']:.4g} of exact Newton; at the step of `bounded` the "
        f"bound is vacuous until token {vacuous}, and OSDN ends at {last['osdn_bounded']:.4g}. It loses where it "
        f"matters for recall: the loss of the whole stream falls by {-loss['osdn']:.3g} decades, "
        f"{-loss['delta_net']:.3g} with DeltaNet, {-loss['newton']:.3g} with exact Newton. Given a whole context of "
        f"condition number {list(data)[-1]:g}, twelve decades take {seen['gradient']} steps of gradient descent, "
        f"{seen['diagonal']} of OSDN with a diagonal, {seen['full']} with a full matrix, {seen['newton']} of "
        f"right-Newton."
    )
)
