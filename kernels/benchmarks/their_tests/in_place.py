"""A plugin of pytest that puts one operator of this project in the place of one of flash-linear-attention's.

``OSDN_IN_PLACE=fla.ops.kda:chunk_kda=chunk_oskda`` names module, theirs and ours. Of the tests that are collected those
stay whose function names theirs; every one is told how often it called ours (property ``calls``).
"""

import functools
import importlib
import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "OSDN_IN_PLACE"

HINTS = frozenset({"cu_seqlens_cpu", "chunk_indices", "safe_gate", "disable_recompute"})
"""Options of theirs that change no result, whether ours has them or not."""

DIFFERENT = {"test_chunk_invalid_chunk_size": "expects an error for chunks of 16 tokens, which are ours too"}
"""Tests of theirs that are about something else than results."""

_calls = 0


def stand_in(ours: Callable[..., Any]) -> Callable[..., Any]:
    """Ours with their results: d pinned at 1, the memory alone as the final state.

    A test that asks for what ours does not have is skipped, by name of the option.
    """
    takes = inspect.signature(ours).parameters

    @functools.wraps(ours)
    def operator(
        *args: Any, state_v_first: bool = False, transpose_state_layout: bool | None = None, **options: Any
    ) -> tuple[Any, Any]:
        global _calls
        _calls += 1
        if transpose_state_layout is not None:
            if state_v_first:
                raise ValueError("state_v_first: expected no transpose_state_layout, its old name, beside it")
            warnings.warn(
                "transpose_state_layout: its name is state_v_first", DeprecationWarning, stacklevel=2
            )
            state_v_first = transpose_state_layout
        options["state_v_first"] = state_v_first
        asked = {name: value for name, value in options.items() if name in takes or name not in HINTS}
        unknown = [
            n for n, value in asked.items() if n not in takes and value is not None and value is not False
        ]
        if asked.get("return_intermediate_states"):
            unknown.append("return_intermediate_states, as theirs lays them out")
        if unknown:
            pytest.skip(f"{ours.__name__} has no {unknown[0]}")
        given = {name: value for name, value in asked.items() if name in takes}
        o, final = ours(*args, **given, d_min=1.0, d_max=1.0)[:2]
        return o, None if final is None else final.state

    return operator


def wanted() -> tuple[str, str, str]:
    """Module, name of theirs and name of ours."""
    module, _, names = os.environ[VARIABLE].partition(":")
    theirs, _, ours = names.partition("=")
    return module, theirs, ours


def pytest_configure(config: pytest.Config) -> None:
    """Replace the operator, before any test imports it."""
    module_name, theirs, ours = wanted()
    module = importlib.import_module(module_name)
    found, root = Path(inspect.getfile(module)).resolve(), Path(config.rootpath).resolve()
    if not found.is_relative_to(root):
        raise pytest.UsageError(f"{module_name} is {found}, which is not in the checkout {root}")
    if not hasattr(module, theirs):
        raise pytest.UsageError(f"{module_name} in {root} has no {theirs}")
    from ... import ops

    setattr(module, theirs, stand_in(getattr(ops, ours)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that name the operator; those of something `DIFFERENT` are skipped."""
    _, theirs, _ = wanted()
    others = [item for item in items if not _names(item, theirs)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]
    for item in items:
        for name, reason in DIFFERENT.items():
            if item.name.startswith(name):
                item.add_marker(pytest.mark.skip(reason=reason))


def _names(item: pytest.Item, theirs: str) -> bool:
    """Whether a test's function calls an operator by its whole name."""
    if not isinstance(item, pytest.Function):
        return False
    return re.search(rf"\b{re.escape(theirs)}\(", inspect.getsource(item.function)) is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Count the calls of ours."""
    before = _calls
    try:
        yield
    finally:
        item.user_properties.append(("calls", _calls - before))
