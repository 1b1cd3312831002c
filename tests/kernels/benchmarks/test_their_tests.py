"""flash-linear-attention's tests with operators of ours: a made-up checkout, what counts as passed, wrong folders."""

import csv
import os
from pathlib import Path

os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest
import torch
from osdn_kernels import chunk_osdn, fused_recurrent_osgdn
from osdn_kernels.benchmarks.their_tests import command
from osdn_kernels.benchmarks.their_tests.command import PLACES, Replacement, app
from osdn_kernels.benchmarks.their_tests.in_place import stand_in
from osdn_kernels.reference import osdn_reference
from typer.testing import CliRunner

TESTS = """
import os, pytest, torch
from fla.ops.delta_rule import chunk_delta_rule, fused_recurrent_delta_rule

def inputs():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 5, 1, 16).unbind()
    return {"q": q, "k": torch.nn.functional.normalize(k, dim=-1), "v": v, "beta": torch.full((1, 5, 1), 0.5)}

@pytest.mark.parametrize("first", [True, False])
def test_chunk(first):
    if os.environ.get("FLA_DISABLE_BACKEND_DISPATCH") != "1":
        pytest.skip("another operator does not have that")
    o, state = chunk_delta_rule(**inputs(), output_final_state=True, disable_recompute=first, cu_seqlens_cpu=3)
    expected, final = fused_recurrent_delta_rule(**inputs())
    torch.testing.assert_close(o, expected)
    torch.testing.assert_close(state, final)

def test_wrong():
    assert chunk_delta_rule(**inputs())[0].sum() == 0, "outputs are not zero"

def test_other_option():
    chunk_delta_rule(**inputs(), of_their_own=True)

def test_not_called():
    lambda: chunk_delta_rule()

def test_chunk_invalid_chunk_size():
    with pytest.raises(ValueError):
        chunk_delta_rule(**inputs(), chunk_size=16)

def naive_chunk_delta_rule():
    raise AssertionError

def test_naive():
    naive_chunk_delta_rule()

def test_of_something_else():
    raise AssertionError
"""

THEIRS = """
import torch

def fused_recurrent_delta_rule(q, k, v, beta):
    state, outputs = torch.zeros(16, 16), []
    for q_t, k_t, v_t, b_t in zip(q[0, :, 0], k[0, :, 0], v[0, :, 0], beta[0, :, 0]):
        state = state + b_t * torch.outer(k_t, v_t - state.T @ k_t)
        outputs.append(state.T @ q_t / 4)
    return torch.stack(outputs)[None, :, None], state[None, None]

chunk_delta_rule = None
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder with an `fla` and tests of it, as far as the command needs them."""
    root = tmp_path_factory.mktemp("checkout")
    for place in PLACES:
        folder = root.joinpath(*place.module.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(THEIRS)
        tests = root / place.tests
        tests.parent.mkdir(parents=True, exist_ok=True)
        tests.write_text(TESTS)
    for part in (root / "fla", root / "fla" / "ops"):
        (part / "__init__.py").write_text("")
    return root


def called(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_tests_run_with_our_operator(checkout: Path, tmp_path: Path) -> None:
    table = tmp_path / "folder" / "tests.csv"
    result = called(checkout, "--only", "chunk_delta_rule", "--out", table)
    assert (
        "chunk_osdn in the place of chunk_delta_rule: 2 passed, 1 failed, 2 skipped, 1 never called"
        in result.output
    )
    assert result.exit_code == 1
    rows = {row["test"]: row for row in csv.DictReader(table.open())}
    assert set(rows) == {
        "test_chunk[True]", "test_chunk[False]", "test_wrong", "test_other_option", "test_not_called",
        "test_chunk_invalid_chunk_size",
    }  # fmt: skip
    assert (rows["test_chunk[True]"]["outcome"], rows["test_chunk[True]"]["calls"]) == ("passed", "1")
    assert "outputs are not zero" in rows["test_wrong"]["reason"]
    assert "chunk_osdn has no of_their_own" in rows["test_other_option"]["reason"]
    assert "16 tokens" in rows["test_chunk_invalid_chunk_size"]["reason"]
    assert rows["test_not_called"]["outcome"] == "never called"


@pytest.mark.slow
def test_collected_tests_are_named_and_not_run(checkout: Path, tmp_path: Path) -> None:
    result = called(checkout, "--only", "chunk_delta_rule", "--collect", "--out", tmp_path / "tests.csv")
    assert (result.exit_code, "chunk_delta_rule: 6 collected" in result.output) == (0, True)


def test_an_operator_that_is_missing_is_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Replacement("chunk_kda", "chunk_osnothing", "fla.ops.kda", "tests/ops/test_kda.py")
    monkeypatch.setattr(command, "PLACES", (missing,))
    result = called(checkout)
    assert "chunk_kda: there is no chunk_osnothing to take its place; its tests are not run" in result.output
    assert result.exit_code == 1


def test_every_operator_of_theirs_has_one_of_ours() -> None:
    assert {place.theirs: place.ours for place in PLACES} == {
        "chunk_delta_rule": "chunk_osdn", "fused_recurrent_delta_rule": "fused_recurrent_osdn",
        "chunk_gated_delta_rule": "chunk_osgdn", "fused_recurrent_gated_delta_rule": "fused_recurrent_osgdn",
        "chunk_kda": "chunk_oskda", "fused_recurrent_kda": "fused_recurrent_oskda",
    }  # fmt: skip


@pytest.mark.parametrize(("given", "said"), [
    (["nowhere"], "nowhere is not a folder"),
    (["."], "has no fla: it is no checkout of flash-linear-attention"),
    ([".", "--only", "chunk_gla"], "'chunk_gla' is none of chunk_delta_rule"),
])  # fmt: skip
def test_wrong_use_is_named(
    given: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = called(*given)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


def test_without_a_gpu_nothing_runs(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = called(checkout)
    assert (result.exit_code, "no CUDA device is present" in result.output) == (2, True)


def test_a_package_from_elsewhere_is_refused(checkout: Path) -> None:
    strange = Replacement("chunk_delta_rule", "chunk_osdn", "json", "tests/ops/test_delta.py")
    with pytest.raises(command.typer.BadParameter, match="which is not in the checkout"):
        list(command.run(strange, checkout))


def test_ours_stand_in_with_d_at_one() -> None:
    q, v = torch.randn(2, 1, 6, 1, 16)
    # Unit keys would leave d at 1 by themselves.
    k = 0.8 * torch.nn.functional.normalize(torch.randn(1, 6, 1, 16), dim=-1)
    beta = torch.rand(1, 6, 1)
    o, state = stand_in(chunk_osdn)(q, k, v, beta, output_final_state=True)
    expected, final = osdn_reference(q, k, v, beta, output_final_state=True, d_min=1.0, d_max=1.0)
    torch.testing.assert_close(o, expected)
    torch.testing.assert_close(state, final.state)
    assert not torch.allclose(o, osdn_reference(q, k, v, beta, eta=1.0)[0])


def test_an_old_name_warns_as_theirs_does() -> None:
    x, gate = torch.randn(1, 2, 1, 16), torch.full((1, 2, 1), -0.1)
    operator = stand_in(fused_recurrent_osgdn)
    given = {"q": x, "k": x, "v": x, "g": gate, "beta": -gate, "transpose_state_layout": True}
    with pytest.warns(DeprecationWarning, match="state_v_first"):
        operator(**given)
    with pytest.raises(ValueError, match="state_v_first"):
        operator(**given, state_v_first=True)
