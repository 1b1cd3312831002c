"""What is found out about a kernel by calling it: conventions of right and of wrong kernels, and nothing else."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from support.crosscheck import eager_faults
from support.crosscheck.faulty_kernels import State, Trajectory, correct, faulty
from support.crosscheck.foreign_kernels import FAULTS, Foreign, gated, multiplied, stateless, usual
from torch import Tensor

from osdn_theory.crosscheck import adapt, resolve
from osdn_theory.crosscheck.cases.case import Dtype
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import KernelError, Returned, ask
from osdn_theory.crosscheck.kernel.signature.evidence import Reading, SampleSizes, sample
from osdn_theory.crosscheck.kernel.signature.reading import ARGUMENTS, SYNONYMS, own_names
from osdn_theory.crosscheck.kernel.signature.recognition import recognise

OTHER = SampleSizes(batch=2, tokens=9, heads=3, key_dim=8, value_dim=6)
"""Of the case that is posed once a kernel is recognised."""


def distance(adapter: Adapter, sizes: SampleSizes = OTHER) -> float:
    """Between the kernel, called by what was recognised, and float64: of output and final state."""
    case = sample(adapter, sizes, "float32")
    said, exact = ask(adapter, case, "cpu"), case.exact()
    assert said.outputs is not None
    far = [np.abs(said.outputs - exact.outputs).max()]
    if said.state is not None:
        far.append(np.abs(said.state - exact.final_state).max())
    return float(max(far))


CONVENTIONS = list(product(("time first", "head first"), ("KV", "VK"), ("K^-1/2", "1"), (False, True)))


@pytest.mark.parametrize(("layout", "state_layout", "scale", "per_feature"), CONVENTIONS)
def test_every_combination_of_conventions_is_found(
    layout: str, state_layout: str, scale: str, per_feature: bool
) -> None:
    found = recognise(adapt(gated(Foreign(layout, state_layout, scale, per_feature))), "cpu")
    assert (found.layout, found.state_layout, found.fixed_scale) == (layout, state_layout, scale)
    assert found.recurrence == ("kda" if per_feature else "gated_delta_net")
    assert found.dtype == "float32"
    assert distance(found) < 1e-5


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("layout", "state_layout", "scale", "per_feature"), CONVENTIONS)
def test_a_wrong_kernel_keeps_its_conventions_and_stays_wrong(
    layout: str, state_layout: str, scale: str, per_feature: bool, fault: str
) -> None:
    found = recognise(adapt(gated(Foreign(layout, state_layout, scale, per_feature, fault))), "cpu")
    assert (found.layout, found.state_layout) == (layout, state_layout)
    if fault != "read first":
        # One that reads another state than it hands on shows no scale: then the field's default is taken.
        assert found.fixed_scale == scale
    if fault != "gate ignored":
        # One that ignores the gate shows no rank of it.
        assert found.recurrence == ("kda" if per_feature else "gated_delta_net")
    assert any("no reading agrees" in line for line in found.findings)
    assert distance(found) > 1e-2


@pytest.mark.parametrize("fault", ["", "beta ignored", "beta shifted", "keys of another head", "read first"])
@pytest.mark.parametrize("layout", ["time first", "head first"])
def test_without_states_the_reach_of_a_token_shows_the_layout(layout: str, fault: str) -> None:
    found = recognise(adapt(stateless(Foreign(layout, fault=fault))), "cpu")
    assert found.layout == layout
    assert found.fixed_scale == "K^-1/2"
    assert (distance(found) < 1e-5) == (fault == "")
    assert "returns no final state" in found.findings


@pytest.mark.parametrize(("fault", "most"), [("", 2), ("beta ignored", 2), ("state ignored", 2)])
def test_the_fields_signature_costs_few_calls(fault: str, most: int) -> None:
    kernel = Foreign(fault=fault)
    recognise(adapt(usual(kernel)), "cpu")
    # The second is the one that asks whether g may be None, or whether g has another rank.
    assert kernel.calls <= most


def test_a_kernel_of_osdn_costs_one_call_right_or_wrong() -> None:
    for kernel in (correct, faulty("never clips"), faulty("erases with the write key as well")):
        calls = []

        def counted(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, eta: float = 0.003, d_min: float = 2 / 3,
                    d_max: float = 1.5, scale: float = 1.0, initial_state: Any = None,
                    output_final_state: bool = False, kernel: Any = kernel, calls: Any = calls) -> Any:  # fmt: skip
            calls.append(1)
            given = {
                "eta": eta,
                "d_min": d_min,
                "d_max": d_max,
                "scale": scale,
                "initial_state": initial_state,
            }
            return kernel(q, k, v, beta, output_final_state=output_final_state, **given)

        found = recognise(adapt(counted), "cpu")
        assert (found.layout, found.state_layout, found.recurrence) == ("time first", "KV", "osdn")
        assert len(calls) == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_conventions_are_found_in_every_dtype(dtype: Dtype) -> None:
    found = recognise(adapt(gated(Foreign("head first", "VK", "1", True))), "cpu", dtype)
    assert (found.layout, found.state_layout, found.fixed_scale) == ("head first", "VK", "1")
    assert (found.recurrence, found.dtype) == ("kda", dtype)
    assert not any("no reading agrees" in line for line in found.findings)


def test_layouts_of_osdn_and_of_the_preconditioner_alone() -> None:
    def osdn(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, eta: float, d_min: float, d_max: float,
             h0: Tensor | None = None, d0: Tensor | None = None, return_trajectory: bool = False) -> Any:  # fmt: skip
        tokens = (x.transpose(1, 2) for x in (q, k, v, beta))
        start = None if h0 is None else h0.transpose(-1, -2)
        rule = {"eta": eta, "d_min": d_min, "d_max": d_max}
        given = {**rule, "initial_state": start, "initial_preconditioner": d0}
        o, final, path = correct(*tokens, **given, output_final_state=True, return_trajectory=True)
        turned = Trajectory(path.preconditioner.transpose(1, 2), path.alignment.transpose(1, 2))
        return o.transpose(1, 2), State(final.state.transpose(-1, -2), final.preconditioner), turned

    def scan(
        keys: Tensor, eta: float = 0.003, d_min: float = 2 / 3, d_max: float = 1.5
    ) -> tuple[Tensor, Tensor]:
        k = keys.transpose(1, 2)
        _, final, path = correct(
            k, k, k, k[..., 0], None, 1.0, eta, d_min, d_max, None, None, None, True, True
        )
        return path.preconditioner.transpose(1, 2), final.preconditioner

    found = recognise(adapt(osdn), "cpu")
    assert (found.recurrence, found.layout, found.state_layout) == ("osdn", "head first", "VK")
    assert (found.fixed_scale, found.names["initial_preconditioner"]) == ("K^-1/2", "d0")
    case = sample(found, OTHER, "float32")
    said, exact = ask(found, case, "cpu"), case.exact()
    for mine, right in ((said.preconditioner, exact.preconditioner), (said.alignment, exact.alignment)):
        np.testing.assert_allclose(mine, right, atol=1e-5)
    assert distance(found) < 1e-5
    found = recognise(adapt(scan), "cpu")
    assert (found.recurrence, found.layout) == ("preconditioner", "head first")
    path = ask(found, case, "cpu").preconditioner
    np.testing.assert_allclose(path, exact.preconditioner, atol=1e-5)


@pytest.mark.parametrize("name", ["chunk_osdn", "fused_recurrent_osdn", "osdn_preconditioner"])
def test_our_operators_are_recognised(name: str) -> None:
    adapter = resolve(name)
    found = recognise(adapter, "cpu")
    assert (found.layout, found.state_layout, found.multiple) == ("time first", "KV", 1)
    assert found.parameters == adapter.parameters
    assert found.findings == adapter.findings == ()


def test_what_is_stated_is_not_probed() -> None:
    kernel = gated(Foreign("head first", "VK", "1"))
    stated = {"layout": "head first", "state_layout": "VK", "fixed_scale": "K^-1/2"}
    found = recognise(adapt(kernel, recurrence="gated_delta_net", **stated), "cpu")
    assert {name: getattr(found, name) for name in stated} == stated
    assert any("no reading agrees" in line for line in found.findings)
    with pytest.raises(KernelError, match="raised in a call that probes its signature"):
        recognise(adapt(kernel, layout="time first"), "cpu")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"layout": "sideways"}, "layout: expected one of time first, head first, got 'sideways'"),
        ({"recurrence": "mamba"}, "recurrence: expected one of osdn"),
        ({"recurrence": "kda"}, "recurrence: layer takes no g, which kda needs"),
    ],
)
def test_statements_that_cannot_be_are_refused(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapt(stateless(Foreign()), **stated)


def test_a_fixed_scale_is_refused_where_there_is_a_scale() -> None:
    with pytest.raises(ValueError, match="fixed_scale: layer takes a scale"):
        adapt(usual(Foreign()), fixed_scale="1")


def test_lengths_that_must_be_multiples_are_filled_up() -> None:
    found = recognise(adapt(gated(Foreign("head first", multiple=32))), "cpu")
    assert found.multiple == 32
    assert "sequences are filled up to multiples of 32 tokens" in found.findings
    assert distance(found) < 1e-5
    wrong = recognise(adapt(gated(Foreign("head first", multiple=32, fault="beta shifted"))), "cpu")
    assert distance(wrong) > 1e-2


def test_a_final_state_that_is_laid_out_unlike_the_initial_one_is_a_fault() -> None:
    kernel = Foreign()

    def turned(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, scale: Any = None, initial_state: Any = None,
               output_final_state: bool = False) -> Any:  # fmt: skip
        o, final = kernel.run(q, k, v, beta, None, initial_state)
        return o, final.transpose(-1, -2)

    found = recognise(adapt(turned), "cpu")
    assert (found.layout, found.state_layout) == ("time first", "KV")
    with pytest.raises(KernelError, match=r"returned final state of shape \[2, 3, 6, 8\]"):
        distance(found)


def test_results_in_another_order_are_found_and_unknown_ones_named() -> None:
    kernel = Foreign()

    def layer(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Any:
        o, final = kernel.run(q, k, v, beta, None, None)
        return final, torch.zeros(3, 5), o

    found = recognise(adapt(layer), "cpu")
    assert found.results == {"state": 0, "o": 2}
    assert "result 2, a Tensor of shape [3, 5], is not read" in found.findings
    assert "always returns the final state" in found.findings
    assert distance(found) < 1e-5


def test_positional_arguments_and_required_ones() -> None:
    kernel = Foreign()

    def layer(query: Tensor, key: Tensor, value: Tensor, beta: Tensor, h0: Any, scale: float, /) -> Tensor:
        assert h0 is None or h0.ndim == 4
        factor = scale * key.shape[-1] ** 0.5
        return factor * kernel.run(query, key, value, beta, None, h0)[0]

    found = recognise(adapt(layer), "cpu")
    assert found.names == {"q": "query", "k": "key", "v": "value", "initial_state": "h0"}
    case = sample(found, OTHER, "float32")
    for given in (case, case.__class__(**{**vars(case), "initial_state": np.zeros_like(case.initial_state)})):
        outputs = ask(found, given, "cpu").outputs
        assert outputs is not None
        np.testing.assert_allclose(outputs, given.exact().outputs, atol=1e-5)


def test_arguments_that_go_by_name_alone_under_other_names() -> None:
    def layer(*, query: Tensor, key: Tensor, value: Tensor, beta: Tensor) -> Tensor:
        return Foreign().run(query, key, value, beta, None, None)[0]

    found = recognise(adapt(layer), "cpu")
    assert found.names == {"q": "query", "k": "key", "v": "value"}
    assert distance(found) < 1e-5


@pytest.mark.parametrize("per_feature", [False, True])
@pytest.mark.parametrize("layout", ["time first", "head first"])
def test_a_gate_that_is_no_logarithm(layout: str, per_feature: bool) -> None:
    found = recognise(adapt(multiplied(Foreign(layout, per_feature=per_feature))), "cpu")
    assert (found.layout, found.gates_features, found.gate_form) == (layout, per_feature, "factor")
    assert "g is the gate itself" in found.findings
    assert distance(found) < 1e-5
    logarithm = recognise(adapt(gated(Foreign(layout, per_feature=per_feature))), "cpu")
    assert logarithm.gate_form == "log"


def test_a_wrong_kernel_takes_the_gate_as_its_name_says() -> None:
    def layer(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, alpha: Tensor, h0: Any = None) -> Any:
        return kernel.run(q, k, v, beta, alpha.log(), h0)

    for fault in ("", *FAULTS):
        kernel = Foreign("head first", "VK", fault=fault)
        found = recognise(adapt(layer), "cpu")
        assert (found.layout, found.state_layout, found.gate_form) == ("head first", "VK", "factor")
        assert (distance(found) < 1e-5) == (fault == "")
    assert recognise(adapt(layer, gate_form="log"), "cpu").gate_form == "log"


def test_a_gate_that_may_be_left_out() -> None:
    def with_default(
        q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Any = None, scale: float = 1.0
    ) -> Tensor:
        return scale * k.shape[-1] ** 0.5 * Foreign().run(q, k, v, beta, g, None)[0]

    def required(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Any, scale: float = 1.0) -> Tensor:
        g.exp()
        return with_default(q, k, v, beta, g, scale)

    assert recognise(adapt(with_default), "cpu").gate_optional
    assert not recognise(adapt(required), "cpu").gate_optional
    assert recognise(adapt(usual(Foreign())), "cpu").gate_optional


@pytest.mark.parametrize("layout", ["time first", "head first"])
@pytest.mark.parametrize("recurrence", ["osdn", "osgdn", "oskda"])
def test_one_gate_of_osdn_forgets_d_or_decays_the_memory(recurrence: str, layout: str) -> None:
    right = eager_faults.kernel(recurrence)

    def turned(tokens: Any) -> Any:
        return tokens.transpose(1, 2) if layout == "head first" and tokens is not None else tokens

    def layer(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Any = None, eta: float = 0.003,
              d_min: float = 2 / 3, d_max: float = 1.5) -> Tensor:  # fmt: skip
        assert g is None or g.ndim == (4 if recurrence == "oskda" else 3)
        given = {name: turned(x) for name, x in {"q": q, "k": k, "v": v, "beta": beta, "g": g}.items()}
        return turned(right(**given, eta=eta, d_min=d_min, d_max=d_max)[0])

    found = recognise(adapt(layer), "cpu")
    assert (found.recurrence, found.layout) == (recurrence, layout)
    assert ("g decays the memory, and nothing forgets d" in found.findings) == (recurrence != "osdn")
    assert distance(found) < 1e-5


def test_a_kernel_with_an_anchor_or_of_a_stated_recurrence_has_a_d_that_forgets() -> None:
    right = eager_faults.kernel("osgdn")

    def layer(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Any = None, eta: float = 0.003,
              anchor: Any = None, output_final_state: bool = False) -> Any:  # fmt: skip
        return right(q, k, v, g, beta, eta=eta, anchor=anchor, output_final_state=output_final_state)

    def without(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Any = None, eta: float = 0.003) -> Any:
        return layer(q, k, v, beta, g, eta)

    assert recognise(adapt(layer), "cpu").recurrence == "osdn"
    assert recognise(adapt(without), "cpu").recurrence == "osgdn"
    assert recognise(adapt(without, recurrence="osdn"), "cpu").recurrence == "osdn"


def test_a_kernel_that_refuses_float32_is_recognised_in_bfloat16() -> None:
    def layer(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
        assert q.dtype != torch.float32, "float32 is not supported"
        return Foreign().run(q, k, v, beta, None, None)[0]

    found = recognise(adapt(layer), "cpu")
    assert found.dtype == "bfloat16"
    assert "takes bfloat16, not float32: float32 is not supported" in found.findings
    with pytest.raises(KernelError, match=r"float32 is not supported \(it takes bfloat16\)"):
        recognise(adapt(layer), "cpu", "float32")


def test_a_kernel_that_always_raises_is_refused_in_a_line() -> None:
    def layer(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
        raise RuntimeError("no driver\nand a second line")

    with pytest.raises(
        KernelError, match=r"^kernel: layer raised in a call that probes .*RuntimeError: no driver$"
    ):
        recognise(adapt(layer), "cpu")


def test_refusals_of_every_dtype_are_told_together() -> None:
    def layer(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
        assert q.dtype != torch.float32, "float32 is not supported"
        raise RuntimeError("no driver")

    with pytest.raises(KernelError) as caught:
        recognise(adapt(layer), "cpu")
    said = "AssertionError: float32 is not supported; in bfloat16: RuntimeError: no driver"
    assert str(caught.value) == f"kernel: layer raised in a call that probes its signature: {said}"


def test_one_size_of_head() -> None:
    def layer(
        q: Tensor, k: Tensor, v: Tensor, beta: Tensor, h0: Any = None, return_state: bool = False
    ) -> Any:
        assert k.shape[-1] == v.shape[-1] == 64, "head dimension 64 only"
        return Foreign(state_layout="VK").run(q, k, v, beta, None, h0)

    found = recognise(adapt(layer), "cpu")
    # With K = V shapes say nothing: values do.
    assert found.state_layout == "VK"
    assert distance(found, SampleSizes(2, 9, 3, 64, 64)) < 1e-5


def test_spellings() -> None:
    assert own_names(["Query", "KEY", "V", "b"]) == {"q": "Query", "k": "KEY", "v": "V", "beta": "b"}
    # The canonical name wins over a synonym, wherever it stands.
    assert own_names(["gk", "g", "k"]) == {"k": "k", "g": "g"}
    assert set(SYNONYMS) <= set(ARGUMENTS)
    spellings = [name for others in SYNONYMS.values() for name in others]
    assert len(spellings) == len(set(spellings))
    assert not set(spellings) & set(ARGUMENTS)


def test_the_statement_shows_names_layouts_and_findings() -> None:
    statement = recognise(adapt(gated(Foreign("head first", "VK", "1", True))), "cpu").statement()
    assert "xq (q), xk (k), xv (v), b (beta), log_alpha (g)" in statement["arguments"]
    assert statement["layout"] == (
        "q, k [B, H, T, K]; v, o [B, H, T, V]; beta [B, H, T]; g [B, H, T, K]; states [B, H, V, K]"
    )
    assert statement["scale"] == "fixed to 1"
    for line in (
        "head first",
        "states are [B, H, V, K]",
        "one gate per feature",
        "takes no scale: o = 1 S q",
    ):
        assert line in statement["found"]


@pytest.mark.parametrize(("dtype", "edge"), [("float32", 0.01), ("float16", 0.02), ("bfloat16", 0.1)])
def test_a_reading_agrees_up_to_what_the_dtype_may_leave(dtype: Dtype, edge: float) -> None:
    kind = adapt(correct)
    case = sample(kind, OTHER, dtype)
    for far, agrees in ((0.99 * edge, True), (1.01 * edge, False), (float("inf"), False)):
        assert Reading(kind, case, Returned(), far, settled=False).agrees == agrees


def test_what_was_recognised_is_not_called_again() -> None:
    from support.crosscheck.eager_kernels import right

    calls = []

    def counted(
        q: Any, k: Any, v: Any, beta: Any, scale: Any = None, output_final_state: bool = False
    ) -> Any:
        calls.append(q.shape)
        return right(q, k, v, beta, scale=scale, output_final_state=output_final_state)

    found = recognise(adapt(counted), "cpu", "float32")
    made = len(calls)
    assert made >= 1
    assert recognise(found, "cpu", "float32") is found
    assert recognise(found, "cpu") is found
    assert len(calls) == made
    assert recognise(found, "cpu", "bfloat16").dtype == "bfloat16"
