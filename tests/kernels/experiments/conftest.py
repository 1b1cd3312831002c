"""Experiments are tested as on a machine without a GPU: through the PyTorch references, not the slow interpreter."""

import pytest
import torch


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    from osdn_kernels.launch import runtime
    from osdn_kernels.layers import operator as layer_operator

    monkeypatch.setattr(runtime, "INTERPRETED", False)
    monkeypatch.setattr(layer_operator, "_warned", True)
    # For processes that a test starts.
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Tensors are tiny, and tests run side by side.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
