"""The operators as PyTorch's dispatcher and compiler see them, and what is wrongly declared."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from osdn_kernels import chunk_osdn, fused_recurrent_osdn, fused_recurrent_oskda
from osdn_kernels.chunk.registration import ChunkOperator
from osdn_kernels.chunk.stages import ChunkOptions
from osdn_kernels.chunk.write_keys import FIXED, IDENTITY, LEARNED
from osdn_kernels.launch.registration import Operator
from support.kernels.reference_cases import Call, draw, draw_gated, gradients, relative_error, results
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.library import opcheck

ALL_PASS = {
    f"test_{name}": "SUCCESS"
    for name in ("schema", "autograd_registration", "faketensor", "aot_dispatch_dynamic")
}
NAMES = ("q", "k", "v", "beta", "g", "anchor", "initial_state", "initial_preconditioner")


def leaves(cu_seqlens: list[int] | None = None) -> list[torch.Tensor]:
    call = draw(
        "some clip", "to anchor", batch=1, length=20, heads=1, cu_seqlens=cu_seqlens, dtype=torch.float32
    )
    return [call.tensors[name].requires_grad_() for name in NAMES]


@pytest.mark.parametrize("bounds", [None, pytest.param([0, 7, 7, 20], marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("mode", "eta", "keep"),
    [(IDENTITY, 0.3, True), (FIXED, 0.3, False), (LEARNED, 0.3, False), (LEARNED, 0.05, True)],
)
def test_opcheck_of_the_chunkwise_operator(mode, eta, keep, bounds):
    """A step of 0.05 is one that sweeps are tried for; with keys as they are the memory has a gate for each feature."""
    given = leaves(bounds)
    if mode != LEARNED:
        given[4] = given[5] = None
    bounds = None if bounds is None else torch.tensor(bounds)
    numbers = (0.25, eta, 0.56, 1.18, False, False, 16, mode, False, keep, keep, not keep)
    gate = torch.full_like(given[0], -0.1, requires_grad=True) if mode == IDENTITY else None
    given += [gate, None, None, bounds]
    assert opcheck(torch.ops.osdn.chunk_forward.default, (*given, *numbers)) == ALL_PASS


@pytest.mark.parametrize(("bounds", "features"), [(None, None), ([0, 7, 7, 20], []), (None, [6])])
def test_opcheck_of_the_recurrent_operator(bounds, features):
    """`features` of the memory's gate: none of it, one for a head, and one for a key feature."""
    given = leaves(bounds)
    tokens, bounds = given[3].shape, None if bounds is None else torch.tensor(bounds)
    numbers = (0.25, 0.3, 0.56, 1.18, False, False, True)
    given += [None, None, None, bounds]
    if features is not None:
        given[8] = torch.full((*tokens, *features), -0.1, requires_grad=True)
        given[9] = torch.full((*tokens, 2), 0.5, requires_grad=True)
    assert opcheck(torch.ops.osdn.recurrent_forward.default, (*given, *numbers)) == ALL_PASS


def test_opcheck_of_the_preconditioner_and_the_norm():
    q, k, _, _, g, anchor, _, start = leaves()
    given = (k, g, anchor, start, None, 0.3, 0.56, 1.18, False, False, 16, False)
    assert opcheck(torch.ops.osdn.preconditioner_forward.default, given) == ALL_PASS
    assert opcheck(torch.ops.osdn.l2norm_forward.default, (q,)) == ALL_PASS


@pytest.mark.parametrize("operator", [chunk_osdn, fused_recurrent_osdn, fused_recurrent_oskda])
def test_compiles_to_one_graph(operator):
    torch.compiler.reset()
    drawn = partial(draw_gated, state_gate="feature") if operator is fused_recurrent_oskda else draw
    sizes = {"batch": 1, "length": 20, "dtype": torch.float32}
    call = drawn("some clip", "to anchor", **sizes, use_qk_l2norm_in_kernel=True)
    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
    found, expected = results(call, compiled), results(call, operator)
    for name in expected:
        assert relative_error(found[name], expected[name]) <= 1e-6, name
    found, expected = (gradients(call, chosen, ("o", "state")) for chosen in (compiled, operator))
    for name in expected:
        assert relative_error(found[name], expected[name]) <= 1e-6, name


@pytest.mark.parametrize("operator", [chunk_osdn, fused_recurrent_osdn])
def test_what_is_saved_is_unpacked_once(operator):
    """Checkpointing gives it away the first time, and offloading would fetch it again."""
    packed, unpacked = [], []
    call = draw("fast", batch=1, length=3, heads=1, dtype=torch.float32).leaves()
    with saved_tensors_hooks(
        lambda x: packed.append(x) or len(packed) - 1, lambda i: unpacked.append(i) or packed[i]
    ):
        o, _ = call(operator)
    o.sum().backward()
    assert sorted(unpacked) == list(range(len(packed))) != []


def test_no_gradient_is_formed_for_inputs_that_want_none():
    call = draw("fast", length=20, dtype=torch.float32)
    call.tensors["v"].requires_grad_()
    o, _ = call(chunk_osdn)
    (found,) = torch.autograd.grad(o.sum(), [call.tensors["v"]])
    whole = gradients(Call(call.tensors, call.options), chunk_osdn, ("o",))
    assert found.shape == whole["v"].shape
    assert found.abs().sum() > 0


class Rows(NamedTuple):
    x: Tensor
    weight: Tensor | None
    places: Tensor | None


class Powers(NamedTuple):
    first: float
    steps: int


class Options(NamedTuple):
    powers: Powers
    doubled: bool


class Sums(NamedTuple):
    y: Tensor
    total: Tensor
    factor: Tensor
    extra: Tensor | None


class Weighted(Operator[Rows, Options, Sums]):
    """y = a w x and the sum of y, with a = 2 first^steps or first^steps; `factor` is a w."""

    name = "test_weighted"
    inputs, options, outputs = Rows, Options, Sums
    differentiable, results, saved = 2, 2, 1

    def allocate(self, inputs: Rows, options: Options) -> Sums:
        x = inputs.x
        extra = x.new_empty(3) if options.doubled else None
        return Sums(x.new_empty(x.shape), x.new_empty(x.shape[1:]), x.new_empty(x.shape), extra)

    def forward(self, inputs: Rows, options: Options) -> Sums:
        assert inputs.x.is_contiguous()
        factor = torch.full_like(inputs.x, options.powers.first**options.powers.steps * (1 + options.doubled))
        if inputs.weight is not None:
            factor *= inputs.weight
        y = factor * inputs.x
        return Sums(y, y.sum(0), factor, y.new_ones(3) if options.doubled else None)

    def backward(self, inputs: Rows, options: Options, saved: Sequence[Any], grads: Sequence[Any]) -> Any:
        (factor,), (grad, grad_total) = saved, grads
        grad = grad if grad_total is None else grad + grad_total
        weight = inputs.weight
        return grad * factor, None if weight is None else grad * inputs.x * factor / weight


class ShortTotal(Weighted):
    name = "test_short_total"

    def allocate(self, inputs: Rows, options: Options) -> Sums:
        return super().allocate(inputs, options)._replace(total=inputs.x.new_empty(1))


class WideFactor(Weighted):
    name = "test_wide_factor"

    def allocate(self, inputs: Rows, options: Options) -> Sums:
        return super().allocate(inputs, options)._replace(factor=inputs.x.new_empty(inputs.x.shape).float())


class NothingSaved(Weighted):
    name, saved = "test_nothing_saved", 0


class WeightLeftOut(Weighted):
    name = "test_weight_left_out"

    def unreached(self, inputs: Rows, options: Options) -> tuple[str, ...]:
        return ("weight",)


class SharesItsInput(Weighted):
    name = "test_shares_its_input"

    def forward(self, inputs: Rows, options: Options) -> Sums:
        return super().forward(inputs, options)._replace(factor=inputs.x)


def rows() -> Rows:
    x = torch.linspace(1.0, 2.0, 12, dtype=torch.float64).view(4, 3).mT.requires_grad_()
    return Rows(x, (x.detach() + 1.0).requires_grad_(), torch.arange(3))


def check_declared(operator: Weighted, given: Rows, doubled: bool = True) -> dict[str, str]:
    numbers = (3.0, 2, doubled)
    return opcheck(getattr(torch.ops.osdn, f"{operator.name}_forward").default, (*given, *numbers))


def slopes(operator: Weighted, given: Rows) -> bool:
    def call(x: Tensor, weight: Tensor | None) -> tuple[Tensor, ...]:
        return operator(Rows(x, weight, None), Options(Powers(0.5, 3), False))[:2]

    return torch.autograd.gradcheck(call, given[:2])


@pytest.fixture(scope="module")
def weighted() -> Weighted:
    return Weighted()


@pytest.mark.parametrize("doubled", [False, True])
def test_what_is_declared_rightly_passes(weighted, doubled):
    given = rows()
    assert check_declared(weighted, given, doubled) == ALL_PASS
    assert check_declared(weighted, given._replace(weight=None, places=None), doubled) == ALL_PASS
    assert slopes(weighted, given)
    found = weighted(given, Options(Powers(3.0, 2), doubled))
    assert torch.equal(found.y, (9.0 + 9.0 * doubled) * given.weight * given.x)
    assert not found.factor.requires_grad
    assert found.extra.numel() == 3 * doubled


def test_gradients_of_one_result_alone(weighted):
    """`total` alone: the gradient of the first result is zeros, and inputs that want none get none."""
    given = rows()
    found = weighted(given._replace(weight=given.weight.detach()), Options(Powers(3.0, 2), False))
    (grad,) = torch.autograd.grad(found.total.sum(), [given.x])
    assert torch.equal(grad, 9.0 * given.weight.detach())


@pytest.mark.parametrize("wrong", [ShortTotal, WideFactor, SharesItsInput])
def test_wrong_shapes_dtypes_and_shared_memory_are_seen(wrong):
    given = rows()
    with pytest.raises(Exception, match=r"opcheck|alias"):
        check_declared(wrong(), given._replace(x=given.x.detach().contiguous()))


def test_a_saved_tensor_left_out_is_seen():
    with pytest.raises(ValueError, match="unpack"):
        slopes(NothingSaved(), rows())


def test_a_gradient_left_out_is_seen():
    operator = WeightLeftOut()
    with pytest.raises(Exception, match=r"not have been used|[Jj]acobian|require"):
        slopes(operator, rows())
    given = rows()
    found = operator(given, Options(Powers(3.0, 2), False))
    assert torch.autograd.grad(found.y.sum(), [given.weight], allow_unused=True) == (None,)


class WideInverse(ChunkOperator):
    name = "test_wide_inverse"

    def allocate(self, inputs: Any, options: ChunkOptions) -> Any:
        return super().allocate(inputs, options)._replace(inverse=inputs.k.new_empty(inputs.k.shape))


def test_a_wrong_shape_of_the_chunkwise_operator_is_seen():
    WideInverse()
    numbers = (0.25, 0.3, 0.56, 1.18, False, False, 16, FIXED, False, False)
    given = leaves()
    given[4] = given[5] = None
    with pytest.raises(Exception, match="opcheck"):
        opcheck(torch.ops.osdn.test_wide_inverse_forward.default, (*given, None, None, None, *numbers))
