"""An operator over the ranks of a group: where d enters, by settling; where the memory does, by maps; and backwards."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..boundary.checks import refuse
from ..boundary.gated import turn_given
from ..boundary.inputs import FORGOTTEN
from ..boundary.numerics import suspend_autocast
from ..boundary.results import ExactState, State, widen
from .ranks import check_group, check_ranks, gather, sum_ranks
from .settle import settle

Tensors = dict[str, Tensor]
REFUSED = {"state_indices": None, "return_trajectory": False, "return_intermediate_states": False}
"""What an operator does on one rank alone."""


def context_parallel(
    operator: Callable[..., Any], cp_group: Any
) -> Callable[..., tuple[Tensor, State | None]]:
    r"""`operator` on sequences whose tokens are spread over the ranks of a group, with its arguments and results.

    Rank r holds the tokens after those of rank r - 1: q, k, v, beta and gates of its own, of as many tokens as it has,
    which may be none. `initial_state`, `initial_preconditioner` and `anchor` are those of the whole sequence, the same
    on every rank, and so is the final state. Packed sequences have the bounds of this rank's part, N of them on every
    rank (`local_cu_seqlens`).

    d settles first: every rank enters its tokens with the d that the rank before hands on, to the bit (`settle`). Then
    the memory: with d known a rank's tokens are an affine map of the memory,

    .. math:: S_{r+1} = M_r S_r + N_r,

    of which M and N are final states of the operator itself, from the identity without values and from zero. The maps
    are exchanged, and the operator runs from S_r. Gradients come back through the transposed maps, and that of d by
    settling from the last rank to the first.

    - `operator`: With the arguments of `chunk_osdn` or of the gated forms, `state_v_first` among them.
    - `cp_group`, torch.distributed.ProcessGroup: NCCL or gloo. Every rank has to call, and to call backward.

    Gradients of what is the same on every rank are a part on each, to be summed. `check_values` also compares sizes
    between ranks. `state_indices`, `return_trajectory` and `return_intermediate_states` are refused.

    Raises ValueError, TypeError: what the operator refuses; sizes that differ between ranks, on every one of them; a
    `cp_group` that is none.
    """
    check_group(cp_group)
    signature = inspect.signature(operator)

    def call(*args: Any, **options: Any) -> tuple[Tensor, State | None]:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        given = bound.arguments
        for name, value in REFUSED.items():
            if given.pop(name, value) is not value:
                refuse(name, f"{value} beside cp_group", "another")
        wanted, turned = given.pop("output_final_state"), given.pop("state_v_first", False)
        if turned:
            given["initial_state"] = turn_given(given["initial_state"], given["q"], given["v"])
        if isinstance(given["initial_state"], State | ExactState):
            # Ranks hand on no rest of d.
            given["initial_state"], given["initial_preconditioner"] = given["initial_state"][:2]
        _begin(given, cp_group)
        tensors = {name: x for name, x in given.items() if isinstance(x, Tensor) and x.is_floating_point()}
        numbers = {name: x for name, x in given.items() if name not in tensors}
        if not torch.is_grad_enabled():  # which a Function does not hear of
            tensors = {name: x.detach() for name, x in tensors.items()}
        with suspend_autocast(given["k"]):
            o, memory, d = _OverRanks.apply(
                _Part(operator, numbers, cp_group), tuple(tensors), *tensors.values()
            )
        if turned:
            memory = memory.mT.contiguous()
        return o, State(memory, d) if wanted else None

    return call


def _begin(given: dict[str, Any], group: Any) -> None:
    """Put starts where none are given, and compare the ranks."""
    k, v, bounds = given["k"], given["v"], given["cu_seqlens"]
    sequences = k.shape[0] if bounds is None else len(bounds) - 1
    wide = {"device": k.device, "dtype": widen(k.dtype)}
    if given["initial_preconditioner"] is None:
        given["initial_preconditioner"] = torch.ones(sequences, *k.shape[2:], **wide)
    if given["initial_state"] is None:
        given["initial_state"] = torch.zeros(sequences, v.shape[2], k.shape[3], v.shape[3], **wide)
    if given["check_values"]:
        learns = torch.is_grad_enabled() and any(
            isinstance(x, Tensor) and x.requires_grad for x in given.values()
        )
        sizes = {f"{name}.shape[{axis}]": given[name].shape[axis] for name in "kv" for axis in (2, 3)}
        check_ranks(
            {"sequences": sequences, "k.dtype": k.element_size(), "requires_grad": learns, **sizes}, k, group
        )
    for name in ("initial_state", "initial_preconditioner"):
        given[name] = given[name].to(wide["dtype"])


class _Part(NamedTuple):
    """What one rank runs: the operator with its numbers."""

    operator: Callable[..., Any]
    numbers: dict[str, Any]
    group: Any

    def __call__(self, tensors: Tensors, **changed: Any) -> tuple[Tensor, Tensor, Tensor]:
        """o, the memory and d at the end."""
        o, final = self.operator(**{**self.numbers, **tensors, **changed, "output_final_state": True})
        return o, *final

    def calibrate(self, tensors: Tensors, entry: Tensor) -> Tensor:
        """d at the end, from d at the start: the operator on values of one feature, zero."""
        v = torch.zeros_like(tensors["v"][..., :1])
        return self(tensors, v=v, initial_state=None, initial_preconditioner=entry)[2]

    def map_memory(self, tensors: Tensors, entry: Tensor) -> tuple[Tensor, Tensor]:
        """M [N, HV, K, K] and N [N, HV, K, V]: the memory at the end is M times that at the start, and N."""
        start = tensors["initial_state"]
        identity = torch.eye(start.shape[2], dtype=start.dtype, device=start.device).expand(
            *start.shape[:2], -1, -1
        )
        v = tensors["v"].new_zeros(*tensors["v"].shape[:3], start.shape[2])
        _, kept, _ = self(tensors, v=v, initial_state=identity.contiguous(), initial_preconditioner=entry)
        _, added, _ = self(tensors, initial_state=None, initial_preconditioner=entry)
        return kept, added

    def slope(self, tensors: Tensors, end: Tensor) -> Tensor:
        """About how much of a change of d at the start is left at the end: 0 on the bounds, else what is kept."""
        box = self.numbers["d_min"], self.numbers["d_max"]
        inside = (end > box[0]) & (end < box[1])
        gate = tensors.get("g_d" if "g_d" in inspect.signature(self.operator).parameters else "g")
        kept: Tensor = inside.to(end.dtype)
        return (
            kept
            if gate is None
            else kept * _total(gate.clamp(min=FORGOTTEN), self.numbers["cu_seqlens"]).exp()
        )


def _total(g: Tensor, bounds: Tensor | None) -> Tensor:
    """Sums of log gates [B, T, H] over each sequence, [N, H, 1]."""
    if bounds is None:
        return g.sum(1)[..., None]
    sums = torch.nn.functional.pad(g[0].cumsum(0), (0, 0, 1, 0))
    return sums[bounds[1:]].sub(sums[bounds[:-1]])[..., None]


class _OverRanks(torch.autograd.Function):
    """o of this rank, and the memory and d at the end of the last one."""

    @staticmethod
    def forward(
        ctx: Any, part: _Part, names: tuple[str, ...], *given: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        tensors, group = dict(zip(names, given, strict=True)), part.group
        box = part.numbers["d_min"], part.numbers["d_max"]

        def run(entry: Tensor) -> tuple[Tensor, Tensor]:
            end = part.calibrate(tensors, entry)
            return end, part.slope(tensors, end)

        entry, last = settle(run, tensors["initial_preconditioner"], group, lambda d: d.clamp(*box))
        part.numbers["check_values"] = False
        maps = [gather(x, group) for x in part.map_memory(tensors, entry)]
        memory = tensors["initial_state"]
        for kept, added in zip(*(x[: group.rank()] for x in maps), strict=True):
            memory = kept @ memory + added
        ctx.learns = any(ctx.needs_input_grad)
        with torch.enable_grad():
            leaves = {name: x.detach().requires_grad_(ctx.learns) for name, x in tensors.items()}
            leaves |= {"initial_state": memory.detach().requires_grad_(ctx.learns)}
            leaves |= {"initial_preconditioner": entry.clone().requires_grad_(ctx.learns)}
            o, state, _ = part(leaves)
            if ctx.learns:
                end = part.calibrate(leaves, leaves["initial_preconditioner"])
                ctx.kept = part, leaves, o, state, end, part.slope(tensors, end.detach()), maps[0]
        return o.detach(), gather(state.detach(), group)[-1], last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_o: Tensor, grad_state: Tensor, grad_d: Tensor) -> tuple[Tensor | None, ...]:
        part, leaves, o, state, end, slope, kept = ctx.kept
        group, inputs = part.group, list(leaves.values())
        grad_state, grad_d = (sum_ranks(gather(x, group)) for x in (grad_state, grad_d))

        # What the memory's gradient at the start of each rank is without the ranks after it, then with them.
        alone = gather(_gradients([o], [leaves["initial_state"]], [grad_o])[0], group)
        for rank in range(group.size() - 1, group.rank(), -1):
            grad_state = alone[rank] + kept[rank].mT @ grad_state
        found = dict(zip(leaves, _gradients([o, state], inputs, [grad_o, grad_state]), strict=True))

        def run(grad: Tensor) -> tuple[Tensor, Tensor]:
            moved = _gradients([end], [leaves["initial_preconditioner"]], [grad])[0]
            return found["initial_preconditioner"] + moved, slope

        grad_d, _ = settle(run, grad_d, group, lambda grad: grad, backwards=True)
        calibrated = _gradients([end], inputs, [grad_d])
        totals = [a + b for a, b in zip(found.values(), calibrated, strict=True)]
        own = [x if group.rank() == 0 or not name.startswith("initial_") else torch.zeros_like(x)
               for name, x in zip(leaves, totals, strict=True)]  # fmt: skip
        return None, None, *own


def _gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> list[Tensor]:
    """Of a graph that is kept; zeros where nothing depends on an input."""
    reached = [(x, grad.to(x.dtype)) for x, grad in zip(outputs, grads, strict=True) if x.requires_grad]
    if not reached:
        return [torch.zeros_like(x) for x in inputs]
    outs, cotangents = zip(*reached, strict=True)
    found = torch.autograd.grad(outs, list(inputs), cotangents, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if grad is None else grad for x, grad in zip(inputs, found, strict=True)]
