"""Saved runs: what was seen live is seen again, and every broken file is refused with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crosscheck_cases import ANCHORED, FAST, gated, interpolating
from faulty_kernels import correct, delta_net, faulty, gated_delta_net
from safetensors.torch import load_file, save_file

from osdn_theory.crosscheck import audit_run, crosscheck, pose, resolve, save_run
from osdn_theory.crosscheck.calling import arguments
from osdn_theory.rules import FROZEN, CalibrationRule
from osdn_theory.streams import Stream


def record(
    path: Path, kernel: Any, stream: Stream, rule: CalibrationRule = FAST, dtype: Any = "float32", **more: Any
) -> Path:
    """What a user does on their machine: three calls, and everything that they return."""
    adapter = resolve(kernel)
    given = arguments(adapter, pose(adapter, stream, rule, dtype), "cpu")
    o, final, *path_of_d = kernel(**given)
    keys = given["k"]
    ahead = torch.cat([keys[:, 1:], keys[:, -1:]], 1)
    scalars = {name: given[name] for name in ("eta", "d_min", "d_max") if name in given}
    tensors = {name: given[name] for name in ("g", "anchor") if name in given}
    if hasattr(final, "preconditioner"):
        tensors |= {"state": final.state, "preconditioner": final.preconditioner}
    else:
        tensors |= {"state": final}
    if path_of_d:
        tensors |= {"d": path_of_d[0].preconditioner, "alignment": path_of_d[0].alignment}
    save_run(
        path, q=given["q"], k=keys, v=given["v"], beta=given["beta"], o=o, scale=1.0, order="recurrent",
        recurrence=adapter.recurrence, kernel="recorded", o_keys=kernel(**{**given, "q": keys})[0],
        o_next_keys=kernel(**{**given, "q": ahead})[0], **scalars, **tensors, **more,
    )  # fmt: skip
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return record(tmp_path / "run.safetensors", correct, interpolating())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_saved_run_is_judged_like_a_live_one(
    dtype: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel is plain PyTorch, whether or not other tests have loaded Triton's interpreter.
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    path = record(tmp_path / "run.safetensors", correct, interpolating(), dtype=dtype)
    saved, live = audit_run(path), crosscheck(correct, interpolating(), FAST, dtype=dtype, device="cpu")
    assert saved.dtype == dtype
    for name in ("o", "d", "a", "q", "beta a"):
        np.testing.assert_array_equal(saved[name].error, live[name].error)
        np.testing.assert_array_equal(saved[name].bound, live[name].bound)
    np.testing.assert_array_equal(saved["S"].error[..., -1], live["S"].error[..., -1])
    # A file does not say which comparator a stream was made around.
    outcomes = {v.theorem: v.outcome for v in saved.verdicts if v.theorem in ("T3", "T4", "T18")}
    assert outcomes == {v.theorem: v.outcome for v in live.verdicts if v.theorem in outcomes}


@pytest.mark.parametrize(
    "symptom", ["stores d in bfloat16", "clips once per chunk of 16", "calibrates too early"]
)
def test_symptoms_are_named_from_a_file(symptom: str, tmp_path: Path) -> None:
    rule = CalibrationRule(eta=1.0, d_min=0.95, d_max=1.1)
    found = audit_run(record(tmp_path / "run.safetensors", faulty(symptom), interpolating(), rule))
    assert [named.name for named in found.symptoms] == [symptom]
    assert found.exit_code == 1


def test_forgetting_and_decaying_memories_from_a_file(tmp_path: Path) -> None:
    assert audit_run(record(tmp_path / "a.safetensors", correct, gated(), ANCHORED)).within
    found = audit_run(record(tmp_path / "b.safetensors", gated_delta_net, gated(), FROZEN))
    assert found.within
    assert found.verdict("T17").outcome == "confirmed"
    assert audit_run(record(tmp_path / "c.safetensors", delta_net, gated(), FROZEN)).within


def test_beta_may_have_a_dtype_of_its_own(tmp_path: Path) -> None:
    stream = interpolating(beta="random")
    path = record(tmp_path / "run.safetensors", correct, stream, dtype="bfloat16")
    tensors = load_file(path)
    tensors["beta"] = tensors["beta"].float() + 2.0**-12
    tensors["o"] = correct(
        **{name: tensors[name] for name in ("q", "k", "v", "beta")}, scale=1.0, eta=1.0
    )[0]  # fmt: skip
    kept = {name: tensors[name] for name in ("q", "k", "v", "beta", "o")}
    save_run(tmp_path / "again.safetensors", **kept, scale=1.0, eta=1.0, order="recurrent")
    assert audit_run(tmp_path / "again.safetensors").within


def test_outputs_alone_are_audited_with_a_note(run: Path, tmp_path: Path) -> None:
    tensors = load_file(run)
    kept = {name: tensors[name] for name in ("q", "k", "v", "beta", "o")}
    save_run(tmp_path / "small.safetensors", **kept, scale=1.0, eta=1.0, order="recurrent")
    found = audit_run(tmp_path / "small.safetensors")
    assert [item.name for item in found.comparisons] == ["o"]
    assert found.within
    assert any("o_keys" in note for note in found.notes)


def rewritten(path: Path, change: Any) -> Path:
    """The file with its tensors and metadata changed in place."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    change(tensors, metadata)
    save_file({name: x.contiguous() for name, x in tensors.items()}, str(path), metadata)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: t.pop("o"), "o is missing; the file has"),
        (lambda t, m: t.pop("beta"), "beta is missing"),
        (
            lambda t, m: t.update(q=t["q"][:, :5]),
            r"q: expected shape \(1, 56, 2, 8\) beside k, got \(1, 5, 2, 8\)",
        ),
        (lambda t, m: t.update(state=t["state"].mT), "state: expected shape"),
        (lambda t, m: t.update(v=t["v"][0]), "v: expected 4 axes"),
        (lambda t, m: t["k"].view(-1)[3:4].fill_(float("nan")), "k: expected finite numbers, got nan"),
        (lambda t, m: t.update(k=t["k"].double()), "k: expected float32, bfloat16, float16, got float64"),
        (lambda t, m: m.pop("eta"), "metadata 'eta' is missing"),
        (lambda t, m: m.update(d_max="wide"), "metadata d_max: expected a number, got 'wide'"),
        (lambda t, m: m.update(recurrence="mamba"), "metadata recurrence: expected one of osdn"),
        (lambda t, m: m.update(recurrence="gated_delta_net"), "g is missing, which gated_delta_net needs"),
    ],
)
def test_broken_files_are_refused(change: Any, message: str, run: Path) -> None:
    with pytest.raises(ValueError, match=message):
        audit_run(rewritten(run, change))


def test_nan_in_an_output_is_a_finding_not_an_error(run: Path) -> None:
    found = audit_run(rewritten(run, lambda t, m: t["o"].view(-1)[200:].fill_(float("nan"))))
    assert found.exit_code == 1
    assert found.symptoms[0].name == "not finite"


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        audit_run(tmp_path / "nothing.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a file of tensors")
    with pytest.raises(ValueError, match="not a safetensors file"):
        audit_run(broken)


def test_what_save_run_does_not_know_is_refused(tmp_path: Path) -> None:
    x = torch.zeros(1, 2, 1, 4)
    given = {"q": x, "k": x, "v": x, "beta": x[..., 0], "o": x}
    with pytest.raises(TypeError, match="unknown tensors kv_cache"):
        save_run(tmp_path / "a.safetensors", **given, kv_cache=x)
    with pytest.raises(ValueError, match="beta: expected 3 axes"):
        save_run(tmp_path / "a.safetensors", **{**given, "beta": x})
