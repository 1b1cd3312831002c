"""The self-test of the decoding step, which is not autotuned: its tile depends on K, V and the number of heads."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..boundary.results import State
from ..launch.runtime import INTERPRETED
from ..recurrent.decode import decode_step_
from .cases import BOX, SMALL, CaseTensors, SelfTestCase, draw, operator_of, placed
from .findings import OK, WRONG, Finding, failed

STEPS = 3
FEW, MANY = 2, 300
"""Sequences of two heads: narrow tiles, and wide ones that are more than a GPU holds at once."""

SHAPES = {
    "osdn": ((FEW, 128, 128), (MANY, 128, 128), (FEW, 48, 24)),
    "osgdn": ((FEW, 128, 128), (MANY, 128, 128)),
    "oskda": ((FEW, 128, 128), (MANY, 128, 128)),
}
"""Sequences, K and V, by the form of the recurrence."""

ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Arithmetic is float32; bfloat16 outputs are rounded once, to within 2^-9, and inputs not at all."""


def cases() -> list[SelfTestCase]:
    """Eight programs for each head, four, and one; both precisions."""
    made = [
        SelfTestCase(
            f"decode {form}, {sequences} x 2 heads, K {key_dim} V {value_dim}, {name}",
            "recurrent",
            dtype,
            key_dim,
            value_dim,
            (STEPS,) * sequences,
            packed=False,
            form=form,
        )
        for form, shapes in SHAPES.items()
        for sequences, key_dim, value_dim in shapes
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    ]
    small: dict[str, Any] = {size: SMALL[size] for size in ("key_dim", "value_dim")}
    small["lengths"] = (STEPS,) * FEW
    return [replace(case, **small) for case in made] if INTERPRETED else made


def step_by_step(problem: CaseTensors, device: torch.device) -> dict[str, Tensor]:
    """Outputs of single steps, and where they leave the state."""
    given: dict[str, Any] = {
        name: placed(x, name, problem.case, device) for name, x in problem.tensors.items()
    }
    if problem.case.form != "osdn":
        given |= {"state_gate": given.pop("g"), "g": given.pop("g_d")}
    state = State(given.pop("initial_state"), given.pop("initial_preconditioner"))
    anchor = given.pop("anchor")
    outputs = [
        decode_step_(
            **{name: x[:, t : t + 1] for name, x in given.items()}, state=state, anchor=anchor, **BOX
        )
        for t in range(STEPS)
    ]
    return {"o": torch.cat(outputs, 1), "state": state.state, "preconditioner": state.preconditioner}


def judge(case: SelfTestCase, device: torch.device) -> Finding:
    """The worst quantity of a case, relative to float64."""
    problem = draw(case)
    outcome = Finding("decode_kernel", "by K, V and heads", case.name, OK, allowed=ALLOWED[case.dtype])
    try:
        found = step_by_step(problem, device)
    except Exception as error:
        return failed(outcome, error)
    with torch.no_grad():
        expected = operator_of(case, exact=True)(**problem.tensors, **BOX)
    errors = {name: relative(x.cpu(), expected[name]) for name, x in found.items()}
    name = max(errors, key=lambda name: errors[name])
    good = errors[name] <= outcome.allowed  # not so for NaN
    return replace(outcome, verdict=OK if good else WRONG, quantity=name, error=errors[name])


def relative(found: Tensor, expected: Tensor) -> float:
    """Frobenius."""
    return float(((found.double() - expected).norm() / expected.norm()).nan_to_num(torch.inf))


def findings(device: torch.device) -> list[Finding]:
    return [judge(case, device) for case in cases()]
