"""Kernel tests, on the kernels or as on a machine without a GPU."""

import pytest


@pytest.fixture
def on_references(monkeypatch):
    """As on a machine without a GPU."""
    from osdn_kernels.launch import runtime
    from osdn_kernels.layers import operator as layer_operator

    monkeypatch.setattr(runtime, "INTERPRETED", False)
    monkeypatch.setattr(layer_operator, "_warned", True)


@pytest.fixture(params=["references", "kernels"])
def backend(request):
    if request.param == "references":
        request.getfixturevalue("on_references")
    return request.param
