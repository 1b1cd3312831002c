"""Kernel tests run in Triton's interpreter, so that they need no GPU."""

import os

import pytest

# Triton reads it once, when it is first imported.
os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture
def on_references(monkeypatch):
    """As on a machine without a GPU."""
    from osdn_kernels import layer_operator, runtime

    monkeypatch.setattr(runtime, "INTERPRETED", False)
    monkeypatch.setattr(layer_operator, "_warned", True)


@pytest.fixture(params=["references", "kernels"])
def backend(request):
    if request.param == "references":
        request.getfixturevalue("on_references")
    return request.param
