"""A plan does what the call did that it was made of, for other tensors, holds as little of them, and knows what it
cannot do."""

import weakref

import pytest
import torch
from osdn_kernels.launch import plans
from osdn_kernels.launch.plans import Recorder


def record(compute, *given):
    with Recorder(given) as recorder:
        found = compute(*given)
    return recorder.plan(found)


def launch(kernel, *args):
    return plans.launch(kernel, args, {})


def fill(x, y, number):
    y.copy_(x).mul_(number)


def many(x, y, number):
    """Operators with tensors in lists, several results, views, results in place, and launches."""
    whole = torch.cat([x, y])
    first, second = whole.split([2, whole.shape[0] - 2])
    out = torch.empty_like(first)
    launch(fill, first, out, number)
    low, at = torch.zeros(3, dtype=x.dtype).expand(2, 3).max(1)
    out += torch.where(at[:, None] > 0, low[:, None], second.sum())
    counts = torch.arange(4, device=x.device).new_full((2,), 7)
    return (
        out,
        counts[0].clone(),
        x.new_zeros(1, dtype=torch.float64),
        torch.zeros_like(x),
        torch.zeros_like(x.t()),
        torch.empty_like(x.t()).fill_(2.0),
        out.new_ones(2).mul_(3),
    )


def test_other_tensors_go_the_same_way():
    made = record(many, torch.randn(2, 3), torch.randn(5, 3), 3.0)
    x, y = torch.randn(2, 3), torch.randn(5, 3)
    found, expected = made.run([x, y, 3.0]), many(x, y, 3.0)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.dtype, one.stride()) == (other.dtype, other.stride())
        assert torch.equal(one, other)
        assert not any(one is given for given in (x, y))


def test_results_of_two_runs_lie_apart():
    made = record(many, torch.randn(2, 3), torch.randn(5, 3), 3.0)
    first = made.run([torch.ones(2, 3), torch.ones(5, 3), 3.0])
    kept = [x.clone() for x in first]
    made.run([torch.zeros(2, 3), torch.zeros(5, 3), 3.0])
    assert all(map(torch.equal, first, kept))


def watching(seen):
    """A call that notes how many of the tensors it has met are there at each launch."""
    met = []

    def note(x):
        met.append(weakref.ref(x))
        seen.append(sum(each() is not None for each in met))

    def compute(x):
        a = torch.empty(1000)
        launch(note, a)
        b = a + x
        launch(note, b)
        del a
        c = b * 2
        del b
        launch(note, c)
        d, e = torch.stack([c, c]).unbind()
        del c
        launch(note, d)
        del d
        launch(note, e)
        return (e,)

    return compute


def test_what_is_not_needed_is_gone_as_early():
    seen = []
    x = torch.randn(1000)
    made = record(watching(seen), x)
    expected = list(seen)
    assert expected == [1, 2, 1, 1, 1]
    # The notes of the first call are of that call's tensors, all of them gone.
    seen.clear()
    del x
    made.run([torch.randn(1000)])
    assert seen == expected


def test_a_plan_keeps_no_tensor():
    given = torch.randn(4)
    made = record(lambda x: (launch(fill, x, out := torch.empty(4), 2.0), out)[1:], given)
    there = weakref.ref(given)
    del given
    assert there() is None
    result = made.run([torch.ones(4)])[0]
    there = weakref.ref(result)
    del result
    assert there() is None


def test_what_a_launch_allocates_is_its_own():
    """As Triton does for descriptors: each launch does so again."""

    def allocating(x):
        x.copy_(torch.zeros(3))

    made = record(lambda x: (launch(allocating, out := torch.empty_like(x)), out)[1:], torch.randn(3))
    assert len(made.steps) == 2
    assert torch.equal(made.run([torch.randn(3)])[0], torch.zeros(3))


SEEN = torch.ones(3)
UNFIT = {
    "a tensor from elsewhere": lambda x: (x + SEEN,),
    "the same, returned": lambda x: (SEEN,),
    "a value read": lambda x: (x * x.sum().item(),),
    "giving up": lambda x: (plans.give_up(), x + 1)[1:],
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_done_again_has_no_plan(name):
    assert record(UNFIT[name], torch.randn(3)) is None


def test_a_launch_that_fails_leaves_no_recorder():
    def fails(x):
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        record(lambda x: (launch(fails, x), x.clone()), torch.randn(3))
    assert plans.recorder() is None
    plans.give_up()  # of nothing


class Chooser:
    def __init__(self, config):
        self.config = config

    def takes(self, key):
        return self.config


def test_a_plan_holds_as_long_as_its_configurations():
    first, second = object(), object()
    chooser = Chooser(first)

    def compute(x):
        plans.recorder().choose(chooser, "key", first)
        return (x + 1,)

    made = record(compute, torch.randn(3))
    assert made.holds()
    chooser.config = second
    assert not made.holds()
    assert record(compute, torch.randn(3)) is None
