"""Pools of processes: with GPUs each has one of them, and they have equally many."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

MEETING = """
import sys
import time
from functools import partial
from pathlib import Path

import torch
from osdn_kernels.launch.processes import pool_of

chosen = []
torch.cuda.device_count = lambda: 3
torch.cuda.set_device = chosen.append


def meet(folder, workers, number):
    "What this process has chosen; it waits for the others, so that none does two of the calls."
    (folder / str(number)).touch()
    while len(list(folder.iterdir())) < workers:
        time.sleep(0.01)
    return chosen


if __name__ == "__main__":
    folder, device, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with pool_of(workers, device) as pool:
        print(sorted(pool.map(partial(meet, folder, workers), range(workers))))
"""


@pytest.mark.parametrize(
    ("device", "workers", "expected"), [("cuda", 4, [[0], [0], [1], [2]]), ("cpu", 2, [[], []])]
)
def test_processes_take_the_gpus_in_turn(device, workers, expected, tmp_path):
    """The machine is made to have three; none is chosen for work on the CPU."""
    script, folder = tmp_path / "script.py", tmp_path / "met"
    script.write_text(MEETING)
    folder.mkdir()
    command = [sys.executable, script, folder, device, str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.stdout == f"{expected}\n", done.stderr
