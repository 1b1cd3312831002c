"""The memory's kernel for Hopper: which calls take it, what it is compiled to and, on a GPU, that it changes no bit."""

from types import SimpleNamespace

import pytest
import torch
from osdn_kernels.chunk import state
from osdn_kernels.launch import repeats
from osdn_kernels.launch.tuning import TUNED, fitting
from osdn_kernels.scan import chain
from support.kernels.compiler_process import outside_of_the_interpreter

TAKEN = """
import torch
from osdn_kernels import chunk_oskda, chunk_osdn, chunk_osgdn, ops
from osdn_kernels.chunk import state
from osdn_kernels.machine_code import compiling

OPERATORS = {1: chunk_osgdn, 2: chunk_oskda}


def kernels(capability=90, gate=0, batch=1, heads=16, dim=128, values=128, dtype=torch.bfloat16, **options):
    q = torch.zeros(batch, 128, heads, dim, dtype=dtype)
    v, beta = torch.zeros(batch, 128, heads, values, dtype=dtype), q[..., 0]
    gates = {0: (), 1: (torch.zeros(batch, 128, heads),), 2: (torch.zeros(q.shape),)}[gate]
    with compiling.recording(capability) as launches, torch.no_grad():
        OPERATORS.get(gate, chunk_osdn)(q, q.clone(), v, *gates, beta, check_values=False, **options)
    return [launch for launch in launches if "memory" in launch.kernel]


def names(**call):
    return " ".join(launch.kernel for launch in kernels(**call))
"""

CALLS = (
    TAKEN
    + """
for call in (
    {}, {"gate": 1}, {"gate": 2}, {"dim": 64}, {"values": 40}, {"batch": 4}, {"dtype": torch.float16},
    {"batch": 5}, {"dtype": torch.float32}, {"dim": 32}, {"dim": 256}, {"values": 16}, {"chunk_size": 32},
    {"capability": 80}, {"capability": 100}, {"return_intermediate_states": True},
):
    print(names(**call))
state.gluon.KNOWN = False
print(names())
"""
)


def test_few_sequences_of_16_bits_on_hopper_take_it():
    found = outside_of_the_interpreter(CALLS).splitlines()
    assert found == ["hopper_memory_kernel"] * 7 + ["memory_kernel"] * 10


COMPILED = (
    TAKEN
    + """
for gate in range(3):
    (launch,) = kernels(gate=gate)
    for index in range(2):
        print(compiling.compile_job(compiling.Job(launch, index, 90)).verdict)
"""
)


@pytest.mark.slow
def test_it_compiles_to_sound_machine_code():
    assert outside_of_the_interpreter(COMPILED).split() == ["ok"] * 6


KNOWN = """
import importlib, triton
from osdn_kernels.launch import gluon

for version in ("3.6.0", "3.7.1", "3.8.0", "4.0.0"):
    triton.__version__ = version
    print(importlib.reload(gluon).KNOWN)
"""


def test_gluon_is_used_in_versions_that_it_was_checked_with():
    assert outside_of_the_interpreter(KNOWN).split() == ["True", "True", "False", "False"]


def test_the_interpreter_has_no_such_kernel():
    assert TUNED["memory_kernel"] is state.memory_kernel
    assert "hopper_memory_kernel" not in TUNED


@pytest.mark.parametrize(("shared", "taken"), [(69632, 232448), (49152, 49152)])
def test_a_kernel_alone_on_its_multiprocessor_asks_for_all_of_its_shared_memory(shared, taken, monkeypatch):
    """Unless its launches are limited to what it was compiled with."""
    card = SimpleNamespace(shared_memory_per_block_optin=232448)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: card)
    kernel = SimpleNamespace(metadata=SimpleNamespace(shared=shared), packed_metadata=(4, 1, shared))
    repeats.take_shared_memory(kernel)
    assert kernel.packed_metadata == (4, 1, taken)


def test_a_chain_that_waits_is_not_timed():
    """What it waits for would not come."""
    configs = chain.chain_kernel.configs * 2
    assert len(fitting(configs, {}, K=128, PRECISION="tf32x3", WAITS=False)) == 2
    assert len(fitting(configs, {}, K=128, PRECISION="tf32x3", WAITS=True)) == 1


BITS = """
import sys

import torch
from torch.nn.functional import logsigmoid, normalize

from osdn_kernels import chunk_oskda, chunk_osdn, chunk_osgdn
from osdn_kernels.chunk import state
from osdn_kernels.launch.tuning import Tuner

Tuner.measures = False
torch.set_grad_enabled(False)
suits, kernel = state.suits_hopper, state.hopper_memory_kernel
OPERATORS = {"osdn": chunk_osdn, "osgdn": chunk_osgdn, "oskda": chunk_oskda}


def call(form, batch, length, heads, values, dtype, packed, pinned, weak):
    rng = torch.Generator("cuda").manual_seed(0)

    def normal(*size):
        return torch.randn(*size, generator=rng, device="cuda")

    bounds = torch.tensor([0, length // 3, length // 3, length], device="cuda") if packed else None
    tokens = (1 if packed else batch, length)
    q, k = (normalize(normal(*tokens, 2, 128), dim=-1).to(dtype) for _ in range(2))
    gates = {"osgdn": (heads,), "oskda": (heads, 128)}.get(form)
    g = [] if gates is None else [weak * logsigmoid(normal(*tokens, *gates))]
    box = {"d_min": 1.0, "d_max": 1.0} if pinned else {"eta": 0.01, "d_min": 2 / 3, "d_max": 1.5}
    o, found = OPERATORS[form](
        q, k, normal(*tokens, heads, values).to(dtype), *g, normal(*tokens, heads).sigmoid().to(dtype), **box,
        initial_state=normal(3 if packed else batch, heads, 128, values), output_final_state=True, cu_seqlens=bounds,
    )
    return o, found.state


for form in OPERATORS:
    for config in range(2):
        kernel.cache.clear()
        configs, kernel.configs = kernel.configs, [kernel.configs[config]]
        for given in (
            (2, 500, 2, 128, torch.bfloat16, False, False, 1.0), (1, 900, 4, 96, torch.float16, True, False, 1.0),
            (3, 130, 2, 40, torch.bfloat16, False, True, 0.1), (1, 6000, 2, 128, torch.bfloat16, False, False, 0.05),
        ):
            state.suits_hopper = lambda *sizes: False
            expected = call(form, *given)
            state.suits_hopper = suits
            print(all(torch.equal(x, y) for x, y in zip(expected, call(form, *given), strict=True)))
        kernel.configs = configs
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of the Hopper generation")
def test_it_changes_no_bit():
    assert outside_of_the_interpreter(BITS).split() == ["True"] * 24
