"""The chunkwise form in plain PyTorch: the operator for machines without a GPU, and a second reading of T11 and T12.

Same arithmetic types and gradients as `tokenwise.py`, and many times its speed: per chunk one triangular solve for the
preconditioner and one for the memory, all chunks, sequences and heads of them at once.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..boundary.inputs import ANYWHERE, Arguments, check_call
from ..boundary.numerics import CHUNK_REFERENCE, declare
from ..boundary.results import Results
from ..boundary.rule import Rule
from ..boundary.signature import takes
from ..boundary.values import has_values, is_batched
from .tokenwise import Memory, Scan, calibrate, feedback_weight, forget, project, run


@declare(CHUNK_REFERENCE)
@takes(check_call, ANYWHERE)
def chunk_osdn_reference(call: Arguments) -> Results:
    """OSDN chunk by chunk, arguments, results, errors and remarks as in `osdn_kernels.osdn_reference`.

    A chunk in which any head of any sequence clips is stepped token by token for all of them, so that the result is
    exact (T11). Whether it does is read once per chunk: on a GPU that waits for the device. Under
    `torch.func.vmap`, where it cannot be read, all are stepped.
    """
    return run(call, scan_chunks, remember_chunks)


def scan_chunks(scan: Scan, rule: Rule, chunk_size: int) -> tuple[Tensor, Tensor]:
    r"""d_t of every token [N, T, H, K] and the d handed on, one chunk after the other (T11).

    .. math:: d_t = c + G_t (d - c) + \sum_{j<t} \Gamma_{tj} u_j s_j, \qquad
              u_t = \eta w_t (1 - \langle c, s_t\rangle - G_t \langle d - c, s_t\rangle)
                    - \eta w_t \sum_{j<t} \Gamma_{tj} \langle s_t, s_j\rangle u_j

    with d that of the chunk's first token, G_t the product of the gates before t in the chunk and
    :math:`\Gamma_{tj} = \gamma_{j+1} \cdots \gamma_{t-1}`. The gains are u = fixed - linear (d - c).
    """
    if scan.k.shape[1] == 0:
        return scan.k, scan.start
    if rule.pinned or (rule.eta == 0 and scan.g is None):
        return _held(scan, rule)
    k = chunked(scan.k, chunk_size)
    feedback = None if scan.feedback is None else chunked(scan.feedback, chunk_size)
    g = None if scan.g is None else chunked(scan.g[..., None], chunk_size)[..., 0]
    s = k.square()
    kept, passed = (None, None) if g is None else _decays(g)
    gains = _gains(s, kept, passed, feedback, scan.anchor, rule)

    d, path = scan.start, []
    gammas = None if g is None else g.exp()
    for key, gamma, asked, *chunk in zip(*unbound(k, gammas, feedback, s, kept, passed, *gains), strict=True):
        iterates = _unclipped(d, scan.anchor, *chunk)
        if has_values(iterates) and _may_clip(iterates, rule):
            iterates = _stepped(d, key, gamma, asked, scan.anchor, rule)
        path.append(iterates[..., :-1, :])
        d = iterates[..., -1, :]
    return unchunked(torch.stack(path, 2), scan.k.shape[1]), d


def _held(scan: Scan, rule: Rule) -> tuple[Tensor, Tensor]:
    """A preconditioner that no token moves but into the box."""
    held = project(scan.start, rule)
    later = held[:, None].expand(-1, scan.k.shape[1] - 1, -1, -1)
    return torch.cat([scan.start[:, None], later], 1), held


def _decays(g: Tensor) -> tuple[Tensor, Tensor]:
    """G_t [N, H, n, C + 1] and Gamma_tj [N, H, n, C + 1, C] (zero unless j < t); the last t is the next chunk's first.

    Sums of log gates are formed from j on, not as differences of sums from the chunk's start, which would cancel.
    """
    size = g.shape[-1]
    between = g[..., :, None].expand(*g.shape, size).tril(-1).cumsum(-2)
    return pad(g.cumsum(-1), (1, 0)).exp(), pad(between.exp().tril(), (0, 0, 1, 0))


def _gains(
    s: Tensor,
    kept: Tensor | None,
    passed: Tensor | None,
    feedback: Tensor | None,
    anchor: Tensor | None,
    rule: Rule,
) -> tuple[Tensor, Tensor]:
    """`fixed` [N, H, n, C] and `linear` [N, H, n, C, K] of every chunk: u = fixed - linear (d - c)."""
    fixed = step = rule.eta * feedback_weight(s, rule) * s.new_ones(s.shape[:-1])
    if feedback is not None:
        fixed, step = fixed * feedback[..., 0], step * feedback[..., 1]
    coupling = step[..., None] * (s @ s.mT)
    linear = step[..., None] * s
    if kept is not None and passed is not None:
        coupling = passed[..., :-1, :] * coupling
        linear = kept[..., :-1, None] * linear
    if anchor is not None:
        fixed = fixed - step * (s * anchor[:, :, None, None]).sum(-1)
    solved = solve_unit_lower(coupling, torch.cat([fixed[..., None], linear], -1))
    return solved[..., 0], solved[..., 1:]


def _unclipped(
    d: Tensor,
    anchor: Tensor | None,
    s: Tensor,
    kept: Tensor | None,
    passed: Tensor | None,
    fixed: Tensor,
    linear: Tensor,
) -> Tensor:
    """The chunk's iterates and the one handed on, [N, H, C + 1, K], where nothing clips."""
    ahead = d if anchor is None else d - anchor
    moves = (fixed - (linear @ ahead[..., None])[..., 0])[..., None] * s
    moved = pad(moves.cumsum(-2), (0, 0, 1, 0)) if passed is None else passed @ moves
    return forget(d[..., None, :], kept, None if anchor is None else anchor[..., None, :]) + moved


def _may_clip(iterates: Tensor, rule: Rule) -> bool:
    """Whether any of them is outside of the box; True where that cannot be read."""
    return is_batched(iterates) or not bool(((iterates >= rule.d_min) & (iterates <= rule.d_max)).all())


def _stepped(
    d: Tensor, k: Tensor, gamma: Tensor | None, feedback: Tensor | None, anchor: Tensor | None, rule: Rule
) -> Tensor:
    """The same token by token, clipped."""
    iterates = [d]
    for key, gate, asked in zip(*unbound(k, gamma, feedback), strict=True):
        iterates.append(calibrate(iterates[-1], key, gate, anchor, rule, asked))
    return torch.stack(iterates, 2)


def remember_chunks(
    memory: Memory, path: Tensor, scale: float, chunk_size: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Outputs, the final state and those that chunks are entered with, one chunk after the other (T12).

    A = tril(diag(beta) K K~^T, -1), X = (I + A)^-1 diag(beta) (V - K H), H+ = H + K~^T X,
    O = scale (Q H + tril(Q K~^T) X), with K~ the rows d_t * k_t.
    """
    length = memory.k.shape[1]
    if length == 0:
        return memory.v, memory.start, []
    tokens = (memory.q, memory.k, path * memory.k, memory.v, memory.beta[..., None])
    q, k, write_key, v, beta = (chunked(x, chunk_size) for x in tokens)
    solved = solve_unit_lower(beta * (k @ write_key.mT), beta * torch.cat([v, k], -1))
    from_values, from_state = solved.split([v.shape[-1], k.shape[-1]], -1)

    state, entries, writes = memory.start, [], []
    for u, w, keys in zip(from_values.unbind(2), from_state.unbind(2), write_key.unbind(2), strict=True):
        entries.append(state)
        writes.append(u - w @ state)
        state = state + keys.mT @ writes[-1]
    read = q @ torch.stack(entries, 2) + (q @ write_key.mT).tril() @ torch.stack(writes, 2)
    return unchunked(scale * read, length), state, entries


def solve_unit_lower(a: Tensor, b: Tensor) -> Tensor:
    """(I + A)^-1 b with A the part of `a` strictly below the diagonal; the solver reads no other."""
    solved: Tensor = torch.linalg.solve_triangular(a, b, upper=False, unitriangular=True)
    return solved


def unbound(*tensors: Tensor | None) -> list[Sequence[Any]]:
    """The slices of each along its third axis, chunks or tokens; for None as many None."""
    number = next(len(x[0, 0]) for x in tensors if x is not None)
    return [[None] * number if x is None else x.unbind(2) for x in tensors]


def chunked(x: Tensor, size: int) -> Tensor:
    """[N, T, H, F] as [N, H, n, size, F]; tokens of zeros, which change nothing, fill the last chunk."""
    filled = pad(x, (0, 0, 0, 0, 0, -x.shape[1] % size))
    chunks: Tensor = filled.unflatten(1, (-1, size))
    return chunks.permute(0, 3, 1, 2, 4)


def unchunked(x: Tensor, length: int) -> Tensor:
    """[N, H, n, size, F] as [N, length, H, F], the filling cut off."""
    return x.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :length]
