"""Kernels that people run go through as they are, by ``module:function``: plain PyTorch, on the CPU.

Every function of these recurrences in flash-linear-attention and in transformers, the latter as they run where
flash-linear-attention, to which they hand over, is not installed.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.util import find_spec

import numpy as np
import pytest
from support.crosscheck.public_kernels import FLA, OTHER_RECURRENCES, TRANSFORMERS, functions_of, needs_fla

from osdn_theory.crosscheck import resolve
from osdn_theory.crosscheck.cases.case import handed_on
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import ask, ask_packed
from osdn_theory.crosscheck.kernel.registry import KERNELS
from osdn_theory.crosscheck.kernel.signature.evidence import SampleSizes, sample
from osdn_theory.crosscheck.kernel.signature.recognition import recognise

SIZES = SampleSizes(batch=2, tokens=70, heads=3, key_dim=8, value_dim=6)
"""More than a chunk of 64, and no multiple of one."""


def agrees(name: str) -> Adapter:
    """The kernel, recognised; its output and what it hands on are float64's, from a state and from none."""
    found = recognise(resolve(name), "cpu")
    case = sample(found, SIZES, "float32")
    if "initial_state" in found.parameters:
        assert np.any(case.initial_state != 0)
    for one in (case, case.first(1), case.piece(7, 41)):
        said, exact = ask(found, one, "cpu"), one.exact()
        assert said.outputs is not None
        np.testing.assert_allclose(said.outputs, exact.outputs, atol=1e-5)
        assert (said.state is None) == ("state" not in found.results)
        if said.state is not None:
            np.testing.assert_allclose(said.state, exact.final_state, atol=1e-5)
        if found.preconditioned:
            assert said.handed_on is not None
            np.testing.assert_allclose(said.handed_on, handed_on(exact), atol=1e-5)
    return found


@needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
@pytest.mark.parametrize("name", FLA)
def test_flash_linear_attention(name: str) -> None:
    found = agrees(name)
    recurrence, layout, multiple = FLA[name]
    assert (found.recurrence, found.layout, found.state_layout) == (recurrence, layout, "KV")
    assert found.multiple == multiple
    assert found.gates_features == ("kda" in name)
    assert found.fixed_scale == ("K^-1/2" if recurrence == "delta_net" else None)
    assert not any("no reading agrees" in line for line in found.findings)


@needs_fla
def test_no_function_of_their_kind_is_forgotten() -> None:
    families = ("delta_rule", "gated_delta_rule", "gated_delta_product", "kda", "comba")
    families += ("precond_gated_delta_rule", "precond_kda")
    known = {
        name
        for family in families
        for name in functions_of("fla", f"ops/{family}/*.py")
        if "naive" in name or "recurrence" in name
    }
    assert known - set(FLA) - set(OTHER_RECURRENCES) == set()


@needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
def test_what_an_attention_matrix_is_not() -> None:
    found = recognise(resolve("fla.ops.delta_rule.naive:delta_rule_parallel"), "cpu")
    assert "state" not in found.results
    assert "result 2, a Tensor of shape [2, 3, 128, 128], is not read" in found.findings


@needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
def test_keys_that_a_kernel_normalises_are_normalised_in_float64_too() -> None:
    found = recognise(
        resolve("fla.ops.precond_gated_delta_rule.naive:naive_recurrent_precond_gated_delta_rule"), "cpu"
    )
    assert found.key_norm == "exact"
    case = sample(found, SIZES, "float32")
    plain = case.__class__(**{**vars(case), "key_norm": None})
    assert np.abs(case.exact().outputs - plain.exact().outputs).max() > 0.1


@needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
def test_a_gram_diagonal_is_handed_on_and_taken_up_again_also_packed() -> None:
    name = "fla.ops.precond_gated_delta_rule.naive:naive_recurrent_precond_gated_delta_rule"
    found = recognise(resolve(name), "cpu")
    case = sample(found, SIZES, "float32")
    whole, first = ask(found, case, "cpu"), ask(found, case.piece(0, 23), "cpu")
    state = {"initial_state": first.state, "initial_preconditioner": first.handed_on}
    rest = case.__class__(**{**vars(case.piece(23, 70)), **state})
    second, exact = ask(found, rest, "cpu"), rest.exact()
    for said, right in ((second.outputs, exact.outputs), (second.handed_on, handed_on(exact))):
        assert said is not None
        np.testing.assert_allclose(said, right, atol=1e-5)
    np.testing.assert_allclose(second.outputs, np.asarray(whole.outputs)[:, :, 23:], atol=1e-5)
    single = sample(found, SampleSizes(1, 40, 3, 8, 6), "float32")
    pieces = [single.piece(0, 17), single.piece(17, 40)]
    for one, said_of in zip(pieces, ask_packed(found, pieces, "cpu"), strict=True):
        np.testing.assert_allclose(said_of.outputs, one.exact().outputs, atol=1e-5)
        np.testing.assert_allclose(said_of.handed_on, handed_on(one.exact()), atol=1e-5)


@pytest.mark.usefixtures("without_fla")
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name: str) -> None:
    found = agrees(name)
    assert found.recurrence == ("kda" if "kimi" in name else "gated_delta_net")
    assert (found.layout, found.state_layout, found.multiple) == ("time first", "KV", 1)
    assert found.fixed_scale == "K^-1/2"
    assert "names: query is q, key is k, value is v" in found.findings


@needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_what_hands_over_is_reached_by_its_attribute_where_both_are_installed() -> None:
    module = "transformers.models.kimi_linear.modeling_kimi_linear"
    assert agrees(f"{module}:chunk_kimi_delta_attention.__wrapped__").recurrence == "kda"


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_the_models_that_have_them_are_found() -> None:
    models = {name.split(".")[2] for name in TRANSFORMERS}
    assert {"qwen3_next", "qwen3_5", "qwen3_5_moe", "olmo_hybrid", "kimi_linear"} <= models
    assert len(TRANSFORMERS) == 2 * len(models)


def test_all_of_these_are_registered_by_name() -> None:
    targets = {entry.value: entry.name for entry in entry_points(group=KERNELS)}
    registered = {name.rpartition(":")[2] for name in targets}
    for name in FLA:
        assert name.rpartition(":")[2] in registered
    for function in (
        "qwen3_next.modeling_qwen3_next:torch_chunk_gated_delta_rule",
        "qwen3_next.modeling_qwen3_next:torch_recurrent_gated_delta_rule",
        "kimi_linear.modeling_kimi_linear:chunk_kimi_delta_attention",
        "kimi_linear.modeling_kimi_linear:recurrent_kimi_delta_attention",
    ):
        assert f"transformers.models.{function}" in targets


@needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
def test_every_registered_function_of_theirs_has_a_signature_that_is_understood() -> None:
    for entry in entry_points(group=KERNELS):
        if entry.name.startswith("fla_"):
            assert resolve(entry.name).parameters >= {"q", "k", "v", "beta"}
