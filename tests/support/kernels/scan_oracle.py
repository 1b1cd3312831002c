"""The clipped calibrate recurrence in float64, one token at a time, with autograd: what the scan is tested against."""

from dataclasses import dataclass

import torch
from osdn_kernels.boundary.rule import Rule
from osdn_kernels.launch.sequences import Chunks, cut
from osdn_kernels.scan.backward import scan_backward
from osdn_kernels.scan.calls import Gains, ScanCall
from osdn_kernels.scan.expand import expand
from osdn_kernels.scan.forward import scan_forward
from torch import Tensor


@dataclass(frozen=True)
class Problem:
    """Inputs of one scan: k [B, T, H, K]; g, anchor, initial or None; bounds of packed sequences or None."""

    k: Tensor
    rule: Rule
    g: Tensor | None = None
    anchor: Tensor | None = None
    initial: Tensor | None = None
    bounds: tuple[int, ...] | None = None

    def spans(self) -> list[tuple[int, int, int]]:
        """(batch, first token, token after the last) of each sequence."""
        batch, length = self.k.shape[:2]
        if self.bounds is None:
            return [(b, 0, length) for b in range(batch)]
        return [(0, a, b) for a, b in zip(self.bounds, self.bounds[1:], strict=False)]

    def chunks(self, size: int) -> Chunks:
        bounds = None if self.bounds is None else torch.tensor(self.bounds)
        return cut(self.k.shape[0], self.k.shape[1], size, bounds)

    def given(self) -> list[Tensor]:
        return [x for x in (self.k, self.g, self.initial, self.anchor) if x is not None]


@dataclass(frozen=True)
class Path:
    """d [B, T, H, K], gains [B, T, H], where the clip binds [B, T, H], final d [N, H, K]."""

    d: Tensor
    gain: Tensor
    binds: Tensor
    final: Tensor


def exact(problem: Problem, *, clips: bool = True, forgets: bool = True) -> Path:
    """The recurrence in the inputs' dtype; `clips` and `forgets` leave out a part of it, to see that tests notice."""
    rule, k = problem.rule, problem.k
    heads, dim = k.shape[2:]
    d_rows, gain_rows, bind_rows, finals = {}, {}, {}, []
    for n, (b, first, end) in enumerate(problem.spans()):
        d = k.new_ones(heads, dim) if problem.initial is None else problem.initial[n]
        c = 0.0 if problem.anchor is None else problem.anchor[n]
        for t in range(first, end):
            s = k[b, t] ** 2
            weight = 1 / (s.sum(-1) + 1e-5) if rule.normalize_feedback else 1.0
            u = rule.eta * weight * (1 - (d * s).sum(-1))
            d_rows[b, t], gain_rows[b, t] = d, u
            if problem.g is not None and forgets:
                d = c + problem.g[b, t].exp()[:, None] * (d - c)
            d = d + u[:, None] * s
            bind_rows[b, t] = ((d < rule.d_min) | (d > rule.d_max)).any(-1)
            if clips:
                d = d.clamp(rule.d_min, rule.d_max)
        finals.append(d)

    def gather(rows: dict[tuple[int, int], Tensor], empty: Tensor) -> Tensor:
        batch, length = k.shape[:2]
        return (
            torch.stack([rows[index] for index in sorted(rows)]).unflatten(0, (batch, length))
            if rows
            else empty
        )

    return Path(
        gather(d_rows, torch.zeros_like(k)),
        gather(gain_rows, k.new_zeros(k.shape[:3])),
        gather(bind_rows, torch.zeros(k.shape[:3], dtype=torch.bool)),
        torch.stack(finals),
    )


def widened(problem: Problem) -> Problem:
    """The problem in float64, its tensors leaves that want gradients."""

    def leaf(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.detach().double().requires_grad_()

    tensors = [leaf(x) for x in (problem.g, problem.anchor, problem.initial)]
    return Problem(leaf(problem.k), problem.rule, *tensors, problem.bounds)


def expected_clipped(problem: Problem, path: Path, size: int) -> Tensor:
    """Chunks in which the clip binds, [slots, H]; slots left over are 0."""
    chunks = problem.chunks(size)
    flags = torch.zeros(chunks.slots, problem.k.shape[2], dtype=torch.int8)
    slot = 0
    for b, first, end in problem.spans():
        for start in range(first, end, size):
            flags[slot] = path.binds[b, start : min(start + size, end)].any(0).to(torch.int8)
            slot += 1
    return flags


def used_slots(problem: Problem, size: int) -> int:
    return sum(-(-(end - first) // size) for _, first, end in problem.spans())


def run(
    problem: Problem, size: int, *, sequential: bool = False, in_order: bool = False
) -> tuple[Tensor, Gains]:
    """d_t of every token by the kernels, and the gains."""
    chunks = problem.chunks(size)
    out = torch.full(problem.k.shape, float("nan"), dtype=torch.float32)
    scan = ScanCall(problem.k, problem.g, problem.anchor, None, problem.rule, out, None, False)
    gains = scan_forward(scan, problem.initial, chunks, sequential=sequential, in_order=in_order)
    expand(problem.k, problem.g, problem.anchor, chunks, gains, out)
    return out, gains


def gradients(
    problem: Problem, size: int, grad: Tensor, grad_final: Tensor | None, grad_key: Tensor | None,
    *, scale_key: bool, sequential: bool,
) -> list[Tensor]:  # fmt: skip
    """Gradients of `problem.given()` by the kernels."""
    chunks = problem.chunks(size)
    out = torch.empty(problem.k.shape, dtype=problem.k.dtype if scale_key else torch.float32)
    scan = ScanCall(problem.k, problem.g, problem.anchor, None, problem.rule, out, None, scale_key)
    gains = scan_forward(scan, problem.initial, chunks, sequential=sequential)
    found = scan_backward(
        problem.k, problem.g, problem.anchor, problem.rule, chunks, gains, grad, grad_final, grad_key,
        scale_key=scale_key, sequential=sequential,
    )  # fmt: skip
    given = (problem.k, problem.g, problem.initial, problem.anchor)
    return [y for x, y in zip(given, found[:4], strict=True) if x is not None]


def exact_gradients(
    problem: Problem, grad: Tensor, grad_final: Tensor | None, grad_key: Tensor | None, *, scale_key: bool
) -> list[Tensor]:
    """The same by autograd in float64."""
    wide = widened(problem)
    path = exact(wide)
    value = ((path.d * wide.k if scale_key else path.d) * grad).sum()
    if grad_final is not None:
        value = value + (path.final * grad_final).sum()
    if grad_key is not None:
        value = value + (wide.k * grad_key).sum()
    found = torch.autograd.grad(value, wide.given(), allow_unused=True)
    return [torch.zeros_like(x) if y is None else y for x, y in zip(wide.given(), found, strict=True)]


def error(found: Tensor, wanted: Tensor) -> float:
    """Relative Frobenius error."""
    wanted = wanted.detach()
    return float((found.double() - wanted).norm() / wanted.norm().clamp_min(1e-30))
