"""One signature: every operator has the parameters and defaults that are declared, and help that says so."""

import inspect
import pydoc
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from osdn_kernels import (
    chunk_osdn,
    chunk_osgdn,
    chunk_oskda,
    decode_step_,
    fused_recurrent_osdn,
    fused_recurrent_osgdn,
    fused_recurrent_oskda,
    osdn_preconditioner,
    osgdn_reference,
    oskda_reference,
)
from osdn_kernels.boundary.inputs import KERNELS, Arguments, ScanArguments, check_call, check_scan
from osdn_kernels.boundary.rule import BOUNDED
from osdn_kernels.boundary.signature import takes
from osdn_kernels.layers.layer import OnlineScaledDeltaNet
from osdn_kernels.reference.chunkwise import chunk_osdn_reference
from osdn_kernels.reference.tokenwise import osdn_reference, preconditioner_reference

CALLS = [chunk_osdn, fused_recurrent_osdn, osdn_reference, chunk_osdn_reference]
GATED_CALLS = [
    chunk_osgdn, chunk_oskda, fused_recurrent_osgdn, fused_recurrent_oskda, osgdn_reference, oskda_reference,
]  # fmt: skip
SCANS = [osdn_preconditioner, preconditioner_reference]

PUBLIC = (
    "q, k, v, beta, *, g=None, scale=None, eta=0.003, d_min=0.6666666666666666, d_max=1.5, anchor=None, "
    "normalize_feedback=False, beta_aware=False, initial_state=None, initial_preconditioner=None, state_indices=None, "
    "output_final_state=False, use_qk_l2norm_in_kernel=False, "
    "cu_seqlens=None, chunk_size=64, return_trajectory=False, return_intermediate_states=False, check_values=True"
)
PUBLIC_SCAN = (
    "k, *, g=None, eta=0.003, d_min=0.6666666666666666, d_max=1.5, anchor=None, normalize_feedback=False, "
    "initial_preconditioner=None, cu_seqlens=None, chunk_size=64, sequential=False, check_values=True"
)


def parameters(operator: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(operator).parameters)


def text(operator: Callable[..., Any]) -> str:
    """Parameters with their defaults, as one writes them."""
    bare = [item.replace(annotation=inspect.Parameter.empty) for item in parameters(operator).values()]
    return str(inspect.Signature(bare)).strip("()")


def disagreements(operator: Callable[..., Any], like: Callable[..., Any] = chunk_osdn) -> list[str]:
    """Parameters of both that differ in kind, default or type."""
    own, declared = parameters(operator), parameters(like)
    return [name for name in own if name in declared and own[name] != declared[name]]


@pytest.mark.parametrize("operator", CALLS)
def test_calls_have_the_order_and_defaults_of_bounded(operator):
    assert text(operator) == PUBLIC
    assert not disagreements(operator)


@pytest.mark.parametrize("operator", SCANS)
def test_so_have_those_of_the_scan(operator):
    assert text(operator) == PUBLIC_SCAN
    assert not disagreements(operator)


PUBLIC_GATED = (
    "q, k, v, g, beta, *, scale=None, initial_state=None, output_final_state=False, use_qk_l2norm_in_kernel=False, "
    "use_gate_in_kernel=False, A_log=None, dt_bias=None, lower_bound=None, use_beta_sigmoid_in_kernel=False, "
    "allow_neg_eigval=False, safe_gate=False, disable_recompute=False, state_v_first=False, cu_seqlens=None, "
    "cu_seqlens_cpu=None, chunk_indices=None, g_d=None, eta=0.003, d_min=0.6666666666666666, d_max=1.5, anchor=None, "
    "normalize_feedback=False, beta_aware=True, initial_preconditioner=None, state_indices=None, chunk_size=64, "
    "return_trajectory=False, return_intermediate_states=False, check_values=True"
)


@pytest.mark.parametrize("operator", GATED_CALLS)
def test_gated_calls_have_that_of_flash_linear_attention_and_what_is_added(operator):
    assert text(operator) == PUBLIC_GATED
    assert set(disagreements(operator)) == {"g", "beta_aware"}
    assert inspect.getdoc(operator).splitlines()[0] in pydoc.plain(pydoc.render_doc(operator))


def test_the_decoding_step_and_the_layer_have_the_same_defaults():
    # Beta-aware by default with a state gate, as the operators that have one.
    assert disagreements(decode_step_) == ["beta_aware"]
    layer = parameters(OnlineScaledDeltaNet)
    assert {name: layer[name].default for name in BOUNDED._fields} == BOUNDED._asdict()


def test_another_default_order_or_type_is_seen():
    def faster(q, k, v, beta, *, eta: float = 0.3) -> None: ...

    def positional(q, k, v, beta, g: torch.Tensor | None = None) -> None: ...

    def untyped(*, scale=None) -> None: ...

    assert "eta" in disagreements(faster)
    assert "g" in disagreements(positional)
    assert disagreements(untyped) == ["scale"]

    @takes(lambda limits, q, k, beta, v: q, KERNELS.dtypes)
    def swapped(call: Any) -> None: ...

    assert text(swapped) != PUBLIC


@pytest.mark.parametrize("operator", [*CALLS, *SCANS])
def test_help_shows_the_arguments_and_the_docstring(operator):
    shown = pydoc.plain(pydoc.render_doc(operator))
    assert f"\n{operator.__name__}(" in shown
    assert re.search(r"eta: float = 0\.003", shown)
    assert "limits" not in shown
    assert inspect.getdoc(operator).splitlines()[0] in shown
    assert "-> 'tuple[" in shown or "-> tuple[" in shown


@pytest.mark.parametrize("operator", [*CALLS, *SCANS])
def test_wrong_arguments_name_the_operator(operator):
    with pytest.raises(
        TypeError, match=rf"^{operator.__name__}\(\) got an unexpected keyword argument 'etta'"
    ):
        operator(etta=1.0)
    with pytest.raises(TypeError, match=rf"^{operator.__name__}\(\) missing .*'k'"):
        operator(beta=None) if operator in CALLS else operator()


def test_an_operator_gets_what_is_checked_and_returns_its_own():
    @takes(check_call, KERNELS)
    def echo(call: Arguments) -> Arguments:
        """Gives back its call."""
        return call

    q = torch.ones(1, 2, 1, 4)
    found = echo(q, q, q, q[..., 0], eta=1, scale=2)
    assert (found.rule, found.scale) == (BOUNDED._replace(eta=1.0), 2.0)
    assert inspect.signature(echo).return_annotation is Arguments
    assert (echo.__name__, echo.__doc__, echo.__module__) == ("echo", "Gives back its call.", __name__)


def test_the_scan_takes_what_a_call_gives_it():
    """`check_call` passes on everything of `check_scan` but `sequential`: a default is never used twice."""
    k = torch.ones(1, 2, 1, 4)
    other = {
        "g": -torch.ones(1, 2, 1), "eta": 0.5, "d_min": 0.25, "d_max": 3.0, "anchor": 0.5, "normalize_feedback": True,
        "initial_preconditioner": torch.full((1, 1, 4), 2.0), "cu_seqlens": torch.tensor([0, 2]), "chunk_size": 16,
    }  # fmt: skip
    assert {*other, "k", "sequential", "check_values"} == set(parameters(osdn_preconditioner))
    call = check_call(KERNELS, k, k, k, k[..., 0], **other)
    scan = check_scan(KERNELS, k, **other)
    for name in vars(scan):
        mine, own = getattr(call, name), getattr(scan, name)
        assert torch.equal(mine, own) if isinstance(own, torch.Tensor) else mine == own, name
    assert isinstance(call, ScanArguments)
