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
# # 08 In-context recall
#
# **Question.** Does OSDN recall better than DeltaNet in small trained models, and does theory say where it can?
#
# Small models are trained to read pairs of keys and values, once or twice, and then to give the value of a key that
# is asked for. They differ in the rule of their state alone. Training takes half an hour or more, so this notebook
# shows the result that is delivered with the package; the command that made it is below. The paper's own claims are
# about models of 340 million and 1.3 billion parameters (arXiv:2605.13473): nothing here decides them.

# %%
# %matplotlib inline
from IPython.display import Markdown, display

import osdn_theory as ot
from osdn_theory.recall import data as recall_data, tables as recall_tables

summary = recall_data.load()
status = "complete" if summary.complete else "not complete"
rows = [
    ("command", summary.command),
    ("preset", f"{summary.preset}, {status}"),
    ("seeds", ", ".join(map(str, summary.seeds))),
    ("time of all runs, added up", f"{summary.seconds:,.0f} s"),
    *summary.environment.items(),
]
display(ot.plotting.Table(["", "this result"], rows))

# %% [markdown]
# ## What was found
#
# Means over seeds with 95 % intervals; differences from DeltaNet are paired by seed, their p values adjusted by Holm
# over the models. Every model has the learning rate that did best in validation, never in the test.

# %%
display(ot.plotting.Table(*recall_tables.model_table(summary)))
display(Markdown("\n".join(f"- {sentence}" for sentence in summary.sentences)))

# %% [markdown]
# ## Accuracy against the number of pairs
#
# The more pairs, the fuller the state. The columns are statistics of the keys, the rows how often the context is read.

# %%
figure, _ = ot.plotting.recall_accuracy(summary)
display(figure)

# %% [markdown]
# ## Differences from DeltaNet
#
# Every seed trains each model on the same data in the same order, so what the seeds share cancels in the difference.

# %%
figure, _ = ot.plotting.recall_differences(summary)
display(figure)

# %% [markdown]
# ## Residual ratios
#
# Taken in float64 from the activations of the trained models. The token residual ratio is what a write leaves of the
# residual of its own token, $q_t = (1 - \beta_t a_t)^2$ (T3); taken on contexts read twice it is the authors' measure,
# of which their 39 % at 1.3 billion parameters speak. The missing share is ours: what is left of all pairs of the
# context when it has been read. A model may leave more of each token's residual and yet less at the end.

# %%
figure, _ = ot.plotting.residual_ratios(summary)
display(figure)
display(Markdown(recall_tables.against_baseline(summary, "read_twice_ratio")))
display(Markdown(recall_tables.against_baseline(summary, "missing_share")))

# %% [markdown]
# ## Where theory says that OSDN can differ
#
# With normalised keys and $d_1 = 1$ OSDN is DeltaNet (T15). With a learned $d_1$ and the step of `bounded`, calibration
# is far slower than the context is long (T19): OSDN can then differ from DeltaNet only by a scale that does not
# change, which the model with $d$ frozen at its learned $d_1$ has as well.

# %%
display(ot.plotting.Table(*recall_tables.prediction_table(summary)))

# %% [markdown]
# Is the learned $d$ used at all? Accuracy of the trained models with $d$ replaced at evaluation:

# %%
display(ot.plotting.Table(*recall_tables.ablation_table(summary)))

# %% tags=["answer"]
labels = recall_data.labels(summary)
found = {name: recall_data.overall(summary, name, "accuracy") for name in labels}
changes = {
    labels[name]: row.difference
    for name, row in found.items()
    if row and row.difference and name != "gated_deltanet"
}
best = max(changes, key=lambda label: changes[label].mean)
better = sum(change.significant and change.mean > 0 for change in changes.values())
worse = sum(change.significant and change.mean < 0 for change in changes.values())
came_out = sum(row.outcome == "as predicted" for row in summary.predictions)
display(
    Markdown(
        f"**Answer.** In these small models (preset {summary.preset}, {recall_data.count_seeds(summary)}), of "
        f"{len(changes)} models with a preconditioner {better} {'recalls' if better == 1 else 'recall'} significantly "
        f"better than DeltaNet and {worse} significantly worse, the best being {best} with "
        f"{recall_tables.points(changes[best])}, in points of accuracy; and of {len(summary.predictions)} "
        f"predictions of theory on where OSDN can differ, {came_out} came out."
    )
)
