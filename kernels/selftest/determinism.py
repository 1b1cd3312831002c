"""The self-test of bits: the same inputs give the same ones, however often, and whatever runs beside them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..launch.forced import forced
from ..launch.runtime import INTERPRETED
from .cases import CASES, CaseTensors, SelfTestCase, draw, evaluate, repeats, sized, split
from .findings import OK, WRONG, Finding, failed

REPETITIONS = 2 if INTERPRETED else 20
CROWD = 2
"""Times that the sequences are in the batch in the interpreter, where no grid is large."""

PER_TOKEN = ("q", "k", "v", "beta", "g")
OPERATORS = {"chunk": "chunk_osdn", "recurrent": "fused_recurrent_osdn"}


def cases() -> list[SelfTestCase]:
    """One of each operator, batched: two sequences of several chunks and a rest."""
    return [
        sized(replace(case, packed=False, lengths=(150, 150)))
        for case in CASES
        if case.name in ("chunk bf16", "recurrent bf16")
    ]


def judge(
    case: SelfTestCase, fit: Callable[[CaseTensors], Mapping[str, int]], device: torch.device
) -> Finding:
    """Outputs and gradients again, in a crowd, by rows and by heads, against the first run, bit for bit.

    With the configurations that `fit` finds: the autotuner may take others for other sizes, which sum in other orders.
    """
    outcome = Finding(
        OPERATORS[case.operator], "the first that fits", f"{case.name}, again and apart", OK,
        quantity="every bit", error=0.0, allowed=0.0,
    )  # fmt: skip
    problem = draw(case)
    try:
        with forced(fit(problem)):
            whole = evaluate(problem, device)
            for how, found in others(problem, whole, device):
                compared = compare(outcome, found, whole)
                if not compared.good:
                    return replace(compared, note=how)
    except Exception as error:
        return failed(outcome, error)
    return outcome


def others(
    problem: CaseTensors, whole: dict[str, Tensor], device: torch.device
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The same numbers by other calls, and how they were called."""
    case = problem.case
    for _ in range(REPETITIONS - 1):
        yield "run again", evaluate(problem, device)
    crowd = max(CROWD, repeats(case))
    copies = split(evaluate(problem, device, repeat=crowd), case, crowd)
    for copy in range(crowd):
        yield f"among {crowd} times as many", {name: x[copy] for name, x in copies.items()}
    for axis, what in ((0, "each sequence alone"), (1, "each head alone")):
        count = whole["state"].shape[axis]
        alone = [evaluate(part(problem, axis, i), device) for i in range(count)]
        yield what, {name: torch.cat([one[name] for one in alone], place(name, axis)) for name in whole}


def part(problem: CaseTensors, axis: int, index: int) -> CaseTensors:
    """One sequence (axis 0) or one head (axis 1) of a batched problem."""

    def taken(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: x.narrow(place(name, axis), index, 1) for name, x in tensors.items()}

    lengths = problem.case.lengths[index : index + 1] if axis == 0 else problem.case.lengths
    return CaseTensors(replace(problem.case, lengths=lengths), taken(problem.tensors), taken(problem.grads))


def place(name: str, axis: int) -> int:
    """Of sequences or heads in a tensor: heads come after tokens where it has any."""
    return 2 * axis if name.removeprefix("grad ") in (*PER_TOKEN, "o") else axis


def compare(outcome: Finding, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Finding:
    """`outcome`, or of quantities that are not the same in every bit the one that is farthest off."""
    unequal = {name: apart(x, expected[name]) for name, x in found.items() if not equal(x, expected[name])}
    if not unequal:
        return outcome
    name = max(unequal, key=lambda name: unequal[name])
    return replace(outcome, verdict=WRONG, quantity=name, error=unequal[name])


def equal(x: Tensor, y: Tensor) -> bool:
    """Bit for bit; NaN counts as unequal."""
    return torch.equal(x, y) and torch.equal(x.signbit(), y.signbit())


def apart(x: Tensor, y: Tensor) -> float:
    """Largest difference; infinite for NaN."""
    return (x.double() - y.double()).abs().nan_to_num(torch.inf).max().item()
