"""Operators that go by plans: when they do, and that nobody can tell."""

import threading
from copy import copy

import pytest
import torch
from osdn_kernels import chunk_osdn, ops
from osdn_kernels.launch import planned, plans
from osdn_kernels.launch.forced import forced
from osdn_kernels.launch.planned import Planned, kind_of, planning
from osdn_kernels.launch.tuning import TUNED
from osdn_kernels.selftest import planned as selftest_planned
from osdn_kernels.selftest.findings import FAILED, OK, WRONG
from torch.utils._python_dispatch import TorchDispatchMode

CPU = torch.device("cpu")


class Function(Planned):
    """x + y times a number, whose calls are counted."""

    def __init__(self):
        self.computed, self.prepared = 0, []
        super().__init__(self.add, self.prepared.append)

    def add(self, given):
        self.computed += 1
        x, y, number = given
        return (x + y * number,)


@pytest.fixture
def function():
    with planning(used=True):
        yield Function()


def call(function, x=None, y=None, number=2.0):
    """Whether the function was computed, rather than gone through by a plan."""
    x = torch.randn(4) if x is None else x
    y = torch.randn(x.shape) if y is None else y
    before = function.computed
    assert torch.equal(function([x, y, number])[0], x + y * number)
    return function.computed > before


def test_the_third_call_of_a_kind_goes_by_a_plan(function):
    assert [call(function) for _ in range(4)] == [True, True, False, False]
    assert len(function.prepared) == 1


OTHERS = {
    "shape": lambda: {"x": torch.randn(5)},
    "dtype": lambda: {"x": torch.randn(4).double(), "y": torch.randn(4).double()},
    "place": lambda: {"x": torch.randn(5)[1:]},
    "number": lambda: {"number": 3.0},
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_call_looks_at_makes_its_kind(function, name):
    for _ in range(3):
        call(function)
    assert [call(function, **OTHERS[name]()) for _ in range(3)] == [True, True, False]
    assert len(function.prepared) == 2


def test_so_does_the_precision_of_products(function):
    for _ in range(3):
        call(function)
    torch.set_float32_matmul_precision("high")
    try:
        assert call(function)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert not call(function)


def test_so_do_casts_of_pytorch_s(function):
    for _ in range(3):
        call(function)
    with torch.autocast("cpu"):
        assert call(function)
    assert not call(function)


def test_a_tensor_given_twice_goes_without(function):
    x = torch.randn(4)
    assert kind_of([x, x, 2.0]) is None
    assert all(call(function, x, x) for _ in range(4))
    assert len(function.prepared) == 4


def test_modes_of_pytorch_see_what_is_computed(function):
    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    for _ in range(3):
        call(function)
    with Mode():
        assert call(function)
    assert not call(function)


def test_plans_can_be_left_alone(function):
    for _ in range(3):
        call(function)
    with planning(used=False):
        assert call(function)
    assert not call(function)


def test_what_no_plan_fits_is_watched_a_few_times(function, monkeypatch):
    watched = []
    monkeypatch.setattr(planned.Recorder, "plan", lambda self, found: watched.append(self))
    assert all(call(function) for _ in range(10))
    assert len(watched) == planned.TRIES


def test_special_launches_are_not_watched(function):
    with forced({}):
        assert all(call(function) for _ in range(4))
    assert [call(function) for _ in range(2)] == [True, False]


def test_kinds_are_forgotten_before_they_are_too_many(function, monkeypatch):
    monkeypatch.setattr(planned, "MOST", 3)
    for number in range(8):
        call(function, number=number)
        assert len(function.tries) <= 3
    for _ in range(3):
        call(function, number=7)
    assert not call(function, number=7)


def test_threads_are_told_apart(function):
    """A thread's launches are not taken for those of a call that another is watching."""
    entered, done = threading.Event(), threading.Event()
    compute = function.compute

    def waiting(given):
        entered.set()
        done.wait(10)
        return compute(given)

    call(function)
    function.compute = waiting
    watched = threading.Thread(target=call, args=(function,))
    watched.start()
    entered.wait(10)
    assert plans.recorder() is None
    torch.randn(3).sum()
    done.set()
    watched.join()
    (plan,) = function.plans.values()
    assert len(plan.steps) == 2


SHAPE = (1, 20, 2, 16)


def arguments(seed=0, **options):
    rng = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(SHAPE, generator=rng).bfloat16() for _ in range(3))
    k = torch.nn.functional.normalize(k.float(), dim=-1).bfloat16()
    given = [x.requires_grad_() for x in (q, k, v, torch.rand(SHAPE[:3], generator=rng).bfloat16())]
    return given, {"chunk_size": 16, "output_final_state": True, **options}


def differentiate(given, options):
    o, state = chunk_osdn(*given, **options)
    grads = torch.autograd.grad(o.float().square().sum() + state.state.sum(), given)
    return [o.detach(), *state, *grads]


def test_an_operator_changes_its_mind_with_its_configurations():
    """A plan is of launches as they were chosen: other choices make other launches."""
    given, options = arguments(eta=0.011)
    with planning(used=True):
        for _ in range(3):
            differentiate(given, options)
        before = Planned.runs
        differentiate(given, options)
        assert Planned.runs == before + 2
        kernel = TUNED["solve_kernel"]
        configs = kernel.configs
        kernel.configs = [copy(configs[0])]
        try:
            expected = differentiate(given, options)
            assert Planned.runs == before + 3, "the backward pass alone does not launch it"
        finally:
            kernel.configs = configs
        assert all(map(torch.equal, expected, differentiate(given, options)))


def test_gradients_are_there_with_and_without_being_wanted():
    with planning(used=True):
        for _ in range(4):
            given, options = arguments(eta=0.012)
            expected = differentiate(given, options)
            with torch.no_grad():
                o, _ = chunk_osdn(*given, **options)
            assert torch.equal(o, expected[0])
            with torch.inference_mode():
                o, _ = chunk_osdn(*given, **options)
            assert torch.equal(o, expected[0])


def test_transforms_go_by_plans_as_well():
    """What they call has plain tensors: each slice of `vmap` is a call of its own."""
    given, options = arguments(eta=0.013)
    given = [x.detach() for x in given]
    single = {**options, "output_final_state": False}

    def operator(*x):
        return chunk_osdn(*x, **single)[0]

    def loss(*x):
        return operator(*x).float().square().sum()

    batched = [torch.stack([x, x.flip(1), x]) for x in given]
    with planning(used=True):
        before = Planned.runs
        found = torch.vmap(operator)(*batched)
        assert Planned.runs == before + 1
        for _ in range(3):
            grads = torch.func.grad(loss, argnums=(0, 1, 2, 3))(*given)
        assert Planned.runs == before + 3, "both passes of the third"
    for i in range(3):
        assert torch.equal(found[i], operator(*[x[i] for x in batched]))
    assert all(map(torch.equal, grads, torch.func.grad(loss, argnums=(0, 1, 2, 3))(*given)))


@pytest.mark.parametrize("case", selftest_planned.cases(), ids=lambda case: case.name)
def test_the_self_test_finds_the_same_bits(case):
    finding = selftest_planned.judge(case, CPU)
    assert finding.verdict == OK, finding


def test_the_self_test_sees_a_plan_that_is_wrong(monkeypatch):
    run = planned.CallPlan.run

    def wrong(self):
        def falsify(given):
            first, *others = run.__get__(self)(given)
            return first + 1e-3, *others

        return falsify

    monkeypatch.setattr(planned.CallPlan, "run", property(wrong))
    finding = selftest_planned.judge(norm_case(), CPU)
    assert (finding.verdict, finding.good) == (WRONG, False)
    assert finding.error > 0


def test_the_self_test_sees_that_there_is_no_plan(monkeypatch):
    monkeypatch.setattr(planned.CallPlan, "holds", lambda self: False)
    finding = selftest_planned.judge(norm_case(), CPU)
    assert (finding.verdict, finding.note) == (FAILED, "no plan was gone through")


def norm_case():
    return next(case for case in selftest_planned.cases() if case.operator == "norm")


def test_every_operator_prepares_once_for_a_kind(monkeypatch):
    """What compiles ahead takes as long as a plan, and has nothing to do where there is one."""
    prepared = []
    monkeypatch.setattr(
        type(ops.chunk_forward), "prepare", lambda self, inputs, options: prepared.append(options)
    )
    given, options = arguments(eta=0.014)
    with planning(used=True):
        for _ in range(4):
            differentiate(given, options)
    assert len(prepared) == 1
