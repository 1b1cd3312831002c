"""Kernels run in Triton's interpreter throughout, so that no test needs a GPU, and every test begins at one seed."""

import functools
import os
import sys
from types import ModuleType
from typing import Any

import pytest
from support.slow import mark_slow

# Triton reads it once, when it is first imported.
os.environ["TRITON_INTERPRET"] = "1"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_slow(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed PyTorch before a test and its fixtures, so that a test's inputs are the same in every run and order."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
    if sys.gettrace() and (interpreter := sys.modules.get("triton.runtime.interpreter")):
        _leave_kernels_untraced(interpreter)


def _leave_kernels_untraced(interpreter: ModuleType) -> None:
    """Coverage counts no line of a kernel, and following one in the interpreter takes as long as running it."""
    launch = interpreter.GridExecutor.__call__
    if hasattr(launch, "__wrapped__"):
        return

    @functools.wraps(launch)
    def launch_untraced(*args: Any, **kwargs: Any) -> None:
        trace = sys.gettrace()
        sys.settrace(None)
        try:
            launch(*args, **kwargs)
        finally:
            sys.settrace(trace)

    interpreter.GridExecutor.__call__ = launch_untraced
