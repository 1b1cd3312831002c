"""Kernels' runs as files: written where the GPU is, audited where it is not.

A file holds one call or several. The tensors have the kernel's own dtypes; states lie as [K, V] or [V, K]:

==========================  ===================  ==================================================================
``q``, ``k``                [B, T, H, K]         queries and keys as the kernel read them; float32, bfloat16, float16
``v``                       [B, T, H, V]         values, same dtype
``beta``                    [B, T, H]            write gate
``o``                       [B, T, H, V]         output, same dtype
``g``                       [B, T, H]            optional; log gate: of d for ``osdn``, of the memory for
                                                 ``gated_delta_net``; [B, T, H, K] for ``kda``
``initial_state``           [N, H, K, V]         optional; zero without it
``initial_preconditioner``  [N, H, K]            optional; d_1, ones without it
``anchor``                  [N, H, K]            optional; what forgetting returns to, 0 without it
``state``                   [N, H, K, V]         optional; the final state
``preconditioner``          [N, H, K]            optional; the d handed on
``d``                       [B, T, H, K]         optional; d_t of every token
``alignment``               [B, T, H]            optional; a_t of every token
``o_keys``                  [B, T, H, V]         optional; output of the same call with q = k
``o_next_keys``             [B, T, H, V]         optional; output with q_t = k_{t+1} (any last query); for ``kda`` with
                                                 q_t = k_{t+1} exp(g_{t+1}), rounded to the dtype of k
==========================  ===================  ==================================================================

N is B, or with ``cu_seqlens``, where B = 1, the number of packed sequences. The last two are what residual ratios, T3,
T6 and T7 are read from. The rest is metadata, see `format.SavedCall`: what was computed, in which order, with which
numbers, and where.
"""

from osdn_theory.crosscheck.files.auditing import audit_run, audit_runs
from osdn_theory.crosscheck.files.writing import save_run, save_runs

__all__ = ["audit_run", "audit_runs", "save_run", "save_runs"]
