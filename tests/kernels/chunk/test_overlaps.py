"""What the read of a chunk meets, found beside its system where the memory is gated by head."""

import pytest
import torch
from osdn_kernels.chunk import blocks, decays, overlaps, wy
from osdn_kernels.chunk.write_keys import FIXED, IDENTITY, STORED, WriteKeys
from osdn_kernels.launch.sequences import cut
from support.kernels.faults import break_kernel

LENGTH, HEADS, DIM = 150, 2, 40
BOUND = 1e-5


def found_of(mode=IDENTITY, size=64, groups=1, dtype=torch.float32):
    """Those of a sequence [B, T, HV, C] and, from float64, what they should be."""
    rng = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, LENGTH, HEADS, DIM, generator=rng).to(dtype) / 4 for _ in range(2))
    d = 0.5 + torch.rand(1, HEADS, DIM, generator=rng)
    g = -0.3 * torch.rand(1, LENGTH, HEADS * groups, generator=rng)
    beta = torch.rand(g.shape, generator=rng).to(dtype)
    chunks = cut(1, LENGTH, size, None)
    gates = decays.new_sums(g, dtype)
    decays.sum_gates(g, beta, gates, chunks)
    written = k if mode == IDENTITY else (d * k.float()).to(dtype)
    keys = WriteKeys(mode, torch.full_like(k, torch.nan) if mode == FIXED else written, d)
    overlap = k.new_full((*beta.shape, size), torch.nan)
    wy.solve(k, beta, gates, keys, chunks, q=q, overlap=overlap)
    return overlap, exact(q, written, g, size)


def exact(q, written, g, size):
    groups = g.shape[2] // q.shape[2]
    missing = -LENGTH % size
    queries, keys, gates = (
        torch.nn.functional.pad(x.double()[0].transpose(0, 1), pad).unflatten(1, (-1, size))
        for x, pad in (
            (q, (0, 0, 0, missing)),
            (written, (0, 0, 0, missing)),
            (g[..., None], (0, 0, 0, missing)),
        )
    )
    queries, keys = (x.repeat_interleave(groups, 0) for x in (queries, keys))
    sums = gates[..., 0].cumsum(-1)
    decay = (sums[..., :, None] - sums[..., None, :]).tril().exp()
    met = (queries @ keys.transpose(-1, -2) * decay).tril()
    return met.flatten(1, 2)[:, :LENGTH].transpose(0, 1)[None]


def farthest(**given):
    found, wanted = found_of(**given)
    return torch.nan_to_num((found.double() - wanted).abs(), nan=torch.inf).max().item()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("mode", [IDENTITY, FIXED, STORED])
def test_what_a_read_meets(mode, size, groups):
    assert farthest(mode=mode, size=size, groups=groups) < BOUND


def test_it_is_rounded_to_what_it_multiplies():
    found, wanted = found_of(dtype=torch.float16)
    assert found.dtype == torch.float16
    assert torch.allclose(found.double(), wanted, rtol=2.0**-10, atol=2.0**-14)


MUTANTS = {
    "a token does not meet itself": (
        overlaps,
        "fill_overlaps",
        "row0[:, None] >= row0[None, :]",
        "row0[:, None] > row0[None, :]",
    ),
    "no decay inside a block": (blocks, "fade_blocks", "b22 *= decay_tile(s2, r2, s2, r2)", "b22 *= 1.0"),
    "no decay between blocks": (blocks, "fade_blocks", "b31 *= decay_tile(s3, r3, s1, r1)", "b31 *= 1.0"),
    "the decay of another block": (
        blocks,
        "fade_blocks",
        "b20 *= decay_tile(s2, r2, s0, r0)",
        "b20 *= decay_tile(s2, r2, s1, r1)",
    ),
    "keys of another block": (
        blocks,
        "meet_blocks",
        "b32 += dot(x3, y2, PRECISION)",
        "b32 += dot(x3, y1, PRECISION)",
    ),
    "nothing above the diagonal": (
        overlaps,
        "fill_overlaps",
        "p00, zero, zero, zero)",
        "p00, p10, zero, zero)",
    ),
    "half of the features": (overlaps, "fill_overlaps", "tl.cdiv(K, BK)", "1"),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_each_part_counts(what, monkeypatch, tmp_path):
    home, name, *change = MUTANTS[what]
    break_kernel(monkeypatch, tmp_path, home, name, *change)
    monkeypatch.setattr(wy if home is overlaps else overlaps, name, getattr(home, name))
    assert farthest() > BOUND


def test_heads_that_share_keys_read_what_they_have_written_themselves(monkeypatch, tmp_path):
    """Not what another has or has not: on a GPU nothing orders these."""
    alone = "if G > 1:\n                solved = solved & (head % G == 1)"
    break_kernel(
        monkeypatch, tmp_path, wy, "solve_kernel",
        "if G > 1 and READ == 0:\n                solved = solved & (head % G == 0)", alone,
    )  # fmt: skip
    assert farthest(mode=FIXED, groups=2) > BOUND
