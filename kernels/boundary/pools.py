"""Rows of a pool of states: taken and put back by index, nothing being read by the host."""

import torch
from torch import Tensor

from .results import AnyState


def take(pool: Tensor, rows: Tensor) -> Tensor:
    """[N, ...] of a pool [S, ...]; zeros for a row that it does not have."""
    if len(pool) == 0:
        return pool.new_zeros(len(rows), *pool.shape[1:])
    present = (rows >= 0) & (rows < pool.shape[0])
    taken = pool.index_select(0, torch.where(present, rows, 0))
    return taken.masked_fill(~present.view(-1, *[1] * (pool.dim() - 1)), 0)


def put_(pool: Tensor, rows: Tensor, values: Tensor) -> None:
    """Write values [N, ...] to rows of a pool; those of a row that it does not have go nowhere."""
    if len(rows) == 0 or len(pool) == 0:
        return
    present = (rows >= 0) & (rows < pool.shape[0])
    # A row too few writes again what another one does, or, where there is no other, what row 0 has.
    source = torch.where(present, torch.arange(len(rows), device=rows.device), present.int().argmax())
    target = torch.where(present, rows, 0)[source].long()
    values = values[source].to(pool.dtype)
    pool.index_copy_(0, target, torch.where(present.any(), values, pool[target]))


def take_state(pool: AnyState, rows: Tensor, fallback: float) -> AnyState:
    """The states in some rows; an empty memory with d = `fallback` for rows that are not there."""
    taken = type(pool)(*(take(x, rows) for x in pool))
    present = (rows >= 0) & (rows < len(pool.preconditioner))
    return taken._replace(preconditioner=torch.where(present[:, None, None], taken.preconditioner, fallback))


def put_state_(pool: AnyState, rows: Tensor, state: AnyState) -> None:
    """Write states to rows of a pool; a rest that it has no place for is dropped."""
    for mine, other in zip(pool, (*state, torch.zeros_like(state.preconditioner)), strict=False):
        put_(mine, rows, other)
