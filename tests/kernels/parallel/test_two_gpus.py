"""The kernels over two GPUs, beside one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import os, sys
import torch
from osdn_kernels import chunk_osdn
from osdn_kernels.launch.forced import forced
from osdn_kernels.parallel import context_parallel
from torch import distributed

rank = int(os.environ["RANK"])
torch.cuda.set_device(rank)
distributed.init_process_group("nccl", store=distributed.FileStore(sys.argv[1], 2), rank=rank, world_size=2)
operator = context_parallel(chunk_osdn, distributed.group.WORLD)

def draw(dtype):
    random = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 300, 2, 64, generator=random).to("cuda", dtype)
    # Normalised keys leave d = 1 where it is: an anchor elsewhere gives it, and g, something to do.
    beta, g = torch.rand(2, 2, 300, 2, generator=random).cuda()
    return [x.requires_grad_() for x in (q, k, v, beta, (-0.01 * g).detach())]

def run(operator, inputs):
    *given, g = inputs
    with forced({}):  # the first configuration of each kernel: trying them all takes minutes
        o, final = operator(*given, g=g, anchor=0.8, eta=0.5, output_final_state=True, use_qk_l2norm_in_kernel=True)
        o.float().square().sum().backward()
    return o, final

for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
    whole = draw(dtype)
    expected, final = run(chunk_osdn, whole)
    mine = slice(0, 170) if rank == 0 else slice(170, None)
    parts = [x.detach()[:, mine].clone().requires_grad_() for x in whole]
    found, end = run(operator, parts)
    again, _ = run(operator, [x.detach().clone().requires_grad_() for x in parts])
    assert torch.equal(found, again)
    pairs = [(found, expected[:, mine]), *zip(end, final), *((x.grad, y.grad[:, mine]) for x, y in zip(parts, whole))]
    for ours, theirs in pairs:
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max(), (dtype, ours.shape)
distributed.destroy_process_group()
"""


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_find_what_one_does(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["NCCL_NVLS_ENABLE"] = "0"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "store")]
    processes = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in processes:
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
