"""What tokens of a chunk meet of each other under gates per feature, beside inputs of 16 bits, against float64."""

import math
from itertools import pairwise

import pytest
import torch
from osdn_kernels import chunk_oskda, oskda_reference
from osdn_kernels.chunk.decays import new_sums, sum_gates
from osdn_kernels.chunk.feature import pairs, pairs_backward
from osdn_kernels.chunk.write_keys import IDENTITY, WriteKeys
from osdn_kernels.chunk.wy import solve
from osdn_kernels.launch.sequences import cut
from support.kernels.faults import PAIR_FAULTS, PAIR_GRADIENT_FAULTS, break_kernel
from support.kernels.reference_cases import Call, draw_gated, gradients, relative_error
from torch.nn.functional import normalize

GATES = {
    "none": lambda u: 0.0 * u,
    "weak": lambda u: -0.4 * u,
    "up to the limit": lambda u: -3.74 + 0.0 * u,
    "beyond it": lambda u: -3.76 + 0.0 * u,
    "strong": lambda u: -20.0 - u,
    "one feature's strong": lambda u: torch.where(torch.arange(u.shape[-1]) == 3, -9.0, -0.1 * u),
    "one token empties": lambda u: torch.where(
        torch.arange(u.shape[1])[:, None, None] == 21, -math.inf, -0.1 * u
    ),
    "some empty": lambda u: torch.where(u < 0.1, -math.inf, -0.1 * u),
}
"""Log gates of uniform numbers [1, T, HV, K]."""

SHAPES = {
    "three blocks": {"length": 41, "chunk_size": 64},
    "packed groups": {"cu_seqlens": [0, 0, 17, 18, 60], "chunk_size": 32, "heads": 1},
    "chunks of a block": {"length": 37, "chunk_size": 16},
    "wide keys": {"length": 70, "key_dim": 48, "chunk_size": 64},
}


def compare(gates, *, length=20, chunk_size=32, key_dim=6, heads=2, cu_seqlens=None, dtype=torch.bfloat16):
    """Inverse and overlaps of a call of the kernel with float64 ones, to what 16 bits leave of them."""
    rng = torch.Generator().manual_seed(0)
    bounds = [0, length] if cu_seqlens is None else cu_seqlens
    shape = (1, bounds[-1], heads, key_dim)
    q, k = (torch.randn(shape, generator=rng) for _ in range(2))
    k = normalize(k, dim=-1)
    write_key = k * (0.8 + 0.4 * torch.rand(shape, generator=rng))
    q, k, write_key = (x.to(dtype) for x in (q, k, write_key))
    beta = torch.rand(1, bounds[-1], 2, generator=rng).to(dtype)
    gate = GATES[gates](torch.rand(1, bounds[-1], 2, key_dim, generator=rng))
    chunks = cut(1, bounds[-1], chunk_size, None if cu_seqlens is None else torch.tensor(cu_seqlens))
    keys = WriteKeys(IDENTITY, write_key, stored=True)
    sums = new_sums(gate, dtype)
    sum_gates(gate, beta, sums, chunks)
    overlap = q.new_empty(*beta.shape, chunk_size)
    system = torch.empty(overlap.shape)
    pairs.pair(q, k, write_key, sums, system, overlap, chunks)
    inverse = solve(k, beta, sums, keys, chunks, system)
    for start, stop in pairwise(bounds):
        for at in range(start, stop, chunk_size):
            part = slice(at, min(at + chunk_size, stop))
            for head in range(2):
                rows = (x[0, part, head * heads // 2].double() for x in (q, k, write_key))
                found = (x[0, part, head, : part.stop - at].double() for x in (inverse, overlap))
                check(*rows, beta[0, part, head].double(), gate[0, part, head].double(), *found)


def check(q, k, write_key, beta, gate, inverse, overlap):
    """Of one chunk: overlaps entry by entry, as large as their terms are."""
    sums = gate.clamp(min=-1e4).cumsum(0)
    decay = (sums[:, None] - sums[None, :]).clamp(max=0.0).exp()
    terms = torch.einsum("tk,jk,tjk->tjk", q, write_key, decay)
    size = terms.abs().sum(-1).tril()
    assert ((overlap - terms.sum(-1).tril()).abs() <= 0.01 * size + 1e-7).all()
    system = torch.einsum("tk,jk,tjk->tj", k, write_key, decay).tril(-1) * beta[:, None]
    expected = torch.linalg.inv(torch.eye(len(beta), dtype=torch.float64) + system)
    off = inverse - expected
    assert (off.tril(-1).norm() <= 0.01 * expected.tril(-1).norm() + 1e-7).item()
    assert off.triu().abs().max() <= 0.01


@pytest.mark.parametrize("gates", GATES)
def test_gates_of_any_strength(gates):
    compare(gates)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gates", ["weak", "some empty"])
def test_every_shape(gates, shape):
    compare(gates, **SHAPES[shape])


def test_float16():
    compare("up to the limit", dtype=torch.float16)


@pytest.mark.parametrize("fault", PAIR_FAULTS)
def test_a_broken_kernel_is_caught(fault, monkeypatch, tmp_path):
    gates, *broken = PAIR_FAULTS[fault]
    break_kernel(monkeypatch, tmp_path, pairs, *broken)
    with pytest.raises(AssertionError) as caught:
        compare(gates)
    assert "is not there" not in str(caught.value)


def compare_gradients(gates, length=37):
    """Of a call in bfloat16 with those of the reference on the same numbers, but for what is stored in 16 bits."""
    call = draw_gated(
        "fast", state_gate="feature", length=length, batch=1, heads=1, value_dim=4, chunk_size=64
    )
    call.tensors["g"] = GATES[gates](
        torch.rand(call.tensors["g"].shape, generator=torch.Generator().manual_seed(2))
    )
    for name in ("q", "k", "v", "beta"):
        call.tensors[name] = call.tensors[name].bfloat16()
    for name in ("initial_state", "initial_preconditioner"):
        call.tensors[name] = call.tensors[name].float()
    wide = Call({name: x.double() for name, x in call.tensors.items()}, call.options)
    found, expected = (gradients(x, f, ("o",)) for x, f in ((call, chunk_oskda), (wide, oskda_reference)))
    for name in ("q", "k", "v", "beta", "g"):
        assert relative_error(found[name], expected[name]) <= 0.03, name


@pytest.mark.parametrize(
    "gates", ["none", "weak", "up to the limit", "one feature's strong", "one token empties"]
)
def test_gradients_in_16_bits(gates):
    compare_gradients(gates)


@pytest.mark.parametrize("fault", PAIR_GRADIENT_FAULTS)
def test_a_broken_backward_pass_is_caught(fault, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, pairs_backward, "differentiate_within", *PAIR_GRADIENT_FAULTS[fault])
    with pytest.raises(AssertionError) as caught:
        [compare_gradients(gates) for gates in ("weak", "one token empties")]
    assert "is not there" not in str(caught.value)
