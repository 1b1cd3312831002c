"""Triton's interpreter quickened once more, for a test alone."""

import pytest
import triton.language as tl
from triton.runtime import interpreter

REPLACED = (
    (interpreter, "_get_np_dtype"),
    (interpreter.GridExecutor, "__call__"),
    (interpreter.interpreter_builder, "options"),
    (tl.block_type, "__init__"),
    (tl.tensor, "__init__"),
)
"""What `quicken` replaces by something that calls what was there, beside the look through the language."""


def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it as it is now when the patch ends."""
    for owner, name in REPLACED:
        monkeypatch.setattr(owner, name, getattr(owner, name))
