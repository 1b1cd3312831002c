"""The gated delta rule (Gated DeltaNet, arXiv:2412.06464) in plain PyTorch, chunk by chunk, for reference models."""

import torch
from torch import Tensor

from ...reference.chunkwise import chunked, solve_unit_lower, unchunked


def gated_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, *, scale: float, chunk_size: int = 64
) -> Tensor:
    r"""Outputs [B, T, H, V] of the memory that decays before each write (T17).

    .. math:: H_t = \alpha_t H_{t-1} + \beta_t k_t (v_t - \alpha_t H_{t-1}^T k_t)^T, \qquad
              o_t = \text{scale}\, H_t^T q_t, \qquad \alpha_t = \exp(\text{log\_decay}_t)

    q and k [B, T, H, K], already normalised, v [B, T, H, V], beta and log_decay [B, T, H]; all of one dtype. With
    :math:`\Gamma_{ti} = \alpha_{i+1} \cdots \alpha_t` and :math:`G_t` the product of all gates up to t in the chunk, a
    chunk's writes X solve :math:`(I + A) X = \text{diag}(\beta)(V - \text{diag}(G) K H)`,
    :math:`A_{ti} = \beta_t \Gamma_{ti} \langle k_t, k_i\rangle` for i < t.
    """
    length = q.shape[1]
    q, k, v, beta, log_decay = (
        chunked(x, chunk_size) for x in (q, k, v, beta[..., None], log_decay[..., None])
    )
    # Sums of gates from i on rather than differences of sums from the chunk's start, which would cancel.
    steps = log_decay.expand(*log_decay.shape[:-1], log_decay.shape[-2])
    between = steps.tril(-1).cumsum(-2).exp().tril()
    kept = log_decay.cumsum(-2).exp()
    left = between[..., -1, :, None]
    solved = solve_unit_lower(beta * between * (k @ k.mT), beta * torch.cat([v, kept * k], -1))
    from_values, from_state = solved.split([v.shape[-1], k.shape[-1]], -1)

    state = v.new_zeros(v.shape[0], v.shape[1], k.shape[-1], v.shape[-1])
    entries, writes = [], []
    for u, w, keys, whole in zip(
        *(x.unbind(2) for x in (from_values, from_state, left * k, kept[..., -1:, :])), strict=True
    ):
        entries.append(state)
        writes.append(u - w @ state)
        state = whole * state + keys.mT @ writes[-1]
    within = ((q @ k.mT) * between) @ torch.stack(writes, 2)
    return unchunked(scale * (kept * (q @ torch.stack(entries, 2)) + within), length)
