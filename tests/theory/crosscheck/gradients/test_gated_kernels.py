"""Gradients of the gated operators in Triton's interpreter, and of plain PyTorch's KDA, in every input they take."""

from __future__ import annotations

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import pytest
from support.crosscheck.cases import ANCHORED
from support.crosscheck.public_kernels import needs_fla

from osdn_theory.crosscheck import pose, resolve
from osdn_theory.crosscheck.gradients.check import GradedGradients, kernel_gradients
from osdn_theory.crosscheck.gradients.explanations import explain_gradients, gradient_alternatives
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt
from osdn_theory.crosscheck.kernel.signature.recognition import recognise
from osdn_theory.recurrence.rules import FROZEN
from osdn_theory.streams import synthetic
from osdn_theory.streams.transforms import with_gates

MEMORY = {"q", "k", "v", "beta", "g", "initial_state"}
CALIBRATION = {"g_d", "anchor", "initial_preconditioner"}


def graded(adapter: Adapter, length: int = 20) -> GradedGradients:
    """From given states, under random gates of memory and d, past a box that clips and the edge of a chunk."""
    rng = np.random.default_rng(0)
    stream = synthetic.interpolating(rng, lead=(1, 1), length=length, key_dim=5, value_dim=3, beta="random")
    state = "feature" if adapter.gates_features else "token"
    forget = "random" if adapter.calibrates else None
    stream = with_gates(stream, rng, state=state, forget=forget)
    rule = ANCHORED if adapter.calibrates else FROZEN
    if adapter.calibrates:
        stream = replace(stream, initial_preconditioner=rng.uniform(0.96, 1.09, size=(1, 1, 5)))
    case = pose(adapter, stream, rule, "float32", initial_state=rng.standard_normal((1, 1, 3, 5)))
    return kernel_gradients(adapter, case, "cpu")


@pytest.mark.parametrize(
    "name", ["chunk_osgdn", "chunk_oskda", "fused_recurrent_osgdn", "fused_recurrent_oskda"]
)
def test_every_input_of_the_gated_operators(name: str) -> None:
    chunked = {"chunk_size": 16} if name.startswith("chunk") else {}
    found = graded(resolve(f"osdn_kernels.ops:{name}", **chunked))
    assert found.found.keys() == MEMORY | CALIBRATION
    assert found.results == ("o", "final state", "d handed on")
    assert [item.name for item in found.compared() if not item.within] == []


@needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
@pytest.mark.parametrize("name", ["fla_naive_recurrent_kda", "fla_naive_chunk_kda"])
def test_flash_linear_attentions_kda(name: str) -> None:
    """The second takes whole chunks, which tokens that write nothing fill."""
    found = graded(recognise(resolve(name), "cpu"))
    assert found.found.keys() == MEMORY
    assert [item.name for item in found.compared() if not item.within] == []


@pytest.mark.parametrize("gate", ["g", "g_d"])
def test_a_gate_whose_gradient_is_doubled_is_named(gate: str) -> None:
    from osdn_kernels import chunk_oskda

    @wraps(chunk_oskda)
    def doubled(*given: Any, **named: Any) -> Any:
        named[gate] = named[gate] + (named[gate] - named[gate].detach())
        return chunk_oskda(*given, **named)

    adapter = adapt(doubled, name="doubled_oskda", chunk_size=16)
    found = graded(adapter)
    assert [item.name for item in found.compared() if not item.within] == [f"grad {gate}"]
    (why,) = explain_gradients(found, gradient_alternatives(adapter, found))
    assert why.name == f"{gate}: double"
