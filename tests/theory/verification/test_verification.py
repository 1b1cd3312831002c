"""The main job end to end on small streams, and every deliberate breakage it has to catch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from osdn_theory.bounds.statements import context, regret
from osdn_theory.recurrence import calibrate as preconditioner, solve as recurrence
from osdn_theory.verification.run import BOUND_IDS, STREAM_NAMES, Verification, verify
from osdn_theory.verification.suite import SYNTHETIC, half_step, rule_named, stream_names, trajectories

QUICK = ["isotropic", "interpolating", "attained", "scalar", "gated", "constant-key"]


@pytest.fixture(scope="module")
def verification() -> Verification:
    return verify(streams=QUICK)


def test_nothing_is_violated_or_undecided(verification: Verification) -> None:
    outcomes = {c.outcome for c in verification.checks}
    assert outcomes == {"holds", "holds, vacuously", "not applicable"}
    assert verification.exit_code == 0


def test_every_stream_rule_and_bound_is_covered(verification: Verification) -> None:
    entries = [e for e in SYNTHETIC if e.name in QUICK]
    covered = {(c.stream, c.rule) for c in verification.checks if c.theorem != "T10"}
    assert covered == {(e.name, rule) for e in entries for rule in e.rules}
    assert {c.theorem for c in verification.checks} == set(BOUND_IDS)
    assert set(verification.streams) == set(QUICK)


def test_context_bounds_run_once_per_stream(verification: Verification) -> None:
    keys = [(c.stream, c.title) for c in verification.checks if c.theorem == "T10"]
    assert len(keys) == len(set(keys))


def test_json_is_strict_and_complete(verification: Verification) -> None:
    document = json.loads(json.dumps(verification.as_dict(), allow_nan=False))
    assert len(document["checks"]) == len(verification.checks)
    assert document["environment"]["python-flint"]
    assert document["seed"] == 0
    assert document["exit_code"] == 0


def test_seeds_are_reproducible_and_different() -> None:
    first = verify(streams=["interpolating"], bounds=["T5"], seeds=2, seed=3)
    again = verify(streams=["interpolating"], bounds=["T5"], seeds=2, seed=3)
    assert first.checks == again.checks
    lhs = [c.lhs for c in first.checks if c.rule == "fast"]
    assert len(lhs) == 2
    assert lhs[0] != lhs[1]
    assert set(first.streams) == {"interpolating #0", "interpolating #1"}


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    verify(streams=["scalar", "attained"], bounds=["T5"], progress=lambda *step: seen.append(step))
    assert seen == [("attained", 0, 2), ("scalar", 1, 2), ("", 2, 2)]


def test_activations_from_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_normal((1, 12, 2, 6)).astype(np.float16) for name in "qkv"}
    save_file(tensors, tmp_path / "run.safetensors")
    found = verify(file=tmp_path / "run.safetensors", bounds=["T3", "T8"])
    assert set(found.streams) == {"run/layer0"}
    assert {c.index for c in found.checks} == {(0, 0), (0, 1)}
    assert {c.outcome for c in found.checks if c.theorem == "T3"} == {"holds"}
    refused = [c for c in found.checks if c.outcome != "holds"]
    assert {(c.theorem, c.rule, c.reason) for c in refused} == {
        ("T8", "anchored from 5/4", "needs gamma = 1, got 0.9375")
    }


@pytest.mark.parametrize("rank", [3, 4])
def test_state_gates_of_a_file_are_those_of_the_bounds(tmp_path: Path, rank: int) -> None:
    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_normal((1, 6, 2, 4)).astype(np.float32) for name in "qkv"}
    gate = -rng.random((1, 6, 2, 4)[:rank]).astype(np.float32)
    save_file({**tensors, "state_gate": gate}, tmp_path / "run.safetensors")
    found = verify(file=tmp_path / "run.safetensors", bounds=["T3", "T17", "T27"])
    outcomes = {(c.title, c.outcome) for c in found.checks}
    assert ("Residual identity, gated state", "holds") in outcomes
    assert ("Growth of a difference, gated state", "holds") in outcomes
    # What speaks of memories that do not fade is not asked of these.
    assert {c.outcome for c in found.checks if c.title == "Growth of the error"} == {"not applicable"}
    assert "beta-aware" in {c.rule for c in found.checks}
    save_file({**tensors, "state_gate": gate[:, :5]}, tmp_path / "run.safetensors")
    with pytest.raises(
        ValueError, match=r"state_gate: expected \(B, T, H\) = \(1, 6, 2\).*got shape \(1, 5, 2"
    ):
        verify(file=tmp_path / "run.safetensors", bounds=["T17"])


def test_packaged_layers_are_in_the_default_suite() -> None:
    assert {"minilm/layer0", "minilm/layer2", "minilm/layer5"} <= set(STREAM_NAMES)
    assert all(stream_names().values())


def test_real_keys_meet_the_interpolating_bounds_once_exactly_normalised() -> None:
    found = verify(streams=["minilm/layer0", "minilm/layer0/unit"], bounds=["T5", "T15"])
    assert found.exit_code == 0
    by_stream = {name: {c.outcome for c in found.checks if c.stream == name} for name in found.streams}
    assert by_stream["minilm/layer0"] == {"not applicable"}
    assert "holds" in by_stream["minilm/layer0/unit"]
    unit = [c for c in found.checks if c.stream == "minilm/layer0/unit" and c.theorem == "T5"]
    tight = [c for c in unit if c.rule == "fast from 5/4"]
    assert len(tight) == 12
    assert all(c.log10_slack is not None and c.lhs for c in tight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"streams": ["isotropc"]}, "unknown 'isotropc'; did you mean isotropic"),
        ({"streams": ["zzz"]}, "unknown 'zzz'; known: isotropic"),
        ({"bounds": ["T2"]}, "bounds: unknown 'T2'"),
        ({"seeds": 0}, "seeds: expected at least 1, got 0"),
        ({"seed": -1}, "seed: expected >= 0, got -1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verify(**arguments)


def test_half_step_is_a_power_of_two_below_the_limit() -> None:
    for entry in SYNTHETIC:
        if entry.name == "long":
            continue
        stream = entry.build(np.random.default_rng(0))
        m = float(np.max(np.sum(stream.keys**4, -1)))
        eta = half_step(stream)
        assert 0.25 < eta * m <= 0.5
        assert np.frexp(eta)[0] == 0.5
        assert all(rule_named(label, stream).eta > 0 for label in entry.rules)
    assert half_step(stream.tokens(0, 0)) == 0.5


# --- breaking the solver, the theory or the recurrence on purpose: `verify` must exit 1 ---

Step = Callable[..., np.ndarray]


def broken(monkeypatch: pytest.MonkeyPatch, change: Callable[[Step], Step]) -> None:
    monkeypatch.setattr(preconditioner, "calibrate_step", change(preconditioner.calibrate_step))


def exit_code(*streams: str, bounds: list[str] | None = None) -> int:
    return verify(streams=list(streams), bounds=bounds).exit_code


def test_flipped_hypergradient_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def flip(step: Step) -> Step:
        def flipped(d: Any, x: Any, w: Any, gamma: Any, c: Any, rule: Any) -> np.ndarray:
            return step(d, x, -np.asarray(w), gamma, c, rule)

        return flipped

    broken(monkeypatch, flip)
    assert exit_code("interpolating") == 1


def test_dropped_clip_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    def drop(step: Step) -> Step:
        def open_box(d: Any, x: Any, w: Any, gamma: Any, c: Any, rule: Any) -> np.ndarray:
            return step(d, x, w, gamma, c, replace(rule, d_min=-np.inf, d_max=np.inf))

        return open_box

    broken(monkeypatch, drop)
    assert exit_code("interpolating") == 1


def test_forgetting_applied_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(step: Step) -> Step:
        def squared(d: Any, x: Any, w: Any, gamma: Any, c: Any, rule: Any) -> np.ndarray:
            return step(d, x, w, None if gamma is None else np.asarray(gamma) ** 2, c, rule)

        return squared

    broken(monkeypatch, twice)
    assert exit_code("constant-key") == 1


def test_calibrating_before_the_write_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    # The write sees d_{t+1}: shift the preconditioners of the trajectory by one token.
    from dataclasses import replace

    from osdn_theory.recurrence.trajectory import Trajectory
    from osdn_theory.verification import suite

    honest = recurrence.osdn

    def early(stream: Any, rule: Any, **kwargs: Any) -> Trajectory:
        run = honest(stream, rule, **kwargs)
        late = np.concatenate(
            [run.preconditioner[..., 1:, :], run.final_preconditioner[..., None, :]], axis=-2
        )
        return replace(run, preconditioner=late, alignment=np.sum(late * stream.squared_keys, axis=-1))

    entry = next(e for e in SYNTHETIC if e.name == "interpolating")
    monkeypatch.setattr(suite, "SYNTHETIC", (replace(entry, solver=early),))
    found = verify(streams=["interpolating"])
    assert found.exit_code == 1
    titles = {c.title for c in found.checks if c.outcome == "violated"}
    assert {"Calibrate step of the solver", "Write of the solver"} <= titles


@pytest.mark.parametrize("part", ["outputs", "residuals", "states", "alignment"])
def test_a_wrong_number_anywhere_is_caught(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    from dataclasses import replace

    from osdn_theory.verification import suite

    def wrong(stream: Any, rule: Any, **kwargs: Any) -> Any:
        run = recurrence.osdn(stream, rule, **kwargs)
        values = np.array(getattr(run, part))
        values[5] += 1e-9
        return replace(run, **{part: values})

    entry = next(e for e in SYNTHETIC if e.name == "interpolating")
    monkeypatch.setattr(suite, "SYNTHETIC", (replace(entry, solver=wrong),))
    found = verify(streams=["interpolating"], bounds=["float64"])
    violated = [c for c in found.checks if c.outcome == "violated"]
    assert violated
    assert all("token 6" in c.reason or "token 7" in c.reason for c in violated)


def test_halved_t5_makes_verify_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = regret.interpolating_constant
    assert exit_code("attained", bounds=["T5"]) == 0
    monkeypatch.setattr(regret, "interpolating_constant", lambda e: whole(e) / 2)
    assert exit_code("attained", bounds=["T5"]) == 1


def test_quartered_t10_makes_verify_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = context.newton_constant
    assert exit_code("scalar", bounds=["T10"]) == 0
    monkeypatch.setattr(context, "newton_constant", lambda smoothness, d: whole(smoothness, d) / 4)
    assert exit_code("scalar", bounds=["T10"]) == 1


def test_undecided_is_not_success(monkeypatch: pytest.MonkeyPatch) -> None:
    from osdn_theory.bounds import checking
    from osdn_theory.bounds.numbers import Balls
    from osdn_theory.bounds.runs.exact import ExactRun

    # Four bits enclose nothing worth having.
    monkeypatch.setattr(checking, "runs_for", lambda case: [ExactRun(case, Balls(4))])
    found = verify(streams=["interpolating"], bounds=["T5"])
    assert found.exit_code == 3
    assert any(c.outcome == "undecided" and c.reason for c in found.checks)


def test_states_are_kept_only_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from osdn_theory.verification import suite

    entry = next(e for e in SYNTHETIC if e.name == "attained")
    assert all(run.states is not None for _, run in trajectories(entry))
    monkeypatch.setattr(suite, "_STATES_LIMIT", 10)
    assert all(run.states is None for _, run in trajectories(entry))
