"""Kernels run in Triton's interpreter throughout, so that no test needs a GPU, and every test begins at one seed."""

import os
import sys

import pytest

# Triton reads it once, when it is first imported.
os.environ["TRITON_INTERPRET"] = "1"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed PyTorch before a test and its fixtures, so that a test's inputs are the same in every run and order."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
