"""Grouped heads: keys that several value heads share reach a kernel and a file once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from osdn_kernels import chunk_osdn_reference, osdn_reference, osgdn_reference
from support.crosscheck.cases import ANCHORED, FAST
from support.crosscheck.recorded import record

from osdn_theory.crosscheck import audit_run, crosscheck, save_run
from osdn_theory.crosscheck.examination.exercises.table import SHARED_KEYS
from osdn_theory.crosscheck.examination.run import examine
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams import synthetic
from osdn_theory.streams.stream import Stream


@pytest.fixture(autouse=True)
def plain_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not other tests have loaded Triton's interpreter."""
    monkeypatch.setenv("TRITON_INTERPRET", "0")


def drawn() -> Stream:
    stream = synthetic.isotropic(np.random.default_rng(0), length=20, key_dim=6, value_dim=4, lead=(2, 4))
    forget = np.random.default_rng(1).uniform(0.9, 1.0, (2, 4, 20))
    return replace(stream, keys=0.8 * stream.keys, forget_gate=forget)


@pytest.mark.parametrize("rule", [FAST, ANCHORED])
@pytest.mark.parametrize("kernel", [osdn_reference, chunk_osdn_reference])
def test_kernels_are_held_to_the_heads_that_share(kernel: Any, rule: CalibrationRule) -> None:
    seen: list[tuple[int, int]] = []

    def watched(q: Any, k: Any, v: Any, beta: Any, **options: Any) -> Any:
        seen.append((k.shape[2], v.shape[2]))
        return kernel(q, k, v, beta, **options)

    found = crosscheck(_like(watched, kernel), drawn(), rule, device="cpu", cuts=2, group=2)
    assert set(seen) == {(2, 4)}
    assert found.within
    assert found["d"].error.shape[:2] == (2, 4)


def test_values_with_the_keys_of_another_head_are_seen() -> None:
    def mixed(q: Any, k: Any, v: Any, beta: Any, **options: Any) -> Any:
        spread = [x.repeat(1, 1, 2, 1) for x in (q, k)]  # heads 0, 1, 0, 1 and not 0, 0, 1, 1
        return osdn_reference(*spread, v, beta, **{**options, "return_trajectory": False})[0], None

    kernel = _like(mixed, osdn_reference)
    assert not crosscheck(kernel, drawn(), FAST, device="cpu", cuts=2, group=2)["o"].within


@pytest.mark.parametrize("rule", [FAST, ANCHORED])
def test_a_saved_run_is_judged_like_a_live_one(rule: CalibrationRule, tmp_path: Path) -> None:
    path = record(tmp_path / "run.safetensors", osdn_reference, drawn(), rule, group=2)
    saved = audit_run(path)
    live = crosscheck(osdn_reference, drawn(), rule, device="cpu", group=2)
    assert saved.within
    for name in ("o", "d", "a"):
        np.testing.assert_array_equal(saved[name].error, live[name].error)


@pytest.mark.parametrize(("name", "heads"), [("v", 3), ("beta", 2), ("d", 4), ("state", 2)])
def test_tensors_with_other_heads_are_refused(name: str, heads: int, tmp_path: Path) -> None:
    shapes = {
        "q": (2, 6),
        "k": (2, 6),
        "v": (4, 4),
        "beta": (4,),
        "o": (4, 4),
        "d": (2, 6),
        "state": (4, 6, 4),
    }
    sizes = {each: (1, *(() if each == "state" else (5,)), *shape) for each, shape in shapes.items()}
    axis = 1 if name == "state" else 2
    sizes[name] = (*sizes[name][:axis], heads, *sizes[name][axis + 1 :])
    tensors: dict[str, Any] = {each: torch.zeros(shape) for each, shape in sizes.items()}
    with pytest.raises(ValueError, match=f"^(o|{name}): expected"):
        save_run(tmp_path / "run.safetensors", **tensors)


@pytest.mark.parametrize("kernel", [chunk_osdn_reference, osgdn_reference])
def test_an_exercise_asks_for_heads_that_share_keys(kernel: Any) -> None:
    found = examine(kernel, device="cpu", only=[SHARED_KEYS], invariant=False, gradients=True)
    assert [each.name for each in found.exercises] == [SHARED_KEYS]
    assert found.exercises[0].within
    assert found.backward is None
    assert SHARED_KEYS not in " ".join(found.not_exercised)


def test_the_exercise_sees_keys_of_another_head() -> None:
    def mixed(q: Any, k: Any, v: Any, beta: Any, **options: Any) -> Any:
        """Values of heads 0, 1, 2, 3 with keys of heads 0, 1, 0, 1."""
        heads = [0, 2, 1, 3] if k.shape[2] < v.shape[2] else list(range(v.shape[2]))
        if options.get("initial_state") is not None:
            options["initial_state"] = options["initial_state"][:, heads]
        o, *states = osdn_reference(q, k, v[:, :, heads], beta[:, :, heads], **options)
        return o[:, :, heads], *states

    kernel = _like(mixed, osdn_reference)
    (found,) = examine(kernel, device="cpu", only=[SHARED_KEYS], invariant=False).exercises
    assert not found.within
    assert examine(kernel, device="cpu", only=["square"], invariant=False).exercises[0].within


def test_groups_that_make_no_sense_are_refused() -> None:
    for group in (0, 3):
        with pytest.raises(ValueError, match=r"^group: expected"):
            crosscheck(osdn_reference, drawn(), FAST, device="cpu", group=group)
    with pytest.raises(ValueError, match=r"^gradients: expected"):
        crosscheck(osdn_reference, drawn(), FAST, device="cpu", group=2, gradients=True)


def _like(kernel: Any, other: Any) -> Any:
    """`kernel` with the signature and the numerics of another."""
    kernel.__signature__, kernel.numerics = other.__signature__, other.numerics
    return kernel
