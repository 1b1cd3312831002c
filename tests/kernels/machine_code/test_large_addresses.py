"""Tensors of more than 2^31 elements: the kernels count them in 64 bits.

One short sequence lies behind 2^24 tokens of 128 features. Memory that nothing touches is never given to the process,
so that the tensors cost next to nothing; the results must be those of the same tokens in tensors of their own.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from osdn_kernels.boundary.rule import Rule
from osdn_kernels.chunk import stages as chunk
from osdn_kernels.chunk.write_keys import LEARNED
from osdn_kernels.launch.recurrence import Cotangents, Inputs
from osdn_kernels.launch.sequences import Chunks
from osdn_kernels.recurrent.forward import RecurrentOptions, recurrent_forward
from torch import Tensor

FEATURES, TOKENS, SIZE = 128, 20, 16
OFFSET = 2**24 + 7
RULE = Rule(0.4, 0.9945, 1.05, False)
"""The second chunk leaves its box, the first does not."""
BY_TOKEN = ("q", "k", "v", "beta", "g", "state_gate")


class Place(NamedTuple):
    """Tensors of `length` tokens, of which the last `TOKENS` are in use."""

    start: int

    @property
    def length(self) -> int:
        return self.start + TOKENS

    def chunks(self) -> Chunks:
        slots = -(-TOKENS // SIZE)
        bounds, first = torch.tensor([self.start, self.length]), torch.tensor([0, slots])
        return Chunks(1, self.length, 1, SIZE, slots, bounds, first, torch.zeros(slots, dtype=torch.int32))

    def put(self, x: Tensor) -> Tensor:
        far = torch.empty(1, self.length, *x.shape[2:], dtype=x.dtype)
        far[:, self.start :] = x
        return far

    def take(self, x: Tensor) -> Tensor:
        return x[:, self.start :] if x.dim() > 1 and x.shape[1] == self.length else x


NEAR, FAR = Place(0), Place(OFFSET)


def drawn(place: Place) -> Inputs:
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    row = (1, TOKENS, 1)
    key = torch.nn.functional.normalize(normal(*row, FEATURES), dim=-1)
    inputs = Inputs(
        q=normal(*row, FEATURES), k=key, v=normal(*row, FEATURES), beta=normal(*row).sigmoid(),
        g=-normal(*row).abs() / 100, anchor=torch.full((1, 1, FEATURES), 0.95),
        initial_state=normal(1, 1, FEATURES, FEATURES), initial_preconditioner=torch.ones(1, 1, FEATURES),
        state_gate=-normal(*row, FEATURES).abs() / 10,
    )  # fmt: skip
    return inputs._replace(**{name: place.put(getattr(inputs, name)) for name in BY_TOKEN})


def chunkwise(place: Place) -> list[Tensor]:
    return chunks_of(place, drawn(place)._replace(state_gate=None))


def per_feature(place: Place) -> list[Tensor]:
    return chunks_of(place, drawn(place))


def chunks_of(place: Place, inputs: Inputs) -> list[Tensor]:
    """Outputs and gradients, from a chunk that stays in the box and one that clips."""
    chunks = place.chunks()
    inputs = inputs._replace(cu_seqlens=chunks.bounds)
    options = chunk.ChunkOptions(0.1, RULE, SIZE, LEARNED)
    result = chunk.forward(inputs, options, chunks)
    assert result.clipped.flatten().tolist() == [0, 1]
    grads = Cotangents(
        place.put(torch.ones(1, TOKENS, 1, FEATURES)), result.state, torch.ones_like(result.preconditioner)
    )
    found = chunk.backward(inputs, options, chunk.ChunkSaved(*result[3:10]), grads, chunks)
    kept = (result.o, result.state, result.preconditioner, *found)
    return [place.take(x) for x in kept if x is not None]


def recurrent(place: Place) -> list[Tensor]:
    bounds = torch.tensor([place.start, place.length])
    inputs = drawn(place)._replace(cu_seqlens=bounds, state_gate=None)
    result = recurrent_forward(inputs, RecurrentOptions(0.1, RULE, save=True))
    return [place.take(x) for x in result]


@pytest.mark.parametrize("operator", [chunkwise, per_feature, recurrent])
def test_far_tokens_are_found(operator):
    assert FAR.length * FEATURES > 2**31
    for near, far in zip(operator(NEAR), operator(FAR), strict=True):
        assert torch.equal(near, far)


NARROW = """
import os
os.environ["TRITON_INTERPRET"] = "1"
import triton, triton.language as tl
from osdn_kernels.recurrent import forward as recurrent

@triton.jit
def tokens_of(sequence, bounds, length, PACKED: tl.constexpr):
    start = tl.load(bounds + sequence).to(tl.int32)
    return start, (tl.load(bounds + sequence + 1) - start).to(tl.int32)

import test_large_addresses as here
near = here.recurrent(here.NEAR)
recurrent.tokens_of = tokens_of
assert all(map(here.torch.equal, near, here.recurrent(here.NEAR))), "nothing was broken but the width"
print("ready", flush=True)
assert all(map(here.torch.equal, near, here.recurrent(here.FAR)))
"""


def test_offsets_of_32_bits_would_miss_them(tmp_path):
    """In a process of its own, for it may read what does not belong to it."""
    script = tmp_path / "narrow.py"
    script.write_text(NARROW)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.stdout == "ready\n", done.stderr
    assert done.returncode != 0
