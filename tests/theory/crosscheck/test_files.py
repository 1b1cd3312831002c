"""Saved runs: what was seen live is seen again, and every broken file is refused with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.crosscheck.cases import ANCHORED, FAST, gated, interpolating
from support.crosscheck.faulty_kernels import correct, delta_net, faulty, gated_delta_net
from support.crosscheck.recorded import record

from osdn_theory.base.tensor_files import open_tensors
from osdn_theory.crosscheck import audit_run, audit_runs, crosscheck, save_run, save_runs
from osdn_theory.recurrence.rules import FROZEN, CalibrationRule


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
    "symptom", ["stores d in bfloat16", "clips once per chunk (C = 16)", "calibrates too early"]
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
    save_file({name: x.clone().contiguous() for name, x in tensors.items()}, str(path), metadata)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: t.pop("o"), "o is missing; the call has"),
        (lambda t, m: t.pop("beta"), "beta is missing"),
        (
            lambda t, m: t.update(q=t["q"][:, :5]),
            r"q: expected shape \(1, 56, 2, 8\) beside k, got \(1, 5, 2, 8\)",
        ),
        (lambda t, m: t.update(state=t["state"][..., 1:]), "state: expected shape"),
        (lambda t, m: t.update(state=t["state"].mT, initial_state=t["state"]), "state: expected shape"),
        (lambda t, m: m.update(state_layout="VK"), r"state: expected shape \(1, 2, 6, 8\)"),
        (lambda t, m: m.update(state_layout="KK"), "state_layout: expected one of KV, VK"),
        (lambda t, m: t.update(v=t["v"][0]), "v: expected 4 axes"),
        (lambda t, m: t["k"].view(-1)[3:4].fill_(float("nan")), "k: expected finite numbers, got nan"),
        (lambda t, m: t.update(k=t["k"].double()), "k: expected float32, bfloat16, float16, got float64"),
        (lambda t, m: m.pop("eta"), "metadata 'eta' is missing"),
        (lambda t, m: m.update(d_max="wide"), "metadata d_max: expected a number, got 'wide'"),
        (lambda t, m: m.update(recurrence="mamba"), "recurrence: expected one of osdn"),
        (lambda t, m: m.update(recurrence="gated_delta_net"), "g is missing, which gated_delta_net needs"),
        (lambda t, m: m.update(osdn_run="3"), "its format is version 3, this osdn reads up to 2"),
        (lambda t, m: m.update(osdn_run="new"), "metadata osdn_run: expected a version"),
        (lambda t, m: m.update(calls="0"), "metadata calls: expected a number of calls, got '0'"),
        (lambda t, m: m.update(calls="2"), "unknown tensor alignment, beta"),
        (lambda t, m: m.update(speed="fast"), "unknown metadata speed; known: recurrence"),
        (lambda t, m: t.update(kv_cache=t["k"]), "unknown tensor kv_cache; known: q"),
        (lambda t, m: m.update(interpreted="maybe"), "metadata interpreted: expected one of True, False"),
        (lambda t, m: m.update(numerics="[1"), "metadata numerics: expected JSON"),
        (lambda t, m: m.update(versions="[1]"), "metadata versions: expected a mapping"),
        (lambda t, m: m.update(chunk_size="1.5"), "metadata chunk_size: expected a number"),
        (lambda t, m: m.update(chunk_size="0"), "chunk_size: expected >= 1, got 0"),
        (lambda t, m: m.update(scale="nan"), "scale: expected a finite number, got nan"),
        (lambda t, m: m.update(cu_seqlens="[0, 1.5]"), "metadata cu_seqlens: expected a list of integers"),
        (lambda t, m: m.update(cu_seqlens="[1, 56]"), "cu_seqlens: expected to start at 0, got 1"),
        (lambda t, m: m.update(cu_seqlens="[0, 9, 8, 56]"), "never to decrease, got 8 after 9"),
        (lambda t, m: m.update(cu_seqlens="[0, 55]"), "cu_seqlens: expected to end at T = 56, got 55"),
        (lambda t, m: m.update(cu_seqlens="[0]"), "cu_seqlens: expected at least two numbers, got 1"),
        (lambda t, m: m.update(cu_seqlens="[0, 8, 56]"), r"state: expected shape \(2, 2, 8, 6\)"),
        (lambda t, m: t.update(g=t["beta"]), "g: expected log gates <= 0, got 1"),
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


def batched(length: int, heads: int = 2, seed: int = 0, key_dim: int = 8) -> dict[str, Any]:
    """Inputs of one call with states, as tensors."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    keys = torch.nn.functional.normalize(drawn(1, length, heads, key_dim), dim=-1)
    return {
        "q": drawn(1, length, heads, key_dim),
        "k": keys,
        "v": drawn(1, length, heads, 6),
        "beta": drawn(1, length, heads).sigmoid(),
        "g": -drawn(1, length, heads).abs() / 10,
        "initial_state": drawn(1, heads, key_dim, 6),
        "initial_preconditioner": 1 + drawn(1, heads, key_dim) / 50,
    }


OSDN = {"scale": 0.5, "eta": 0.5, "d_min": 2 / 3, "d_max": 1.5}


def osdn_call(**given: Any) -> dict[str, Any]:
    """What `save_run` takes, from a call of `correct`."""
    o, final = correct(**given, **OSDN, output_final_state=True)
    return {
        **given, **OSDN, "order": "recurrent", "o": o, "state": final.state, "preconditioner": final.preconditioner,
    }  # fmt: skip


def packed_call(lengths: tuple[int, ...] = (5, 0, 1, 12)) -> dict[str, Any]:
    """The same for packed sequences, each of them a call by itself; an empty one hands on what it was given."""
    calls = []
    for seed, length in enumerate(lengths):
        given = batched(length, seed=seed)
        started = {"state": given["initial_state"], "preconditioner": given["initial_preconditioner"]}
        calls.append(osdn_call(**given) if length else {**given, "o": given["v"], **started})
    tensors = {
        name: torch.cat([c[name] for c in calls], 1 if name in ("q", "k", "v", "beta", "g", "o") else 0)
        for name in (*batched(1), "o", "state", "preconditioner")
    }
    return {**tensors, **OSDN, "order": "recurrent", "cu_seqlens": torch.tensor(np.cumsum([0, *lengths]))}


def test_packed_sequences_are_each_judged_by_themselves(tmp_path: Path) -> None:
    path, packed = tmp_path / "run.safetensors", packed_call()
    save_run(path, **packed)
    found = audit_runs(path)
    assert [check.shape["T"] for check in found] == [5, 0, 1, 12]
    assert [check.stream for check in found] == [f"run, sequence {n} of 4" for n in (1, 2, 3, 4)]
    assert all(check.within for check in found)
    assert {item.name for item in found[1].comparisons} == {"S", "d handed on"}
    with pytest.raises(ValueError, match="several calls or packed sequences; use audit_runs"):
        audit_run(path)
    for sequence in range(4):
        wrong = packed["state"].clone()
        wrong[sequence, 1, 2, 3] += 1e-3
        save_run(path, **{**packed, "state": wrong})
        assert [check.within for check in audit_runs(path)] == [n != sequence for n in range(4)]


def test_sequences_that_start_from_their_neighbours_state_are_found(tmp_path: Path) -> None:
    packed = packed_call()
    packed["initial_state"] = packed["initial_state"].roll(1, 0)
    save_run(tmp_path / "run.safetensors", **packed)
    assert not any(check.within for check in audit_runs(tmp_path / "run.safetensors"))


def test_an_empty_sequence_that_hands_nothing_on_is_a_note(tmp_path: Path) -> None:
    packed = packed_call()
    save_run(tmp_path / "run.safetensors", **{**packed, "state": None, "preconditioner": None})
    empty = audit_runs(tmp_path / "run.safetensors")[1]
    assert empty.comparisons == ()
    assert "nothing to look at" in empty.notes[-1]


def test_tensors_may_share_storage_or_be_views(tmp_path: Path) -> None:
    call = batched(12)
    call["q"] = call["k"]
    call["beta"] = torch.full((1, 1, 1), 0.5).expand(1, 12, 2)
    wide = torch.cat([call["v"], call["v"]], -1)
    call["v"] = wide[..., ::2]
    saved = osdn_call(**call)
    both = torch.stack([saved["o"], saved["o"]])
    save_run(tmp_path / "run.safetensors", **{**saved, "o": both[0], "o_keys": both[1]})
    found = audit_run(tmp_path / "run.safetensors")
    assert found.within
    tensors = load_file(tmp_path / "run.safetensors")
    for name in ("q", "k", "v", "beta"):
        torch.testing.assert_close(tensors[name], call[name], rtol=0, atol=0)


@pytest.mark.parametrize("key_dim", [6, 8])
def test_transposed_states_are_recognised_or_told(key_dim: int, tmp_path: Path) -> None:
    path, call = tmp_path / "run.safetensors", osdn_call(**batched(12, key_dim=key_dim))
    turned = {**call, "state": call["state"].mT, "initial_state": call["initial_state"].mT}
    save_run(path, **call)
    right = audit_run(path)
    told = "told by their shape" if key_dim == 8 else "taken, as K = V does not tell"
    assert right.within
    assert right.statement["states in the file"] == f"[B, H, K, V], {told}"
    save_run(path, **turned)
    assert audit_run(path).within == (key_dim == 8)
    save_run(path, **turned, state_layout="VK")
    said = audit_run(path)
    assert said.within
    assert said.statement["states in the file"] == "[B, H, V, K], as said"
    np.testing.assert_array_equal(said["S"].error, right["S"].error)


@pytest.mark.parametrize("recurrence", ["osgdn", "oskda"])
def test_gated_forms_from_a_file(tmp_path: Path, recurrence: str) -> None:
    from osdn_theory.crosscheck.gradients.reference import recurrence_reference

    path, given = tmp_path / "run.safetensors", batched(12)
    rng = torch.manual_seed(0)
    shape = (1, 12, 2, 8) if recurrence == "oskda" else (1, 12, 2)
    given |= {"g": -torch.rand(shape, generator=rng), "g_d": -0.1 * torch.rand(1, 12, 2, generator=rng)}
    rule = {"eta": 0.5, "d_min": 0.5, "d_max": 2.0}
    o, final = recurrence_reference(**given, **rule, scale=0.5, decays=True, beta_aware=True)
    call = {
        **given, **rule, "o": o, "state": final.state, "preconditioner": final.preconditioner,
        "recurrence": recurrence, "order": "recurrent", "scale": 0.5,
    }  # fmt: skip
    save_run(path, **call)
    assert audit_run(path).within
    for wrong in ({"g_d": 0 * call["g_d"]}, {"g": 0.5 * call["g"]}, {"beta_aware": False}):
        save_run(path, **{**call, **wrong})
        assert not audit_run(path).within, wrong
    with pytest.raises(ValueError, match="g_d: osdn takes none"):
        save_run(path, **{**call, "recurrence": "osdn", "g": call["g_d"]})


def test_kda_from_a_file(tmp_path: Path) -> None:
    path, given = tmp_path / "run.safetensors", batched(12)
    from osdn_theory.crosscheck.gradients.reference import recurrence_reference

    del given["initial_preconditioner"]
    given["g"] = -torch.rand(1, 12, 2, 8, generator=torch.manual_seed(0))
    keys = given["k"]
    ahead = torch.cat([keys[:, 1:] * given["g"][:, 1:].exp(), keys[:, -1:]], 1)
    o, final = recurrence_reference(**given, scale=0.5)
    reads = [recurrence_reference(**{**given, "q": q}, scale=0.5)[0] for q in (keys, ahead)]
    call = {
        **given, "o": o, "state": final.state, "recurrence": "kda", "order": "recurrent", "scale": 0.5,
        "o_keys": reads[0], "o_next_keys": reads[1],
    }  # fmt: skip
    save_run(path, **call)
    found = audit_run(path)
    assert found.within
    assert found.notes == ()
    save_run(path, **{**call, "g": call["g"].flip(-1)})
    assert not audit_run(path).within
    with pytest.raises(ValueError, match="g: expected 4 axes"):
        save_run(path, **{**call, "g": call["g"][..., 0]})


def test_several_calls_in_one_file_are_each_audited_and_named(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    calls = [osdn_call(**batched(12)), packed_call((3, 4)), osdn_call(**batched(7, seed=5))]
    calls[2]["o"] = calls[2]["o"] + 1e-3
    save_runs(path, calls)
    found = audit_runs(path)
    assert [check.stream for check in found] == [
        "run, call 1 of 3", "run, call 2 of 3, sequence 1 of 2", "run, call 2 of 3, sequence 2 of 2",
        "run, call 3 of 3",
    ]  # fmt: skip
    assert [check.within for check in found] == [True, True, True, False]
    with pytest.raises(ValueError, match="use audit_runs"):
        audit_run(path)
    with pytest.raises(ValueError, match="call 2: beta: expected 3 axes"):
        save_runs(path, [calls[0], {**calls[0], "beta": calls[0]["q"]}])
    with pytest.raises(ValueError, match="calls: expected at least one"):
        save_runs(path, [])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_numpy_arrays_are_as_good_as_tensors(dtype: torch.dtype, tmp_path: Path) -> None:
    import ml_dtypes

    given = {n: x.to(dtype) if n in ("q", "k", "v", "beta") else x for n, x in batched(12).items()}
    call = osdn_call(**given)
    own = np.dtype(ml_dtypes.bfloat16 if dtype == torch.bfloat16 else str(dtype).removeprefix("torch."))
    arrays = {
        n: x.float().numpy().astype(own if x.dtype == dtype else np.float32)
        if isinstance(x, torch.Tensor) else x
        for n, x in call.items()
    }  # fmt: skip
    save_run(tmp_path / "a.safetensors", **call)
    save_run(tmp_path / "b.safetensors", **arrays)
    ours, theirs = (open_tensors(tmp_path / f"{name}.safetensors") for name in "ab")
    assert ours.metadata == theirs.metadata
    for name in ours.names | theirs.names:
        assert ours.read(name).tobytes() == theirs.read(name).tobytes()
    assert audit_run(tmp_path / "b.safetensors").within
    with pytest.raises(ValueError, match="q: expected floating-point numbers, got int64"):
        save_run(tmp_path / "c.safetensors", **{**call, "q": call["q"].long()})
    assert not (tmp_path / "c.safetensors").exists()


def test_where_a_run_is_from_is_recorded_and_decides_its_bounds(tmp_path: Path) -> None:
    from osdn_theory import __version__

    path, call = tmp_path / "run.safetensors", osdn_call(**batched(12))
    given = {n: x.bfloat16() if n in ("q", "k", "v", "beta") else x for n, x in batched(12).items()}
    half = osdn_call(**given)
    save_run(path, **half, interpreted=False, device="cuda (NVIDIA H100)")
    plain = audit_run(path)
    assert plain.device == "file run.safetensors, from cuda (NVIDIA H100)"
    assert f"osdn {__version__}" in plain.statement["recorded with"]
    assert f"torch {torch.__version__}" in plain.statement["recorded with"]
    save_run(path, **half, interpreted=True)
    dropped = audit_run(path)
    assert dropped.device.endswith("in Triton's interpreter")
    assert np.all(dropped["o"].bound >= plain["o"].bound)
    assert np.any(dropped["o"].bound > plain["o"].bound)

    def kernel() -> None: ...

    kernel.numerics = {"float32": {"order": "recurrent", "compensated": True}}  # type: ignore[attr-defined]
    save_run(path, **call, interpreted=False)
    wide = audit_run(path)
    save_run(path, **call, kernel=kernel, interpreted=False)
    declared = audit_run(path)
    assert declared.statement["kernel"] == "kernel"
    assert (wide.statement["numerics"], declared.statement["numerics"]) == (
        "not declared", "declared by the kernel",
    )  # fmt: skip
    assert "as declared" in declared["d handed on"].basis
    assert np.all(declared["d handed on"].bound <= wide["d handed on"].bound)
    assert np.any(declared["d handed on"].bound < wide["d handed on"].bound)


def test_files_of_the_first_format_are_read(run: Path) -> None:
    """Nothing but what they had: no version, no device."""
    first = (
        "recurrence", "order", "kernel", "normalize_feedback", "scale", "chunk_size", "eta", "d_min", "d_max",
    )  # fmt: skip

    def reduce(tensors: Any, metadata: dict[str, str]) -> None:
        for name in set(metadata) - set(first):
            del metadata[name]

    new = audit_run(run)
    old = audit_run(rewritten(run, reduce))
    assert old.device == "file run.safetensors"
    assert old.within
    np.testing.assert_array_equal(old["o"].error, new["o"].error)
    assert "recorded with" not in old.statement


def test_a_truncated_file_is_refused(run: Path) -> None:
    run.write_bytes(run.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a safetensors file, or a truncated one"):
        audit_run(run)
