"""What tests of public kernels share."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest
from support.crosscheck.public_kernels import TRANSFORMERS


@pytest.fixture(scope="module")
def without_fla() -> Iterator[None]:
    """transformers' modules, imported where flash-linear-attention is not installed, and forgotten again."""
    modules = {name.partition(":")[0] for name in TRANSFORMERS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "fla", None)
        for name in modules:
            patch.delitem(sys.modules, name, raising=False)
        # Each says once that it falls back to plain PyTorch.
        patch.setattr(logging.getLogger("transformers"), "disabled", True)
        yield
        for name in modules:
            sys.modules.pop(name, None)
