"""The self-test of bits: it passes our kernels, and sees what depends on the run or on what runs beside it."""

from dataclasses import replace

import pytest
import torch
from osdn_kernels import ops
from osdn_kernels.selftest import determinism as selftest_determinism, runs as selftest_runs
from osdn_kernels.selftest.determinism import OPERATORS, apart, cases, equal
from osdn_kernels.selftest.findings import FAILED, OK, WRONG, Finding

CPU = torch.device("cpu")
TINY = {"lengths": (6, 6), "key_dim": 16, "value_dim": 16}
BY_OPERATOR = {case.operator: replace(case, **TINY) for case in cases()}
NOISE = torch.Generator().manual_seed(0)


def test_one_case_of_each_operator():
    assert set(BY_OPERATOR) == set(OPERATORS)


@pytest.mark.parametrize("operator", OPERATORS)
def test_our_kernels_give_the_same_bits(operator):
    finding = selftest_runs.repeated(BY_OPERATOR[operator])
    assert finding.verdict == OK, finding
    assert (finding.kernel, finding.error) == (OPERATORS[operator], 0.0)


def breaking(monkeypatch, change, operator="recurrent"):
    """The operator with a change to its output; reference in place of the kernel, which is much faster."""
    from osdn_kernels.reference.tokenwise import osdn_reference

    def broken(*args, **kwargs):
        o, final = osdn_reference(*args, **kwargs)
        return change(o), final

    monkeypatch.setattr(ops, OPERATORS[operator], broken)
    return selftest_determinism.judge(BY_OPERATOR[operator], lambda problem: {}, CPU)


class Jittering(torch.autograd.Function):
    """The identity, whose backward adds noise."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad + 1e-2 * torch.randn(grad.shape, generator=NOISE)


def by_head(o):
    return o * (1 + 1e-2 * torch.arange(o.shape[2]))[:, None]


def by_sequence(o):
    return o * (1 + 1e-2 * torch.arange(o.shape[0]))[:, None, None, None]


CHANGES = {
    "noise": (lambda o: o + 1e-2 * torch.randn(o.shape, generator=NOISE), "run again", "o"),
    "noisy gradients": (Jittering.apply, "run again", "grad "),
    "by head": (by_head, "each head alone", ""),
    "by sequence": (by_sequence, "among 2 times as many", ""),
    "by the size of the grid": (lambda o: o * (1 + 1e-2 * (o.shape[0] > 2)), "among 2 times as many", ""),
    "by being alone": (lambda o: o * (1 + 1e-2 * (o.shape[0] == 1)), "each sequence alone", ""),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("fault", CHANGES)
def test_what_depends_on_the_run_is_wrong(fault, operator, monkeypatch):
    change, how, quantity = CHANGES[fault]
    finding = breaking(monkeypatch, change, operator)
    assert (finding.verdict, finding.good, finding.note) == (WRONG, False, how)
    assert finding.quantity.startswith(quantity)
    assert finding.error > finding.allowed == 0.0


def test_the_reference_itself_passes(monkeypatch):
    assert breaking(monkeypatch, lambda o: o).verdict == OK


def test_no_number_and_an_error_do_not_pass(monkeypatch):
    assert breaking(monkeypatch, lambda o: o * torch.nan).verdict == WRONG

    def failing(o):
        raise RuntimeError("no such instruction")

    finding = breaking(monkeypatch, failing)
    assert finding.verdict == FAILED
    assert "no such instruction" in finding.note


def test_bits():
    x = torch.tensor([0.0, 1.0])
    assert equal(x, x.clone())
    assert not equal(x, torch.tensor([-0.0, 1.0]))
    assert not equal(x * torch.nan, x * torch.nan)
    assert apart(x, x + 0.5) == 0.5
    assert apart(x, x * torch.nan) == float("inf")


def test_it_is_among_the_findings(monkeypatch):
    def repeated(case):
        return Finding(OPERATORS[case.operator], "", case.name, OK)

    monkeypatch.setattr(selftest_runs, "CASES", [])
    monkeypatch.setattr(selftest_runs.selftest_decode, "cases", list)
    monkeypatch.setattr(selftest_runs.selftest_planned, "cases", list)
    monkeypatch.setattr(selftest_runs, "repeated", repeated)
    found = list(selftest_runs.run_all(quick=True, workers=1))
    assert {finding.kernel for finding in found if finding.verdict == OK} == set(OPERATORS.values())
    case = BY_OPERATOR["recurrent"]
    assert selftest_runs.again(case) == ([repeated(case)], [])


def test_what_does_not_fit_is_a_failure(monkeypatch):
    def none(problem):
        raise RuntimeError("no configuration fits on this device")

    monkeypatch.setattr(selftest_runs, "first_fitting", none)
    finding = selftest_runs.repeated(BY_OPERATOR["chunk"])
    assert (finding.verdict, finding.kernel) == (FAILED, "chunk_osdn")
