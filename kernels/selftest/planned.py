"""The self-test of plans: a call that goes through the steps of one before it gives the bits of its own."""

from dataclasses import replace

import torch

from ..launch.planned import Planned, planning
from ..launch.tuning import untuned
from .cases import CASES, SelfTestCase, draw, evaluate, sized
from .determinism import compare
from .findings import FAILED, OK, Finding, failed

WATCHED = 3
"""Calls of a kind after which there is a plan: the first, one that is watched, and one more should that compile."""

NAMES = (
    "chunk bf16", "one long sequence bf16", "one long sequence OS-KDA bf16", "chunk OS-GDN bf16",
    "chunk OS-KDA bf16", "sequential scan bf16", "preconditioner bf16", "recurrent OS-GDN bf16", "norm bf16",
)  # fmt: skip


def cases() -> list[SelfTestCase]:
    """One for each way that launches take."""
    return [sized(case) for case in CASES if case.name in NAMES]


def judge(case: SelfTestCase, device: torch.device) -> Finding:
    """Outputs and gradients of other numbers by the plans of a problem, against those without, bit for bit."""
    outcome = Finding(
        f"{case.operator}, planned", "the first that fits", case.name, OK,
        quantity="every bit", error=0.0, allowed=0.0,
    )  # fmt: skip
    first, other = draw(case), draw(case, seed=1)
    try:
        with untuned():
            with planning(used=False):
                expected = evaluate(other, device)
            with planning(used=True):
                for _ in range(WATCHED):
                    evaluate(first, device)
                before = Planned.runs
                found = evaluate(other, device)
    except Exception as error:
        return failed(outcome, error)
    if Planned.runs - before < 2:
        return replace(outcome, verdict=FAILED, note="no plan was gone through")
    return compare(outcome, found, expected)
