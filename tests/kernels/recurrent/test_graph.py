"""Decoding over a pool as a CUDA graph: nothing is allocated, and a replay reads what lies in its tensors then."""

import json

import pytest
import torch
from support.kernels.compiler_process import outside_of_the_interpreter

SCRIPT = """
import json, sys
import torch
from osdn_kernels import State, decode_step_

B, H, HV, K, V, SLOTS = 4, 2, 4, 64, 64, 9
rng = torch.Generator("cuda").manual_seed(0)

def normal(*shape):
    return torch.randn(*shape, generator=rng, device="cuda")

def token():
    k = torch.nn.functional.normalize(normal(B, 1, H, K), dim=-1)
    return {"q": normal(B, 1, H, K), "k": k, "v": normal(B, 1, HV, V), "beta": normal(B, 1, HV).sigmoid()}

def allocations():
    return torch.cuda.memory_stats()["allocation.all.allocated"]

pool = State(normal(SLOTS, HV, K, V), torch.ones(SLOTS, H, K, device="cuda"))
given, rows = token(), torch.tensor([7, -1, 0, 3], device="cuda")
count, out = torch.tensor([4], device="cuda"), normal(B, 1, HV, V)
how = {"state_indices": rows, "num_tokens": count}

def step(state, out=out):
    return decode_step_(**given, state=state, out=out, **how)

step(State(*(x.clone() for x in pool)))
step(pool)
torch.cuda.synchronize()
graph, found = torch.cuda.CUDAGraph(), {}
with torch.cuda.graph(graph):
    before = allocations()
    step(pool)
    found["with out"] = allocations() - before
with torch.cuda.graph(torch.cuda.CUDAGraph()):
    before = allocations()
    step(pool, None)
    found["without out"] = allocations() - before

worst = 0.0
for index, number in (([1, 5, -1, 2], 4), ([8, 3, 1, 0], 2)):
    for name, x in token().items():
        given[name].copy_(x)
    rows.copy_(torch.tensor(index))
    count.fill_(number)
    eager = State(*(x.clone() for x in pool))
    expected = step(eager, torch.empty_like(out))
    before = allocations()
    graph.replay()
    torch.cuda.synchronize()
    found["replayed"] = allocations() - before
    worst = max(worst, *((x - y).abs().max().item() for x, y in zip((out, *pool), (expected, *eager))))
print(json.dumps(found | {"difference": worst}))
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_replay_allocates_nothing_and_is_the_step():
    found = json.loads(outside_of_the_interpreter(SCRIPT))
    assert found == {"with out": 0, "without out": 1, "replayed": 0, "difference": 0.0}
