"""Kernels broken on purpose: one expression of one kernel is another one."""

import inspect
from pathlib import Path
from types import ModuleType

import pytest
from osdn_kernels.chunk import state, state_backward, wy, wy_backward
from osdn_kernels.launch import tuning
from osdn_kernels.scan import forward as scan, tokens as scan_tokens

FAULTS = {
    "the clip is dropped": (
        scan_tokens, "clip", "return tl.where(x < d_min, d_min, tl.where(x > d_max, d_max, x))", "return x",
    ),
    "the certificate always accepts": (
        scan, "leaves", "return tl.max(outside.to(tl.int32), 0) != 0", "return tl.max(outside.to(tl.int32), 0) > 1",
    ),
    "d of after the calibrate step": (
        wy, "iterate_tile", "row[:, None] > row[None, :]", "row[:, None] >= row[None, :]",
    ),
    "the decay between chunks is skipped": (
        scan, "advance", "kept = tl.exp(total.to(tl.float32)) * (d - c)", "kept = d - c",
    ),
    "keys and write keys swapped in the erase term": (
        wy, "solve_kernel", "y0, y1, y2, y3 = tl.trans(x0), tl.trans(x1), tl.trans(x2), tl.trans(x3)",
        "y0, y1, y2, y3 = tl.trans(k0), tl.trans(k1), tl.trans(k2), tl.trans(k3)",
    ),
    "the read leaves out the token's own write": (
        state, "memory_kernel", "row[:, None] >= row[None, :]", "row[:, None] > row[None, :]",
    ),
    "the last partial chunk is dropped": (
        state, "memory_kernel", "for i in range(chunks):", "for i in range(tokens // C):",
    ),
    "the erase term is lost backward": (
        state_backward, "memory_backward_kernel", "(-write).to(dtype)", "(0.0 * write).to(dtype)",
    ),
    "the write key's gradient through the erase term is lost": (
        wy_backward, "solve_backward_kernel", "for_written += dot(for_a_t, keys, PRECISION)", "for_written += 0.0",
    ),
}  # fmt: skip


def break_kernel(
    monkeypatch: pytest.MonkeyPatch, folder: Path, module: ModuleType, name: str, old: str, new: str
) -> None:
    """Replace one expression in one kernel of a module."""
    function = getattr(module, name)
    while not hasattr(function, "__wrapped__") and hasattr(function, "fn"):
        function = function.fn
    home = inspect.getmodule(getattr(function, "fn", function))
    source = inspect.getsource(getattr(function, "fn", function))
    assert source.count(old) == 1, "the expression to break is not there, or not once"
    path = folder / f"{name}.py"
    path.write_text(source.replace(old, new))
    namespace = dict(vars(home))
    monkeypatch.setattr(tuning, "TUNED", dict(tuning.TUNED))
    exec(compile(path.read_text(), path, "exec"), namespace)
    monkeypatch.setattr(module, name, namespace[name])
