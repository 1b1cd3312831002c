"""The operators under torch.func, forward mode, second derivatives, shapes without values, and counters of FLOPs."""

from contextlib import nullcontext

import pytest
import torch
from osdn_kernels import (
    chunk_osdn,
    chunk_osdn_reference,
    fused_recurrent_osdn,
    osdn_preconditioner,
    osdn_reference,
)
from osdn_kernels.launch import registration
from support.kernels.reference_cases import draw
from torch import Tensor, func
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

KERNELS = [chunk_osdn, fused_recurrent_osdn]
SIZES = {"batch": 1, "heads": 1, "length": 18, "key_dim": 4, "value_dim": 3, "dtype": torch.float32}


def loss_of(operator, gates="to anchor", name="k"):
    """A loss of one argument, and its value."""
    call = draw("some clip", gates, **SIZES)

    def loss(x: Tensor) -> Tensor:
        o, state = operator(**call.tensors | {name: x}, **call.options, output_final_state=True)
        return o.square().sum() + state.state.sum() + state.preconditioner.sum()

    return loss, call.tensors[name]


@pytest.mark.parametrize("operator", KERNELS)
def test_func_grad_is_that_of_backward(operator):
    loss, x = loss_of(operator)
    leaf = x.clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad.abs().max() > 0
    assert torch.equal(func.grad(loss)(x), leaf.grad)


@pytest.mark.parametrize("name", ["k", pytest.param("initial_preconditioner", marks=pytest.mark.slow)])
@pytest.mark.parametrize("operator", KERNELS)
def test_vmap_is_a_loop_over_slices_of_values_and_of_gradients(operator, name):
    loss, x = loss_of(operator, name=name)
    several = torch.stack([x, x.flip(-1)], 2)
    for f in loss, func.grad(loss):
        expected = torch.stack([f(each) for each in several.unbind(2)])
        assert not torch.equal(expected[0], expected[1])
        assert torch.equal(func.vmap(f, in_dims=2)(several), expected)


@pytest.mark.parametrize("operator", KERNELS)
def test_gradients_reach_what_vmap_goes_over(operator):
    """Also where the call itself cannot know that it learns."""
    loss, x = loss_of(operator)
    several = torch.stack([x, x.flip(-1)]).requires_grad_()
    func.vmap(loss)(several).sum().backward()
    expected = torch.stack([func.grad(loss)(each) for each in several.detach()])
    assert torch.equal(several.grad, expected)
    assert torch.equal(func.grad(lambda y: func.vmap(loss)(y).sum())(several.detach()), expected)


@pytest.mark.parametrize("operator", KERNELS)
def test_what_was_exported_without_a_gradient_has_one(operator):
    loss, x = loss_of(operator)

    class Exported(torch.nn.Module):
        def forward(self, y: torch.Tensor) -> torch.Tensor:
            return loss(y)

    exported, leaf = torch.export.export(Exported(), (x,), strict=False).module(), x.clone().requires_grad_()
    exported(leaf).backward()
    assert torch.equal(leaf.grad, func.grad(loss)(x))


def in_dual_level(loss, x):
    with forward_ad.dual_level():
        loss(forward_ad.make_dual(x, x))


def twice(loss, x):
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    torch.autograd.grad(grad.sum(), leaf)


@pytest.mark.parametrize(
    "transform",
    [
        in_dual_level,
        twice,
        lambda loss, x: func.jvp(loss, (x,), (x,)),
        lambda loss, x: func.hessian(loss)(x),
        lambda loss, x: func.grad(lambda y: func.grad(loss)(y).sum())(x),
        lambda loss, x: func.jvp(func.vmap(loss), (x[None],), (x[None],)),
        lambda loss, x: in_dual_level(func.vmap(loss), x[None]),
        lambda loss, x: in_dual_level(torch.compile(loss, backend="aot_eager"), x),
        lambda loss, x: torch.compile(lambda y: func.jvp(loss, (y,), (y,)), backend="eager")(x),
    ],
)
@pytest.mark.parametrize("operator", KERNELS)
def test_derivatives_that_would_be_taken_for_zero_are_refused(operator, transform):
    loss, x = loss_of(operator)
    with pytest.raises(NotImplementedError, match=r"^osdn::.* reverse mode alone; osdn_reference"):
        transform(loss, x)


def test_the_reference_has_those_derivatives():
    loss, x = loss_of(osdn_reference)
    _, slope = func.jvp(loss, (x,), (x,))
    assert torch.allclose(slope, (func.grad(loss)(x) * x).sum(), rtol=1e-4)
    twice(loss, x)


def test_without_the_guard_forward_mode_is_silently_zero(monkeypatch):
    monkeypatch.setattr(registration, "_has_tangent", lambda x: False)
    loss, x = loss_of(chunk_osdn)
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(loss(forward_ad.make_dual(x, x))).tangent is None


@pytest.mark.parametrize("operator", [*KERNELS, chunk_osdn_reference, osdn_reference])
@pytest.mark.parametrize("kind", ["meta", "fake"])
def test_shapes_without_values(operator, kind):
    call = draw("some clip", "to anchor", **SIZES)
    mode = FakeTensorMode()
    bare = {name: x.to("meta") if kind == "meta" else mode.from_tensor(x) for name, x in call.tensors.items()}
    with mode if kind == "fake" else nullcontext():
        o, state, path = operator(**bare, **call.options, output_final_state=True, return_trajectory=True)
    assert o.shape == call.tensors["v"].shape
    assert [x.shape for x in state] == [call.tensors[f"initial_{name}"].shape for name in state._fields]
    assert path.preconditioner.shape == call.tensors["k"].shape


def test_shapes_of_the_preconditioner_without_values():
    call = draw("some clip", "to anchor", **SIZES)
    names = ("k", "g", "anchor", "initial_preconditioner")
    d, _ = osdn_preconditioner(**{name: call.tensors[name].to("meta") for name in names}, **call.options)
    assert d.shape == call.tensors["k"].shape


def test_flops_are_counted():
    """Of the recurrence by hand; the chunk form, of twice the tokens, has products of tokens with tokens too."""
    sizes = {"batch": 2, "heads": 3, "length": 4, "key_dim": 5, "value_dim": 7, "dtype": torch.float32}
    tokens, state = 2 * 4 * 3, 5 * 7
    for operator, forward, backward in (
        (fused_recurrent_osdn, 6 * state, 14 * state),
        (chunk_osdn, 6 * state + 16 * (6 * 5 + 4 * 7), 16 * state + 16 * (10 * 5 + 14 * 7)),
    ):
        call = draw("fast", **sizes, chunk_size=16).leaves()
        with FlopCounterMode(display=False) as counter:
            o, _ = call(operator)
            assert counter.get_total_flops() == tokens * forward
            o.sum().backward()
        assert counter.get_total_flops() == tokens * (forward + backward)


@pytest.mark.parametrize("sequential", [False, True])
def test_flops_of_the_scan_are_counted(sequential):
    """By hand, of two chunks of 16: 16 by 16 numbers of 5 products each, and 16 by 5 of 16 each, and so on."""
    call = draw("fast", batch=1, heads=1, length=32, key_dim=5, dtype=torch.float32, chunk_size=16)
    k = call.tensors["k"].requires_grad_()
    keys_by_keys, weights_by_rows = 2 * 16 * 16 * 5, 2 * 16 * 5 * 16
    forward, backward = keys_by_keys + weights_by_rows, 2 * keys_by_keys + 2 * weights_by_rows
    with FlopCounterMode(display=False) as counter:
        d, _ = osdn_preconditioner(k, **call.options, sequential=sequential)
        assert counter.get_total_flops() == (0 if sequential else 2 * forward)
        d.sum().backward()
    assert counter.get_total_flops() == (0 if sequential else 2 * (forward + backward))
