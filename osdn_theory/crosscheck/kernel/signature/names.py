"""Names that the field has for the arguments of these kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ARGUMENTS = (
    "q", "k", "v", "beta", "g", "scale", "eta", "d_min", "d_max", "anchor", "normalize_feedback",
    "initial_state", "initial_preconditioner", "output_final_state", "cu_seqlens", "chunk_size", "return_trajectory",
    "g_atk", "beta_atk", "initial_A_state", "use_qk_l2norm_in_kernel",
)  # fmt: skip
"""Arguments that the cross-check knows how to fill, by their names in flash-linear-attention and here."""

FACTORS = frozenset({"alpha", "alphas", "alpha_t", "forget_gate"})
"""Names of a gate that is no logarithm."""

EITHER = frozenset({"gate", "gates", "decay", "decays"}) | FACTORS
"""Names of a gate that may be one or not."""

PRECONDITIONED = frozenset({"g_atk", "beta_atk", "initial_A_state"})
"""Those of Preconditioned DeltaNet alone."""

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "q": ("query", "queries", "xq", "q_t"),
    "k": ("key", "keys", "xk", "k_t"),
    "v": ("value", "values", "xv", "v_t"),
    "beta": ("betas", "b", "beta_t", "write_gate"),
    "g": (
        "gk", "log_gate", "log_decay", "log_alpha", "log_a", "g_t", "gate", "gates", "decay", "decays", "alpha",
        "alphas", "alpha_t", "forget_gate",
    ),
    "scale": ("softmax_scale", "sm_scale", "qk_scale", "scaling"),
    "initial_state": (
        "h0", "s0", "initial_s", "initial_h", "init_state", "state", "prev_state", "past_state", "last_state",
        "recurrent_state", "initial_recurrent_state", "last_recurrent_state",
    ),
    "initial_preconditioner": ("d0", "d1", "initial_d", "d_init"),
    "output_final_state": (
        "return_final_state", "output_state", "return_state", "return_last_state", "output_last_state",
        "return_final", "output_final",
    ),
    "cu_seqlens": ("offsets", "cu_seq_lens", "cu_seqlen", "cu_seqlens_q", "sequence_offsets"),
    "initial_A_state": ("a0", "initial_a"),
}  # fmt: skip
"""Canonical name -> what others call it, in lower case, the likeliest first."""

FIXED: Mapping[str, Any] = {"num_householder": 1, "chunk_size": 64}
"""Arguments that are given one value where a kernel requires them: with it, it computes a recurrence known here."""

ALIASES: Mapping[str, str] = {"p": "k"}
"""Arguments that are given another one's tensor where a kernel requires them: Comba erases with p, and p = k is the
delta rule."""

SWITCHED_OFF = ("use_q_l2norm", "use_k_l2norm")
"""Switches that are off in most kernels, and are turned off in the others."""

POSITIONAL = frozenset({"q", "k", "v"})
"""Passed by position where a kernel has its own names for them and they come first: what such functions hand over to
knows them by other names."""


def own_names(parameters: Iterable[str]) -> dict[str, str]:
    """Canonical name -> the kernel's own, of every parameter that is known; the canonical spelling wins."""
    given = list(parameters)
    lower = {name.lower(): name for name in reversed(given)}
    found = {name: name for name in ARGUMENTS if name in given}
    for canonical in ARGUMENTS:
        spellings = (canonical.lower(), *SYNONYMS.get(canonical, ()))
        match = next((lower[name] for name in spellings if name in lower), None)
        if canonical not in found and match is not None and match not in found.values():
            found[canonical] = match
    return {name: found[name] for name in ARGUMENTS if name in found}
